"""Reading files of structures, with errors that name the structure."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import ase
import numpy as np

from ..errors import DarkforcesError
from ..models.structure import Structure
from ..models.structure_file import read_frames

logger = logging.getLogger(__name__)


def read_structures(path: Path) -> dict[str, Structure]:
    """All structures in a file, by their names: the file's if there is but one.

    :raises DarkforcesError: if the file does not exist, is empty, or a structure cannot be read or used
    """
    frames = list(read_frames(path, "structure file"))
    if not frames:
        raise DarkforcesError(f"structure file '{path}' has no structure that i-PI or ase can read")
    if any(atoms.constraints for atoms in frames):
        logger.warning("the constraints in '%s' do not count here: all atoms are treated alike", path)
    structures = [as_structure(atoms, f"structure {i} in '{path}'") for i, atoms in enumerate(frames)]
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


def as_structure(atoms: ase.Atoms, name: str, require_cell: bool = False) -> Structure:
    """The same, checked.

    :param name: for messages: "structure 3 in 'val.xyz'"
    :param require_cell: refuse structures that are not periodic in all three directions
    :raises DarkforcesError: if there are no atoms, or positions or cell cannot be used
    """
    if len(atoms) == 0:
        raise DarkforcesError(f"{name} has no atoms")
    structure = Structure.from_ase(atoms)
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
