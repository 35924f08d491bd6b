"""Slope of a series in time, with an error that holds for noise, for a random walk, and for both.

A conserved quantity is bounded noise, from the integrator, and a random walk with a drift, from what heats: impulses
and wrong forces do work at random. Residuals around a line say little of a walk, which is at its largest where the line
is, so that errors from them are several times too small. Here the slope is estimated in the space of the lowest cosine
transforms of the series (U. K. Müller and M. W. Watson, Econometrica 76, 979 (2008)), which are independent for all of
it: with z_k those of the series and d_k those of time, for k from 1 to 30 (of fewer than 300 values, a tenth of them,
12 at least: vibrations are no noise of low frequencies)::

    z_k = b d_k + e_k,    var e_k ∝ c_k + ρ (π/2n)² / sin²(π k/2n)

The second term is exact for a random walk of n steps; the first is noise, either white at these low frequencies or, for
vibrations that are slower than usual, rising as c_k = 1 + (k/κ)². What is slower than the series can show, such as
noise that remembers a part of it, counts as a walk. The ratio ρ is seldom known from one series. All values are
therefore averaged over, weighted with their likelihood, the scale of e_k and b integrated out (restricted likelihood),
and with ρ^0.05, so that a walk that cannot be seen is not taken for none: intervals are more than twice as wide as
those of someone who knows that there is no walk, and right where there is one. With less weight on walks the former
would be shorter, and the latter too short. `benchmarks/coverage.py` measures it.
"""

from __future__ import annotations

import numpy as np
from scipy import fft, optimize, special

from .estimates import Estimate

FEWEST = 20  # values
_TRANSFORMS = 30
_FEWEST_TRANSFORMS = 12
_RATIOS = np.logspace(-2.0, 6.0, 33)  # ρ; from no walk to a walk alone
_RISES = (5.0, 15.0)  # κ
_PREFERENCE = 0.05  # exponent of ρ
# With fewer the interval has no length worth saying.
_FEWEST_DEGREES = 1.0
_CONFIDENCES = (0.95, 0.6827)
_NEGLIGIBLE = 1e-6
_ROUNDING = 1e-20  # of squares, where a series is a line


def slope(times: np.ndarray, series: np.ndarray) -> Estimate:
    """Slope of a series (n,) at `times` (n,), evenly spaced, in units of both.

    There is none (NaN) of fewer than 20 values, of what is not finite, or where time stands still, as in optimisations.
    It has no error where the interval could be of any length.
    """
    n = len(series)
    if n < FEWEST or times[-1] == times[0] or not np.isfinite(series).all():
        return Estimate(float("nan"), None)
    k = np.arange(1, min(_TRANSFORMS, max(_FEWEST_TRANSFORMS, n // 10)) + 1)
    drift = fft.dct(times - times[0], norm="ortho")[k]
    values = fft.dct(series - series[0], norm="ortho")[k]
    if not values.any():  # a constant
        return Estimate(0.0, 0.0)
    variances = _variances(k, n)
    weights = 1.0 / variances
    information = weights @ drift**2
    slopes = weights @ (drift * values) / information
    squares = weights @ values**2
    squares = np.maximum(squares - slopes**2 * information, _ROUNDING * squares)
    freedom = len(k) - 1.0
    likelihood = -0.5 * (np.log(variances).sum(axis=1) + np.log(information) + freedom * np.log(squares))
    likelihood += _PREFERENCE * np.log(np.tile(_RATIOS, len(_RISES) + 1))
    chances = np.exp(likelihood - likelihood.max())
    counts = chances > _NEGLIGIBLE
    chances = chances[counts] / chances[counts].sum()
    return _summary(chances, slopes[counts], np.sqrt(squares / (freedom * information))[counts], freedom)


def _variances(k: np.ndarray, n: int) -> np.ndarray:
    """Variances of e_k, up to a scale, for each kind of noise and ratio, shape (n_noises n_ratios, n_transforms)."""
    walk = walk_variances(k, n)
    noises = [np.ones(len(k)), *(1.0 + (k / rise) ** 2 for rise in _RISES)]
    return np.concatenate([noise + _RATIOS[:, None] * walk for noise in noises])


def walk_variances(k: np.ndarray, n: int) -> np.ndarray:
    """Variances of the cosine transforms k of a random walk of n steps, over (n/π)² times that of one step."""
    variances: np.ndarray = (0.5 * np.pi / n) ** 2 / np.sin(0.5 * np.pi * k / n) ** 2
    return variances


def _summary(chances: np.ndarray, slopes: np.ndarray, errors: np.ndarray, freedom: float) -> Estimate:
    """A mixture of Student's distributions as the one with the same mean and intervals.

    :param chances: of each, shape (m,)
    :param slopes: their means, shape (m,)
    :param errors: their scales, shape (m,)
    :param freedom: of each of them
    """
    mean = float(chances @ slopes)

    def outside(half: float, confidence: float) -> float:
        above, below = ((mean + sign * half - slopes) / errors for sign in (1.0, -1.0))
        inside = chances @ (special.stdtr(freedom, above) - special.stdtr(freedom, below))
        return float(inside - confidence)

    widest = float(np.abs(slopes - mean).max() + 100.0 * errors.max())
    wide, narrow = (optimize.brentq(outside, 0.0, widest, args=(c,), rtol=1e-6) for c in _CONFIDENCES)

    def mismatch(degrees: float) -> float:
        large, small = (special.stdtrit(degrees, 0.5 + 0.5 * c) for c in _CONFIDENCES)
        return float(large / small - wide / narrow)

    if mismatch(_FEWEST_DEGREES) < 0.0:
        return Estimate(mean, None)
    degrees = optimize.brentq(mismatch, _FEWEST_DEGREES, 1e6) if mismatch(1e6) < 0.0 else np.inf
    return Estimate(mean, float(wide / special.stdtrit(min(degrees, 1e9), 0.975)), degrees)
