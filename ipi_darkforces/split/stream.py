"""Assignment of requested geometries to systems: one client of i-PI serves all systems of a simulation.

Nothing says which system a request is for, and systems that i-PI advances in threads of their own come in changing
order and out of step. But a system is not far from where it was one time step before, and far from all others. Beads of
one ring polymer are close to each other, and come together, though in any order: they are one trajectory.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from ..models.structure import Structure, square_distances
from .trajectory import Trajectory

# Å, root mean square of all coordinates: what is farther away is another trajectory. A system moves by some 0.01 Å in a
# time step, two beads of a hydrogen atom at 300 K are up to 0.28 Å apart, liquids that have nothing to do with each
# other by more than 1 Å. Systems that start from the same positions are one trajectory until they have parted.
FARTHEST = 0.35
MOST_TRAJECTORIES = 256  # more are geometries that have nothing to do with each other


class Stream:
    """The trajectories of which one client asks forces.

    :param simulation: the same for all clients of one simulation
    """

    def __init__(self, simulation: Hashable = None):
        self.simulation = simulation
        self._trajectories: list[Trajectory] = []
        self._positions = np.empty((0, 0, 3))  # where each of them was last, Å, shape (n_trajectories, n_atoms, 3)

    @property
    def corrected(self) -> bool:
        """Tell whether any geometry was asked for its conservative forces too."""
        return any(trajectory.corrected for trajectory in self._trajectories)

    def follow(self, structure: Structure) -> Trajectory:
        """The trajectory that goes on with this structure: the one next to it, or a new one if it is far from all."""
        positions = structure.positions
        if positions.shape != self._positions.shape[1:]:
            self._forget(len(positions))
        squares = square_distances(self._positions, positions)
        if not len(squares) or squares.min() > FARTHEST**2:
            return self._begin(structure)
        nearest = int(squares.argmin())
        self._positions[nearest] = positions
        return self._trajectories[nearest]

    def _begin(self, structure: Structure) -> Trajectory:
        """A new trajectory, whose first geometry is expected to be corrected if that of the one before it was."""
        begins_corrected = bool(self._trajectories) and self._trajectories[-1].began_corrected
        if len(self._trajectories) == MOST_TRAJECTORIES:
            self._forget(len(structure.positions))
        self._trajectories.append(Trajectory(structure.cell, begins_corrected))
        self._positions = np.concatenate([self._positions, structure.positions[None]])
        return self._trajectories[-1]

    def _forget(self, n_atoms: int) -> None:
        self._trajectories = []
        self._positions = np.empty((0, n_atoms, 3))
