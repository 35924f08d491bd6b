"""Time steps on the device that computes the fast forces: started as a whole, and waited for once.

The same `inner_loop.velocity_verlet`, of tensors. Positions, momenta and forces go to the device before the first step
and come back after the last one. With a GPU, all of it is one CUDA graph. Neighbours are those of a list that has been
made before, with a skin for that many steps; whether atoms have gone beyond it comes back with the results, which are
not used then.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..models.device_forces import DeviceForces
from .inner_loop import State, velocity_verlet

# Forces, and what is to be summed over all steps, shape (n,).
NotedForces = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


class RecordedSteps:
    """Time steps under forces that are made of direct ones on the device.

    :param source: the direct forces
    :param forces: what acts, and what is noted of it, as a function of positions; both in the units of the caller
    :param noted: how many numbers are noted
    :param masses: see `velocity_verlet`; those of the whole simulation
    :param angstrom: in the unit of positions
    """

    def __init__(
        self, source: DeviceForces, forces: NotedForces, noted: int, masses: np.ndarray, angstrom: float = 1.0
    ):
        self._source = source
        self._forces = forces
        self._noted = noted
        self._inverse = 1.0 / masses[..., None]
        self._masses = torch.from_numpy(masses).to(source.device)
        self._angstrom = angstrom
        self._given = torch.zeros((3, *masses.shape, 3), dtype=torch.float64, device=source.device)
        self._found = torch.zeros(0)

    def advance(
        self, state: State[np.ndarray], timestep: float, steps: int
    ) -> tuple[State[np.ndarray], np.ndarray] | None:
        """Advance by some time steps.

        :param state: where the atoms are; is not changed
        :param timestep: of the fast forces
        :param steps: number of time steps
        :return: the state after them, and the sums of what was noted; None if neighbours may have been missing: then
            the steps have to be taken one by one
        """
        ahead = state.positions + steps * timestep * self._inverse * state.momenta
        atoms = -1, *state.positions.shape[-2:]
        self._source.prepare(*(each.reshape(atoms) / self._angstrom for each in (state.positions, ahead)))
        self._given.copy_(torch.from_numpy(np.stack([state.positions, state.momenta, state.forces])))
        n = self._given.numel()
        if self._found.numel() != n + self._noted + len(self._source.status):
            self._found = self._given.new_zeros(n + self._noted + len(self._source.status))
        self._source.recorded((steps, timestep), lambda: self._steps(timestep, steps))()
        found = self._found.to("cpu", copy=True).numpy()
        arrays, noted, status = np.split(found, [n, n + self._noted])
        if not self._source.valid(status, steps):
            return None
        return State(*arrays.reshape(3, *state.positions.shape)), noted

    def _steps(self, timestep: float, steps: int) -> None:
        """Do the work that is recorded, from `_given` to `_found`."""
        sums = self._given.new_zeros(self._noted)

        def fast(positions: torch.Tensor) -> torch.Tensor:
            nonlocal sums
            forces, noted = self._forces(positions)
            sums = sums + noted
            return forces

        self._source.reset()
        end = velocity_verlet(State(*self._given), self._masses, timestep, steps, fast)
        arrays = (end.positions, end.momenta, end.forces)
        self._found.copy_(torch.cat([*(each.flatten() for each in arrays), sums, self._source.status]))
