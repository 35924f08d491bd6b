"""Asymmetry of the Jacobian by random probes: an estimate whose cost does not grow with the structure.

With random vectors v of independent elements ±1 (M. F. Hutchinson, Commun. Stat. Simul. Comput. 19, 433 (1990)), the
means of what J makes of them are squared norms, of all of J or of the rows that belong to some of the atoms::

    E |(J - Jᵀ) v|²/4 = ‖J_anti‖²,   E (|J v|² + |Jᵀ v|²)/2 = ‖J‖²

Both come without bias from one product J v and one Jᵀ v for each v, and how many are needed depends on how many atoms
share in the asymmetry: the more they are, the fewer. Their ratio λ² and its root have a bias of the order of one over
the number of probes; the jackknife takes it away, to the next order, and gives the standard error (B. Efron and
C. Stein, Ann. Stat. 9, 586 (1981)).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from ..errors import DarkforcesError
from ..models.jacobian import DerivedJacobian
from ..models.model import ForceModel, Need
from ..models.structure import Structure
from ..stats.estimates import Estimate
from .jacobian import ROUNDING, check_finite, jacobian_at, vanishing

# An error from fewer probes than this is itself not known well enough to stop by it.
_FEWEST_PROBES = 16


@dataclass(frozen=True)
class EstimatedAsymmetry:
    """The asymmetry at a structure, estimated from random probes.

    :param species: atomic numbers, shape (n_atoms,)
    :param total: estimates of the squared norm of the rows and columns of each atom, eV²/Å⁴, from each probe,
        shape (n_probes, n_atoms)
    :param antisymmetric: the same of J_anti
    :param precision: relative precision of the derivatives
    """

    name: str
    species: np.ndarray
    total: np.ndarray
    antisymmetric: np.ndarray
    precision: float

    @property
    def probes(self) -> int:
        """The number of probes."""
        return len(self.total)

    @property
    def value(self) -> Estimate:
        """λ of the whole structure."""
        return self._of(np.ones(len(self.species), dtype=bool))

    @property
    def is_rounding(self) -> bool:
        """Tell whether λ is no larger than what rounding makes of forces that are conservative."""
        return self.value.value < ROUNDING * self.precision

    @property
    def elements(self) -> dict[str, Estimate]:
        """λ of all atoms of an element together."""
        return {chemical_symbols[z]: self._of(self.species == z) for z in np.unique(self.species)}

    @property
    def atoms(self) -> list[Estimate]:
        """λ_i of each atom; far less certain than that of all."""
        return [self._of(np.array([i])) for i in range(len(self.species))]

    def _of(self, atoms: np.ndarray) -> Estimate:
        return _root_of_ratio(self.antisymmetric[:, atoms].sum(axis=1), self.total[:, atoms].sum(axis=1))

    def as_json(self) -> dict[str, object]:
        """JSON values with standard errors."""
        return {
            "structure": self.name,
            "atoms": len(self.species),
            "probes": self.probes,
            "lambda": self.value.as_json(),
            "is_rounding": self.is_rounding,
            "elements": {symbol: estimate.as_json() for symbol, estimate in self.elements.items()},
            "lambda_of_atoms": [estimate.as_json() for estimate in self.atoms],
        }


def estimate(
    model: ForceModel,
    structure: Structure,
    name: str,
    kind: Need,
    error: float,
    report: Callable[[int, float], None] = lambda done, reached: None,
    seed: int = 0,
) -> EstimatedAsymmetry:
    """λ with a standard error of at most ``error`` λ.

    :param model: one that can be differentiated
    :param structure: at least two atoms
    :param kind: which forces, DIRECT or CONSERVATIVE
    :param error: relative standard error at which to stop, between 0 and 1
    :param report: called with the number of probes, and the relative standard error that they give
    :raises DarkforcesError: if the model lacks these forces or their derivatives, or does not know an element
    """
    jacobian = jacobian_at(model, structure, name, kind)
    if not isinstance(jacobian, DerivedJacobian):
        raise DarkforcesError(
            f"model '{model.name}' cannot be differentiated, and finite differences give no Jᵀ v to estimate λ with; "
            "leave --error away for all of J"
        )
    random = np.random.default_rng(seed)
    total, antisymmetric = [], []
    while True:
        probe = random.choice([-1.0, 1.0], size=structure.positions.shape)
        right = check_finite(jacobian.times(probe), name)
        left = check_finite(jacobian.transposed_times(probe), name)
        total.append(0.5 * np.sum(right**2 + left**2, axis=1))
        antisymmetric.append(0.25 * np.sum((right - left) ** 2, axis=1))
        if not total[-1].any():
            raise vanishing(name, kind)
        if len(total) < 2:
            continue
        result = EstimatedAsymmetry(
            name, structure.species, np.array(total), np.array(antisymmetric), jacobian.precision
        )
        reached = _relative_error(result.value)
        report(len(total), reached)
        if len(total) >= _FEWEST_PROBES and (reached <= error or result.is_rounding):
            return result


def _relative_error(estimate: Estimate) -> float:
    assert estimate.error is not None
    return estimate.error / estimate.value if estimate.value > 0.0 else 0.0


def _root_of_ratio(numerators: np.ndarray, denominators: np.ndarray) -> Estimate:
    """√(mean of the first / mean of the second), both of shape (n,), by the jackknife."""
    n = len(numerators)
    numerator, denominator = numerators.sum(), denominators.sum()
    if denominator == 0.0:
        return Estimate(0.0, 0.0)
    whole = np.sqrt(numerator / denominator)
    others = denominator - denominators
    without_one = np.sqrt(np.divide(numerator - numerators, others, out=np.zeros(n), where=others > 0.0).clip(0.0))
    error = np.sqrt((n - 1) * np.mean((without_one - without_one.mean()) ** 2))
    return Estimate(max(0.0, float(n * whole - (n - 1) * without_one.mean())), float(error), n - 1)
