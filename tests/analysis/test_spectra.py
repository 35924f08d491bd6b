"""Motion whose spectrum and diffusion are known exactly."""

import numpy as np
import pytest
import scipy.integrate
from scipy.signal import lfilter

from ipi_darkforces.analysis.displacements import displacements, unwrapped
from ipi_darkforces.analysis.io.trajectory import Block
from ipi_darkforces.analysis.io.units import BOLTZMANN
from ipi_darkforces.analysis.motion import Motion
from ipi_darkforces.analysis.motion_picture import draw
from ipi_darkforces.analysis.spectra import LIGHT, spectra
from ipi_darkforces.errors import DarkforcesError

KELVIN = 300.0


def in_blocks(values, interval, cell=None, frames=700):
    """A trajectory (n, n_atoms, 3) in pieces, as it is read."""
    cell = np.zeros((3, 3)) if cell is None else cell
    for start in range(0, len(values), frames):
        part = values[start : start + frames]
        yield Block(interval * np.arange(start, start + len(part)), part, np.tile(cell, (len(part), 1, 1)))


def langevin(n, n_atoms, interval, friction, mass, rng):
    """Velocities and positions (n, n_atoms, 3) of free particles in a heat bath, without any time step error.

    Velocity and displacement after an interval are Gaussian, with the moments of D. T. Gillespie, Phys. Rev. E 54,
    2084 (1996), eqs. 3.
    """
    kept = np.exp(-friction * interval)
    covariance = np.array(
        [
            [1 - kept**2, (1 - kept) ** 2 / friction],
            [(1 - kept) ** 2 / friction, (2 * friction * interval - 3 + 4 * kept - kept**2) / friction**2],
        ]
    )
    spread = np.sqrt(BOLTZMANN * KELVIN / mass)
    noise = spread * np.linalg.cholesky(covariance) @ rng.normal(size=(3 * n_atoms, 2, n))
    kicks, moves = noise[:, 0], noise[:, 1]
    kicks[:, 0] = spread * rng.normal(size=3 * n_atoms)
    velocities = lfilter([1.0], [1.0, -kept], kicks, axis=1)
    steps = velocities[:, :-1] * (1 - kept) / friction + moves[:, 1:]
    positions = np.cumsum(np.pad(steps, ((0, 0), (1, 0))), axis=1)
    return velocities.T.reshape(n, n_atoms, 3), positions.T.reshape(n, n_atoms, 3)


class Chain:
    """A ring of atoms and springs, light and heavy in turn, the same in three directions: its modes are exact."""

    def __init__(self, n_atoms=6, fastest=3600.0):
        self.masses = np.where(np.arange(n_atoms) % 2, 1.008, 15.999)
        self.symbols = ["O" if mass > 2 else "H" for mass in self.masses]
        springs = 2 * np.eye(n_atoms) - np.roll(np.eye(n_atoms), 1, axis=0) - np.roll(np.eye(n_atoms), -1, axis=0)
        squares, self.modes = np.linalg.eigh(springs / np.sqrt(np.outer(self.masses, self.masses)))
        self.wavenumbers = fastest * np.sqrt(np.clip(squares, 0, None) / squares.max())

    def velocities(self, n, interval, rng):
        """Velocities with the energy k_B T on average in each mode but the centre of mass, at random phases."""
        angles = 2 * np.pi * LIGHT * self.wavenumbers[1:, None] * interval * np.arange(n)
        waves = np.cos(angles[..., None] + rng.uniform(0, 2 * np.pi, (len(angles), 1, 3)))
        amplitudes = np.sqrt(2 * BOLTZMANN * KELVIN) * self.modes[:, 1:] / np.sqrt(self.masses)[:, None]
        return np.einsum("ik,ktx->tix", amplitudes, waves)

    def weights(self, symbol):
        """The part of a mode that is motion of a species, for all modes but the first."""
        return np.square(self.modes[np.array(self.symbols) == symbol, 1:]).sum(axis=0)


@pytest.fixture(scope="module")
def crystal():
    chain = Chain()
    velocities = chain.velocities(40_000, 0.001, np.random.default_rng(0))
    return chain, spectra("crystal", in_blocks(velocities, 0.001), chain.symbols, chain.masses)


def lines(wavenumbers):
    """Frequencies without those that are there twice."""
    return np.unique(wavenumbers.round(6))


