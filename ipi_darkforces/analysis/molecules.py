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


def find_molecules(positions: np.ndarray, cell: np.ndarray, symbols: Sequence[str] | np.ndarray) -> Molecules | None:
    """Molecules of one atom with two partners of one other species, which have no other bonds, and are not straight.

    Two atoms are bonded if they are closer than 1.25 times the sum of their covalent radii.

    :param positions: Å, shape (n_atoms, 3)
    :param cell: Å, shape (3, 3)
    :param symbols: of the atoms, or labels that name their elements
    :return: None if there are none, or a label names no element
    """
    symbols = np.array([element_of(str(label)) or "" for label in symbols])
    if not all(symbols):
        return None
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
        return None
    centers, ends, vectors = candidates[good], ends[good], vectors[pairs[good]]
    lengths = np.linalg.norm(vectors, axis=2).sum(axis=1)
    if (np.linalg.norm(vectors.sum(axis=1), axis=1) < 0.2 * lengths).any():
        return None
    return Molecules(centers, ends, radii[centers] + radii[ends[:, 0]])


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
