"""Small pieces of water, periodic or not."""

from __future__ import annotations

import numpy as np

from ipi_darkforces import Structure

VACUUM = np.zeros((3, 3))
TRICLINIC = np.array([[7.0, 0.0, 0.0], [1.5, 6.8, 0.0], [-2.0, 1.0, 7.2]])
_MOLECULE = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])


def few_waters(cell: np.ndarray, n_molecules: int = 8) -> Structure:
    """Molecules on a grid, each turned at random, so that there are no symmetries."""
    random = np.random.default_rng(5)
    places = np.array(list(np.ndindex(2, 2, 2)))[:n_molecules] * 3.1
    turned = [_MOLECULE @ np.linalg.qr(random.normal(size=(3, 3)))[0] + place for place in places]
    return Structure(np.array([8, 1, 1] * n_molecules, np.int32), np.concatenate(turned), cell)


def water_like(water: Structure, **changes: np.ndarray) -> Structure:
    """The same with other positions or another cell."""
    return Structure(**{"species": water.species, "positions": water.positions, "cell": water.cell, **changes})


def strained(structure: Structure, strain: np.ndarray) -> Structure:
    """Atoms and cell deformed alike."""
    return water_like(structure, positions=structure.positions @ strain, cell=structure.cell @ strain)


def unwrapped(water: Structure) -> Structure:
    """The same liquid with molecules moved by cell vectors."""
    away = np.repeat(np.arange(len(water.species) // 3) % 7 - 3, 3)[:, None] * water.cell[0]
    return water_like(water, positions=water.positions + away)


def oxygen_atom() -> Structure:
    """One atom in vacuum."""
    return Structure(np.array([8], np.int32), np.zeros((1, 3)), VACUUM)
