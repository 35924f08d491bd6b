"""Seeds taken together: averages whose intervals cover the truth as often as they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ipi_darkforces.analysis.displacements import displacements
from ipi_darkforces.analysis.io.trajectory import Block
from ipi_darkforces.analysis.motion import Motion
from ipi_darkforces.analysis.spectra import spectra
from ipi_darkforces.analysis.structure import Correlations, Function
from ipi_darkforces.campaign.seeds import combined, combined_motion, combined_structure, shared
from ipi_darkforces.stats.estimates import Estimate


def coverage(make, common: float = 0.0, trials: int = 2000) -> float:
    """The share of 95 % intervals of the combined estimate that contain zero."""
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(trials):
        found = combined(make(rng), common)
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


@pytest.mark.parametrize("errors", ["known", "not known"])
@pytest.mark.parametrize("common", [0.3, 0.8])
def test_what_seeds_have_in_common_is_one_sample(common, errors):
    """Each estimate is a sum of a part that all starts share, and of its own."""

    def make(rng):
        values = np.sqrt(common) * rng.normal() + np.sqrt(1.0 - common) * rng.normal(size=4)
        return [Estimate(value, 1.0 if errors == "known" else None) for value in values]

    assert 0.935 < coverage(make, common) < 0.97
    assert coverage(make, 0.0) < 0.9  # as if they were independent


def test_seeds_that_have_all_in_common_are_as_good_as_one():
    assert combined([Estimate(value, 2.0) for value in (1.0, 1.1, 1.2)], 1.0).error == pytest.approx(2.0)
    assert combined([Estimate(value, None) for value in (1.0, 1.1, 1.2)], 1.0).error is None


@pytest.mark.parametrize(
    ("picoseconds", "discard", "part"),
    [(0.8, 0.0, 1.0), (2.0, 0.0, 0.5), (2.0, 0.5, 1.0 / 3.0), (20.0, 2.0, 0.0), (0.05, 0.1, 1.0)],
)
def test_the_first_ps_is_what_seeds_have_in_common(picoseconds, discard, part):
    assert shared(picoseconds, discard) == pytest.approx(part)


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


def motion(seed: int, n_frames: int = 800) -> Motion:
    """Motion with random velocities of one molecule, and positions that diffuse."""
    rng = np.random.default_rng(seed)
    symbols, masses = ["O", "H", "H"], np.array([16.0, 1.0, 1.0])
    times, cells = 0.002 * np.arange(n_frames), np.zeros((n_frames, 3, 3))
    velocities = rng.normal(size=(n_frames, 3, 3))
    positions = np.cumsum(0.1 * rng.normal(size=(n_frames, 3, 3)), axis=0)
    return Motion(
        spectra("one", [Block(times, velocities, cells)], symbols, masses),
        displacements("one", [Block(times, positions, cells)], symbols, masses),
    )


def test_curves_are_averaged_and_their_errors_shrink():
    seeds = [motion(seed) for seed in range(4)]
    together = combined_motion(seeds, "all four")
    assert (together.name, together.displacements.name) == ("all four", "all four")
    spectra_of_each = np.array([each.spectra.spectrum for each in seeds])
    np.testing.assert_allclose(together.spectra.spectrum, spectra_of_each.mean(axis=0))
    assert np.median(together.spectra.spectrum_errors / seeds[0].spectra.spectrum_errors) == pytest.approx(0.5, rel=0.3)
    squares = np.array([each.displacements.squares for each in seeds])
    np.testing.assert_allclose(together.displacements.squares, squares.mean(axis=0))
    assert together.displacements.diffusion["O"].error is not None


def test_curves_without_errors_get_those_of_their_scatter():
    seeds = [motion(seed) for seed in range(3)]
    unknown = [
        replace(each, spectra=replace(each.spectra, spectrum_errors=np.full_like(each.spectra.spectrum, np.nan)))
        for each in seeds
    ]
    together = combined_motion(unknown, "all three").spectra
    spectra_of_each = np.array([each.spectra.spectrum for each in seeds])
    # Two of these errors are Student's interval: t(0.975, 2) = 4.30 standard errors of the mean.
    half = 4.3027 / 1.96 * spectra_of_each.std(axis=0, ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(together.spectrum_errors, half, rtol=1e-3)


def test_distributions_are_averaged():
    def structure(height: float, frames: int) -> Correlations:
        function = Function(np.array([0.0, height]), np.array([0.0, 0.2]), None)
        return Correlations("one", np.array([0.5, 1.5]), {"g_OO": function}, {}, frames, ())

    together = combined_structure([structure(2.0, 10), structure(3.0, 20)], "both")
    np.testing.assert_allclose(together.functions["g_OO"].values, [0.0, 2.5])
    np.testing.assert_allclose(together.functions["g_OO"].errors, [0.0, 0.2 / np.sqrt(2)])
    assert (together.name, together.n_frames) == ("both", 30)