def test_a_crystal_has_its_lines_at_their_exact_places(crystal):
    chain, result = crystal
    expected = lines(chain.wavenumbers[1:])
    assert len(expected) == 3
    assert np.diff(expected).min() > 3 * result.resolution
    for row in range(3):
        for line in expected:
            near = np.abs(result.wavenumbers - line) < result.resolution
            top = np.flatnonzero(near)[np.argmax(result.spectrum[row, near])]
            left, middle, right = np.log(result.spectrum[row, top - 1 : top + 2])
            place = (
                result.wavenumbers[top] + 0.5 * (left - right) / (left - 2 * middle + right) * (result.wavenumbers[1])
            )
            assert place == pytest.approx(line, abs=0.02 * result.resolution)


def test_the_lines_of_a_crystal_have_their_exact_weights(crystal):
    chain, result = crystal
    fractions = {"all": 5.0, "O": 3 - 3 * 15.999 / 51.021, "H": 3 - 3 * 1.008 / 51.021}
    for row, name in enumerate(result.rows):
        weights = chain.weights("O") + chain.weights("H") if name == "all" else chain.weights(name)
        assert weights.sum() == pytest.approx(fractions[name])
        for line in lines(chain.wavenumbers[1:]):
            near = np.abs(result.wavenumbers - line) < 3 * result.resolution
            found = result.spectrum[row, near].sum() * result.wavenumbers[1]
            exact = KELVIN * weights[np.isclose(chain.wavenumbers[1:], line)].sum() / weights.sum()
            assert found == pytest.approx(exact, rel=2e-3)


def test_the_integral_is_the_temperature(crystal):
    _, result = crystal
    integrals = scipy.integrate.trapezoid(result.spectrum, result.wavenumbers, axis=1)
    np.testing.assert_allclose(integrals, [result.temperatures[row].value for row in result.rows], rtol=1e-3)
    np.testing.assert_allclose(integrals, KELVIN, rtol=1e-3)
    np.testing.assert_allclose(result.correlation[:, 0], integrals, rtol=1e-12)


def test_the_correlation_function_of_a_crystal_is_a_sum_of_cosines(crystal):
    chain, result = crystal
    for row, name in ((1, "O"), (2, "H")):
        waves = np.cos(2 * np.pi * LIGHT * np.outer(result.lags, chain.wavenumbers[1:]))
        exact = KELVIN * waves @ chain.weights(name) / chain.weights(name).sum()
        np.testing.assert_allclose(result.correlation[row], exact, atol=0.01 * KELVIN)


def test_a_crystal_does_not_diffuse(crystal):
    _, result = crystal
    assert all(abs(value.value) < 1e-4 for value in result.diffusion.values())


def test_the_drift_of_the_centre_of_mass_is_no_motion(crystal):
    chain, result = crystal
    moving = chain.velocities(40_000, 0.001, np.random.default_rng(0)) + np.array([3.0, -2.0, 1.0])
    moved = spectra("moving", in_blocks(moving, 0.001), chain.symbols, chain.masses)
    np.testing.assert_allclose(moved.spectrum, result.spectrum, atol=1e-9)


def spectrum_of_langevin(wavenumbers, interval, friction):
    """ĉ_vv of samples at intervals: a Lorentzian with all that is folded into it."""
    kept = np.exp(-friction * interval)
    cosines = np.cos(2 * np.pi * LIGHT * interval * wavenumbers)
    return 2 * LIGHT * interval * KELVIN * (1 - kept**2) / (1 - 2 * kept * cosines + kept**2)


def test_a_free_langevin_particle_is_a_lorentzian():
    n_atoms, friction, mass = 100, 10.0, 18.0
    velocities, _ = langevin(20_000, n_atoms, 0.01, friction, mass, np.random.default_rng(1))
    result = spectra("free", in_blocks(velocities, 0.01), ["O"] * n_atoms, np.full(n_atoms, mass))
    low = result.wavenumbers < 100.0
    omega = 2 * np.pi * LIGHT * result.wavenumbers[low]
    lorentzian = 4 * LIGHT * KELVIN * friction / (friction**2 + omega**2)
    np.testing.assert_allclose(spectrum_of_langevin(result.wavenumbers[low], 0.01, friction), lorentzian, rtol=0.01)
    np.testing.assert_allclose(result.spectrum[1, low], lorentzian, rtol=0.06)
    np.testing.assert_allclose(result.correlation[1], KELVIN * np.exp(-friction * result.lags), atol=0.02 * KELVIN)


