"""Coordinates that the constraints of a structure keep where they are."""

from __future__ import annotations

from typing import Any

import ase
import numpy as np
from ase.constraints import FixAtoms, FixCartesian, FixCom, FixedLine, FixedPlane, FixScaled
from scipy.linalg import null_space

from ..errors import DarkforcesError


def fixed_coordinates(atoms: ase.Atoms, rotation: np.ndarray | None = None) -> np.ndarray:
    """Coordinates that do not move, shape (n_atoms, 3).

    :param rotation: by which the structure is turned first, shape (3, 3); None if it is not
    :raises DarkforcesError: for constraints of anything else than coordinates, or if nothing would move; the message
        lacks the name of the structure
    """
    turn = np.eye(3) if rotation is None else rotation
    fixed = np.zeros((len(atoms), 3), bool)
    for constraint in atoms.constraints:
        directions = _directions(constraint, atoms) @ turn.T
        projector = directions.T @ directions
        axes = np.diag(projector) > 0.5
        if not np.allclose(projector, np.diag(axes), atol=1e-6):
            when = "" if rotation is None else " when its first cell vector is along x"
            raise DarkforcesError(
                f"has a {type(constraint).__name__} along directions that are not x, y or z{when}, and only those can "
                "be fixed"
            )
        if len(directions):
            fixed[constraint.index] |= axes
    if fixed.any() and any(type(constraint) is FixCom for constraint in atoms.constraints):
        raise DarkforcesError("has fixed atoms and a fixed centre of mass, of which only one can be kept")
    if fixed.all():
        raise DarkforcesError("has fixed atoms only: nothing would move")
    return fixed


def _directions(constraint: Any, atoms: ase.Atoms) -> np.ndarray:
    """Directions along which the atoms of a constraint do not move, as orthonormal rows."""
    if type(constraint) is FixAtoms:
        return np.eye(3)
    if type(constraint) is FixCartesian:
        return np.eye(3)[constraint.mask]
    if type(constraint) is FixScaled:
        free = atoms.cell.array[~constraint.mask]
        return null_space(free).T if len(free) else np.eye(3)
    if type(constraint) is FixedPlane:
        return constraint.dir[None]
    if type(constraint) is FixedLine:
        return null_space(constraint.dir[None]).T
    if type(constraint) is FixCom:  # which forces without a net force keep anyway
        return np.empty((0, 3))
    raise DarkforcesError(
        f"has a constraint {type(constraint).__name__}, which cannot be kept: expected fixed atoms or coordinates"
    )


def fixed_atoms(atoms: ase.Atoms, where: str) -> np.ndarray:
    """Indices of the atoms that `FixAtoms` holds.

    :param where: other constraints are not kept, for the message
    :raises DarkforcesError: for other constraints
    """
    others = [type(each).__name__ for each in atoms.constraints if not isinstance(each, FixAtoms)]
    if others:
        raise DarkforcesError(f"the constraint {others[0]} is not kept {where}: expected FixAtoms or none")
    return np.concatenate([np.empty(0, int), *(constraint.index for constraint in atoms.constraints)])
