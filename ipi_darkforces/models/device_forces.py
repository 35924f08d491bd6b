"""Direct forces as tensors, on the device that computes them, for time steps that are taken there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # a model of another kind does without
    import torch


class DeviceForces(ABC):
    """Direct forces of structures that keep their atoms and cells, as a function of tensors.

    An evaluation does not wait for the device, and no shape depends on positions: a work that consists of evaluations,
    and of other operations of that kind, can be recorded, and is started as a whole. Whether all neighbours were known
    is noted on the device, and asked once, afterwards::

        forces.prepare(positions, ahead)
        forces.recorded(name, work)()
        forces.valid(forces.status.cpu().numpy(), evaluations)

    :param device: where tensors have to be
    """

    status: torch.Tensor  # on the device, shape (n,), double precision: see `valid`

    def __init__(self, device: torch.device):
        self.device = device

    @abstractmethod
    def prepare(self, positions: np.ndarray, ahead: np.ndarray) -> None:
        """Prepare evaluations near these positions.

        :param positions: Å, shape (n_structures, n_atoms, 3), where they begin
        :param ahead: likewise, about where they end
        """

    @abstractmethod
    def __call__(self, positions: torch.Tensor) -> torch.Tensor:
        """The direct forces, without net force if the model removes it, eV/Å, shape (n_structures, n_atoms, 3).

        :param positions: Å, of the same shape, double precision
        """

    @abstractmethod
    def recorded(self, name: Hashable, work: Callable[[], None]) -> Callable[[], None]:
        """The same work, recorded where the device can do that and it has been asked for before.

        :param name: by which it is found again
        :param work: what reads and writes tensors that stay where they are, begins with `reset`, and has evaluations
        """

    @abstractmethod
    def reset(self) -> None:
        """Set `status` to that before the first evaluation."""

    @abstractmethod
    def valid(self, status: np.ndarray, evaluations: int) -> bool:
        """Tell whether all evaluations since `reset` had all neighbours; if not, they have to be done in another way.

        :param status: what is in `status` after them, shape (n,)
        :param evaluations: how many they were, of each structure
        """
