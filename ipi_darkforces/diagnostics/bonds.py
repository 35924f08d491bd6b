"""Molecules of any kind, made whole where they lie across the boundary."""

from __future__ import annotations

import ase
import numpy as np
from ase.geometry import find_mic
from ase.neighborlist import natural_cutoffs, neighbor_list
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..analysis.molecules import BONDED
from ..models.structure import Structure


def bonds(structure: Structure) -> np.ndarray:
    """Pairs of atoms that are closer than the sum of their covalent radii and 25 %, i < j, in order, shape (n, 2)."""
    atoms = ase.Atoms(structure.species, structure.positions, cell=structure.cell, pbc=structure.periodic)
    pairs = np.stack(neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=BONDED)), axis=1)
    return np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)


def bonded_atoms(structure: Structure) -> list[np.ndarray]:
    """Atoms that are bonded to each other, directly or not.

    :return: indices of the atoms of each molecule, shape (n_atoms_of_it,)
    """
    n = len(structure.species)
    first, second = bonds(structure).T
    _, labels = connected_components(coo_array((np.ones(len(first)), (first, second)), shape=(n, n)), directed=False)
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def nearest_images(vectors: np.ndarray, structure: Structure) -> np.ndarray:
    """The shortest of all images of each vector (n, 3), Å."""
    if not structure.periodic.any():
        return vectors
    shortest, _ = find_mic(vectors, structure.cell, structure.periodic)
    return shortest
