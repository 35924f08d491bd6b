"""Fast forces for the resident inner loop, from the model in this process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

import numpy as np
from ipi.engine.motion.dynamics import Dynamics
from ipi.utils.depend import dstrip

from ..serve.trajectory_forces import TrajectoryForces
from ..serve.units import ANGSTROM, EV_PER_ANGSTROM
from .inner_loop import Array, State

if TYPE_CHECKING:
    import torch

    from .recorded_steps import RecordedSteps


class ResidentForces:
    """Fast forces of all systems, from the model in this process.

    In hartree/bohr, shape (n_systems, n_beads, n_atoms, 3), as they act; see `_Constraints`.

    :param motions: of the systems

    `masses` are those of the atoms of all beads, shape (n_systems, 1, n_atoms).
    """

    def __init__(self, motions: Sequence[Dynamics]):
        self.masses = np.array([dstrip(motion.beads.m) for motion in motions])[:, None]
        components = motions[0].forces.mforces
        level = len(motions[0].nmts) - 1
        self._drivers = [component.ff.driver for component in components]
        self._weights = [component.weight * _of_level(component.mts_weights, level) for component in components]
        self._fast_weights = [weight for weight in self._weights if weight]
        self._cells = [motion.cell for motion in motions]
        self._constraints = _constraints(motions, self.masses)
        self.net_force_energy = np.zeros(len(motions))  # F²/2M of the net force F that was taken out
        self._trajectory: TrajectoryForces | None = None
        self._on_device: RecordedSteps | None = None
        self._positions: np.ndarray = np.empty(0)
        self._forces: np.ndarray = np.empty(0)

    def here(self, positions: np.ndarray) -> np.ndarray:
        """The fast forces where i-PI has the atoms; of the drivers, which it asks there too, if they are not known."""
        if not np.array_equal(positions, self._positions):
            replicas = _of_replicas(positions)
            asked = [weight != 0.0 for weight in self._weights]
            cells = np.repeat([dstrip(cell.h) for cell in self._cells], positions.shape[1], axis=0)
            self._trajectory = self._trajectory or TrajectoryForces(self._drivers, asked, cells, replicas)
            fast = [driver for driver, acts in zip(self._drivers, asked, strict=True) if acts]
            found = [[forces for _, forces, *_ in each.compute([*cells], [*replicas])] for each in fast]
            self._remember(positions, zip(*found, strict=True), self._fast_weights)
        return self._forces

    def fast(self, positions: np.ndarray) -> np.ndarray:
        """The fast forces."""
        assert self._trajectory is not None
        return self._remember(positions, self._trajectory.fast(_of_replicas(positions)), self._fast_weights)

    def fast_before_slow(self, positions: np.ndarray) -> np.ndarray:
        """The fast forces, in one evaluation with the slow ones, for which i-PI asks next."""
        assert self._trajectory is not None
        return self._remember(positions, self._trajectory.all(_of_replicas(positions)), self._weights)

    def advance(
        self, state: State[np.ndarray], timestep: float, steps: int
    ) -> tuple[State[np.ndarray], np.ndarray] | None:
        """Let the device take some time steps under the fast forces.

        :param state: of classical particles, in atomic units as all here; is not changed
        :param timestep: of the fast forces
        :param steps: number of time steps
        :return: the state after them, and the sum of `net_force_energy` over them; None if the device does not do that,
            or could not for want of neighbours
        """
        if self._on_device is None:
            self._on_device = self._recorded_steps()
        advanced = None if self._on_device is None else self._on_device.advance(state, timestep, steps)
        if advanced is not None:
            self._positions, self._forces = advanced[0].positions, advanced[0].forces
        return advanced

    def _recorded_steps(self) -> RecordedSteps | None:
        if self._trajectory is None or self._trajectory.on_device is None:
            return None
        from .recorded_steps import RecordedSteps  # which needs torch, as the model does

        source, (weight,) = self._trajectory.on_device, self._fast_weights
        constraints = self._constraints.on(source.device)

        def forces(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            direct = source(positions.squeeze(1) / ANGSTROM).unsqueeze(1)
            return constraints.applied(direct * (EV_PER_ANGSTROM * weight))

        return RecordedSteps(source, forces, len(self.masses), self.masses, ANGSTROM)

    def _remember(
        self, positions: np.ndarray, found: Iterable[Sequence[np.ndarray]], weights: Sequence[float]
    ) -> np.ndarray:
        summed = [sum(w * f for w, f in zip(weights, each, strict=True) if w) for each in found]
        forces: np.ndarray = np.array(summed).reshape(positions.shape)
        forces, self.net_force_energy = self._constraints.applied(forces)
        self._positions, self._forces = positions, forces
        return forces


@dataclass(frozen=True)
class _Constraints(Generic[Array]):
    """Changes of forces by what i-PI keeps where it is.

    Forces are zero where atoms are fixed, and without what moves the centre of mass if that is kept at rest: i-PI takes
    its momentum out at the start, after thermostats and after each kick, which is the same.

    :param moving: 1 where atoms move, 0 where they are fixed, shape (n_systems, 1, n_atoms, 3); None if all move
    :param shares: of each atom of each bead in the mass, shape (n_systems, 1, n_atoms, 1); None if the centre of mass
        may move
    :param mass: of all beads of a system, shape (n_systems,)
    :param ones: as many as atoms in all beads
    """

    moving: Array | None
    shares: Array | None
    mass: Array
    ones: Array

    def applied(self, forces: Array) -> tuple[Array, Array]:
        """Forces as they act, and F²/2M of the net force F that was taken out of each system."""
        if self.moving is not None:
            forces = forces * self.moving
        if self.shares is None:
            return forces, 0.0 * self.mass
        # A product with ones: numpy takes several times as long to add up rows of three numbers.
        net = self.ones @ forces.reshape(len(forces), -1, 3)
        return forces - self.shares * net[:, None, None], (net * net).sum(1) / (2.0 * self.mass)

    def on(self, device: torch.device) -> _Constraints[torch.Tensor]:
        """The same for tensors."""
        import torch

        moving, shares = (None if x is None else torch.as_tensor(x, device=device) for x in (self.moving, self.shares))
        mass, ones = (torch.as_tensor(x, device=device) for x in (self.mass, self.ones))
        return _Constraints(moving, shares, mass, ones)


def _constraints(motions: Sequence[Dynamics], masses: np.ndarray) -> _Constraints[np.ndarray]:
    n_systems, _, n_atoms = masses.shape
    beads = motions[0].beads.nbeads
    mass = masses.sum(axis=(1, 2)) * beads
    moving = None
    if any(len(motion.fixatoms_dof) for motion in motions):
        moving = np.ones((n_systems, 1, n_atoms, 3))
        for each, motion in zip(moving, motions, strict=True):
            each.reshape(-1)[motion.fixatoms_dof] = 0.0
    shares = (masses / mass[:, None, None])[..., None] if motions[0].fixcom else None
    return _Constraints(moving, shares, mass, np.ones(beads * n_atoms))


def _of_replicas(positions: np.ndarray) -> np.ndarray:
    """Positions of all beads of all systems in a row, shape (n_replicas, n_atoms, 3)."""
    return positions.reshape(-1, *positions.shape[2:])


def _of_level(weights: np.ndarray, level: int) -> float:
    """The weight of a component at a level; without any, it acts at the outermost."""
    if len(weights) == 0:
        return float(level == 0)
    return float(weights[level]) if len(weights) > level else 0.0
