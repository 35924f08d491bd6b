"""Prediction of the geometries whose slow forces are requested too, learned from earlier requests.

One client of i-PI serves all systems of a simulation. Nothing says which system a request is for, and systems that i-PI
advances in threads of their own come in changing order and out of step. But a system is not far from where it was one
time step before, and far from all others. Beads of one ring polymer are close to each other, and come together, though
in any order: they are one trajectory. So are systems that start from the same positions, until they have parted; for
the work along the way, `Paths` tells all of them apart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

import numpy as np

from ..models.structure import Structure, square_distances
from .disagreement import Disagreement, OuterStep

# Å, root mean square of all coordinates: what is farther away is another trajectory. A system moves by some 0.01 Å in a
# time step, two beads of a hydrogen atom at 300 K are up to 0.28 Å apart, liquids that have nothing to do with each
# other by more than 1 Å.
FARTHEST = 0.35
_MOST_PATHS = 512  # more are geometries that have nothing to do with each other
MOST_TRAJECTORIES = 256  # likewise


class Mark:
    """The place of a geometry on its trajectory, and whether its conservative forces were ever asked for.

    Apart from the results, which are let go of much earlier than the marks.
    """

    __slots__ = ("_visits", "corrected", "outer_step", "outer_step_before")

    def __init__(self) -> None:
        self.corrected = False
        self.outer_step: OuterStep | None = None
        self.outer_step_before: OuterStep | None = None
        self._visits: list[tuple[RequestedTrajectory, int]] = []

    def visited(self, trajectory: RequestedTrajectory, index: int) -> None:
        """Note that it is geometry number `index` of a trajectory."""
        self._visits.append((trajectory, index))

    def is_on(self, trajectory: RequestedTrajectory) -> bool:
        """Tell whether it is a geometry of that trajectory."""
        return any(visited is trajectory for visited, _ in self._visits)

    def correct(self) -> None:
        """Its conservative forces are asked for."""
        if not self.corrected:
            self.corrected = True
            for trajectory, index in self._visits:
                trajectory.note_late_correction(index)

    def disagreement(self, structure: Structure, slow: np.ndarray) -> Disagreement:
        """Measure how far both kinds of forces are apart here.

        :param slow: eV/Å, conservative less direct forces, shape (n_atoms, 3)
        """
        if self.outer_step is None:
            before = self.outer_step_before
            self.outer_step = OuterStep(structure, slow) if before is None else before.next(structure, slow)
        return self.outer_step.disagreement


class RequestedTrajectory:
    """The geometries of one system for which direct forces were asked, in order, and which were then corrected.

    With stride M and P beads the corrections come in runs of P, one run every M P geometries. The distance between the
    starts of the last two runs is the period; a geometry is expected to be corrected if the one a period earlier was.
    With M = 1 there is but one long run, and the period is P. A wrong guess costs time, never correctness.

    :param cell: Å, of its first geometry, shape (3, 3)
    :param begins_corrected: whether its first geometry is expected to be corrected
    """

    def __init__(self, cell: np.ndarray, begins_corrected: bool):
        self._cell = cell
        self._begins_corrected = begins_corrected
        # Whether each was corrected, of as many as M P may be for the period to be found.
        self._recent: deque[bool] = deque(maxlen=4096)
        self._count = 0
        self._period: int | None = None
        self._run_start: int | None = None
        self._run_before: int | None = None  # where the one before began
        self._run_length = 0
        self._burst = 0  # corrections since the last geometry was visited: P in the end
        self.began_corrected = False

    @property
    def corrected(self) -> bool:
        """Tell whether any geometry was asked for its conservative forces too."""
        return self._run_start is not None

    def expects_correction(self) -> bool:
        """Tell whether the next geometry is likely to be asked for its conservative forces too."""
        if not self._count:
            return self._begins_corrected
        if self._period is not None and self._period <= len(self._recent):
            return self._recent[-self._period]
        return False

    def visit(self, mark: Mark) -> None:
        """Note that direct forces were asked for at the geometry with this mark, for the first time."""
        self._burst = 0
        index = self._count
        self._recent.append(False)
        self._count += 1
        if mark.corrected:
            self._note_correction(index)
        mark.visited(self, index)

    def cell_changes(self, cell: np.ndarray) -> bool:
        """Tell whether this cell, Å, shape (3, 3), is another one than that of the first geometry."""
        return not np.array_equal(self._cell, cell)

    def note_late_correction(self, index: int) -> None:
        """Note that conservative forces were asked for at a geometry visited before."""
        self._burst += 1
        self._note_correction(index)
        two_steps = 2 * self._burst
        if self._run_length == two_steps or (self._period is None and self._run_length > two_steps):  # M = 1
            self._period = self._burst

    def _note_correction(self, index: int) -> None:
        place = index - self._count  # negative: from the end
        if len(self._recent) >= -place:
            self._recent[place] = True
        self.began_corrected = self.began_corrected or index == 0
        continues_run = len(self._recent) > -place and self._recent[place - 1]
        if self._run_start is not None and (self._burst > 1 or continues_run):
            self._run_length += 1
            self._run_start = min(index, self._run_start)  # i-PI asks for beads in any order
        else:
            self._run_before, self._run_start, self._run_length = self._run_start, index, 1
        if self._run_before is not None:
            self._period = self._run_start - self._run_before


class Stream:
    """The trajectories of which one client asks forces.

    :param simulation: the same for all clients of one simulation
    """

    def __init__(self, simulation: Hashable = None):
        self.simulation = simulation
        self.paths = Paths()
        self._trajectories: list[RequestedTrajectory] = []
        self._positions = np.empty((0, 0, 3))  # where each of them was last, Å, shape (n_trajectories, n_atoms, 3)

    @property
    def corrected(self) -> bool:
        """Tell whether any geometry was asked for its conservative forces too."""
        return any(trajectory.corrected for trajectory in self._trajectories)

    def follow(self, structure: Structure) -> RequestedTrajectory:
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

    def _begin(self, structure: Structure) -> RequestedTrajectory:
        """A new trajectory, whose first geometry is expected to be corrected if that of the one before it was."""
        begins_corrected = bool(self._trajectories) and self._trajectories[-1].began_corrected
        if len(self._trajectories) == MOST_TRAJECTORIES:
            self._forget(len(structure.positions))
        self._trajectories.append(RequestedTrajectory(structure.cell, begins_corrected))
        self._positions = np.concatenate([self._positions, structure.positions[None]])
        return self._trajectories[-1]

    def _forget(self, n_atoms: int) -> None:
        self._trajectories = []
        self._positions = np.empty((0, n_atoms, 3))


class Paths:
    """Paths of systems and beads through the geometries of one client: which outer step came before each.

    Of each path, the last geometry is kept, and where it is expected to go on: as far again as in the step before. That
    tells paths apart, also those that begin at the same positions, and whoever asks first. Two that cannot be told
    apart are so close that the work along either is the same.

    Until the third outer step begins, other systems and beads may still set out from the first geometry: i-PI moves
    nothing before it knows all forces there, and begins no outer step before all systems have ended the one before.
    """

    def __init__(self) -> None:
        self._ends: list[Mark] = []
        self._begins: list[int] = []  # which end is the first geometry of each path: itself, if nothing came after it
        self._last = self._expected = np.empty((0, 0, 3))  # Å, of each end

    def extend(self, structure: Structure, place: Mark) -> None:
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

    def _previous(self, positions: np.ndarray, place: Mark) -> int | None:
        """The path that goes on here; None if one begins."""
        squares = square_distances(self._expected, positions)
        slow_came_first = place.outer_step is not None and place.outer_step_before is None
        if not len(squares) or squares.min() > FARTHEST**2 or slow_came_first:
            return None
        nearest = int(squares.argmin())
        known = self._ends[nearest].outer_step is not None
        return nearest if known or nearest != self._begins[nearest] else None

    def _append(self, place: Mark, positions: np.ndarray, expected: np.ndarray, begins: int) -> None:
        self._ends.append(place)
        self._begins.append(begins)
        self._last = np.concatenate([self._last, positions[None]])
        self._expected = np.concatenate([self._expected, expected[None]])

    def _forget(self, n_atoms: int) -> None:
        self._ends, self._begins = [], []
        self._last = self._expected = np.empty((0, n_atoms, 3))
