"""The end of a geometry optimisation: is it a minimum, can forces get smaller there, and does the model know it?

Rounding errors of forces are seen in second differences: f(r + h) - 2 f(r) + f(r - h) is of order h² but for the errors
of three evaluations, and h is so small here that h² is nothing. They are looked for a little beside the end: forces
may jump where an optimisation gets stuck, and a jump is no rounding.

A minimum has only positive curvatures: the lowest one is the lowest eigenvalue of minus the Jacobian of the forces, its
symmetric part, without the motion of all atoms together; if some are fixed, of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import ase
import numpy as np
from ase.neighborlist import natural_cutoffs, neighbor_list
from scipy.linalg import null_space

from ..errors import DarkforcesError
from ..models.model import ForceModel, Need, of_kind, without_net_force
from ..models.structure import Structure
from ..split.monitor import TOO_FAR
from .evaluations import evaluate_each
from .known_range import apart

_SHIFT = 3e-6  # Å
_BESIDE = 0.01  # Å
_DIRECTIONS = 2
_OVERLAP = 0.5  # of the sum of covalent radii
_MOST_ATOMS = 30  # for a curvature, which takes two evaluations for each coordinate
_FLAT = -0.02  # eV/Å²: no lower curvature can be told from none

_Free: TypeAlias = "np.ndarray | None"  # coordinates that are not fixed, shape (n_atoms, 3); None for all


@dataclass(frozen=True)
class End:
    """Properties of the structure at which an optimisation ended.

    :param rounding: eV/Å, rounding error of the force on the atom where it is largest; None if forces are not finite
    :param apart: eV/Å, by how much both kinds of forces differ, on the atom where they do most; None if there is one
    :param overlapping: whether two atoms are nearer than half the sum of their covalent radii
    :param curvature: eV/Å², the lowest one; None if forces do not vanish there, or there are too many atoms
    """

    rounding: float | None
    apart: float | None
    overlapping: bool
    curvature: float | None

    @property
    def outside(self) -> bool:
        """True if this is no structure that the model knows: see `known_range`."""
        return self.overlapping or (self.apart is not None and self.apart > TOO_FAR)

    @property
    def minimum(self) -> bool | None:
        """True at a minimum; None if it is not known."""
        return None if self.curvature is None else self.curvature > _FLAT

    def as_json(self) -> dict[str, object]:
        """JSON values, units in the names."""
        return {
            "rounding_error_eV_per_angstrom": self.rounding,
            "kinds_apart_eV_per_angstrom": self.apart,
            "atoms_overlap": self.overlapping,
            "lowest_curvature_eV_per_angstrom2": self.curvature,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> End:
        """Read `as_json`."""
        return cls(*(record[name] for name in cls(0.0, 0.0, False, 0.0).as_json()))  # type: ignore[arg-type]


def examine(model: ForceModel, kind: Need, structure: Structure, converged: bool, free: _Free = None) -> End:
    """Find out what there is to know of a structure.

    :param kind: of the forces that led there
    :param converged: whether they vanish
    :param free: coordinates that are not fixed, shape (n_atoms, 3); None for all
    """
    (here,) = evaluate_each(model, [structure], model.forces)
    return End(
        rounding_error(model, kind, structure, free),
        None if isinstance(here, DarkforcesError) else apart(here),
        _overlapping(structure),
        lowest_curvature(model, kind, structure, free) if converged and len(structure.species) <= _MOST_ATOMS else None,
    )


def rounding_error(model: ForceModel, kind: Need, structure: Structure, free: _Free = None) -> float | None:
    """Rounding error of the force on the free atom where it is largest, eV/Å; None if forces are not finite."""
    weights = 1.0 if free is None else free
    random = np.random.default_rng(0)
    squares = []
    for _ in range(_DIRECTIONS):
        beside, shift = random.normal(size=(2, *structure.positions.shape)) * [[[_BESIDE]], [[_SHIFT]]]
        places = [replace(structure, positions=structure.positions + beside + k * shift) for k in (-1, 0, 1)]
        results = evaluate_each(model, places, kind)
        forces = [of_kind(kind, result) for result in results if not isinstance(result, DarkforcesError)]
        if len(forces) < 3:
            return None
        squares.append(np.sum(((forces[0] - 2.0 * forces[1] + forces[2]) * weights) ** 2, axis=1) / 6.0)
    return float(np.sqrt(np.mean(squares, axis=0).max()))


def lowest_curvature(model: ForceModel, kind: Need, structure: Structure, free: _Free = None) -> float | None:
    """The lowest curvature of the energy, or of the potential that forces stand for, eV/Å²; None if the model fails."""
    n = structure.positions.size
    try:
        jacobian = model.jacobian(structure, kind).matrix().reshape(n, n)
    except DarkforcesError:
        return None
    # Singular values are 0 and 1, but for the rounding errors of molecules that are nearly linear.
    if free is None or free.all():
        inner = null_space(_together(structure), rcond=0.5)
    else:
        inner = np.eye(n)[:, np.flatnonzero(free)]
    return float(np.linalg.eigvalsh(-0.5 * inner.T @ (jacobian + jacobian.T) @ inner)[0])


def _together(structure: Structure) -> np.ndarray:
    """The motions of all atoms together: the forces on each of which are taken away, shape (n, n_atoms * 3)."""
    size = structure.positions.size
    unit = np.eye(size).reshape(size, -1, 3)
    return np.eye(size) - np.array([without_net_force(each, structure).ravel() for each in unit])


def _overlapping(structure: Structure) -> bool:
    atoms = ase.Atoms(structure.species, structure.positions, cell=structure.cell, pbc=structure.periodic)
    return bool(len(neighbor_list("i", atoms, natural_cutoffs(atoms, mult=_OVERLAP))))