def test_both_routes_find_the_diffusion_coefficient_and_error_bars_cover_the_truth():
    rng = np.random.default_rng(2)
    n_atoms, friction, mass, interval = 8, 10.0, 18.0, 0.02
    masses, symbols = np.full(n_atoms, mass), ["O"] * n_atoms
    # Relative to the centre of mass.
    exact = BOLTZMANN * KELVIN / (mass * friction) * (1 - 1 / n_atoms)
    found = {"spectrum": [], "displacement": [], "temperature": []}
    curves = {"spectrum": [], "correlation": []}
    for _ in range(300):
        velocities, positions = langevin(1500, n_atoms, interval, friction, mass, rng)
        result = spectra("free", in_blocks(velocities, interval), symbols, masses)
        moved = displacements("free", in_blocks(positions, interval), symbols, masses)
        found["spectrum"].append(result.diffusion["O"])
        found["displacement"].append(moved.diffusion["O"])
        found["temperature"].append(result.temperatures["O"])
        spectrum = spectrum_of_langevin(result.wavenumbers, interval, friction)
        correlation = KELVIN * np.exp(-friction * result.lags)
        curves["spectrum"].append((result.spectrum[1] - spectrum) / result.spectrum_errors[1])
        curves["correlation"].append((result.correlation[1] - correlation) / result.correlation_errors[1])
    for name, estimates in found.items():
        truth = KELVIN if name == "temperature" else exact
        values = np.array([estimate.value for estimate in estimates])
        assert abs(values.mean() - truth) < 3.5 * values.std() / np.sqrt(len(values)), name
        known = [estimate for estimate in estimates if estimate.error is not None]
        assert len(known) > 0.9 * len(estimates)
        covered = np.mean([abs(estimate.value - truth) < estimate.margin() for estimate in known])
        assert 0.91 < covered < 0.98, name
    for name, deviations in curves.items():
        known = np.isfinite(deviations)
        assert known.mean() > 0.95
        assert 0.93 < np.mean(np.abs(np.array(deviations)[known]) < 2.0) < 0.97, name


