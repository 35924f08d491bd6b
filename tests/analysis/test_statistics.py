"""Error bars that account for time correlation."""

import numpy as np
import pytest

from ipi_darkforces.analysis import statistics


def correlated(n: int, tau: float, rng: np.random.Generator, runs: int = 1) -> np.ndarray:
    """Ornstein-Uhlenbeck series (runs, n) of unit variance with integrated autocorrelation time close to `tau`."""
    memory = np.exp(-1.0 / tau)
    noise = rng.normal(size=(runs, n)) * np.sqrt(1.0 - memory**2)
    series = np.empty((runs, n))
    series[:, 0] = rng.normal(size=runs)
    for i in range(1, n):
        series[:, i] = memory * series[:, i - 1] + noise[:, i]
    return series


def test_uncorrelated_values_have_the_shortest_time():
    series = np.random.default_rng(0).normal(size=20000)
    assert statistics.autocorrelation_time(series) == pytest.approx(0.5, abs=0.05)


def test_the_correlation_time_of_a_known_process():
    tau = 20.0
    memory = np.exp(-1.0 / tau)
    exact = 0.5 * (1.0 + memory) / (1.0 - memory)
    series = correlated(200_000, tau, np.random.default_rng(1))[0]
    assert statistics.autocorrelation_time(series) == pytest.approx(exact, rel=0.1)


def test_the_error_of_the_mean_covers_the_truth():
    series = correlated(4000, 10.0, np.random.default_rng(2), runs=400)
    estimates = [statistics.mean(s) for s in series]
    covered = np.mean([abs(e.value) < 1.96 * e.error for e in estimates])
    assert 0.91 < covered < 0.98
    # The naive error would cover the truth less than half of the time.
    naive = np.mean([abs(s.mean()) < 1.96 * s.std() / np.sqrt(len(s)) for s in series])
    assert naive < 0.5


def test_the_error_of_the_slope_covers_the_truth():
    times = np.linspace(0.0, 10.0, 4000)
    series = correlated(4000, 10.0, np.random.default_rng(3), runs=400) + 0.3 * times
    estimates = [statistics.slope(times, s) for s in series]
    covered = np.mean([abs(e.value - 0.3) < 1.96 * e.error for e in estimates])
    assert 0.90 < covered < 0.98


def test_a_series_that_is_too_short_has_no_error():
    series = correlated(30, 20.0, np.random.default_rng(4))[0]
    assert statistics.mean(series).error is None
    assert "too short" in statistics.mean(series).text("K")


def test_a_constant_has_no_spread():
    estimate = statistics.mean(np.full(100, 2.5))
    assert (estimate.value, estimate.error) == (2.5, 0.0)
    assert statistics.slope(np.arange(100.0), np.full(100, 2.5)).value == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(1466.3, 551.0, "1466 ± 551"), (117.16, 2.81, "117.2 ± 2.8"), (-0.0123, 0.00456, "-0.0123 ± 0.0046")],
)
def test_an_estimate_shows_the_digits_that_mean_something(value, error, text):
    assert statistics.Estimate(value, error).text("K") == f"{text} K"
