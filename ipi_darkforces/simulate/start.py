"""Structures as simulations with i-PI start from them.

i-PI wants a right-handed cell, its first vector along x and the second in the xy plane. A structure is turned as a
whole to fit; of a left-handed cell the opposite vectors are taken, which span the same lattice. i-PI has a cell in any
case: where a structure is not periodic, it gets a vector with room for the atoms, and the driver is told not to use it.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import ase
import ase.cell
import numpy as np
from scipy.linalg import null_space

from ..errors import DarkforcesError
from ..models.fixed import fixed_coordinates
from ..models.motion import check_motion
from ..models.structure import Structure
from ..models.structure_file import read_atoms
from .inputs import SimulationInput
from .tree import nodes, text_of

logger = logging.getLogger(__name__)

_ROOM = 50.0  # Å, on each side of what is not periodic


@dataclass(frozen=True)
class Start:
    """A structure that i-PI can start from.

    :param atoms: turned so that i-PI can take its cell, which has three vectors; no constraints
    :param fixed: coordinates (3 atom + axis) that do not move
    """

    atoms: ase.Atoms
    fixed: tuple[int, ...]


def read_start(path: str | Path) -> Start:
    """The last structure in a file, turned as a whole so that i-PI can take its cell.

    :raises DarkforcesError: if the file cannot be read, has no atoms, a mass or a cell that cannot be, or constraints
        that i-PI cannot keep
    """
    atoms = read_atoms(path, "structure")
    try:
        return make_start(atoms)
    except DarkforcesError as error:
        raise DarkforcesError(f"'{path}' {error}") from error


def say_where_periodic(start: Start, path: str | Path) -> None:
    """Warn that i-PI shows a cell that means nothing, if the structure is not periodic."""
    pbc = start.atoms.pbc
    if not pbc.all():
        logger.warning(
            "'%s' is not periodic%s: its forces are those without periodic images there, whatever cell i-PI shows",
            path,
            f" along all of its cell vectors (pbc {letters(pbc)})" if pbc.any() else "",
        )


def warn_of_periodicity(simulation: SimulationInput) -> None:
    """Warn of structures that an input names and that are not periodic: i-PI would take their cell for periodic.

    As far as files say it: those that i-PI reads through ase, and templates. Not if `pbc` is among the parameters.
    """
    told = [forcefield.settings for forcefield in simulation.socket_forcefields()]
    if any(settings.pbc for settings in told):
        return
    files = [settings.template for settings in told if settings.template]
    files += [text_of(node) for node in nodes(simulation.root) if node.attribs.get("mode") == "ase"]
    for file in dict.fromkeys(files):
        with suppress(DarkforcesError):  # i-PI or the driver will say why it cannot be read
            atoms = read_atoms(simulation.source.parent / file, "structure")
            if atoms.cell.rank and not atoms.pbc.all():
                logger.warning(
                    "'%s' is not periodic (pbc %s), but i-PI takes its cell for periodic: say pbc: %s in the "
                    "<parameters> of the forcefields",
                    file,
                    letters(atoms.pbc),
                    letters(atoms.pbc),
                )


def make_start(atoms: ase.Atoms) -> Start:
    """Convert a structure to one that i-PI takes.

    :raises DarkforcesError: see `read_start`; the message lacks the name
    """
    if len(atoms) == 0:
        raise DarkforcesError("has no atoms")
    try:
        Structure.from_ase(atoms).check()
        check_motion(atoms)
    except DarkforcesError as error:
        raise DarkforcesError(f"cannot be used: {error}") from error
    cell = _complete_cell(atoms)
    rotation = None
    if np.any(np.triu(cell, 1)) or np.any(np.diag(cell) <= 0.0):
        standard, rotation = ase.cell.Cell(cell).standard_form()
        cell = standard.array
    fixed = fixed_coordinates(atoms, rotation)
    turned = atoms.copy()
    turned.calc = None
    turned.set_constraint()
    turned.set_cell(cell)
    for values in turned.arrays.values():
        if rotation is not None and values.shape == (len(atoms), 3) and values.dtype.kind == "f":
            values[:] = values @ rotation.T
    if turned.has("momenta"):
        turned.arrays["momenta"][fixed] = 0.0
    return Start(turned, tuple(int(i) for i in np.flatnonzero(fixed)))


def letters(pbc: np.ndarray) -> str:
    """Directions that are periodic, as the driver is told: ``TTF``."""
    return "".join("T" if periodic else "F" for periodic in pbc)


def _complete_cell(atoms: ase.Atoms) -> np.ndarray:
    """A right-handed cell: the vectors along which the structure is periodic, or their opposites, and others."""
    cell = np.array(atoms.cell.array)
    periodic = atoms.pbc
    if np.linalg.matrix_rank(cell[periodic]) < periodic.sum():
        raise DarkforcesError(
            f"is periodic along vectors that are no cell (pbc {letters(periodic)}, cell {np.round(cell, 4).tolist()} Å)"
        )
    if not periodic.all():
        free = null_space(cell[periodic]).T if periodic.any() else np.eye(3)
        extents = np.ptp(atoms.positions @ free.T, axis=0) + 2.0 * _ROOM
        cell[~periodic] = extents[:, None] * free
        if np.linalg.det(cell) < 0.0:
            cell[np.flatnonzero(~periodic)[0]] *= -1.0
    return -cell if np.linalg.det(cell) < 0.0 else cell
