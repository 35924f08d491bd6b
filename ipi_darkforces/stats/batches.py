"""Error bars of curves, from averages over successive stretches of time: many values at once, in bounded memory.

For one series that fits in memory, `statistics` knows more.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from .estimates import Estimate


class Batches:
    """Averages over successive stretches of time of arrays that come one by one, in bounded memory.

    When there are too many stretches, neighbours are merged: there are always between 32 and 63 of them once 32 arrays
    have come.
    """

    def __init__(self) -> None:
        self.count = 0
        self._size = 1
        self._total: np.ndarray | float = 0.0
        self._open: np.ndarray | float = 0.0
        self._closed: list[np.ndarray] = []

    def add(self, values: np.ndarray) -> None:
        """The next array; all of them have the same shape."""
        self.count += 1
        self._total = self._total + values
        self._open = self._open + values
        if self.count % self._size == 0:
            self._closed.append(np.asarray(self._open) / self._size)
            self._open = 0.0
        if len(self._closed) == 64:
            self._closed = [(a + b) / 2.0 for a, b in zip(self._closed[::2], self._closed[1::2], strict=True)]
            self._size *= 2

    @property
    def mean(self) -> np.ndarray:
        """Average of all arrays."""
        return np.asarray(self._total) / self.count

    @property
    def means(self) -> np.ndarray:
        """Average of each stretch, shape (n_batches, ...); what came after the last whole stretch is left out."""
        return np.array(self._closed)


def standard_errors(means: np.ndarray) -> tuple[np.ndarray, float]:
    """Standard errors of the average of successive batch means (n, ...), and their degrees of freedom.

    The errors, of shape (...), are NaN if the run is too short to know them. Batches are merged in pairs until
    neighbours are uncorrelated (H. Flyvbjerg and H. G. Petersen, J. Chem. Phys. 91, 461 (1989)), on average over all
    that is in the array: one value alone says little about its correlation. What is left of it with less than 16
    batches enters the errors.
    """
    if len(means) < 4:
        return np.full(means.shape[1:], np.nan), np.inf
    correlation = _neighbour_correlation(means)
    while correlation > 0.1 and len(means) >= 16:
        n = len(means) // 2
        means = means[-2 * n :].reshape(n, 2, *means.shape[1:]).mean(axis=1)
        correlation = _neighbour_correlation(means)
    n = len(means)
    if correlation > 0.5:
        return np.full(means.shape[1:], np.nan), np.inf
    correlated = 1.0 + 2.0 * correlation if correlation > 0.1 else 1.0
    return means.std(axis=0, ddof=1) * np.sqrt(correlated / n), n - 1.0


def widening(freedom: float) -> float:
    """Factor that makes two standard errors with few degrees of freedom the 95 % interval, for shaded errors.

    An `Estimate` keeps its degrees of freedom instead.
    """
    return float(special.stdtrit(freedom, 0.975) / special.ndtri(0.975))


def curve_errors(means: np.ndarray) -> np.ndarray:
    """Standard errors of a curve, from batch means (n, ...), widened so that two of them are the 95 % interval."""
    errors, freedom = standard_errors(means)
    return errors * widening(freedom)


def _neighbour_correlation(means: np.ndarray) -> float:
    """Correlation of batch means (n, ...) with the next one, averaged over all of them that vary."""
    fluctuations = means - means.mean(axis=0)
    variances = np.square(fluctuations).sum(axis=0)
    products = (fluctuations[1:] * fluctuations[:-1]).sum(axis=0)
    varying = variances > 1e-20 * np.square(means).sum(axis=0)
    if not varying.any():
        return 0.0
    # The mean was taken from the same values, which lowers what is found by 1/n.
    return float((products[varying] / variances[varying]).mean()) + 1.0 / len(means)


def estimate(value: float, error: float, freedom: float) -> Estimate:
    """A value and its error, which may be NaN for not known."""
    return Estimate(float(value), float(error), freedom) if np.isfinite(error) else Estimate(float(value), None)
