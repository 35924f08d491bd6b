"""Fast forces for the resident inner loop, from the model in this process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from ipi.engine.motion.dynamics import Dynamics
from ipi.utils.depend import dstrip

from ..serve.along import Along


class ResidentForces:
    """Fast forces of all systems, from the model in this process.

    Zero where atoms are fixed, and without what moves the centre of mass if i-PI keeps that at rest: i-PI takes its
    momentum out at the start, after thermostats and after each kick, which is the same. In hartree/bohr, shape
    (n_systems, n_beads, n_atoms, 3).

    :param motions: of the systems
    """

    def __init__(self, motions: Sequence[Dynamics]):
        components = motions[0].forces.mforces
        level = len(motions[0].nmts) - 1
        self._drivers = [component.ff.driver for component in components]
        self._weights = [component.weight * _of_level(component.mts_weights, level) for component in components]
        self._fast_weights = [weight for weight in self._weights if weight]
        self._cells = [motion.cell for motion in motions]
        fixed = [motion.fixatoms_dof for motion in motions]
        self._fixed = [(system, coordinates) for system, coordinates in enumerate(fixed) if len(coordinates)]
        self._at_rest = motions[0].fixcom
        masses = np.array([dstrip(motion.beads.m) for motion in motions])
        self._mass = masses.sum(axis=1) * motions[0].beads.nbeads
        self._shares = (masses / self._mass[:, None])[:, None, :, None]
        self._ones = np.ones(motions[0].beads.nbeads * motions[0].beads.natoms)
        self.net_force_energy = np.zeros(len(motions))  # F²/2M of the net force F that was taken out
        self._along: Along | None = None
        self._positions: np.ndarray = np.empty(0)
        self._forces: np.ndarray = np.empty(0)

    def here(self, positions: np.ndarray) -> np.ndarray:
        """The fast forces where i-PI has the atoms; of the drivers, which it asks there too, if they are not known."""
        if not np.array_equal(positions, self._positions):
            replicas = _of_replicas(positions)
            asked = [weight != 0.0 for weight in self._weights]
            cells = np.repeat([dstrip(cell.h) for cell in self._cells], positions.shape[1], axis=0)
            self._along = self._along or Along(self._drivers, asked, cells, replicas)
            fast = [driver for driver, acts in zip(self._drivers, asked, strict=True) if acts]
            found = [[forces for _, forces, *_ in each.compute([*cells], [*replicas])] for each in fast]
            self._remember(positions, zip(*found, strict=True), self._fast_weights)
        return self._forces

    def fast(self, positions: np.ndarray) -> np.ndarray:
        """The fast forces."""
        assert self._along is not None
        return self._remember(positions, self._along.fast(_of_replicas(positions)), self._fast_weights)

    def fast_before_slow(self, positions: np.ndarray) -> np.ndarray:
        """The fast forces, in one evaluation with the slow ones, for which i-PI asks next."""
        assert self._along is not None
        return self._remember(positions, self._along.all(_of_replicas(positions)), self._weights)

    def _remember(
        self, positions: np.ndarray, found: Iterable[Sequence[np.ndarray]], weights: Sequence[float]
    ) -> np.ndarray:
        summed = [sum(w * f for w, f in zip(weights, each, strict=True) if w) for each in found]
        forces: np.ndarray = np.array(summed).reshape(positions.shape)
        for system, fixed in self._fixed:
            forces[system].reshape(forces.shape[1], -1)[:, fixed] = 0.0
        if self._at_rest:
            # A product with ones: numpy takes several times as long to add up rows of three numbers.
            net = self._ones @ forces.reshape(len(forces), -1, 3)
            self.net_force_energy = np.einsum("ij,ij->i", net, net) / (2.0 * self._mass)
            forces -= self._shares * net[:, None, None]
        self._positions, self._forces = positions, forces
        return forces


def _of_replicas(positions: np.ndarray) -> np.ndarray:
    """Positions of all beads of all systems in a row, shape (n_replicas, n_atoms, 3)."""
    return positions.reshape(-1, *positions.shape[2:])


def _of_level(weights: np.ndarray, level: int) -> float:
    """The weight of a component at a level; without any, it acts at the outermost."""
    if len(weights) == 0:
        return float(level == 0)
    return float(weights[level]) if len(weights) > level else 0.0
