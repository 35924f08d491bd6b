"""Error bars that account for time correlation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.signal import lfilter

from ipi_darkforces.stats import estimates as statistics
from ipi_darkforces.stats.estimates import Estimate

Process = Callable[[int, int, np.random.Generator], np.ndarray]
RUNS = 1500  # the standard error of a coverage is 0.6 %


def forgetting(tau: float) -> Process:
    """Ornstein-Uhlenbeck series (runs, n) of unit variance, whose correlation decays as exp(-t/tau)."""

    def draw(runs: int, n: int, rng: np.random.Generator) -> np.ndarray:
        memory, past = np.exp(-1.0 / tau), int(20 * tau)
        noise = rng.normal(size=(runs, n + past)) * np.sqrt(1.0 - memory**2)
        return lfilter([1.0], [1.0, -memory], noise, axis=1)[:, past:]

    return draw


def ringing(tau: float, period: float) -> Process:
    """Noise through a damped oscillator: correlation that decays as exp(-t/tau) and changes its sign."""

    def draw(runs: int, n: int, rng: np.random.Generator) -> np.ndarray:
        radius, angle, past = np.exp(-1.0 / tau), 2.0 * np.pi / period, int(20 * tau)
        noise = rng.normal(size=(runs, n + past))
        return lfilter([1.0], [1.0, -2.0 * radius * np.cos(angle), radius**2], noise, axis=1)[:, past:]

    return draw


def sum_of(*parts: tuple[float, Process]) -> Process:
    """Independent processes with these standard deviations."""

    def draw(runs: int, n: int, rng: np.random.Generator) -> np.ndarray:
        series = [(deviation, process(runs, n, rng)) for deviation, process in parts]
        return sum(deviation * values / values.std() for deviation, values in series)

    return draw


def white(runs: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Uncorrelated values."""
    return rng.normal(size=(runs, n))


# A tenth of a large, fast fluctuation is forgotten twenty times as slowly: most of the error comes from there.
TWO = sum_of((np.sqrt(0.7), forgetting(2.0)), (np.sqrt(0.3), forgetting(40.0)))
RINGING = ringing(30.0, 12.0)
BOTH = sum_of((1.0, RINGING), (0.5, forgetting(10.0)))

# All have at least 2 ENOUGH independent values.
LONG_ENOUGH = [
    pytest.param(white, 40, id="white, 40"),
    pytest.param(white, 1000, id="white, 1000"),
    pytest.param(forgetting(3.0), 250, id="tau 3, 250"),
    pytest.param(forgetting(3.0), 2000, id="tau 3, 2000"),
    pytest.param(forgetting(10.0), 800, id="tau 10, 800"),
    pytest.param(forgetting(10.0), 4000, id="tau 10, 4000"),
    pytest.param(forgetting(50.0), 6000, id="tau 50, 6000"),
    pytest.param(TWO, 2000, id="tau 2 and 40, 2000"),
    pytest.param(TWO, 5000, id="tau 2 and 40, 5000"),
    pytest.param(RINGING, 1000, id="ringing, 1000"),
    pytest.param(RINGING, 4000, id="ringing, 4000"),
    pytest.param(BOTH, 1000, id="ringing and forgetting, 1000"),
    pytest.param(ringing(60.0, 60.0), 3000, id="slowly ringing, 3000"),
]


def coverage(estimates: list[Estimate], truth: float) -> float:
    """The share of 95 % intervals, of the estimates that have one, that cover the truth."""
    known = [estimate for estimate in estimates if estimate.error is not None]
    assert len(known) > 0.8 * len(estimates)
    return float(np.mean([abs(estimate.value - truth) < estimate.margin() for estimate in known]))


@pytest.mark.parametrize(("process", "n"), LONG_ENOUGH)
def test_the_interval_of_the_mean_covers_the_truth(process, n):
    series = 7.0 + process(RUNS, n, np.random.default_rng(2))
    assert 0.93 < coverage([statistics.mean(s) for s in series], 7.0) < 0.97


def test_the_naive_error_would_not_cover_the_truth():
    series = forgetting(10.0)(400, 4000, np.random.default_rng(2))
    assert np.mean([abs(s.mean()) < 1.96 * s.std() / np.sqrt(len(s)) for s in series]) < 0.5


def test_nor_would_1_96_errors_of_a_short_series():
    series = forgetting(10.0)(RUNS, 800, np.random.default_rng(2))
    known = [e for e in map(statistics.mean, series) if e.error is not None]
    assert np.mean([abs(e.value) < 1.96 * e.error for e in known]) < 0.93


def correlation_times(series):
    """Integrated correlation times τ, by errors of means: their squares are those of n / (2 τ) independent values."""
    known = [(statistics.mean(each).error, each) for each in series]
    return np.array([0.5 * len(each) * error**2 / each.var() for error, each in known if error is not None])


