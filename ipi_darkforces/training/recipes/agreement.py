"""A loss of direct forces that also holds them to the conservative forces of the same model.

Errors of two kinds of forces need not be alike, and what decides the stride of multiple time stepping is how far these
forces are from each other. metatrain's losses compare a prediction with its label only. With this one, the option

    non_conservative_force: {type: mse, weight: 30.0, agreement: 1.0}

adds the mean squared difference between the predicted direct and conservative forces, times `agreement`. Gradients flow
into both: the energy is held to what the direct forces can follow.
"""

from __future__ import annotations

from typing import Any

import torch
from metatensor.torch import TensorMap
from metatrain.utils.loss import LossType, TensorMapMSELoss


class MSEWithAgreement(TensorMapMSELoss):
    """metatrain's mean squared error with `agreement` between heads.

    :param agreement: weight of the mean squared difference between direct forces and the energy's gradient, relative to
        that of the error of the direct forces; batches without labels of both kinds have no such term
    """

    def __init__(self, name: str, gradient: str | None, weight: float, reduction: str, agreement: float = 0.0) -> None:
        super().__init__(name, gradient, weight, reduction)
        self.agreement = agreement

    def compute(
        self, predictions: dict[str, TensorMap], targets: dict[str, TensorMap], extra_data: Any | None = None
    ) -> torch.Tensor:
        """The loss of one batch; see the base class."""
        loss = super().compute(predictions, targets, extra_data)
        if self.agreement and "positions" in targets["energy"][0].gradients_list():
            loss = loss + self.agreement * self.disagreement(predictions, targets)
        return loss

    def disagreement(self, predictions: dict[str, TensorMap], targets: dict[str, TensorMap]) -> torch.Tensor:
        """Mean squared difference of the two predictions, in the unit in which metatrain trains direct forces.

        Energies and direct forces are divided by scales of their own in training, the latter by one for each species;
        both labels are the same forces, and the ratio of each atom's two is that of the scales.
        """
        gradient, direct = gradient_and_direct(targets, self.target)
        ratio = (direct * gradient).sum(1, keepdim=True) / gradient.square().sum(1, keepdim=True).clamp_min(1e-12)
        gradient, direct = gradient_and_direct(predictions, self.target)
        return self.torch_loss(direct, ratio * gradient)


def gradient_and_direct(maps: dict[str, TensorMap], direct: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient of the energy and direct forces, both (N, 3)."""
    gradient: torch.Tensor = maps["energy"][0].gradient("positions").values
    return gradient.reshape(-1, 3), maps[direct][0].values.reshape(-1, 3)


def register() -> None:
    """Let metatrain use this loss wherever options say `mse`."""
    LossType.MSE._cls = MSEWithAgreement
