"""Reading files of structures, with errors that name the structure."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import ase
import numpy as np

from ..errors import DarkforcesError, about
from ..models.fixed import fixed_coordinates
from ..models.structure import Structure
from ..models.structure_file import read_frames

logger = logging.getLogger(__name__)

_Named = TypeVar("_Named")


def read_structures(path: Path) -> dict[str, Structure]:
    """All structures in a file, by their names: the file's if there is but one.

    :raises DarkforcesError: if the file does not exist, is empty, or a structure cannot be read or used
    """
    frames = _read_named(path)
    if any(atoms.constraints for atoms in frames.values()):
        logger.warning("the constraints in '%s' do not count here: all atoms are treated alike", path)
    return {name: Structure.from_ase(atoms) for name, atoms in frames.items()}


def read_structure_files(paths: Sequence[Path]) -> dict[str, Structure]:
    """All structures in several files, by names that tell them apart.

    :raises DarkforcesError: see `read_structures`
    """
    return _told_apart({path: read_structures(path) for path in paths})


def read_constrained_files(paths: Sequence[Path]) -> dict[str, tuple[Structure, np.ndarray]]:
    """Read structures as `read_structure_files`, each with the coordinates that are fixed, shape (n_atoms, 3).

    :raises DarkforcesError: see `read_structures`; and for constraints of anything else than coordinates
    """
    return _told_apart({path: {name: _constrained(path, a) for name, a in _read_named(path).items()} for path in paths})


def _read_named(path: Path) -> dict[str, ase.Atoms]:
    """All structures in a file, checked."""
    frames = list(read_frames(path, "structure file"))
    if not frames:
        raise DarkforcesError(f"structure file '{path}' has no structure that i-PI or ase can read")
    for i, atoms in enumerate(frames):
        as_structure(atoms, f"structure {i} in '{path}'")
    if len(frames) == 1:
        return {path.name: frames[0]}
    return {f"{path.name} #{i}": atoms for i, atoms in enumerate(frames)}


def _constrained(path: Path, atoms: ase.Atoms) -> tuple[Structure, np.ndarray]:
    try:
        return Structure.from_ase(atoms), fixed_coordinates(atoms)
    except DarkforcesError as error:
        raise DarkforcesError(f"a structure in '{path}' {error}") from error


def _told_apart(files: Mapping[Path, Mapping[str, _Named]]) -> dict[str, _Named]:
    """Structures by names that tell them apart."""
    found: dict[str, _Named] = {}
    for path, named in files.items():
        for name, each in named.items():
            found[str(path.parent / name) if name in found else name] = each
    return found


def as_structure(atoms: ase.Atoms, name: str, require_cell: bool = False) -> Structure:
    """Check a structure, and convert it.

    :param name: for messages: "structure 3 in 'val.xyz'"
    :param require_cell: refuse structures that are not periodic in all three directions
    :raises DarkforcesError: if there are no atoms, or positions or cell cannot be used
    """
    if len(atoms) == 0:
        raise DarkforcesError(f"{name} has no atoms")
    structure = Structure.from_ase(atoms)
    with about(name):
        structure.check()
    if require_cell and not structure.periodic.all():
        raise DarkforcesError(
            f"{name} is not periodic: expected a cell with three vectors (pbc: {atoms.pbc.tolist()}, "
            f"cell vectors, Å: {np.round(atoms.cell.array, 4).tolist()})"
        )
    return structure