def test_uncorrelated_values_have_a_time_of_one_half():
    assert correlation_times(white(10, 20_000, np.random.default_rng(0))).mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("tau", [3.0, 20.0])
def test_the_correlation_time_of_a_known_process(tau):
    memory = np.exp(-1.0 / tau)
    exact = 0.5 * (1.0 + memory) / (1.0 - memory)
    series = forgetting(tau)(10, 200_000, np.random.default_rng(1))
    assert correlation_times(series).mean() == pytest.approx(exact, rel=0.05)


def test_oscillations_compensate_each_other():
    radius, angle = np.exp(-1.0 / 30.0), 2.0 * np.pi / 12.0
    series = RINGING(20, 20_000, np.random.default_rng(1))
    at_zero = 1.0 / abs(1.0 - 2.0 * radius * np.cos(angle) + radius**2) ** 2  # the spectrum, of unit noise
    exact = 0.5 * at_zero / series.var()
    assert exact < 0.3
    assert correlation_times(series).mean() == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize("process", [white, forgetting(10.0), TWO, BOTH])
def test_blocking_agrees(process):
    series = process(1, 100_000, np.random.default_rng(5))[0]
    levels = statistics.blocking(series)
    plateau = np.flatnonzero(levels.lengths >= 500)[0]
    error = statistics.mean(series).error
    assert abs(levels.errors[plateau] - error) < 3.0 * levels.uncertainties[plateau]
    np.testing.assert_allclose(levels.errors[0], series.std(ddof=1) / np.sqrt(len(series)))


def test_blocks_are_averages_of_successive_values():
    levels = statistics.blocking(np.array([1.0, 3.0, 2.0, 6.0, 100.0]))
    np.testing.assert_array_equal(levels.lengths, [1, 2])
    np.testing.assert_allclose(levels.errors[1], np.std([2.0, 4.0]))


def test_a_jump_that_the_window_is_too_short_for_is_noticed():
    """Fast noise around a level that once changes a little: the window sees the noise, the blocks see the change."""
    rng = np.random.default_rng(0)
    series = rng.normal(size=2000) + np.repeat([0.0, 0.3], 1000)
    assert statistics.mean(series).error is None
    assert statistics.mean(rng.normal(size=2000)).error is not None


@pytest.mark.parametrize("n", [1, 2, 10, 30])
def test_a_series_that_is_too_short_has_no_error(n):
    series = forgetting(20.0)(1, n, np.random.default_rng(4))[0]
    estimate = statistics.mean(series)
    assert (estimate.error, estimate.margin(), estimate.errors_from(0.0)) == (None, None, None)
    assert "too short" in estimate.text("K")
    assert "nan" not in estimate.text("K")


def test_a_constant_has_no_spread():
    estimate = statistics.mean(np.full(100, 2.5))
    assert (estimate.value, estimate.error) == (2.5, 0.0)


def test_what_is_not_a_number_has_no_error():
    series = np.random.default_rng(0).normal(size=100)
    series[50] = np.nan
    assert statistics.mean(series).error is None


def test_the_interval_is_students():
    assert Estimate(0.0, 1.0).margin() == pytest.approx(1.96, abs=1e-3)
    assert Estimate(0.0, 2.0, 5.0).margin() == pytest.approx(2.0 * 2.571, abs=2e-3)
    assert Estimate(0.0, 1.0).margin(0.68) == pytest.approx(0.994, abs=1e-3)


def test_how_far_a_value_is_from_what_was_expected():
    assert Estimate(310.0, 4.0).errors_from(300.0) == 2.5
    assert Estimate(1.0, 4.0, 9.0).at_least(5.0) == Estimate(1.0, 5.0)
    assert Estimate(1.0, 4.0, 2.0).at_least(5.0) == Estimate(1.0, 4.0, 2.0)
    assert Estimate(1.0, None).at_least(5.0) == Estimate(1.0, None)
    assert Estimate(1.0, 4.0).at_least(3.0) == Estimate(1.0, 4.0)
    assert Estimate(310.0, 4.0, 9.0).times(-0.5) == Estimate(-155.0, 2.0, 9.0)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(1466.3, 551.0, "1466 ± 551"), (117.16, 2.81, "117.2 ± 2.8"), (-0.0123, 0.00456, "-0.0123 ± 0.0046")],
)
def test_an_estimate_shows_the_digits_that_mean_something(value, error, text):
    assert Estimate(value, error).text("K") == f"{text} K"


def test_texts_of_estimates_for_tables():
    assert Estimate(1.5, None).brief("K") == "1.5 ± ? K"
    assert Estimate(1.5, 0.25).brief() == "1.50 ± 0.25"
    assert Estimate(float("nan"), None).brief() == "too short to tell"
    assert Estimate(1.5, 0.25).fixed(3, width=6) == " 1.500 ± 0.250 "
