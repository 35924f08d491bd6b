"""Reading files of structures, the same way for every command.

i-PI's own files (xyz and pdb whose comment lines give units or a cell, checkpoints) are read by i-PI: they are in bohr
unless they say otherwise. All others are read by ase. What a file is shows in its first lines, not in its name.
"""

from __future__ import annotations

import re
import tempfile
import textwrap
from collections import deque
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import TextIO

import ase
import ase.io
import numpy as np
from ase.constraints import FixCartesian
from ase.io.extxyz import key_val_str_to_dict, parse_properties
from ase.io.formats import open_with_compression
from ipi.engine.initializer import init_chk
from ipi.engine.properties import Trajectories
from ipi.utils.io import read_file
from ipi.utils.units import unit_to_user

from ..errors import DarkforcesError, one_line
from .labels import elements_of, isotope_masses

_CELL = re.compile(r"CELL[(\[{](abcABC|H|GENH)[)\]}]:")
_UNIT = re.compile(r"\b(\w+)\{[^{}\s]*\}")
_COMMENT = re.compile(r"<!--.*?-->|<\?.*?\?>", re.DOTALL)  # of XML
# A comment in i-PI's states has the name of the folder as it is, where two hyphens or an escape character are no XML.
WORKS_IN = re.compile(r"^ *Working Directory: .*$", re.MULTILINE)
_POSITIONS = ("positions", "x_centroid")
_QUANTITIES = frozenset(Trajectories().traj_dict)


def read_frames(path: str | Path, role: str) -> Iterator[ase.Atoms]:
    """The structures in a file, one after another, with momenta, masses and constraints as far as it has them.

    :param role: what the file is to the user, for messages
    :raises DarkforcesError: if it does not exist, or when a structure cannot be read, saying which, counted from zero
    """
    path = _existing(Path(path), role)
    number = 0
    try:
        for atoms in _frames(path):
            _check(atoms)
            yield atoms
            number += 1
    except DarkforcesError as error:
        raise DarkforcesError(f"structure {number} in '{path}' cannot be used: {error}") from error
    except Exception as error:  # readers raise anything on a file they cannot read
        number = number or _first_unreadable(path)
        reason = textwrap.shorten(one_line(error), 120, placeholder=" ...")
        raise DarkforcesError(f"structure {number} in '{path}' cannot be read, or is cut off: {reason}") from error


def read_atoms(path: str | Path, role: str) -> ase.Atoms:
    """The last structure in a file.

    :param role: what the file is to the user, for messages
    :raises DarkforcesError: if the file does not exist, has no structure or one that cannot be read
    """
    path = _existing(Path(path), role)
    try:
        atoms = _last_frame(path)
        _check(atoms)
        return atoms
    except Exception:  # as above; which structure it is shows when all are read
        frames = deque(read_frames(path, role), maxlen=1)
        if not frames:
            raise DarkforcesError(f"{role} '{path}' has no structure that i-PI or ase can read") from None
        return frames[0]


def _existing(path: Path, role: str) -> Path:
    if path.is_dir():
        raise DarkforcesError(f"{role} '{path}' is a folder: expected a file of structures")
    if not path.exists():
        raise DarkforcesError(f"{role} '{path}' does not exist (looked in {Path.cwd()})")
    if path.is_file() and path.stat().st_size == 0:
        raise DarkforcesError(f"{role} '{path}' is empty")
    return path


def _frames(path: Path) -> Iterator[ase.Atoms]:
    kind = _kind(path)
    if kind == "chk":
        yield _checkpoint(path)
    elif kind is not None:
        for lines in _ipi_frames(path, kind):
            yield _ipi_atoms(kind, lines)
    else:
        yield from _ase_frames(path)


def _last_frame(path: Path) -> ase.Atoms:
    """Read the last frame, without those before, which can be many."""
    kind = _kind(path)
    if kind == "chk":
        return _checkpoint(path)
    if kind is not None:
        (lines,) = deque(_ipi_frames(path, kind), maxlen=1)
        return _ipi_atoms(kind, lines)
    return ase.io.read(path, do_not_split_by_at_sign=True)


def _ipi_frames(path: Path, mode: str) -> Iterator[list[str]]:
    """The lines of each frame."""
    with open_with_compression(str(path), "rt") as stream:
        while lines := _next_xyz(stream) if mode == "xyz" else _next_pdb(stream):
            yield lines


def _kind(path: Path) -> str | None:
    """i-PI's mode of a file that is i-PI's."""
    try:
        with open_with_compression(str(path), "rt") as stream:
            lines = [stream.readline(10_000) for _ in range(2)]
            beginning = "".join(lines) + stream.read(10_000)
    except (OSError, UnicodeDecodeError, EOFError):
        return None
    if _COMMENT.sub("", beginning).lstrip().startswith("<simulation"):
        return "chk"
    title = lines[0] if lines[0].startswith("TITLE") else lines[1] if lines[0].strip().isdigit() else ""
    if "Lattice=" in title or "Properties=" in title:
        return None
    named = {name for name in _UNIT.findall(title) if name == "cell" or name in _QUANTITIES}
    if not named and not _CELL.search(title):
        return None
    return "pdb" if title.startswith("TITLE") else "xyz"


def _next_xyz(stream: TextIO) -> list[str]:
    """The lines of the next frame; none at the end of the file."""
    first = next((line for line in stream if line.strip()), None)
    if first is None:
        return []
    n = int(first)
    lines = [first, *islice(stream, n + 1)]
    if len(lines) < n + 2:
        raise ValueError(f"the file ends after {max(0, len(lines) - 2)} of {n} atoms")
    return lines


