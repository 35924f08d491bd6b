"""Reading a file of properties of i-PI, also one that is cut short, written twice, or still written."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from ipi.scripting import read_output

from ...errors import DarkforcesError, about
from .compressed import DecompressedStream, open_text, plain_name
from .trajectory import Notice
from .units import factor_from_ipi
from .xyz import shown

# What we take from such files, by the words that i-PI's names begin with.
_DIMENSIONS = {
    "time": "time",
    "temperature": "temperature",
    "conserved": "energy",
    "potential": "energy",
    "kinetic_md": "energy",
    "kinetic_cv": "energy",
    "density": "density",
    "volume": "volume",
    "pressure_md": "pressure",
    "pressure_cv": "pressure",
}
_END = "   \n"  # of a row as i-PI writes it
_COLUMN = re.compile(r"#\s*(?:column|cols\.)\s+(\d+)(?:-(\d+))?\s*-->\s*(.*?)\s*(?::|$)")


@dataclass(frozen=True)
class Table:
    """Properties of a run against time.

    :param step: increasing, evenly spaced, shape (n,)
    :param time: ps, shape (n,)
    :param columns: by i-PI's names, without the unit: temperatures in K, energies in eV, volumes in Å³, densities in
        g/cm³, pressures in bar, shape (n,) each
    """

    path: Path
    step: np.ndarray
    time: np.ndarray
    columns: dict[str, np.ndarray]

    @property
    def timestep(self) -> float | None:
        """Length of a step in ps; None if there is only one row."""
        if len(self.step) < 2:
            return None
        return float((self.time[-1] - self.time[0]) / (self.step[-1] - self.step[0]))

    def after(self, discard: float) -> Table:
        """Leave out the first part.

        :param discard: ps
        :raises DarkforcesError: if nothing is left
        """
        kept = self.time - self.time[0] >= discard - 1e-9
        if not kept.any():
            raise DarkforcesError(
                f"'{self.path}' has {self.time[-1] - self.time[0]:.6g} ps, and nothing is left without the first "
                f"{discard:g} ps"
            )
        return Table(self.path, self.step[kept], self.time[kept], {k: v[kept] for k, v in self.columns.items()})


def looks_like_table(path: Path) -> bool:
    """Tell whether a file begins as i-PI's properties do."""
    try:
        with open_text(path) as stream:
            return any(_COLUMN.match(line) for line in stream.readlines(4096))
    except OSError:
        return False


def read_table(path: Path, notice: Notice) -> Table:
    """Read step, time, temperatures, energies, volumes, densities and pressures.

    Rows that cannot be read are left out; of steps that are there twice, the later ones count.

    :param notice: told what is wrong with the file
    :raises DarkforcesError: if it does not exist, is of another program, lacks step or time, or has not one whole row
    """
    values, units = _complete_rows(path, notice)
    missing = [name for name in ("step", "time") if name not in values]
    if missing:
        raise DarkforcesError(
            f"'{path}' has no column '{missing[0]}', which is needed; it has {', '.join(values)}: add it to the "
            "<properties> of the input"
        )
    columns = {name: _converted(column, name, units[name][0], path) for name, column in values.items() if _known(name)}
    steps, last = np.unique(values["step"][::-1], return_index=True)
    columns = {name: column[::-1][last] for name, column in columns.items()}
    kept = _before_nan(steps, columns, path, notice)
    kept = kept[_evenly_spaced(steps[kept], path, notice)]
    columns = {name: column[kept] for name, column in columns.items()}
    return Table(path, steps[kept], columns.pop("time"), columns)


def _known(name: str) -> bool:
    return name.partition("(")[0] in _DIMENSIONS


def _converted(column: np.ndarray, name: str, unit: str | None, path: Path) -> np.ndarray:
    with about(f"'{path}', column '{name}'"):
        return column * factor_from_ipi(_DIMENSIONS[name.partition("(")[0]], unit)


