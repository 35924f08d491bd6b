"""The progress of a run, read from what i-PI writes for those who watch, also where a line has been cut.

A disk that was full, or a crash, leaves a piece of a line, to which i-PI adds the next one when it goes on: what is no
whole line does not count.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..models.model import REMARK
from ..split.disagreement import EXTRAS, Disagreement, by_quantity
from .folder import RunFolder

_CHUNK = 2**20  # bytes that are read at once, of files that may be long
_STEP = re.compile(r"# Step: +(\d+)")


@dataclass(frozen=True)
class Progress:
    """The progress of a simulation.

    :param step: i-PI steps
    :param time: fs
    :param temperature: K
    :param drift: eV, by how much i-PI's conserved quantity has changed since the beginning of the run
    :param disagreement: of both kinds of forces, with multiple time stepping; in the replica where it is worst
    """

    step: int
    time: float
    temperature: float
    drift: float
    disagreement: Disagreement | None


class Tail:
    """Reads what i-PI adds to the outputs that we watch; of a run that is continued, only what is added.

    :param earlier: bytes of the driver's log that are of earlier runs; None if all that is there is
    """

    def __init__(self, folder: RunFolder, prefix: str, earlier: int | None = None):
        self._progress = _NewLines(folder.progress(prefix))
        self._disagreements = _NewLines(folder.disagreement(prefix))
        self._origin = next((row[-1] for row in map(_progress_row, self._progress.read()) if row), None)
        self._commented: int | None = None  # step of the comment that was read last
        self._disagreement: Disagreement | None = None
        self._logs = [_NewLines(path) for path in (folder.driver_log, folder.ipi_log)]
        for lines in (self._progress, self._disagreements, *self._logs):
            lines.skip()
        if earlier is not None:
            self._logs[0].begin_at(earlier)

    def read(self) -> Iterator[Progress]:
        """Read what has been added since the last time."""
        lines = list(self._progress.read())
        known = dict(self._read_disagreements())  # what i-PI writes after the others
        for line in lines:
            row = _progress_row(line)
            if row is None:
                continue
            step, now, temperature, conserved = row
            if self._origin is None:
                self._origin = conserved
            self._disagreement = known.get(int(step), self._disagreement)
            yield Progress(int(step), now, temperature, conserved - self._origin, self._disagreement)

    def remarks(self) -> Iterator[str]:
        """Remarks on the model since the last call, one line each."""
        for line in (line for log in self._logs for line in log.read() if REMARK in line):
            yield line[line.index(REMARK) :]

    def _read_disagreements(self) -> Iterator[tuple[int, Disagreement]]:
        """Read i-PI's extras: a comment with the step, and a line of numbers."""
        for line in self._disagreements.read():
            steps = _STEP.findall(line)
            if not steps and self._commented is not None:
                found = _worst(line)
                if found is not None:
                    yield self._commented, found
            self._commented = int(steps[-1]) if steps else None


def _progress_row(line: str) -> list[float] | None:
    """Step, time, temperature, conserved quantity."""
    row = complete_row(line, 4)
    return row if row is not None and np.isfinite(row[0]) else None


def complete_row(line: str, columns: int) -> list[float] | None:
    """The numbers of a line of i-PI's properties: the last ones, if a piece of an earlier line comes before them.

    :param line: without its end; i-PI writes spaces after each number
    :return: None if it is no whole line
    """
    words = line.split()
    if len(words) < columns or line.lstrip().startswith("#") or not line[-1].isspace():
        return None
    try:
        return [float(word) for word in words[-columns:]]
    except ValueError:
        return None


class _NewLines:
    """Complete lines that are added to a file."""

    def __init__(self, path: Path):
        self._path = path
        self._position = 0

    def read(self) -> Iterator[str]:
        """Lines that have not been read yet."""
        try:
            stream = self._path.open("rb")
        except OSError:  # not there yet, or gone
            return
        with stream:
            while True:
                stream.seek(self._position)
                text = stream.read(_CHUNK)
                whole = text[: text.rfind(b"\n") + 1] or (text if len(text) == _CHUNK else b"")
                if not whole:
                    return
                self._position += len(whole)
                yield from whole.decode(errors="replace").split("\n")[:-1]

    def begin_at(self, position: int) -> None:
        """Leave out the first so many bytes."""
        self._position = position

    def skip(self) -> None:
        """Leave out what is there already."""
        try:
            stream = self._path.open("rb")
        except OSError:
            return
        with stream:
            end = stream.seek(0, os.SEEK_END)
            start = max(0, end - _CHUNK)
            stream.seek(start)
            self._position = start + stream.read().rfind(b"\n") + 1


def _worst(line: str) -> Disagreement | None:
    """Largest difference of all replicas; None if it is no whole line."""
    try:
        numbers = np.array(line.split(), float)
    except ValueError:
        return None
    if not len(numbers) or len(numbers) % len(EXTRAS) or not np.isfinite(numbers).all():
        return None
    rms, largest, worst, work = by_quantity(numbers)
    i = int(largest.argmax())
    return Disagreement(rms[i], int(worst[i]), largest[i], work[i])


class Pace:
    """The time that a step takes, from when steps were heard of; in bounded memory, however long the run."""

    _MOST = 128

    def __init__(self) -> None:
        self._marks: list[tuple[int, float]] = []  # step, and when we heard of it, evenly spaced
        self._every = 1
        self._count = 0
        self._latest: tuple[int, float] | None = None

    def note(self, step: int) -> None:
        """A step has been done."""
        self._latest = step, time.monotonic()
        if self._count % self._every == 0:
            self._marks.append(self._latest)
        self._count += 1
        if len(self._marks) == self._MOST:
            self._marks = self._marks[::2]
            self._every *= 2

    @property
    def seconds_per_step(self) -> float | None:
        """Over the second half, when the model has warmed up; None if too little is known."""
        if self._latest is None or len(self._marks) < 2:
            return None
        (first, started), (last, ended) = self._marks[(len(self._marks) - 1) // 2], self._latest
        return (ended - started) / (last - first) if last > first else None
