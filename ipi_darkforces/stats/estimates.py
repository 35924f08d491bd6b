"""Averages of correlated series, with error bars; of slopes, see `slopes`.

Successive values of a simulation are correlated, and the naive standard error is too small. The variance of the mean of
n values is Σ_t γ(t) (n - |t|)/n², γ being the autocovariance of the series, which is estimated from what is left after
subtracting the mean and cut off by a lag window before noise takes over (M. B. Priestley, Spectral Analysis and Time
Series, Academic Press (1981), chapter 6; for means of simulations A. D. Sokal, in Functional Integration, Springer
(1997), section 3). Three things make the error bars of short
series right:

- The window. It is flat, then falls linearly to zero (D. N. Politis and J. P. Romano, J. Time Ser. Anal. 16, 67
  (1995)): no bias from its flat part, and oscillations beyond it cancel instead of being cut anywhere. It is as long
  as both the integrated autocorrelation time (a small slow part under a large fast one) and the time for which the
  series correlates at all (oscillations, for which the former is small) ask for.
- Subtracting the mean takes S/n of the variance away, S being the sum over the window; it is put back (U. Wolff,
  Comput. Phys. Commun. 156, 143 (2004), section 3.3).
- The error is itself an estimate, with n / Σ window² - 1 degrees of freedom (Priestley, section 6.2.4): an interval
  that covers the truth 95 % of the time takes Student's t for so many of them, and not 1.96.

So it does for series of at least 2 `ENOUGH` independent values. Of those with just `ENOUGH`, half seem to have fewer
and get no error; the other half are those whose error comes out too small, and cover the truth 91 to 94 % of the time.

Blocking (H. Flyvbjerg and H. G. Petersen, J. Chem. Phys. 91, 461 (1989)) is the second opinion. Where it does not
agree, something is slower than the window and the series is too short to know its error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special  # not stats, which takes half a second to import

# Fewer independent values than this say nothing about their own spread.
ENOUGH = 20.0
# Nor does an error with fewer degrees of freedom than this.
_FEWEST_DEGREES = 2.0
# The middle of the window's slope, in integrated autocorrelation times, and in integrals over the squared
# autocorrelation function. The first is twice what Sokal uses: a tenth of the values that forget ten times as slowly as
# the others must not be missed.
_TIMES = 10.0
_SQUARES = 5.0
# Where the window begins to fall, as a part of its length.
_FLAT = 0.5
# Two estimates of the same variance that are as different as this happen once in a thousand times.
_DISAGREEMENT = 0.001
_FEWEST_BLOCKS = 8


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error; the error is None if the series is too short to know it.

    :param freedom: degrees of freedom with which the error is known
    """

    value: float
    error: float | None
    freedom: float = np.inf

    def text(self, unit: str) -> str:
        """Value, error and unit, with the digits that mean something."""
        if self.error is None and np.isfinite(self.value):
            return f"{f'{self.value:.4g} {unit}'.rstrip()} (too short for an error bar)"
        return self.brief(unit)

    def brief(self, unit: str = "") -> str:
        """Text with ``± ?`` for an error that is not known."""
        if not np.isfinite(self.value):
            return "too short to tell"
        if self.error is None:
            return f"{self.value:.4g} ± ? {unit}".rstrip()
        decimals = max(0, 1 - int(np.floor(np.log10(self.error)))) if self.error > 0 else 3
        return f"{self.fixed(decimals)} {unit}".rstrip()

    def fixed(self, decimals: int, width: int = 0) -> str:
        """Value and error with these decimals, each as wide as is given, for columns; 0 for an unknown error."""
        return f"{self.value:>{width}.{decimals}f} ± {self.error or 0.0:<{width}.{decimals}f}"

    def margin(self, confidence: float = 0.95) -> float | None:
        """Half of the interval around the value that covers the truth with this probability (Student's t)."""
        if self.error is None:
            return None
        return float(special.stdtrit(self.freedom, 0.5 + 0.5 * confidence)) * self.error

    def errors_from(self, expected: float) -> float | None:
        """Number of standard errors by which the value is above what was expected; None if that cannot be known."""
        return (self.value - expected) / self.error if self.error else None

    def at_least(self, error: float) -> Estimate:
        """Estimate with this standard error, which is certain, if that makes the interval longer."""
        known = Estimate(self.value, error)
        margin, other = self.margin(), known.margin()
        return self if margin is None or other is None or margin >= other else known

    def times(self, factor: float) -> Estimate:
        """Convert to another unit."""
        return Estimate(self.value * factor, None if self.error is None else self.error * abs(factor), self.freedom)

    def as_json(self) -> dict[str, float | None]:
        """Value, standard error and half of the 95 % interval; None for what is not known."""
        found = {"value": self.value, "error": self.error, "margin95": self.margin()}
        return {name: each if each is not None and np.isfinite(each) else None for name, each in found.items()}


