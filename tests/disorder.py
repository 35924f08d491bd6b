"""Atoms without any order, in all kinds of cells."""

from __future__ import annotations

import numpy as np

from ipi_darkforces import Structure

TRICLINIC = np.array([[7.0, 0.0, 0.0], [1.5, 6.8, 0.0], [-2.0, 1.0, 7.2]])
CELLS = {
    "cubic": 8.0 * np.eye(3),
    "triclinic": TRICLINIC,
    "smaller than the cutoff": np.diag([2.5, 3.0, 9.0]),
    "slab": np.diag([7.0, 8.0, 0.0]),
    "wire": np.diag([0.0, 0.0, 5.0]),
    "vacuum": np.zeros((3, 3)),
}


def atoms(cell: np.ndarray, n: int = 40) -> Structure:
    random = np.random.default_rng(7)
    return Structure(np.tile([8, 1], n // 2).astype(np.int32), random.uniform(-10, 10, (n, 3)), cell)
