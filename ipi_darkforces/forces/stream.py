"""Which geometries will be asked for their slow forces too? Learned from what one client asked before."""

from __future__ import annotations

from collections import deque

import numpy as np

from .disagreement import Disagreement, History, disagreement
from .structure import Structure


class Mark:
    """Whether the conservative forces of one geometry were ever asked for, and whose geometry it is.

    Apart from the results, which are let go of much earlier than the marks.
    """

    def __init__(self) -> None:
        self.corrected = False
        self._visits: list[tuple[Stream, int]] = []
        self._unclaimed: tuple[np.ndarray, np.ndarray] | None = None

    def visited(self, stream: Stream, index: int) -> None:
        """It is geometry number `index` of a stream."""
        self._visits.append((stream, index))
        if self._unclaimed is not None:
            stream.note_disagreement(index, *self._unclaimed)
            self._unclaimed = None

    def correct(self) -> None:
        """Its conservative forces are asked for."""
        if not self.corrected:
            self.corrected = True
            for stream, index in self._visits:
                stream.note_late_correction(index)

    def disagreement(self, positions: np.ndarray, slow: np.ndarray) -> Disagreement:
        """Of both kinds of forces here.

        :param positions: Å, shape (n_atoms, 3)
        :param slow: eV/Å, conservative less direct forces, shape (n_atoms, 3)
        """
        if not self._visits:  # slow forces are asked for first: whose geometry it is will be known later
            self._unclaimed = positions, slow
            return disagreement(slow)
        stream, index = self._visits[0]
        return stream.note_disagreement(index, positions, slow)


class Stream:
    """The geometries for which one client asked direct forces, in order, and which of them were then corrected.

    With stride M and P beads (or P structures to a batch) the corrections come in runs of P, one run every M P
    geometries. The distance between the starts of the last two runs is the period; a geometry is expected to be
    corrected if the one a period earlier was. With M = 1 there is but one long run, and the period is P. A wrong guess
    costs time, never correctness.
    """

    def __init__(self) -> None:
        self.fresh = True  # nothing has been asked yet, of any kind
        self._recent: deque[Mark] = deque(maxlen=8192)  # as many as M P may be for the period to be found
        self._count = 0
        self._period: int | None = None
        self._run_start: int | None = None
        self._run_length = 0
        self._burst = 0  # corrections since the last geometry was visited: P in the end
        self._cell: np.ndarray | None = None
        self._history = History()

    @property
    def corrected(self) -> bool:
        """Whether any geometry was asked for its conservative forces too."""
        return self._run_start is not None

    def expects_correction(self) -> bool:
        """Whether the next geometry is likely to be asked for its conservative forces too."""
        if self._period is not None and self._period <= len(self._recent):
            return self._recent[-self._period].corrected
        return False

    def visit(self, mark: Mark) -> None:
        """Note that direct forces were asked for at the geometry with this mark."""
        self._burst = 0
        index = self._count
        mark.visited(self, index)
        self._recent.append(mark)
        self._count += 1
        if mark.corrected:
            self._note_correction(index)

    def cell_changes(self, structure: Structure) -> bool:
        """Whether the cell is another one than that of the first geometry."""
        if self._cell is None:
            self._cell = structure.cell
        return not np.array_equal(self._cell, structure.cell)

    def note_late_correction(self, index: int) -> None:
        """Note that conservative forces were asked for at a geometry visited before."""
        self._burst += 1
        self._note_correction(index)
        if self._run_length == 2 * self._burst:  # a run of two steps: M = 1
            self._period = self._burst

    def note_disagreement(self, index: int, positions: np.ndarray, slow: np.ndarray) -> Disagreement:
        """Note the slow forces (n_atoms, 3) at a geometry visited before; say what that amounts to."""
        return self._history.note(index, None if self._period is None else index - self._period, positions, slow)

    def _note_correction(self, index: int) -> None:
        place = index - self._count  # negative: from the end
        continues_run = len(self._recent) > -place and self._recent[place - 1].corrected
        if continues_run:
            self._run_length += 1
            return
        if self._run_start is not None:
            self._period = index - self._run_start
        self._run_start, self._run_length = index, 1
