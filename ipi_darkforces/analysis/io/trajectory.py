"""Trajectories as blocks of frames, in ps and Å, in bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np

from ...errors import DarkforcesError

logger = logging.getLogger(__name__)

Quantity = Literal["positions", "velocities"]
# Told how many of how many bytes (or frames) have been read.
Progress = Callable[[int, int], None]
# Told, in one line, what is wrong with a file of which a part can be used.
Notice = Callable[[str], None]

# Bytes of a trajectory that are kept for the next analysis: a text of a GB or so. Longer ones are read again.
LARGEST = 2**28
# Numbers in a block, unless a single frame has more: 16 MB, and some hundred frames of some hundred atoms.
_BLOCK = 2_000_000


@dataclass(frozen=True)
class Block:
    """Successive frames of a trajectory, few enough to be held in memory.

    :param times: ps, increasing, also from block to block, shape (n,)
    :param values: positions in Å as written (i-PI does not wrap them into the cell) or velocities in Å/ps,
        shape (n, n_atoms, 3)
    :param cells: Å, one cell vector per row, zeros if there is no cell, shape (n, 3, 3)
    """

    times: np.ndarray
    values: np.ndarray
    cells: np.ndarray


class Frame(NamedTuple):
    """A frame as it is read.

    :param time: ps
    :param values: shape (n_atoms, 3)
    :param cell: Å, one cell vector per row, shape (3, 3)
    :param place: where in the file it begins, for messages: ``line 195``
    """

    time: float
    values: np.ndarray
    cell: np.ndarray
    place: str


class Source(Protocol):
    """A file that frames can be read from."""

    def frames(self, progress: Progress | None, notice: Notice) -> Iterator[Frame]:
        """All whole frames, in the order of time; `notice` is told what is wrong with the file."""
        ...


@dataclass(frozen=True)
class Timing:
    """Knowledge of the time of frames besides what their file says.

    :param timestep: ps between the steps that i-PI counts
    :param interval: ps between frames; counts for files that say nothing about steps, and more than a time they name
    """

    timestep: float | None = None
    interval: float | None = None


UNKNOWN = Timing()


@dataclass(frozen=True)
class Trajectory:
    """Positions or velocities of a run, in a file.

    :param species: chemical symbols in the order of the atoms (i-PI's labels), shape (n_atoms,)
    :param masses: amu, those that the program that wrote the file gives the species, shape (n_atoms,)
    :param quantity: ``positions`` or ``velocities``
    :param interval: between the first two frames, ps; None if there is only one, or nothing says how far apart they are
        (then the times of blocks just count frames)
    :param source: reads the file
    """

    path: Path
    species: np.ndarray
    masses: np.ndarray
    quantity: Quantity
    interval: float | None
    source: Source = field(repr=False)

    def cached(self) -> Trajectory:
        """The same, read from its file once, if it fits into memory."""
        return replace(self, source=_CachedSource(self.source))

    def blocks(
        self, progress: Progress | None = None, notice: Notice = logger.warning, regular: bool = False
    ) -> Iterator[Block]:
        """Read the file, block by block.

        Where the file is damaged, the frames that are whole are given and `notice` is told file and line.

        :param progress: told how far it is
        :param notice: told what is wrong with the file; by default it is logged as a warning
        :param regular: stop, with a notice, before the first frame that is not `interval` after the one before it;
            else the frames have their true times, whatever these are
        :raises DarkforcesError: if there is not one whole frame
        """
        frames = _finite(self.source.frames(progress, notice), self, notice)
        if regular:
            frames = _regular(frames, self, notice)
        size = max(1, _BLOCK // (3 * len(self.species)))
        batch: list[Frame] = []
        empty = True
        for frame in frames:
            empty = False
            batch.append(frame)
            if len(batch) == size:
                yield _stacked(batch)
                batch = []
        if batch:
            yield _stacked(batch)
        if empty:
            raise DarkforcesError(f"'{self.path}' has not one frame of {self.quantity} that can be used")


class _CachedSource:
    """The frames of a source. What is wrong with its file is told when it is read, and not again."""

    def __init__(self, source: Source):
        self._source = source
        self._frames: list[Frame] | None = None

    def frames(self, progress: Progress | None, notice: Notice) -> Iterator[Frame]:
        """All frames, from memory once they were read to the end."""
        if self._frames is not None:
            yield from self._frames
            return
        frames: list[Frame] = []
        size = 0
        for frame in self._source.frames(progress, notice):
            size += frame.values.nbytes
            if size <= LARGEST:
                frames.append(frame)
            else:
                frames.clear()
            yield frame
        if size <= LARGEST:
            self._frames = frames


def _stacked(batch: list[Frame]) -> Block:
    times, values, cells, _ = zip(*batch, strict=True)
    return Block(np.array(times), np.stack(values), np.stack(cells))


def _finite(frames: Iterator[Frame], trajectory: Trajectory, notice: Notice) -> Iterator[Frame]:
    """Cut where the simulation exploded."""
    for frame in frames:
        bad = np.flatnonzero(~np.isfinite(frame.values).all(axis=1))
        if len(bad):
            atom = f"atom {bad[0]} ({trajectory.species[bad[0]]})"
            notice(
                f"'{trajectory.path}': {trajectory.quantity} are NaN or infinite for {atom} in the frame at "
                f"{frame.place}; the frames before it are used"
            )
            return
        yield frame


def _regular(frames: Iterator[Frame], trajectory: Trajectory, notice: Notice) -> Iterator[Frame]:
    """Cut where the interval between frames changes."""
    last: float | None = None
    interval = trajectory.interval or 1.0
    for frame in frames:
        if last is not None and abs(frame.time - last - interval) > 1e-3 * interval:
            notice(
                f"'{trajectory.path}': the frame at {frame.place} is {frame.time - last:.6g} ps after the one before "
                f"it, but the first ones are {interval:.6g} ps apart; the frames before it are used"
            )
            return
        last = frame.time
        yield frame
