"""Opening trajectories: which format a file has, which atoms, which quantities, in which units, and how far apart.

Files of i-PI say their units and their step, extended XYZ files their columns, and perhaps the time in fs (ase has no
convention for it). All else that ase reads (.traj, ...) goes through ase.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import ase
import ase.io
import ase.units
import numpy as np
from ase.data import atomic_masses, atomic_numbers
from ase.io.extxyz import key_val_str_to_dict, parse_properties
from ipi.engine.properties import Trajectories

from ...errors import DarkforcesError, about, one_line
from ...models.labels import elements_of, isotope_masses, symbol_or_label
from .compressed import open_bytes, plain_name
from .trajectory import UNKNOWN, Frame, Notice, Progress, Quantity, Timing, Trajectory
from .units import factor_from_ipi, masses_of
from .xyz import Layout, XyzSource, label_of, shown

ASE_VELOCITY = 1000.0 * ase.units.fs  # Å/ps
# What the columns of extended XYZ files that hold velocities are called.
_VELOCITY_COLUMNS = ("velocities", "velocity", "velo", "vel")
# What i-PI calls the trajectories that we can use.
_IPI_QUANTITIES: dict[str, Quantity] = {
    "positions": "positions",
    "velocities": "velocities",
    "x_centroid": "positions",
    "v_centroid": "velocities",
}
_IPI_STAMP = re.compile(rb"Step:\s+(\d+)")
_TIME_STAMP = re.compile(rb"\b[Tt]ime=\"?([-+.\deE]+)")
_FS = 1e-3  # ps


def open_trajectories(path: Path, timing: Timing = UNKNOWN, velocity_unit: float = ASE_VELOCITY) -> list[Trajectory]:
    """The trajectories in a file: positions, velocities, or both.

    :param timing: what is known about the time of the frames
    :param velocity_unit: of columns with velocities in extended XYZ files, in Å/ps. i-PI's files say their unit, and
        momenta are those of ase.
    :raises DarkforcesError: if it is no trajectory, or has not one whole frame of positions or velocities
    """
    if not path.is_file():
        raise DarkforcesError(f"trajectory '{path}' does not exist or is not a file")
    with open_bytes(path) as stream:
        beginning = stream.readline(200)
        damage = stream.damage
    if not beginning:
        raise DarkforcesError(f"'{path}' is empty" if damage is None else f"'{path}' cannot be read: {damage}")
    if beginning.strip().isdigit() and plain_name(path).suffix != ".traj":
        return _open_xyz(path, timing, velocity_unit)
    return _open_with_ase(path, timing)


@dataclass(frozen=True)
class _Quantity:
    """A quantity in a file."""

    quantity: Quantity
    columns: tuple[int, int, int]
    factor: float | np.ndarray


@dataclass(frozen=True)
class _FirstFrame:
    """The first frame of a file."""

    labels: np.ndarray
    masses: np.ndarray
    label_column: int
    quantities: list[_Quantity]
    stamp: re.Pattern[bytes] | None
    stamp_unit: float | None  # ps
    mark: bytes
    constant: re.Pattern[bytes]
    cell_unit: float = 1.0


def _open_xyz(path: Path, timing: Timing, velocity_unit: float) -> list[Trajectory]:
    with open_bytes(path) as stream:
        first, second = _first_frame(stream, path), stream.readline() + stream.readline()
    is_ipi = b"CELL" in first[1] and b"Properties=" not in first[1]
    head = _ipi_head(path, first, timing) if is_ipi else _extended_head(path, first, timing, velocity_unit)
    stamp, scale, interval = _clock(head, timing, first[1], second)
    constant = head.constant.search(first[1])
    found = []
    for each in head.quantities:
        layout = Layout(
            labels=head.labels,
            label_column=head.label_column,
            columns=each.columns,
            factor=each.factor,
            stamp=stamp,
            scale=scale,
            mark=head.mark if head.mark in first[1] else b"",
            constant=head.constant,
            same=constant[0].decode() if constant else "",
            cell_unit=head.cell_unit,
        )
        source = XyzSource(path, layout)
        found.append(Trajectory(path, head.labels, head.masses, each.quantity, interval, source))
    return found


def _first_frame(stream: BinaryIO, path: Path) -> list[bytes]:
    """The lines of the first frame of an XYZ file."""
    count = stream.readline()
    if int(count) == 0:
        raise DarkforcesError(f"'{path}' is not an XYZ trajectory: line 1 says that there are no atoms")
    lines = [count, stream.readline(), *islice(stream, min(int(count), sys.maxsize))]
    if len(lines) < int(count) + 2:
        raise DarkforcesError(
            f"'{path}' has not one whole frame: it ends at line {len(lines)}, expected {int(count)} atoms"
        )
    return lines


def _labels(path: Path, lines: list[bytes], column: int) -> np.ndarray:
    try:
        return np.array([label_of(line.split()[column]) for line in lines[2:]])
    except IndexError as error:
        raise DarkforcesError(
            f"'{path}' is not an XYZ trajectory: the lines of its first frame have no atoms"
        ) from error


def _ipi_head(path: Path, lines: list[bytes], timing: Timing) -> _FirstFrame:
    comment = lines[1].decode(errors="replace")
    units = dict(re.findall(r"(\w+)\{([^}]*)\}", comment))
    cell_unit = units.pop("cell", "atomic_unit")
    known = Trajectories().traj_dict
    name, unit = next(((n, u) for n, u in units.items() if n in known), ("positions", "atomic_unit"))
    if name not in _IPI_QUANTITIES:
        raise DarkforcesError(f"'{path}' holds {name}, expected positions or velocities")
    quantity = _IPI_QUANTITIES[name]
    dimension = known[name]["dimension"]
    with about(f"'{path}', line 2"):
        factor, cell_factor = factor_from_ipi(dimension, unit), factor_from_ipi("length", cell_unit)
    labels = _labels(path, lines, 0)
    return _FirstFrame(
        labels,
        masses_of(labels),
        0,
        [_Quantity(quantity, (1, 2, 3), factor)],
        _IPI_STAMP if _IPI_STAMP.search(lines[1]) else None,
        timing.timestep,
        b"CELL",
        re.compile(rf"{name}\{{[^}}]*\}}".encode()) if name in units else re.compile(rb"CELL[(\[{]\w+"),
        cell_factor,
    )


def _extended_head(path: Path, lines: list[bytes], timing: Timing, velocity_unit: float) -> _FirstFrame:
    comment = lines[1].decode(errors="replace").strip()
    try:
        info = key_val_str_to_dict(comment)
        properties, names, _, _ = parse_properties(info.get("Properties", "species:S:1:pos:R:3"))
    except Exception as error:  # ase's parser raises anything
        raise DarkforcesError(f"'{path}': line 2 is no comment of an extended XYZ file: {one_line(error)}") from error
    widths = [properties[name][1] for name in names]
    starts = {name: int(start) for name, start in zip(names, np.cumsum([0, *widths]), strict=False)}
    wide = {name for name, width in zip(names, widths, strict=True) if width == 3}
    if "species" not in starts:
        raise DarkforcesError(f"'{path}': line 2 names no column 'species'; it names {', '.join(names)}")
    labels = np.array([symbol_or_label(label) for label in _labels(path, lines, starts["species"])])
    masses = _extended_masses(path, lines, labels, starts.get("masses"))
    quantities = []
    only = re.match(r"[^{]*?(\w+)\{", str(info.get("ipi_comment", "")))  # i-PI writes one thing, and positions as zeros
    if "pos" in wide and (only is None or only[1] == "positions"):
        quantities.append(_Quantity("positions", _three(starts["pos"]), 1.0))
    velocities = next((name for name in _VELOCITY_COLUMNS if name in wide), None)
    if velocities is not None:
        unit = ASE_VELOCITY if only else velocity_unit
        quantities.append(_Quantity("velocities", _three(starts[velocities]), unit))
    elif "momenta" in wide:
        quantities.append(_Quantity("velocities", _three(starts["momenta"]), ASE_VELOCITY / masses[:, None]))
    if not quantities:
        raise DarkforcesError(f"'{path}': line 2 names neither positions nor velocities; it names {', '.join(names)}")
    by_step = only is not None and _IPI_STAMP.search(lines[1]) is not None
    stamp = _IPI_STAMP if by_step else _TIME_STAMP if _TIME_STAMP.search(lines[1]) else None
    return _FirstFrame(
        labels,
        masses_of(labels) if only else masses,
        starts["species"],
        quantities,
        stamp,
        timing.timestep if by_step else _FS if timing.interval is None else None,
        b"Properties=",
        re.compile(rb"Properties=\S+"),
    )


def _extended_masses(path: Path, lines: list[bytes], labels: np.ndarray, column: int | None) -> np.ndarray:
    """Masses in the file, or those that ase takes."""
    if column is not None:
        return np.loadtxt(lines[2:], usecols=column, ndmin=1, comments=None)
    with about(f"'{path}'"):
        ordinary = atomic_masses[[atomic_numbers[symbol] for symbol in elements_of(labels.tolist())]]
    isotopes = isotope_masses(labels.tolist())
    return np.where(np.isnan(isotopes), ordinary, isotopes)


def _three(start: int) -> tuple[int, int, int]:
    return (start, start + 1, start + 2)


def _clock(
    head: _FirstFrame, timing: Timing, first: bytes, second: bytes
) -> tuple[re.Pattern[bytes] | None, float, float | None]:
    """The time of frames: ps for each unit of it, and ps between the first two (None if unknown)."""
    stamps = [float(match[1]) for match in map(head.stamp.search, (first, second)) if match] if head.stamp else []
    if len(stamps) == 2 and stamps[1] != stamps[0]:
        apart = abs(stamps[1] - stamps[0])
        if head.stamp_unit is not None:
            return head.stamp, head.stamp_unit, apart * head.stamp_unit
        if timing.interval is not None:
            return head.stamp, timing.interval / apart, timing.interval
        return head.stamp, 1.0 / apart, None
    if second.strip() and timing.interval is not None:
        return None, timing.interval, timing.interval
    return None, 1.0, None


def _open_with_ase(path: Path, timing: Timing) -> list[Trajectory]:
    try:
        frames = list(islice(ase.io.iread(path, index=":", do_not_split_by_at_sign=True), 2))
    except Exception as error:  # ase's readers raise anything on a file they cannot read
        with open_bytes(path) as stream:
            begins = shown(stream.readline(200))
        raise DarkforcesError(
            f"'{path}' is no trajectory: it begins with '{begins}', expected XYZ (i-PI's or extended) or a file that "
            f"ase reads: {one_line(error)}"
        ) from error
    if not frames:
        raise DarkforcesError(f"'{path}' has not one whole frame")
    atoms = frames[0]
    times = [_FS * frame.info["time"] for frame in frames if "time" in frame.info]
    told = timing.interval is None and len(times) == 2 and times[1] > times[0]
    interval = times[1] - times[0] if told else timing.interval if len(frames) == 2 else None
    quantities: list[Quantity] = ["positions", "velocities"] if atoms.has("momenta") else ["positions"]
    species = np.array(atoms.get_chemical_symbols())
    return [
        Trajectory(
            path, species, atoms.get_masses(), each, interval, _AseSource(path, each, None if told else interval or 1.0)
        )
        for each in quantities
    ]


@dataclass(frozen=True)
class _AseSource:
    """The frames of a file that ase reads.

    :param interval: ps between frames; None if they say their time
    """

    path: Path
    quantity: Quantity
    interval: float | None

    def frames(self, progress: Progress | None, notice: Notice) -> Iterator[Frame]:
        """Read frames until one cannot be read or has other atoms; without progress, as their number is not known."""
        frames = ase.io.iread(self.path, index=":", do_not_split_by_at_sign=True)
        first: ase.Atoms | None = None
        count = 0
        while True:
            try:
                atoms = next(frames)
                first = first or atoms
                yield self._frame(atoms, first, count)
            except StopIteration:
                return
            except Exception as error:  # ase's readers raise anything on a damaged file
                notice(f"'{self.path}', frame {count}: {one_line(error)}; the {count} frames before are used")
                return
            count += 1

    def _frame(self, atoms: ase.Atoms, first: ase.Atoms, count: int) -> Frame:
        if not np.array_equal(atoms.numbers, first.numbers):
            raise DarkforcesError(f"it has atoms {atoms.symbols}, but the first frame has {first.symbols}")
        if self.quantity == "velocities" and not atoms.has("momenta"):
            raise DarkforcesError("it has no velocities")
        if self.interval is None and "time" not in atoms.info:
            raise DarkforcesError("it does not say its time")
        values = atoms.positions if self.quantity == "positions" else atoms.get_velocities() * ASE_VELOCITY
        time = _FS * atoms.info["time"] if self.interval is None else count * self.interval
        return Frame(time, values, atoms.cell.array, f"frame {count}")
