"""Averages and slopes of correlated series, with error bars.

Successive values of a simulation are correlated, and the naive standard error is too small. Errors here are those of
n / (2 τ) independent values, where τ is the integrated autocorrelation time in units of the sampling interval
(A. D. Sokal, in Functional Integration, Springer (1997), section 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Fewer independent values than this say nothing about their own spread.
ENOUGH = 20.0


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error; the error is None if the series is too short to know it."""

    value: float
    error: float | None

    def text(self, unit: str) -> str:
        """Value, error and unit, with the digits that mean something."""
        if self.error is None:
            return f"{self.value:.3g} {unit} (too short for an error bar)"
        decimals = max(0, 1 - int(np.floor(np.log10(self.error)))) if self.error > 0 else 3
        return f"{self.value:.{decimals}f} ± {self.error:.{decimals}f} {unit}"


def autocorrelation_time(series: np.ndarray) -> float:
    """Integrated autocorrelation time τ of a series (n,), in sampling intervals; 1/2 for uncorrelated values.

    The sum over the autocorrelation function ends at the first lag that is larger than 5 τ, where noise takes over.
    """
    n = len(series)
    fluctuation = series - series.mean()
    if not fluctuation.any():
        return 0.5
    spectrum = np.abs(np.fft.rfft(fluctuation, 2 * n)) ** 2
    correlation = np.fft.irfft(spectrum)[:n] / np.arange(n, 0, -1)
    times = np.cumsum(correlation / correlation[0]) - 0.5
    window = np.arange(n) >= 5.0 * times
    return max(0.5, float(times[np.argmax(window)] if window.any() else times[-1]))


def mean(series: np.ndarray) -> Estimate:
    """Mean of a series (n,)."""
    independent = len(series) / (2.0 * autocorrelation_time(series))
    error = float(series.std() / np.sqrt(independent)) if independent >= ENOUGH else None
    return Estimate(float(series.mean()), error)


def slope(times: np.ndarray, series: np.ndarray) -> Estimate:
    """Slope of the straight line through a series (n,) at `times` (n,), in units of both."""
    if len(series) < 3:
        return Estimate(float("nan"), None)
    value, intercept = np.polyfit(times, series, 1)
    residuals = series - value * times - intercept
    tau = autocorrelation_time(residuals)
    if len(series) / (2.0 * tau) < ENOUGH:
        return Estimate(float(value), None)
    variance = 2.0 * tau * residuals.var() / ((times - times.mean()) ** 2).sum()
    return Estimate(float(value), float(np.sqrt(variance)))