def test_displacements_of_a_langevin_particle_from_ballistic_to_diffusive():
    rng = np.random.default_rng(3)
    n_atoms, friction, mass = 100, 5.0, 2.0
    _, positions = langevin(6000, n_atoms, 0.02, friction, mass, rng)
    # A drift of all atoms, and two species that are the same.
    positions += 5.0 * 0.02 * np.arange(6000)[:, None, None]
    symbols = ["H", "He"] * (n_atoms // 2)
    result = displacements("free", in_blocks(positions, 0.02), symbols, np.full(n_atoms, mass))
    times = result.lags
    exact = 6 * BOLTZMANN * KELVIN / (mass * friction) * (times - (1 - np.exp(-friction * times)) / friction)
    exact *= 1 - 1 / n_atoms
    assert result.rows == ("H", "He")
    for row in range(2):
        assert (np.abs(result.squares[row] - exact) / result.errors[row]).max() < 4.5
        np.testing.assert_allclose(result.squares[row], exact, rtol=0.12)
    assert not result.remarks


def test_wrapped_positions_move_as_unwrapped_ones():
    rng = np.random.default_rng(4)
    _, positions = langevin(1000, 5, 0.02, 10.0, 2.0, rng)
    cell = np.array([[6.0, 0, 0], [3.0, 5.0, 0], [-1.0, 2.0, 7.0]])
    fractional = positions @ np.linalg.inv(cell)
    wrapped = (fractional - np.floor(fractional)) @ cell
    assert np.abs(wrapped - positions).max() > 20.0
    jumps = []
    again = np.concatenate([block.values for block in unwrapped(in_blocks(wrapped, 0.02, cell, 77), jumps)])
    np.testing.assert_allclose(again - again[0], positions - positions[0], atol=1e-9)
    assert sum(jumps) > 100
    masses = np.full(5, 2.0)
    results = [displacements("a", in_blocks(p, 0.02, cell), ["H"] * 5, masses) for p in (positions, wrapped)]
    np.testing.assert_allclose(results[0].squares, results[1].squares, rtol=1e-9)
    assert not results[0].remarks
    assert "wrapping" in results[1].remarks[0]


def test_positions_that_were_not_wrapped_stay_to_the_last_bit():
    _, positions = langevin(300, 3, 0.02, 10.0, 2.0, np.random.default_rng(5))
    for cell in (np.zeros((3, 3)), 9.0 * np.eye(3)):
        again = np.concatenate([block.values for block in unwrapped(in_blocks(positions, 0.02, cell, 77))])
        assert (again == positions).all()


def test_pieces_do_not_matter():
    velocities, positions = langevin(3000, 4, 0.01, 10.0, 2.0, np.random.default_rng(6))
    masses, symbols = np.array([2.0, 1.0, 3.0, 4.0]), ["He", "H", "H", "He"]
    whole, pieces = (spectra("a", in_blocks(velocities, 0.01, None, n), symbols, masses) for n in (3000, 1))
    np.testing.assert_allclose(whole.spectrum, pieces.spectrum, rtol=1e-9)
    moved, in_pieces = (displacements("a", in_blocks(positions, 0.01, None, n), symbols, masses) for n in (3000, 1))
    np.testing.assert_allclose(moved.squares, in_pieces.squares, rtol=1e-9)


def test_the_slope_of_known_displacements():
    """Two atoms that fly apart, relative to their centre: |Δr|² = v² t², whose slope between a and b is v² (a + b)."""
    times = 0.1 * np.arange(264)
    positions = times[:, None, None] * np.array([[[0.3, 0.4, 0.0]], [[-0.3, -0.4, 0.0]]]).reshape(1, 2, 3)
    result = displacements("apart", in_blocks(positions, 0.1), ["H", "H"], np.ones(2), longest=2.2)
    np.testing.assert_allclose(result.squares[0], 0.25 * result.lags**2, rtol=1e-9)
    assert result.window == pytest.approx((1.1, 2.2))
    assert result.diffusion["H"].value == pytest.approx(0.25 * 3.3 / 6)


def test_long_trajectories_are_thinned_not_kept(monkeypatch):
    _, positions = langevin(8000, 4, 0.02, 10.0, 2.0, np.random.default_rng(7))
    masses, symbols = np.full(4, 2.0), ["H"] * 4
    fourth = displacements("a", in_blocks(positions[::4], 0.08), symbols, masses)
    monkeypatch.setattr("ipi_darkforces.analysis.displacements.MEMORY", 3 * 4 * 2500)
    thinned = displacements("a", in_blocks(positions, 0.02, frames=77), symbols, masses)
    assert thinned.duration == pytest.approx(159.98)
    np.testing.assert_allclose(thinned.lags, fourth.lags)
    np.testing.assert_allclose(thinned.squares, fourth.squares)


def test_large_systems_have_shorter_segments(monkeypatch):
    velocities, _ = langevin(4000, 4, 0.01, 10.0, 2.0, np.random.default_rng(8))
    monkeypatch.setattr("ipi_darkforces.analysis.segments.MEMORY", 3 * 4 * 100)
    result = spectra("a", in_blocks(velocities, 0.01), ["H"] * 4, np.full(4, 2.0))
    assert result.segment == pytest.approx(1.0)


def test_a_temperature_that_rises_is_no_independent_noise():
    """Batches whose neighbours are alike: an error bar from their spread would be far too small."""
    rng = np.random.default_rng(9)
    velocities, _ = langevin(8000, 10, 0.02, 10.0, 2.0, rng)
    velocities *= np.sqrt(np.linspace(1.0, 5.0, len(velocities)))[:, None, None]
    result = spectra("hot", in_blocks(velocities, 0.02), ["H"] * 10, np.full(10, 2.0))
    assert result.temperatures["H"].error is None
    assert "too short for error bars" in result.remarks


def test_sampling_that_does_not_resolve_the_motion_is_told(crystal):
    chain, result = crystal
    assert not result.remarks
    velocities = chain.velocities(20_000, 0.005, np.random.default_rng(10))
    (remark,) = spectra("coarse", in_blocks(velocities, 0.005), chain.symbols, chain.masses).remarks
    assert "every 5 fs" in remark
    assert "3336 cm⁻¹" in remark
    # Without hydrogen, what is folded is seen at the end of the range.
    white = np.random.default_rng(11).normal(size=(4000, 10, 3))
    (remark,) = spectra("white", in_blocks(white, 0.005), ["O"] * 10, np.full(10, 16.0)).remarks
    assert "end of this range" in remark


def test_units_are_those_in_the_names():
    velocities, positions = langevin(3000, 4, 0.02, 10.0, 18.0, np.random.default_rng(14))
    symbols, masses = ["O"] * 4, np.full(4, 18.0)
    for result in (
        spectra("run", in_blocks(velocities, 0.02), symbols, masses),
        displacements("run", in_blocks(positions, 0.02), symbols, masses),
    ):
        found = result.as_json()
        per_ps = found["diffusion_A2_per_ps"]["O"]["value"]
        # 1 Å²/ps = 1e-16 cm² / 1e-12 s
        assert found["diffusion_cm2_per_s"]["O"]["value"] == pytest.approx(1e-4 * per_ps)
        assert found["picoseconds"] == pytest.approx(59.98)
        assert len({len(column) for column in result.columns().values()}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, v: (t[:1], v[:1]), "1 frame"),
        (lambda t, v: (t[:20], v[:20]), "20 frames"),
        (lambda t, v: (t, v[:, :2]), "3 symbols and 3 masses were given for 2 atoms"),
    ],
)
@pytest.mark.parametrize("analysis", [spectra, displacements])
def test_bad_trajectories_are_told(analysis, change, message):
    velocities, _ = langevin(100, 3, 0.01, 10.0, 18.0, np.random.default_rng(15))
    times, values = change(0.01 * np.arange(100), velocities)
    # A single frame at a time, so that what is wrong is also between blocks.
    blocks = [Block(times[i : i + 1], values[i : i + 1], np.zeros((1, 3, 3))) for i in range(len(times))]
    with pytest.raises(DarkforcesError, match=message):
        analysis("bad", blocks, ["O"] * 3, np.full(3, 18.0))


