"""Paths of systems and beads through the geometries that one client asks for: which outer step came before each.

Positions and where they go next tell the paths apart, also those that begin at the same positions, and whoever asks
first. Two that cannot be told apart are so close that the work along either is the same.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ..models.structure import Structure, square_distances
from .disagreement import OuterStep

# Å, root mean square of all coordinates: what is farther away is another trajectory. A system moves by some 0.01 Å in a
# time step, two beads of a hydrogen atom at 300 K are up to 0.28 Å apart, liquids that have nothing to do with each
# other by more than 1 Å.
FARTHEST = 0.35
_MOST_PATHS = 512  # more are geometries that have nothing to do with each other


class Place(Protocol):
    """A geometry on a path: the outer step there, once its slow forces are known, and the one before."""

    outer_step: OuterStep | None
    outer_step_before: OuterStep | None


class Paths:
    """The last geometry of each path, and where it is expected to go on: as far again as in the step before.

    Until the third outer step begins, other systems and beads may still set out from the first geometry: i-PI moves
    nothing before it knows all forces there, and begins no outer step before all systems have ended the one before.
    """

    def __init__(self) -> None:
        self._ends: list[Place] = []
        self._begins: list[int] = []  # which end is the first geometry of each path: itself, if nothing came after it
        self._last = self._expected = np.empty((0, 0, 3))  # Å, of each end

    def extend(self, structure: Structure, place: Place) -> None:
        """Add a geometry to the path that it lies on, or begin one; note which outer step came before."""
        positions = structure.positions
        if positions.shape != self._last.shape[1:] or len(self._ends) == _MOST_PATHS:
            self._forget(len(positions))
        previous = self._previous(positions, place)
        if previous is None:
            self._append(place, positions, positions, begins=len(self._ends))
            return
        end, begins = self._ends[previous], self._begins[previous]
        place.outer_step_before = place.outer_step_before or end.outer_step or end.outer_step_before
        expected = 2.0 * positions - self._last[previous]
        if previous == begins:
            self._append(place, positions, expected, begins)
            return
        if end.outer_step is not None and end.outer_step_before is not self._ends[begins].outer_step:
            self._expected[begins] = np.inf  # no other path begins there
        self._ends[previous], self._last[previous], self._expected[previous] = place, positions, expected

    def _previous(self, positions: np.ndarray, place: Place) -> int | None:
        """The path that goes on here; None if one begins."""
        squares = square_distances(self._expected, positions)
        slow_came_first = place.outer_step is not None and place.outer_step_before is None
        if not len(squares) or squares.min() > FARTHEST**2 or slow_came_first:
            return None
        nearest = int(squares.argmin())
        known = self._ends[nearest].outer_step is not None
        return nearest if known or nearest != self._begins[nearest] else None

    def _append(self, place: Place, positions: np.ndarray, expected: np.ndarray, begins: int) -> None:
        self._ends.append(place)
        self._begins.append(begins)
        self._last = np.concatenate([self._last, positions[None]])
        self._expected = np.concatenate([self._expected, expected[None]])

    def _forget(self, n_atoms: int) -> None:
        self._ends, self._begins = [], []
        self._last = self._expected = np.empty((0, n_atoms, 3))
