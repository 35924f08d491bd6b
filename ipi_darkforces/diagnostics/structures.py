"""Files of structures, read so that whatever is wrong with one of them is said of that one."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import ase
import ase.io
import numpy as np

from ..errors import DarkforcesError, one_line
from ..forces.structure import Structure


def read_structures(path: Path) -> dict[str, Structure]:
    """All structures in a file, by their names: the file's if there is but one.

    :raises DarkforcesError: if the file does not exist, is empty, or a structure cannot be read or used
    """
    structures = [
        as_structure(atoms, f"structure {i} in '{path}'") for i, atoms in enumerate(read_frames(path, "structure file"))
    ]
    if not structures:
        raise DarkforcesError(f"structure file '{path}' is empty: it has no structures")
    if len(structures) == 1:
        return {path.name: structures[0]}
    return {f"{path.name} #{i}": structure for i, structure in enumerate(structures)}


def read_structure_files(paths: Sequence[Path]) -> dict[str, Structure]:
    """All structures in several files, by names that tell them apart.

    :raises DarkforcesError: see `read_structures`
    """
    structures: dict[str, Structure] = {}
    for path in paths:
        for name, structure in read_structures(path).items():
            structures[str(path.parent / name) if name in structures else name] = structure
    return structures


def read_frames(path: Path, role: str) -> Iterator[ase.Atoms]:
    """The structures in a file, one after another.

    :param role: what the file is to the user, for messages
    :raises DarkforcesError: if it does not exist, or when a structure cannot be read, saying which, counted from zero
    """
    if path.is_dir():
        raise DarkforcesError(f"{role} '{path}' is a folder: expected a file of structures")
    if not path.exists():
        raise DarkforcesError(f"{role} '{path}' does not exist (looked in {Path.cwd()})")
    if path.is_file() and path.stat().st_size == 0:
        raise DarkforcesError(f"{role} '{path}' is empty")
    number = 0
    try:
        for atoms in ase.io.iread(path, do_not_split_by_at_sign=True):
            yield atoms
            number += 1
    except Exception as error:  # ase's readers raise anything on a file they cannot read
        number = number or _first_unreadable(path)
        reason = textwrap.shorten(one_line(error), 120, placeholder=" ...")
        raise DarkforcesError(f"structure {number} in '{path}' cannot be read, or is cut off: {reason}") from error


def _first_unreadable(path: Path) -> int:
    """The number of the structure that ase stumbles over.

    For extended XYZ, ase looks for the beginnings of all structures before it reads the first, and fails there and
    then. Asked for one structure alone, it looks no further than to where the next one begins.
    """
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


def as_structure(atoms: ase.Atoms, name: str, require_cell: bool = False) -> Structure:
    """The same, checked.

    :param name: for messages: "structure 3 in 'val.xyz'"
    :param require_cell: refuse structures that are not periodic in all three directions
    :raises DarkforcesError: if there are no atoms, or positions or cell cannot be used
    """
    if len(atoms) == 0:
        raise DarkforcesError(f"{name} has no atoms")
    cell = np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)
    structure = Structure(atoms.numbers.astype(np.int32), np.array(atoms.positions, dtype=float), cell)
    try:
        structure.check()
    except DarkforcesError as error:
        raise DarkforcesError(f"{name}: {error}") from error
    if require_cell and not structure.periodic.all():
        raise DarkforcesError(
            f"{name} is not periodic: expected a cell with three vectors (pbc: {atoms.pbc.tolist()}, "
            f"cell vectors, Å: {np.round(atoms.cell.array, 4).tolist()})"
        )
    return structure
