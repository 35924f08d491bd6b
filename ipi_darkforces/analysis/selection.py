"""The part of a run that is analysed, and what it is compared with."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import DarkforcesError
from .io.trajectory import Block, Notice, Progress, Trajectory

FARTHEST = 12.0  # Å; the number of pairs grows with its third power


@dataclass(frozen=True)
class Selection:
    """The part of a run that counts, what it is compared with, and who is told about the reading.

    :param discard: ps at the beginning that do not count: equilibration
    :param target: K, what the temperature should be; None for that of the thermostat in the input
    :param farthest: Å, the largest distance of radial distributions; never more than half of the cell
    :param progress: told how much of a large file has been read
    :param notice: told what is wrong with files of which a part can be used
    """

    discard: float = 0.0
    target: float | None = None
    farthest: float = FARTHEST
    progress: Progress | None = None
    notice: Notice = logging.getLogger(__name__).warning

    def blocks(self, trajectory: Trajectory, regular: bool = False) -> Iterator[Block]:
        """The frames of a trajectory that count.

        :param regular: only as long as they are evenly spaced; see `Trajectory.blocks`
        :raises DarkforcesError: if none are left, or nothing says which are to be discarded
        """
        if self.discard > 0.0 and trajectory.interval is None:
            raise DarkforcesError(
                f"'{trajectory.path}' does not say how far apart its frames are, so discarding {self.discard:g} ps "
                "means nothing; give --interval"
            )
        start, length, empty = None, 0.0, True
        for block in trajectory.blocks(self.progress, self.notice, regular):
            start = block.times[0] if start is None else start
            length = block.times[-1] - start
            kept = block.times - start >= self.discard - 1e-9
            if kept.any():
                empty = False
                yield block if kept.all() else Block(block.times[kept], block.values[kept], block.cells[kept])
        if empty:
            raise DarkforcesError(
                f"'{trajectory.path}' has {length:.6g} ps, and nothing is left without the first {self.discard:g} ps"
            )