def _complete_rows(path: Path, notice: Notice) -> tuple[dict[str, np.ndarray], dict[str, tuple[str | None, str]]]:
    """Read a table with i-PI's reader, without the rows that it cannot read."""
    try:
        with open_text(path) as stream:
            lines = stream.read().splitlines(keepends=True)
            damage = cast(DecompressedStream, stream.buffer).damage
    except (FileNotFoundError, IsADirectoryError) as error:
        raise DarkforcesError(f"'{path}' does not exist or is not a file") from error
    if not lines:
        raise DarkforcesError(f"'{path}' is empty" if damage is None else f"'{path}' cannot be read: {damage}")
    if damage is not None:
        notice(f"'{path}' is damaged ({damage}); what is before is used")
    heads = [match for match in map(_COLUMN.match, lines) if match]
    if not heads:
        raise DarkforcesError(
            f"'{path}' is no file of i-PI's properties: line 1 is '{shown(lines[0].encode())}', expected "
            "'# column   1     --> ...'"
        )
    _check_same_columns(heads, path)
    width = max(int(match[2] or match[1]) for match in heads)
    rows = [i for i, line in enumerate(lines) if not line.startswith("#")]
    spaced = any(lines[i].endswith(_END) for i in rows)
    bad = [i for i in rows if not _is_row(lines[i], width) or (spaced and not lines[i].endswith(_END))]
    repaired = {i: _after_cut(lines[i], width) for i in bad}
    kept = [line for line in (repaired.get(i, line) for i, line in enumerate(lines)) if line]
    bad = [i for i in bad if lines[i].strip()]
    if bad:
        cut = "cut short" if bad[0] == len(lines) - 1 else f"not {width} numbers: '{shown(lines[bad[0]].encode())}'"
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        notice(f"'{path}', line {bad[0] + 1}{more}: {cut}; left out")
    if all(line.startswith("#") for line in kept):
        raise DarkforcesError(f"'{path}' has not one whole row")
    if not bad and plain_name(path) == path:
        return _read(path)
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        whole.write_text("".join(kept))
        return _read(whole)


def _check_same_columns(heads: list[re.Match[str]], path: Path) -> None:
    """Raise a DarkforcesError if a later header, of files that were joined, gives columns other names."""
    names: dict[str, str] = {}
    for match in heads:
        if names.setdefault(match[1], match[3]) != match[3]:
            raise DarkforcesError(
                f"'{path}' has two headers: column {match[1]} is {names[match[1]]} in one and {match[3]} in the other; "
                "expected the properties of one simulation"
            )


def _is_row(line: str, columns: int) -> bool:
    words = line.split()
    try:
        return line.endswith("\n") and len(words) == columns and all(map(_is_number, words))
    except ValueError:
        return False


def _after_cut(line: str, columns: int) -> str:
    """The row that i-PI has added, when it went on, to a piece of one that a full disk had cut; empty if there is none.

    It begins its rows with spaces, so that no two words become one.
    """
    words = line.split()
    last = "  " + "  ".join(words[-columns:]) + "\n"
    return last if len(words) > columns and line.endswith("\n") and _is_row(last, columns) else ""


def _is_number(word: str) -> bool:
    float(word)
    return True


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, tuple[str | None, str]]]:
    values, units = read_output(str(path))
    flat = {name: np.atleast_1d(column) for name, column in values.items()}
    n = len(flat["step"]) if "step" in flat else 0
    # A property with several numbers (a cell, a tensor) is none of those that we take.
    return {name: column for name, column in flat.items() if not n or column.shape == (n,)}, units


def _before_nan(steps: np.ndarray, columns: dict[str, np.ndarray], path: Path, notice: Notice) -> np.ndarray:
    """Indices of the rows before the simulation exploded.

    :raises DarkforcesError: if there are none
    """
    for name, column in columns.items():
        bad = np.flatnonzero(~np.isfinite(column))
        if len(bad) and bad[0] == 0:
            raise DarkforcesError(f"'{path}': '{name}' is NaN or infinite from the first row on")
    good = np.all([np.isfinite(column) for column in columns.values()], axis=0)
    end = int(np.argmin(good)) if not good.all() else len(good)
    if end < len(good):
        names = [name for name, column in columns.items() if not np.isfinite(column[end])]
        notice(f"'{path}': '{names[0]}' is NaN or infinite at step {steps[end]:.0f}; the {end} rows before are used")
    return np.arange(end)


def _evenly_spaced(steps: np.ndarray, path: Path, notice: Notice) -> np.ndarray:
    """Indices of the longest stretch of rows with the same number of steps between them."""
    gaps = np.diff(steps)
    if len(gaps) == 0 or (gaps == gaps[0]).all():
        return np.arange(len(steps))
    edges = np.flatnonzero(np.diff(gaps)) + 1
    stretches = list(zip([0, *edges], [*edges, len(gaps)], strict=True))
    begin, end = max(stretches, key=lambda stretch: stretch[1] - stretch[0])
    i = int(edges[0])
    notice(
        f"'{path}': rows are {gaps[0]:.0f} steps apart, but {gaps[i]:.0f} from step {steps[i]:.0f} on; the longest "
        f"evenly spaced part is used, steps {steps[begin]:.0f} to {steps[end]:.0f}"
    )
    return np.arange(begin, end + 1)
