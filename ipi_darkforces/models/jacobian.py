"""The Jacobian of forces, J = ∂f/∂r, by its products with vectors.

J has (3n)² elements and is rarely wanted as a whole. Automatic differentiation gives v J for the price of a backward
pass; models that cannot be differentiated have at least J v, from finite differences.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np


class Jacobian(ABC):
    """J of the forces at one geometry, eV/Å²; what it is multiplied with, and gives, has the shape (n_atoms, 3).

    :param precision: relative precision of the products, as an order of magnitude
    """

    def __init__(self, n_atoms: int, precision: float):
        self.n_atoms = n_atoms
        self.precision = precision

    @abstractmethod
    def times(self, vectors: np.ndarray) -> np.ndarray:
        """J v: how the forces change when the atoms move along v.

        :raises DarkforcesError: if the model does not allow it
        """

    @abstractmethod
    def matrix(self, report: Callable[[int], None] = lambda done: None) -> np.ndarray:
        """The whole: element [i, a, j, b] is the derivative of component a of the force on atom i with respect to
        coordinate b of atom j.

        :param report: called with the number of atoms that are done
        :return: shape (n_atoms, 3, n_atoms, 3)
        """


class DerivedJacobian(Jacobian):
    """A Jacobian with exact products from both sides."""

    @abstractmethod
    def transposed_times(self, vectors: np.ndarray) -> np.ndarray:
        """Jᵀ v: the gradient of Σ f · v, with v held fixed."""

    def matrix(self, report: Callable[[int], None] = lambda done: None) -> np.ndarray:
        """Row by row, with one backward pass for each."""
        return _assembled(self.n_atoms, self.transposed_times, report)


class FiniteDifferences(Jacobian):
    """J from central differences of the forces.

    The error is the sum of that of the difference, of order step², and of rounding, of order ε/step. The step that
    makes it smallest is ε^⅓ times the length over which forces change, here 1 Å, and leaves ε^⅔ (W. H. Press et al.,
    Numerical Recipes, 3rd edition, Cambridge University Press (2007), section 5.7).

    :param forces: from the positions, both of shape (n_atoms, 3), of several geometries at once
    :param positions: Å, shape (n_atoms, 3)
    :param epsilon: relative rounding error of the forces
    """

    def __init__(self, forces: Callable[[list[np.ndarray]], list[np.ndarray]], positions: np.ndarray, epsilon: float):
        super().__init__(len(positions), epsilon ** (2.0 / 3.0))
        self._forces = forces
        self._positions = positions
        self.step = epsilon ** (1.0 / 3.0)

    def times(self, vectors: np.ndarray) -> np.ndarray:
        """J v, from two evaluations; the atom that moves furthest moves by the step."""
        longest = float(np.linalg.norm(vectors, axis=1).max())
        if longest == 0.0:
            return np.zeros_like(vectors)
        displacement = self.step / longest * vectors
        ahead, behind = self._forces([self._positions + displacement, self._positions - displacement])
        return (ahead - behind) * (longest / (2.0 * self.step))

    def matrix(self, report: Callable[[int], None] = lambda done: None) -> np.ndarray:
        """Column by column, with two evaluations for each."""
        return _assembled(self.n_atoms, self.times, report).transpose(2, 3, 0, 1)


def _assembled(n_atoms: int, product: Callable[[np.ndarray], np.ndarray], report: Callable[[int], None]) -> np.ndarray:
    """The products with all unit vectors, shape (n_atoms, 3, n_atoms, 3)."""
    rows = np.empty((n_atoms, 3, n_atoms, 3))
    unit = np.zeros((n_atoms, 3))
    for i in range(n_atoms):
        for a in range(3):
            unit[i, a] = 1.0
            rows[i, a] = product(unit)
            unit[i, a] = 0.0
        report(i + 1)
    return rows
