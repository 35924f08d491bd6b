"""Error bars from batches, of many runs whose true averages are known."""

import numpy as np
import pytest
from scipy.signal import lfilter

from ipi_darkforces.stats.batches import Batches, curve_errors, standard_errors


def test_batches_keep_all_and_no_more_than_63():
    values = np.random.default_rng(12).normal(size=(1000, 2))
    batches = Batches()
    for value in values:
        batches.add(value)
    np.testing.assert_allclose(batches.mean, values.mean(axis=0))
    assert 32 <= len(batches.means) < 64
    np.testing.assert_allclose(batches.means[0], values[: 1000 // len(batches.means)].mean(axis=0))


def test_errors_from_batches_cover_the_truth():
    """The series is correlated; its naive error does not cover the truth."""
    rng = np.random.default_rng(13)
    kept = np.exp(-1 / 40.0)
    noise = rng.normal(size=(300, 6400)) * np.sqrt(1 - kept**2)
    noise[:, 0] = rng.normal(size=300)
    series = lfilter([1.0], [1.0, -kept], noise, axis=1)
    covered, unknown = [], 0
    for one in series:
        means = one.reshape(64, 100).mean(axis=1)
        error, freedom = standard_errors(means)
        if np.isnan(error):
            unknown += 1
        else:
            covered.append(abs(one.mean()) < error * (2.0 + 2.4 / freedom))
    assert unknown < 15
    assert 0.90 < np.mean(covered) < 0.98
    naive = series.std(axis=1) / 80.0
    assert np.mean(np.abs(series.mean(axis=1)) < 2 * naive) < 0.5


@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_two_errors_of_a_curve_cover_it_also_from_few_batches(correlation):
    """Batches of which neighbours share a part, for 100 distances: 5 of them, or 14 that are correlated."""
    rng = np.random.default_rng(19)
    n = 14 if correlation else 5
    share = (1 - np.sqrt(1 - 4 * correlation**2)) / (2 * correlation) if correlation else 0.0
    noise = rng.normal(size=(200, n + 1, 100))
    means = noise[:, 1:] + share * noise[:, :-1]
    covered = [np.abs(one.mean(axis=0)) < 2.0 * curve_errors(one) for one in means]
    assert 0.93 < np.mean(covered) < 0.97
