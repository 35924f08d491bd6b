"""Cache of the frames of a trajectory that several analyses read, if they fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .runs import Run
from .trajectory import Frame, Notice, Progress, Source

# Bytes of a trajectory that are kept: a text of a GB or so. Longer ones are read for each question again.
LARGEST = 2**28


def with_cached_trajectories(run: Run) -> Run:
    """A run whose trajectories are read once."""
    kept = tuple(replace(each, source=CachedSource(each.source)) for each in run.trajectories)
    return replace(run, trajectories=kept)


class CachedSource:
    """The frames of a source. What is wrong with its file is told when it is read, and not again."""

    def __init__(self, source: Source, largest: int = LARGEST):
        self._source = source
        self._largest = largest
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
            if size <= self._largest:
                frames.append(frame)
            else:
                frames.clear()
            yield frame
        if size <= self._largest:
            self._frames = frames
