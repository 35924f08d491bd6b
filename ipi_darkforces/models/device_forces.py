"""Direct forces as tensors, on the device that computes them, for time steps that are taken there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable

import numpy as np
import torch


class DeviceForces(ABC):
    """Direct forces of structures that keep their atoms and cells, as a function of tensors.

    Nothing of it waits for the device, and no shape depends on positions: `work` that consists of such evaluations, and
    of other operations of that kind, can be recorded, and is started as a whole. Whether all neighbours were known is
    noted on the device meanwhile, and asked afterwards, once::

        forces.follow(positions, ahead)
        forces.work(name, work)()           # which copies positions to the device, and `forces.seen` back
        forces.hold(seen)

    :param device: where tensors have to be
    """

    seen: torch.Tensor  # on the device, shape (n,), double precision: see `hold`

    def __init__(self, device: torch.device):
        self.device = device

    @abstractmethod
    def follow(self, positions: np.ndarray, ahead: np.ndarray) -> None:
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
    def work(self, name: Hashable, work: Callable[[], None]) -> Callable[[], None]:
        """The same work, recorded where the device can do that and it has been asked for before.

        :param name: by which it is found again
        :param work: what reads and writes tensors that stay where they are, begins with `forget`, and has evaluations
        """

    @abstractmethod
    def forget(self) -> None:
        """Begin to note anew what evaluations have `seen`."""

    @abstractmethod
    def hold(self, seen: np.ndarray, evaluations: int) -> bool:
        """Tell whether all evaluations since `forget` had all neighbours; if not, they have to be done in another way.

        :param seen: what is in `seen` after them, shape (n,)
        :param evaluations: how many they were, of each structure
        """
