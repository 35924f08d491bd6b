"""Oscillators in a heat bath, the peak of whose spectrum is exactly at their own frequency."""

import numpy as np
import pytest
import scipy.linalg
from scipy.signal import lfilter

from ipi_darkforces.analysis.io.trajectory import Block
from ipi_darkforces.analysis.spectra import LIGHT, spectra

INTERVAL, N_ATOMS = 0.002, 8  # ps


def oscillators(n, wavenumber, width, runs, rng):
    """Velocities (runs, n, N_ATOMS, 3) of x'' = -ω²x - γx' + noise, exact at any interval.

    :param width: of the line at half its height, γ/(2πc), cm⁻¹
    """
    omega, friction = 2 * np.pi * LIGHT * wavenumber, 2 * np.pi * LIGHT * width
    kept = scipy.linalg.expm(INTERVAL * np.array([[0.0, 1.0], [-(omega**2), -friction]]))
    equilibrium = np.diag([1 / omega**2, 1.0])
    kick = np.linalg.cholesky(equilibrium - kept @ equilibrium @ kept.T)
    state = np.sqrt(equilibrium) @ rng.normal(size=(2, runs * N_ATOMS * 3))
    velocities = np.empty((n, runs * N_ATOMS * 3))
    for row in velocities:
        state = kept @ state + kick @ rng.normal(size=state.shape)
        row[:] = state[1]
    return velocities.reshape(n, runs, N_ATOMS, 3).swapaxes(0, 1)


def measured(velocities, symbols):
    n = len(velocities)
    block = Block(INTERVAL * np.arange(n), velocities, np.zeros((n, 3, 3)))
    return spectra("run", [block], symbols, np.ones(N_ATOMS))


@pytest.mark.parametrize(("band", "wavenumber", "width"), [("bend", 1640.0, 120.0), ("O–H stretch", 3400.0, 200.0)])
def test_bands_are_where_they_are_and_error_bars_cover_the_truth(band, wavenumber, width):
    symbols = ["O", "H", "H", "H"] * 2
    runs = oscillators(4000, wavenumber, width, 100, np.random.default_rng(0))
    found = [measured(velocities, symbols).bands for velocities in runs]
    values = np.array([bands["H"][band].value for bands in found])
    assert abs(values.mean() - wavenumber) < 2.0 + 3.5 * values.std() / np.sqrt(len(values))
    known = [bands["H"][band] for bands in found if bands["H"][band].error is not None]
    assert len(known) > 90
    assert np.mean([abs(each.value - wavenumber) < each.margin() for each in known]) > 0.88
    # Not only because they are wide.
    assert np.median([each.margin() for each in known]) < 3.0 * values.std()
    assert all(value is None for bands in found for name, value in bands["all"].items() if name != band)


def test_other_molecules_have_a_highest_peak():
    (velocities,) = oscillators(4000, 800.0, 100.0, 1, np.random.default_rng(1))
    (name, found), *others = measured(velocities, ["Al"] * N_ATOMS).bands["Al"].items()
    assert (name, others) == ("highest peak", [])
    assert abs(found.value - 800.0) < 3 * found.margin()
    json = measured(velocities, ["Al"] * N_ATOMS).as_json()["bands_per_cm"]
    assert json["Al"]["highest peak"]["value"] == found.value


def test_short_runs_have_bands_without_errors_and_none_that_they_do_not_resolve():
    symbols = ["O", "H", "H", "H"] * 2
    (velocities,) = oscillators(500, 3400.0, 200.0, 1, np.random.default_rng(2))
    band = measured(velocities, symbols).bands["all"]["O–H stretch"]
    assert band.value == pytest.approx(3400.0, abs=150.0)
    assert band.error is None
    (velocities,) = oscillators(300, 1640.0, 100.0, 1, np.random.default_rng(3))
    assert measured(velocities, symbols).bands["all"]["bend"] is None


def test_free_particles_have_no_bands():
    """A Lorentzian around zero, and its noise."""
    noise = np.random.default_rng(4).normal(size=(20, 4000, N_ATOMS, 3))
    runs = lfilter([1.0], [1.0, -np.exp(-20.0 * INTERVAL)], noise, axis=1)
    found = [measured(velocities, ["Al"] * N_ATOMS).bands["all"]["highest peak"] for velocities in runs]
    assert sum(each is not None for each in found) <= 1


def test_motion_that_is_folded_has_no_bands():
    (velocities,) = oscillators(8000, 3400.0, 200.0, 1, np.random.default_rng(5))
    n = 2000
    block = Block(4 * INTERVAL * np.arange(n), velocities[::4], np.zeros((n, 3, 3)))
    assert spectra("run", [block], ["O", "H"] * 4, np.ones(N_ATOMS)).bands["all"] == {}
