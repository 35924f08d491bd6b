"""Seeds taken together: averages whose intervals cover the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from ipi_darkforces.analysis.statistics import Estimate
from ipi_darkforces.campaign.seeds import combined


def coverage(make, trials: int = 4000) -> float:
    """How often the 95 % interval of the combined estimate has zero in it."""
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(trials):
        found = combined(make(rng))
        inside += abs(found.value) <= found.margin()
    return inside / trials


@pytest.mark.parametrize("n", [2, 3, 8])
def test_errors_from_between_the_seeds(n):
    assert 0.935 < coverage(lambda rng: [Estimate(value, None) for value in rng.normal(size=n)]) < 0.965


@pytest.mark.parametrize("n", [2, 3, 8])
def test_errors_from_within_the_seeds(n):
    """Each error is itself an estimate from ten values."""

    def make(rng):
        samples = rng.normal(size=(n, 10))
        return [Estimate(s.mean(), s.std(ddof=1) / np.sqrt(10), 9.0) for s in samples]

    assert 0.93 < coverage(make) < 0.97


def test_seeds_that_differ_by_more_than_their_errors_are_not_believed():
    honest = combined([Estimate(1.0, 1.0), Estimate(2.0, 1.0), Estimate(3.0, 1.0)])
    assert (honest.value, honest.error) == pytest.approx((2.0, 1.0 / np.sqrt(3)))
    assert honest.freedom == np.inf
    differing = combined([Estimate(10.0, 1.0), Estimate(20.0, 1.0), Estimate(30.0, 1.0)])
    assert (differing.value, differing.error) == pytest.approx((20.0, 10.0 / np.sqrt(3)))
    assert differing.freedom == 2


def test_one_seed_is_itself():
    alone = Estimate(1.0, None)
    assert combined([alone]) is alone
