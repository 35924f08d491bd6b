"""Intervals of slopes that hold the truth, for noise and for random walks; `benchmarks/coverage.py` has more."""

from __future__ import annotations

import numpy as np
import pytest

from ipi_darkforces.stats.estimates import Estimate
from ipi_darkforces.stats.slopes import FEWEST, slope

RUNS = 200  # the standard error of a coverage is 1.5 %


@pytest.mark.parametrize(("walk", "n"), [(0.0, 300), (0.3, 2000), (1.0, 300), (1.0, 2000), (10.0, 300)])
def test_intervals_hold_the_truth(walk, n):
    """White noise and a random walk that ends at this standard deviation."""
    rng = np.random.default_rng(3)
    times = 5.0 + np.linspace(0.0, 10.0, n)
    noise = rng.normal(size=(RUNS, n)) + walk / np.sqrt(n) * np.cumsum(rng.normal(size=(RUNS, n)), axis=1)
    found = [slope(times, series + 0.3 * times) for series in noise]
    known = [each for each in found if each.error is not None]
    assert len(known) > 0.9 * RUNS
    assert np.mean([abs(each.value - 0.3) < each.margin() for each in known]) > 0.915
    values = np.array([each.value for each in found])
    assert abs(values.mean() - 0.3) < 4.0 * values.std() / np.sqrt(RUNS)
    assert np.median([each.margin() for each in known]) < 4.0 * 1.96 * values.std()  # and not for being endless


def test_the_naive_error_would_not():
    rng = np.random.default_rng(3)
    times = np.arange(300.0)
    held = 0
    for _ in range(RUNS):
        series = np.cumsum(rng.normal(size=300))
        (value, _), covariance = np.polyfit(times, series, 1, cov=True)
        held += abs(value) < 1.96 * np.sqrt(covariance[0, 0])
    assert held < 0.4 * RUNS


def test_a_line_is_known_exactly():
    times = 0.1 * np.arange(100)
    found = slope(times, 7.0 - 2.0 * times)
    assert found.value == pytest.approx(-2.0)
    assert found.error < 1e-6
    assert slope(times, np.full(100, 2.5)) == Estimate(0.0, 0.0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("times", "series"),
    [
        (np.arange(FEWEST - 1.0), np.arange(FEWEST - 1.0)),
        (np.zeros(50), np.arange(50.0)),
        (np.arange(50.0), np.full(50, np.nan)),
        (np.arange(1.0), np.arange(1.0)),
    ],
    ids=["few", "time stands still", "NaN", "one"],
)
def test_there_is_no_slope(times, series):
    found = slope(times, series)
    assert np.isnan(found.value)
    assert (found.error, found.text("K/ps")) == (None, "too short to tell")


def test_units_are_those_of_both():
    rng = np.random.default_rng(1)
    times, series = np.arange(500.0), rng.normal(size=500).cumsum()
    found, other = slope(times, series), slope(0.5 * times, 3.0 * series)
    assert other.value == pytest.approx(6.0 * found.value)
    assert other.error == pytest.approx(6.0 * found.error, rel=1e-4)