@pytest.mark.parametrize("analysis", [spectra, displacements])
def test_masses_that_are_not_known_are_told(analysis):
    velocities, _ = langevin(100, 3, 0.01, 10.0, 18.0, np.random.default_rng(15))
    with pytest.raises(DarkforcesError, match="the mass of X2 is not known"):
        analysis("bad", in_blocks(velocities, 0.01), ["O", "X2", "O"], np.array([16.0, np.nan, 16.0]))


def test_short_runs_have_values_without_error_bars():
    velocities, _ = langevin(70, 3, 0.01, 10.0, 18.0, np.random.default_rng(16))
    result = spectra("short", in_blocks(velocities, 0.01), ["O"] * 3, np.full(3, 18.0))
    assert np.isfinite(result.spectrum).all()
    assert result.diffusion["O"].error is None
    assert "too short for error bars" in result.remarks


def test_a_solid_is_not_taken_for_diffusive():
    rng = np.random.default_rng(17)
    rattling = rng.normal(size=(2000, 4, 3))
    result = displacements("solid", in_blocks(rattling, 0.01), ["Al"] * 4, np.full(4, 27.0))
    assert "not yet as t" in result.remarks[0]
    assert abs(result.diffusion["Al"].value) < 4 * result.diffusion["Al"].error


def test_pictures_are_drawn(crystal, tmp_path):
    chain, result = crystal
    white = np.random.default_rng(18).normal(size=(600, 6, 3))
    other = spectra("short", in_blocks(white, 0.001), ["C"] * 6, np.full(6, 12.0))
    moved = displacements("crystal", in_blocks(white, 0.001), chain.symbols, chain.masses)
    draw([Motion(result, moved), Motion(other, None)], tmp_path / "both.png")
    draw([Motion(result, None)], tmp_path / "spectra.pdf")
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "spectra.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("time", [0.1, 1.0])
def test_the_limit_at_zero_is_not_biased_where_the_correlation_decays_in_a_ps(time):
    """Ornstein-Uhlenbeck velocities, whose diffusion coefficient is known; 5 % of it were missing with lags to 4 ps."""
    rng, interval, n, frames = np.random.default_rng(0), 0.02, 32, 20_000
    keeps = np.exp(-interval / time)
    kicks = rng.normal(size=(frames, 3 * n))
    kicks[1:] *= np.sqrt(1.0 - keeps**2)
    velocities = lfilter([1.0], [1.0, -keeps], kicks, axis=0).reshape(frames, n, 3)
    blocks = [Block(interval * np.arange(frames), velocities, np.zeros((frames, 3, 3)))]
    found = spectra("made up", blocks, ["Ar"] * n, np.full(n, 40.0)).diffusion["Ar"]
    expected = interval * (1.0 / (1.0 - keeps) - 0.5) * (1.0 - 1.0 / n)
    assert found.value == pytest.approx(expected, abs=2.5 * found.error)
    assert found.error < 0.03 * expected


def test_diffusion_has_no_error_bar_before_the_correlation_has_decayed():
    velocities, _ = langevin(700, 40, 0.01, 1.0, 2.0, np.random.default_rng(9))
    found = spectra("a", in_blocks(velocities, 0.01), ["H"] * 40, np.full(40, 2.0))
    assert found.diffusion["H"].error is None
    assert any("c_vv of H has not decayed within" in remark for remark in found.remarks)
