"""Asymmetry of the Jacobian of a model's forces at a structure, exactly.

Forces that are the gradient of an energy have a symmetric Jacobian J = ∂f/∂r, which is minus the Hessian. What is left
of the difference to its transpose measures how far forces are from that (paper, equation 7)::

    λ = ‖J_anti‖_F / ‖J‖_F,   J_anti = (J - Jᵀ)/2

from 0 for conservative forces to 1 for those without any conservative part. Norms can be taken of parts of J. The part
that belongs to a pair of atoms is that of both its blocks, J_ij and J_ji, so that λ_ij is between 0 and 1 too::

    ‖J‖²_ij = (‖J_ij‖² + ‖J_ji‖²)/2,   λ_ij = ‖J_anti,ij‖ / ‖J‖_ij

and the part of an atom is the sum of its pairs, with itself too: λ² is then the mean of the squared λ_i of all atoms,
weighted with their share in ‖J‖².

What is judged are forces as they are served. Subtracting the mean from direct forces subtracts it from the rows of J,
whose columns have none to begin with (nothing happens when all atoms move together).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase.data import chemical_symbols
from ase.geometry import get_distances

from ..errors import DarkforcesError, about
from ..models.jacobian import Jacobian
from ..models.model import ForceModel, Need
from ..models.structure import Structure

# Rounding gives forces that are conservative a λ of about the precision of their derivatives, seldom ten times that.
ROUNDING = 100.0


@dataclass(frozen=True)
class Shell:
    """Pairs of atoms whose distances are alike; root mean squares over all of them, those without interaction too.

    :param nearest: Å
    :param furthest: Å
    :param distance: Å, the mean
    :param pairs: how many, each counted once
    :param total: ‖J‖_ij, eV/Å²
    :param antisymmetric: ‖J_anti,ij‖, eV/Å²
    """

    nearest: float
    furthest: float
    distance: float
    pairs: int
    total: float
    antisymmetric: float

    @property
    def asymmetry(self) -> float:
        """λ of all these pairs together."""
        return _ratio(self.antisymmetric, self.total)

    def as_json(self) -> dict[str, float]:
        """JSON values."""
        return {
            "nearest_angstrom": self.nearest,
            "furthest_angstrom": self.furthest,
            "mean_distance_angstrom": self.distance,
            "pairs": self.pairs,
            "total_eV_per_angstrom2": self.total,
            "antisymmetric_eV_per_angstrom2": self.antisymmetric,
            "lambda": self.asymmetry,
        }


@dataclass(frozen=True)
class Asymmetry:
    """The Jacobian of forces at a structure, pair by pair.

    :param species: atomic numbers, shape (n_atoms,)
    :param distances: Å, to the nearest image, shape (n_atoms, n_atoms)
    :param total: ‖J‖_ij, eV/Å², shape (n_atoms, n_atoms)
    :param antisymmetric: ‖J_anti,ij‖, eV/Å², likewise
    :param precision: relative precision of the derivatives
    """

    name: str
    species: np.ndarray
    distances: np.ndarray
    total: np.ndarray
    antisymmetric: np.ndarray
    precision: float

    @property
    def value(self) -> float:
        """λ of the whole structure."""
        return _ratio(np.linalg.norm(self.antisymmetric), np.linalg.norm(self.total))

    @property
    def is_rounding(self) -> bool:
        """Tell whether λ is no larger than what rounding makes of forces that are conservative."""
        return self.value < ROUNDING * self.precision

    @cached_property
    def atoms(self) -> np.ndarray:
        """λ_i of each atom, shape (n_atoms,); zero for atoms that nothing acts on."""
        return _ratios(np.linalg.norm(self.antisymmetric, axis=1), np.linalg.norm(self.total, axis=1))

    @cached_property
    def pairs(self) -> np.ndarray:
        """λ_ij of each pair of atoms, shape (n_atoms, n_atoms); zero where there is no interaction."""
        return _ratios(self.antisymmetric, self.total)

    @property
    def elements(self) -> dict[str, float]:
        """λ of all atoms of an element together."""
        return {
            chemical_symbols[z]: _ratio(np.linalg.norm(self.antisymmetric[own]), np.linalg.norm(self.total[own]))
            for z in np.unique(self.species)
            for own in [self.species == z]
        }

    def shells(self, width: float = 1.0) -> list[Shell]:
        """Against distance: first each atom with itself, then pairs of atoms, ``width`` Å at a time.

        The middles of shells are multiples of the width, so that bonds to hydrogen, of about 1 Å, are in one.
        """
        upper = np.triu_indices(len(self.species))
        distances, total, antisymmetric = (a[upper] for a in (self.distances, self.total, self.antisymmetric))
        own = upper[0] == upper[1]
        number = np.where(own, -1, np.floor(distances / width + 0.5).astype(int))
        return [
            Shell(
                max(0.0, (n - 0.5) * width),
                max(0.0, (n + 0.5) * width),
                float(np.mean(distances[inside])),
                int(np.sum(inside)),
                float(np.sqrt(np.mean(total[inside] ** 2))),
                float(np.sqrt(np.mean(antisymmetric[inside] ** 2))),
            )
            for n in np.unique(number).tolist()
            for inside in [number == n]
        ]

    def as_json(self) -> dict[str, object]:
        """JSON values, units in the names; pairs of atoms as lists of lists."""
        return {
            "structure": self.name,
            "atoms": len(self.species),
            "lambda": self.value,
            "is_rounding": self.is_rounding,
            "elements": self.elements,
            "lambda_of_atoms": self.atoms.tolist(),
            "shells": [shell.as_json() for shell in self.shells()],
            "distance_of_pairs_angstrom": self.distances.tolist(),
            "total_of_pairs_eV_per_angstrom2": self.total.tolist(),
            "antisymmetric_of_pairs_eV_per_angstrom2": self.antisymmetric.tolist(),
        }


def measure(
    model: ForceModel,
    structure: Structure,
    name: str,
    kind: Need = Need.DIRECT,
    report: Callable[[int], None] = lambda done: None,
) -> Asymmetry:
    """The asymmetry of all of J, for one backward pass for each of its rows.

    :param structure: at least two atoms
    :param kind: which forces, DIRECT or CONSERVATIVE
    :param report: called with the number of atoms that are done
    :raises DarkforcesError: if the model lacks these forces or does not know an element, or J is zero or not finite
    """
    jacobian = jacobian_at(model, structure, name, kind)
    blocks = check_finite(jacobian.matrix(report), name).transpose(0, 2, 1, 3)
    total = _norms(blocks)
    if not total.any():
        raise vanishing(name, kind)
    return Asymmetry(
        name,
        structure.species,
        distances(structure),
        np.sqrt(0.5 * (total**2 + total.T**2)),
        _norms(0.5 * (blocks - blocks.transpose(1, 0, 3, 2))),
        jacobian.precision,
    )


def jacobian_at(model: ForceModel, structure: Structure, name: str, kind: Need) -> Jacobian:
    """J of the model's forces, or an error that names the structure.

    :raises DarkforcesError: if the model lacks these forces or does not know an element, or if there is but one atom
    """
    if len(structure.species) < 2:
        raise DarkforcesError(f"{name} has one atom: expected at least two that act on each other")
    with about(name):
        return model.jacobian(structure, kind)


def check_finite(values: np.ndarray, name: str) -> np.ndarray:
    """Raise a DarkforcesError for NaN or infinity; return the values.

    :raises DarkforcesError: naming the structure
    """
    if not np.isfinite(values).all():
        raise DarkforcesError(f"{name}: derivatives of the forces are NaN or infinite")
    return values


def vanishing(name: str, kind: Need) -> DarkforcesError:
    """The message for a Jacobian that vanishes."""
    return DarkforcesError(f"{name}: the {kind} do not depend on the positions, so that there is no λ")


def distances(structure: Structure) -> np.ndarray:
    """Distances between each atom and the nearest image of each other, Å, shape (n_atoms, n_atoms)."""
    _, lengths = get_distances(structure.positions, cell=structure.cell, pbc=structure.periodic)
    return lengths


def _norms(blocks: np.ndarray) -> np.ndarray:
    return np.linalg.norm(blocks, axis=(2, 3))


def _ratio(antisymmetric: np.floating | float, total: np.floating | float) -> float:
    return float(antisymmetric / total) if total > 0.0 else 0.0


def _ratios(antisymmetric: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.divide(antisymmetric, total, out=np.zeros_like(total), where=total > 0.0)
