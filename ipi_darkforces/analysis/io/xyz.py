"""Reading the frames of an XYZ file, i-PI's or extended: fast, in bounded memory, and also when it is damaged.

ase's reader builds an `Atoms` with all its arrays for each frame and ends with an exception where a file is cut short;
i-PI's converts one number at a time. Here the numbers of a frame go through numpy's text parser in one call, and what
the first frame says (atoms, columns, units) holds for all of them.

A file of an i-PI that was killed and went on has frames twice, and perhaps a piece of a frame in its middle: i-PI
appends. The later frames count, and reading goes on after the piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
from ipi.utils.io.backends.io_xyz import read_xyz

from ...errors import printable
from .compressed import open_bytes
from .trajectory import Frame, Notice, Progress

_CELL = re.compile(rb"CELL[(\[{]\w+[)\]}]:[-+.\deE ]*")
_LATTICE = re.compile(rb'Lattice="([^"]*)"')
_PIECE = 2**24  # bytes read at a time when looking for stamps
_REPORT = 2**22  # bytes read between two reports of progress


@dataclass(frozen=True)
class Layout:
    """The layout that all frames of a file have in common.

    :param labels: chemical symbols, shape (n_atoms,)
    :param label_column: where they are
    :param columns: where x, y, z of the values are
    :param factor: from the file's unit to ours: a number, or one for each atom, shape (n_atoms, 1)
    :param stamp: finds step or time in a comment, if the frames say either
    :param scale: ps for each unit of the stamp (of frames, without a stamp)
    :param mark: what every comment contains; empty if there is nothing like that
    :param constant: finds what of a comment must be the same in all frames
    :param same: what it is
    :param cell_unit: Å
    """

    labels: np.ndarray
    label_column: int
    columns: tuple[int, int, int]
    factor: float | np.ndarray
    stamp: re.Pattern[bytes] | None
    scale: float
    mark: bytes
    constant: re.Pattern[bytes]
    same: str
    cell_unit: float = 1.0

    def known(self, comment: bytes) -> str | None:
        """The part of comments that must be the same in all frames."""
        match = self.constant.search(comment)
        return match[0].decode(errors="replace") if match else None

    def stamp_of(self, comment: bytes) -> float | None:
        """Step or time, if it is there."""
        match = self.stamp.search(comment) if self.stamp else None
        return float(match[1]) if match else None


@dataclass(frozen=True)
class XyzSource:
    """The frames of an XYZ file."""

    path: Path
    layout: Layout

    def frames(self, progress: Progress | None, notice: Notice) -> Iterator[Frame]:
        """All whole frames; of frames that are there twice, the later ones.

        :param progress: told how many of how many bytes have been read
        """
        latest = _Latest.of(self.path, self.layout.stamp) if self.layout.stamp else None
        total = self.path.stat().st_size
        with open_bytes(self.path) as stream:
            reader = _FrameReader(stream, self.path, self.layout, notice)
            reported = 0
            for count, raw in enumerate(reader.complete_frames()):
                if progress is not None and reader.offset >= reported + _REPORT:
                    reported = reader.offset
                    progress(min(stream.done, total), total)
                if latest is None:
                    yield Frame(count * self.layout.scale, raw.values, raw.cell, raw.place)
                elif latest.keeps(raw.offset, raw.stamp):
                    yield Frame(raw.stamp * self.layout.scale, raw.values, raw.cell, raw.place)
            if stream.damage is not None:
                notice(f"'{self.path}' is damaged ({stream.damage}); the {reader.count} frames before are used")
            elif progress is not None:
                progress(total, total)


@dataclass(frozen=True)
class _Latest:
    """Frames that are not repeated later in the file.

    :param offsets: bytes, where the stamps are, shape (n,)
    :param next_smallest: the smallest stamp after each of them, shape (n,)
    """

    offsets: np.ndarray
    next_smallest: np.ndarray

    @classmethod
    def of(cls, path: Path, pattern: re.Pattern[bytes]) -> _Latest:
        offsets, stamps = [], []
        with open_bytes(path) as stream:
            start, rest = 0, b""
            while piece := stream.read(_PIECE):
                text = rest + piece
                # What is after the last line break may go on in the next piece.
                end = text.rfind(b"\n") + 1
                for match in pattern.finditer(text, 0, end):
                    offsets.append(start + match.start())
                    stamps.append(float(match[1]))
                start, rest = start + end, text[end:]
        following = np.minimum.accumulate(np.array([np.inf, *stamps[:0:-1]]))[::-1] if stamps else np.array([])
        return cls(np.array(offsets), following)

    def keeps(self, offset: int, stamp: float) -> bool:
        """Tell whether the frame with this comment counts; one that was written after the file was searched does."""
        i = int(np.searchsorted(self.offsets, offset))
        return i >= len(self.offsets) or bool(stamp < self.next_smallest[i])


@dataclass(frozen=True)
class _Raw:
    """A frame: its stamp, and where its comment is in the file (bytes)."""

    stamp: float
    values: np.ndarray
    cell: np.ndarray
    place: str
    offset: int


class _DamageError(Exception):
    """A frame cannot be read.

    :param row: which of its lines is the first that cannot
    :param final: whether later frames cannot be read either
    """

    def __init__(self, row: int, what: str, final: bool = False):
        super().__init__(what)
        self.row = row
        self.final = final


class _FrameReader:
    """Goes through a file, frame by frame. A frame is a list of lines: number of atoms, comment, atoms."""

    def __init__(self, stream: BinaryIO, path: Path, layout: Layout, notice: Notice):
        self._stream = stream
        self._path = path
        self._layout = layout
        self._notice = notice
        self._size = len(layout.labels) + 2
        self.count = 0  # whole frames
        self._lines = 0  # lines read
        self.offset = 0  # bytes read
        self._ahead: list[bytes] = []  # lines that were put back
        self._first: list[bytes] = []  # the first whole frame
        self._label_end = 0

    def complete_frames(self) -> Iterator[_Raw]:
        """All frames that are whole, until the file ends or nothing more can be made of it."""
        lines = self._read(self._size)
        while lines and any(line.strip() for line in lines):
            try:
                raw = self._parsed(lines)
            except _DamageError as damage:
                lines = self._recovered(lines, damage)
            else:
                self.count += 1
                yield raw
                lines = self._read(self._size)

    def _read(self, n: int) -> list[bytes]:
        lines = list(islice(chain(self._ahead, self._stream), n))
        self._ahead = self._ahead[len(lines) :]
        self._lines += len(lines)
        self.offset += sum(map(len, lines))
        return lines

    def _put_back(self, lines: list[bytes]) -> None:
        self._ahead = lines + self._ahead
        self._lines -= len(lines)
        self.offset -= sum(map(len, lines))

    def _parsed(self, lines: list[bytes]) -> _Raw:
        self._check_head(lines)
        self._check_end(lines)
        values = self._values(lines)
        self._check_labels(lines)
        if not self._first:
            self._remember(lines)
        comment = lines[1]
        return _Raw(
            self._layout.stamp_of(comment) or 0.0,
            values,
            self._cell(comment),
            f"line {self._line_of(lines, 0)}",
            self.offset - sum(map(len, lines[1:])),
        )

    def _line_of(self, lines: list[bytes], row: int) -> int:
        """Counted from one, as editors do."""
        return self._lines - len(lines) + row + 1

    def _check_head(self, lines: list[bytes]) -> None:
        comment = lines[1] if len(lines) > 1 else b""
        count = lines[0].strip()
        if not count.isdigit():
            raise _DamageError(0, f"'{shown(count)}' where a number of atoms was expected")
        wrong = int(count) != self._size - 2 and not self._is_glued(count)
        if wrong and (self._is_comment(comment) or not self._layout.mark):
            raise _DamageError(0, f"{int(count)} atoms, but the first frame has {self._size - 2}", final=True)
        if self._layout.mark and comment.endswith(b"\n"):
            known = self._layout.known(comment)
            if known and known != self._layout.same:
                raise _DamageError(1, f"'{known}' instead of '{self._layout.same}' as in the first frame", final=True)
            if known is None or (self._layout.stamp and self._layout.stamp_of(comment) is None):
                raise _DamageError(1, f"'{shown(comment)}' where the comment of a frame was expected")

    def _is_glued(self, count: bytes) -> bool:
        """Tell whether a number of atoms follows a piece of itself, left by an i-PI that was killed: 19192."""
        expected = b"%d" % (self._size - 2)
        return count.endswith(expected) and expected.startswith(count.removesuffix(expected))

    def _is_comment(self, line: bytes) -> bool:
        return bool(self._layout.mark) and self._layout.mark in line

    def _check_end(self, lines: list[bytes]) -> None:
        """A last line without its end may lack digits too, unless it is as long as it was in the first frame."""
        whole = len(lines) == self._size and (
            lines[-1].endswith(b"\n") or (bool(self._first) and len(lines[-1]) >= len(self._first[-1].rstrip()))
        )
        if not whole:
            at = "in the middle of a line" if not lines[-1].endswith(b"\n") else "in the middle of a frame"
            raise _DamageError(len(lines) - 1, f"the file ends {at}")

    def _values(self, lines: list[bytes]) -> np.ndarray:
        try:
            values = np.loadtxt(lines[2:], usecols=self._layout.columns, comments=None, ndmin=2)
        except ValueError:
            values = np.empty((0, 3))
        if len(values) != self._size - 2:  # numpy skips empty lines
            row = next(row for row in range(2, self._size) if not self._is_atom(lines[row]))
            raise _DamageError(row, f"'{shown(lines[row])}' where an atom was expected")
        values *= self._layout.factor
        return values

    def _is_atom(self, line: bytes) -> bool:
        try:
            np.loadtxt([line.strip() or b"no atom"], usecols=self._layout.columns, comments=None)
        except ValueError:
            return False
        return True

    def _check_labels(self, lines: list[bytes]) -> None:
        # Labels are in the same place in all frames, but for exotic formats; this is ten times as fast as looking.
        if self._first and [line[: self._label_end] for line in lines[2:]] == self._first_labels:
            return
        column = self._layout.label_column
        for row, label in enumerate(self._layout.labels, start=2):
            found = label_of(lines[row].split()[column])
            if found.lower() != label.lower():
                what = f"an atom {found}, but in the first frame it is {label}"
                raise _DamageError(row, what, final=True)

    def _remember(self, lines: list[bytes]) -> None:
        self._first = lines
        if self._layout.label_column == 0:
            self._label_end = max(len(line) - len(line.lstrip()) + len(line.split()[0]) for line in lines[2:])
        self._first_labels = [line[: self._label_end] for line in lines[2:]] if self._label_end else []

    def _cell(self, comment: bytes) -> np.ndarray:
        match = _CELL.search(comment) or _LATTICE.search(comment)
        cell = np.zeros((3, 3))
        if match is not None:
            try:
                cell = _cell(match[0]) * self._layout.cell_unit
            except (ValueError, IndexError):
                cell = np.full((3, 3), np.nan)
        if not np.isfinite(cell).all():
            raise _DamageError(1, f"'{shown(comment)}' has no cell that can be read")
        return cell

    def _recovered(self, lines: list[bytes], damage: _DamageError) -> list[bytes]:
        """The next frame after a damaged one; nothing if there is none."""
        place = f"'{self._path}', line {self._line_of(lines, damage.row)}: {damage}"
        if not damage.final:
            lines = lines + self._read(self._size)  # the next frame may begin after these
        start = 0 if damage.row == 0 else 2
        rows = [] if damage.final else [row for row in range(start, len(lines)) if self._is_comment(lines[row])]
        if not rows:
            self._notice(f"{place}; the {self.count} frames before are used")
            return []
        self._notice(f"{place}; this frame is left out")
        # The number of atoms may be in one line with what was before it.
        self._put_back(lines[rows[0] :])
        return [b"%d\n" % (self._size - 2), *self._read(self._size - 1)]


@lru_cache(maxsize=16)
def _cell(text: bytes) -> np.ndarray:
    """Cell vectors as rows, shape (3, 3), in the unit of the file."""
    lattice = _LATTICE.match(text)
    if lattice is not None:
        return np.array(lattice[1].split(), float).reshape(3, 3)
    # With an atom that i-PI's reader asks for.
    _, columns, *_ = read_xyz(iter(["1\n", text.decode(), "H 0 0 0\n"]))
    return np.array(columns).T


def label_of(text: bytes) -> str:
    """The label of an atom, which may be anything."""
    return printable(text.decode(errors="surrogateescape"))


def shown(line: bytes) -> str:
    """A line of a file, fit for a message."""
    text = line.decode(errors="replace").strip()
    return text if len(text) <= 40 else text[:40] + "..."