def json_of(estimate: Estimate | None) -> dict[str, float | None] | None:
    """JSON values of an estimate, if there is one."""
    return None if estimate is None else estimate.as_json()


@dataclass(frozen=True)
class Blocking:
    """Errors of the mean from averages over blocks, for blocks of 1, 2, 4, ... values; shapes (n_levels,).

    :param lengths: values in a block
    :param errors: standard error of the mean if such blocks were independent; grows to a plateau with their length
    :param uncertainties: standard error of `errors`
    """

    lengths: np.ndarray
    errors: np.ndarray
    uncertainties: np.ndarray


@dataclass(frozen=True)
class _Memory:
    """Autocovariance of a series times the lag window (n_lags,), and sums over window and its square."""

    covariance: np.ndarray
    window_sum: float
    window_square_sum: float


def blocking(series: np.ndarray) -> Blocking:
    """Errors of the mean of a series (n,) by blocking (Flyvbjerg and Petersen, eqs. 20 to 28)."""
    lengths, errors, uncertainties = [], [], []
    length, blocks = 1, np.asarray(series, float)
    while len(blocks) >= 2:
        n = len(blocks)
        error = np.sqrt(blocks.var() / (n - 1))
        lengths.append(length)
        errors.append(error)
        uncertainties.append(error / np.sqrt(2.0 * (n - 1)))
        blocks = 0.5 * (blocks[0 : n - n % 2 : 2] + blocks[1::2])
        length *= 2
    return Blocking(np.array(lengths), np.array(errors), np.array(uncertainties))


def mean(series: np.ndarray) -> Estimate:
    """Mean of a series (n,)."""
    n = len(series)
    value = float(np.mean(series))
    residuals = series - value
    if not np.isfinite(residuals).all():
        return Estimate(value, None)
    if not residuals.any():  # a constant
        return Estimate(value, 0.0 if n >= ENOUGH else None)
    memory = _memory(residuals)
    freedom = n / memory.window_square_sum - 1.0
    if freedom < _FEWEST_DEGREES:
        return Estimate(value, None)
    products = memory.covariance * np.arange(n, n - len(memory.covariance), -1) / n**2
    variance = _restored(2.0 * products.sum() - products[0], memory, n)
    if variance <= 0.0 or n * products[0] / variance < ENOUGH or not _blocks_agree(residuals, memory):
        return Estimate(value, None)
    return Estimate(value, float(np.sqrt(variance)), freedom)


def _memory(residuals: np.ndarray) -> _Memory:
    n = len(residuals)
    covariance = _autocovariance_sums(residuals) / np.arange(n, 0, -1)
    correlation = covariance / covariance[0]
    times = np.cumsum(correlation) - 1.0  # beyond those of uncorrelated values
    squares = 2.0 * np.cumsum(correlation**2) - 2.0
    enough = np.arange(n) >= np.maximum(_TIMES * times, _SQUARES * squares)
    middle = 1 + int(np.argmax(enough[1:])) if enough[1:].any() else n - 1
    length = min(max(1, int(np.ceil(2.0 * middle / (1.0 + _FLAT)))), n - 1)
    lags = np.arange(length + 1)
    window = np.clip((length + 1 - lags) / (length + 1 - _FLAT * length), 0.0, 1.0)
    return _Memory(window * covariance[: length + 1], 2.0 * window.sum() - 1.0, 2.0 * (window**2).sum() - 1.0)


def _autocovariance_sums(series: np.ndarray) -> np.ndarray:
    """Σ_i x_i x_{i+t} for all lags t, shape (n,)."""
    n = len(series)
    padded = 1 << (2 * n - 1).bit_length()  # a power of two: fast, and no lag wraps around
    return np.fft.irfft(np.abs(np.fft.rfft(series, padded)) ** 2, padded)[:n]


def _restored(variance: float, memory: _Memory, n: int) -> float:
    """Add what subtracting the mean took away."""
    return variance / max(1.0 - memory.window_sum / n, 0.05)


def _blocks_agree(residuals: np.ndarray, memory: _Memory) -> bool:
    """Tell whether averages over blocks longer than the window scatter as the window says they should.

    Blocks as long as possible show what is slower than the window. With fewer than `_FEWEST_BLOCKS` of them nothing can
    be said, and nothing is.
    """
    n = len(residuals)
    levels = blocking(residuals)
    candidates = (levels.lengths >= len(memory.covariance)) & (n // levels.lengths >= _FEWEST_BLOCKS)
    if not candidates.any():
        return True
    level = int(np.flatnonzero(candidates)[-1])
    total = 2.0 * memory.covariance.sum() - memory.covariance[0]
    expected = _restored(total, memory, n) / n
    if expected <= 0.0:
        return False
    blocks = n // levels.lengths[level] - 1
    found = levels.errors[level] ** 2
    chance = special.fdtrc(blocks, n / memory.window_square_sum - 1.0, found / expected)
    return bool(_DISAGREEMENT < chance < 1.0 - _DISAGREEMENT)
