"""Molecules like H2O, by the distances of their atoms, and their directions.

The orientation u of a molecule, one atom with two equal partners, is the unit vector along the sum of both its bonds,
from the central atom: the bisector, and the direction of the dipole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ase
import numpy as np
from ase.data import atomic_numbers, covalent_radii
from ase.neighborlist import neighbor_list

from ..errors import DarkforcesError
from ..models.labels import element_of
from .io.trajectory import Block

# Two atoms are bonded that are closer than the sum of their covalent radii times this: 1.2 Å for O-H.
BONDED = 1.25


@dataclass(frozen=True)
class Molecules:
    """Molecules like H2O.

    :param centers: index of the central atom, shape (n,)
    :param ends: indices of its two partners, shape (n, 2)
    :param longest: bonding distance of each, Å, shape (n,)
    """

    centers: np.ndarray
    ends: np.ndarray
    longest: np.ndarray


def find_molecules(positions: np.ndarray, cell: np.ndarray, symbols: Sequence[str] | np.ndarray) -> Molecules:
    """Molecules of one atom with two partners of one other species, which have no other bonds.

    Two atoms are bonded if they are closer than 1.25 times the sum of their covalent radii.

    :param positions: Å, shape (n_atoms, 3)
    :param cell: Å, shape (3, 3)
    :param symbols: of the atoms, or labels that name their elements
    :raises DarkforcesError: if there are none, or if they are straight, so that they have no such orientation
    """
    elements = {str(label): element_of(str(label)) for label in symbols}
    unknown = sorted(label for label, element in elements.items() if element is None)
    if unknown:
        raise DarkforcesError(f"no covalent radius is known for {', '.join(unknown)}: expected chemical symbols")
    symbols = np.array([elements[str(label)] for label in symbols])
    atoms = ase.Atoms(numbers=[atomic_numbers[s] for s in symbols], positions=positions, cell=cell, pbc=True)
    radii = BONDED * covalent_radii[atoms.numbers]
    first, second, vectors = neighbor_list("ijD", atoms, radii)
    bonds = np.bincount(first, minlength=len(symbols))
    # With pairs sorted by the first atom, those of an atom with two bonds are next to each other.
    start = np.cumsum(bonds) - bonds
    candidates = np.flatnonzero(bonds == 2)
    pairs = start[candidates, None] + [0, 1]
    ends = second[pairs]
    good = (
        (bonds[ends] == 1).all(axis=1)
        & (symbols[ends[:, 0]] == symbols[ends[:, 1]])
        & (symbols[ends[:, 0]] != symbols[candidates])
    )
    if not good.any():
        raise DarkforcesError(
            f"no molecules like H2O in the first frame, with atoms {_formula(symbols)}: expected atoms with two "
            "partners of one other species, and no other bonds"
        )
    centers, ends, vectors = candidates[good], ends[good], vectors[pairs[good]]
    lengths = np.linalg.norm(vectors, axis=2).sum(axis=1)
    straight = np.linalg.norm(vectors.sum(axis=1), axis=1) < 0.2 * lengths
    if straight.any():
        i = int(np.flatnonzero(straight)[0])
        raise DarkforcesError(
            f"the molecule of atom {centers[i]} ({symbols[centers[i]]}) is straight: expected bent ones, whose "
            "bisector is their orientation"
        )
    return Molecules(centers, ends, radii[centers] + radii[ends[:, 0]])


def _formula(symbols: np.ndarray) -> str:
    return ase.Atoms(list(symbols)).get_chemical_formula()


def orientations(block: Block, molecules: Molecules) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors along the bisectors (n, n_molecules, 3), and the lengths of the bonds (n, n_molecules, 2) in Å.

    Bonds are taken to the nearest image of the partner: positions may be wrapped.
    """
    bonds = block.values[:, molecules.ends] - block.values[:, molecules.centers, None]
    cells = block.cells[:, None]
    # For what is shorter than half the cell's smallest width the nearest image has all fractions below a half.
    bonds -= np.rint(bonds @ np.linalg.pinv(cells)) @ cells
    bisectors = bonds.sum(axis=2)
    return bisectors / np.linalg.norm(bisectors, axis=2, keepdims=True), np.linalg.norm(bonds, axis=3)