def _next_pdb(stream: TextIO) -> list[str]:
    lines = []
    for line in stream:
        lines.append(line)
        if line.strip() == "END":
            return lines
    if any(line.strip() for line in lines):
        raise ValueError("the file ends without END")
    return []


def _ipi_atoms(mode: str, lines: list[str]) -> ase.Atoms:
    comment = lines[1] if mode == "xyz" else lines[0]
    quantity = next((name for name in _UNIT.findall(comment) if name in _QUANTITIES), "positions")
    if quantity not in _POSITIONS:
        raise DarkforcesError(f"it holds {quantity}, expected positions")
    with redirect_stdout(StringIO()):  # i-PI says which labels it does not know
        read = read_file(mode, StringIO("".join(lines)))
    names = [line.split()[0] for line in lines[2:]] if mode == "xyz" else read["atoms"].names  # i-PI cuts them off
    labels = [str(name) for name in names]
    with_cell = mode == "pdb" or _CELL.search(comment)
    return _atoms(labels, read["atoms"].q, read["cell"].h if with_cell else None)


def _atoms(labels: list[str], positions: np.ndarray, cell: np.ndarray | None) -> ase.Atoms:
    """Make atoms of i-PI's arrays in bohr: positions (3 n_atoms,), cell vectors in columns; a cell is periodic."""
    atoms = ase.Atoms(elements_of(labels), unit_to_user("length", "angstrom", np.array(positions)).reshape(-1, 3))
    if cell is not None:
        atoms.set_cell(unit_to_user("length", "angstrom", np.array(cell)).T)
        atoms.pbc = True
    _set_isotopes(atoms, labels)
    return atoms


def _set_isotopes(atoms: ase.Atoms, labels: list[str]) -> None:
    masses = isotope_masses(labels)
    if not np.isnan(masses).all():
        atoms.set_masses(np.where(np.isnan(masses), atoms.get_masses(), masses))


def _checkpoint(path: Path) -> ase.Atoms:
    with open_with_compression(str(path), "rt") as stream:
        text = WORKS_IN.sub("", stream.read())
    with tempfile.NamedTemporaryFile("w") as copy, redirect_stdout(StringIO()):
        copy.write(text)
        copy.flush()
        beads, cell, motion = init_chk(copy.name)
    if beads.nbeads != 1:
        what = f"a checkpoint of i-PI with {beads.nbeads} beads" if beads.nbeads else "an i-PI input without positions"
        raise DarkforcesError(f"it is {what}, expected a structure")
    atoms = _atoms([str(name) for name in beads.names], beads.q[0], cell.h)
    masses = unit_to_user("mass", "dalton", np.array(beads.m))
    if not np.allclose(masses, atoms.get_masses(), rtol=1e-9, atol=0.0):
        atoms.set_masses(masses)
    if np.any(beads.p):
        atoms.set_momenta(unit_to_user("momentum", "ase", np.array(beads.p[0])).reshape(-1, 3))
    fixed = np.zeros(3 * len(atoms), bool)
    fixed[motion.fixatoms_dof] = True
    atoms.set_constraint([FixCartesian(i, mask) for i, mask in enumerate(fixed.reshape(-1, 3)) if mask.any()])
    return atoms


def _ase_frames(path: Path) -> Iterator[ase.Atoms]:
    done = 0
    try:
        for atoms in ase.io.iread(path, do_not_split_by_at_sign=True):
            yield atoms
            done += 1
    except KeyError:  # ase knows bare symbols only
        with open_with_compression(str(path), "rt") as stream:
            if not stream.readline().strip().isdigit():
                raise
            stream.seek(0)
            yield from islice(_labelled_frames(stream), done, None)


def _labelled_frames(stream: TextIO) -> Iterator[ase.Atoms]:
    """The frames of a plain or extended XYZ file in which atoms have labels: with their elements, read by ase."""
    while lines := _next_xyz(stream):
        info = key_val_str_to_dict(lines[1].strip()) if lines[1].strip() else {}
        properties, names, _, _ = parse_properties(info.get("Properties", "species:S:1:pos:R:3"))
        column = sum(properties[name][1] for name in names[: names.index("species")])
        rows = [line.split() for line in lines[2:]]
        labels = [row[column] for row in rows]
        for row, symbol in zip(rows, elements_of(labels), strict=True):
            row[column] = symbol
        text = "".join([*lines[:2], *(" ".join(row) + "\n" for row in rows)])
        atoms = ase.io.read(StringIO(text), format="extxyz")
        if not atoms.has("masses"):
            _set_isotopes(atoms, labels)
        yield atoms


def _check(atoms: ase.Atoms) -> None:
    """Refuse what ase lets pass: atoms that are no element, and i-PI's files for ase that hold no positions."""
    unknown = np.flatnonzero(atoms.numbers == 0)
    if len(unknown):
        raise DarkforcesError(f"atom {unknown[0]} has the label 'X', which is no element")
    holds = _UNIT.search(str(atoms.info.get("ipi_comment", "")))
    if holds and holds[1] not in (*_POSITIONS, "cell"):
        raise DarkforcesError(f"it holds {holds[1]}, expected positions")


def _first_unreadable(path: Path) -> int:
    """The number of the structure that ase stumbles over.

    For extended XYZ, ase looks for the beginnings of all structures before it reads the first, and fails there and
    then. Asked for one structure alone, it looks no further than to where the next one begins.
    """
    if _kind(path) is not None:
        return 0
    good, bad = -1, 0
    while _readable(path, bad):
        good, bad = bad, 2 * bad + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if _readable(path, middle) else (good, middle)
    return bad


def _readable(path: Path, number: int) -> bool:
    try:
        return bool(ase.io.read(path, index=slice(number, number + 1), do_not_split_by_at_sign=True))
    except Exception:  # as above
        return False
