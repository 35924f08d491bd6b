"""Muon, an optimizer for the hidden matrices of PET, with Adam for all other parameters.

Muon (K. Jordan et al., 2024; step lengths matched to Adam's as in J. Liu et al., arXiv:2502.16982) makes every step of
a matrix equally long in all directions. From the same checkpoint, five epochs of `pet-m-ft` brought the force errors
from 41.3 and 52.3 meV/Å (conservative, direct) to 38.5 and 48.9 with it and to 40.3 and 50.9 with Adam; a step takes
a few per cent longer.

torch.optim.Muon does the same in bfloat16, which CPUs do slowly: a step then takes longer than the gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Adam, Optimizer

SMALLEST = 16  # rows and columns of a matrix that Muon gets; smaller ones are embeddings and outputs
MOMENTUM = 0.95
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic that brings singular values close to one (Jordan et al.)
LENGTH = 0.2  # root mean square of a step's elements over the learning rate, typical of Adam (Liu et al., eq. 4)


class MuonAndAdam(Optimizer):
    """Both under the name of one, with one learning rate.

    :param parameters: of a model
    :param lr: learning rate, as Adam's
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], lr: float) -> None:
        groups: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
        for parameter in parameters:
            groups[parameter.ndim == 2 and min(parameter.shape) >= SMALLEST].append(parameter)
        self._adam = Adam(groups[False], lr=lr)
        super().__init__([{"params": groups[True], "lr": lr}, *self._adam.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Schedulers and checkpoints see this optimizer's groups and state; Adam works on the same."""
        self._adam.param_groups, self._adam.state = self.param_groups[1:], self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Make a step of each optimizer, from the present gradients."""
        assert closure is None
        self._adam.step()
        for matrix in self.param_groups[0]["params"]:
            if matrix.grad is not None:
                momentum = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
                momentum.lerp_(matrix.grad, 1.0 - MOMENTUM)
                direction = orthogonalized(matrix.grad.lerp(momentum, MOMENTUM))
                matrix.sub_(direction, alpha=self.param_groups[0]["lr"] * LENGTH * max(matrix.shape) ** 0.5)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        super().load_state_dict(state_dict)
        self._share()


def orthogonalized(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix with all singular values brought to between about 0.7 and 1.2, by Newton and Schulz's iteration."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / (wide.norm() + 1e-12)
    linear, cubic, quintic = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = wide @ wide.T
        wide = linear * wide + (cubic * square + quintic * square @ square) @ wide
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide
