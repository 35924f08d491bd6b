"""Heating by the impulses of multiple time stepping, predicted, and measured on oscillators."""

from __future__ import annotations

from dataclasses import replace

import ase
import numpy as np
import pytest
from ase.constraints import FixAtoms
from scipy.linalg import expm
from scipy.sparse import csr_array
from toy_models import SpringModel

import ipi_darkforces as dark
from ipi_darkforces import ForceModel, Forces, Need
from ipi_darkforces.analysis.io.units import BOLTZMANN_EV
from ipi_darkforces.diagnostics import heating as theory
from ipi_darkforces.diagnostics.heating import WAVENUMBER, Power, heating
from ipi_darkforces.diagnostics.thermostats import excess_times, friction, mean_friction
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.simulate.compose import high_pass_friction
from ipi_darkforces.simulate.hydrogen_mass import with_hydrogen_mass
from ipi_darkforces.simulate.inner_loop import State, velocity_verlet

# Oscillators of mass, frequency and k_B T of 1, of which a thermostat makes resonances of a known width; times are in
# units of 1/ω, and for `heating` these are ps, and energies eV.
ATOMS, TIMESTEP, FRICTION, SLOW = 100, 0.2, 0.15, 0.03
KEPT = np.exp(-FRICTION * TIMESTEP)
MASSES = np.ones(ATOMS)
STRIDES = (8, 14, 16)  # the last is close to half a period: 15.7 steps


@pytest.fixture(scope="module")
def power() -> Power:
    """Power of the slow forces along a run under all forces."""
    rng = np.random.default_rng(0)
    state = State(rng.normal(size=(ATOMS, 3)), rng.normal(size=(ATOMS, 3)), np.zeros((ATOMS, 3)))
    state = State(state.positions, state.momenta, -state.positions)
    values = []
    for _ in range(20_000):
        state = velocity_verlet(state, MASSES, TIMESTEP, 1, lambda r: -r)
        state = State(state.positions, thermalized(state.momenta, rng), state.forces)
        values.append(SLOW * (state.positions * state.momenta).sum(axis=1))
    return of_pairs(np.array(values), np.ones((ATOMS, ATOMS)))


def of_pairs(values: np.ndarray, pairs: np.ndarray) -> Power:
    """The same values, with other neighbours."""
    return Power(values, TIMESTEP, 1.0 / BOLTZMANN_EV, np.repeat([1, 8], ATOMS // 2), csr_array(pairs))


def thermalized(momenta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A step of a Langevin thermostat."""
    return KEPT * momenta + np.sqrt(1.0 - KEPT**2) * rng.normal(size=momenta.shape)


@pytest.fixture(autouse=True)
def long_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make segments as long as these oscillators need, unless a test says otherwise."""
    monkeypatch.setattr(theory, "_SEGMENT", 50.0)


def exact(stride: int) -> float:
    """Heating of one atom, in k_B T ω, from the correlations of a damped oscillator.

    ⟨w(t) w(0)⟩ is that of products of Gaussian variables (Isserlis): ⟨x x'⟩⟨v v'⟩ + ⟨x v'⟩⟨v x'⟩.
    """
    times = TIMESTEP * np.arange(2000)
    half = 0.5 * FRICTION
    omega = np.sqrt(1.0 - half**2)
    cosine, sine = np.exp(-half * times) * np.cos(omega * times), np.exp(-half * times) * np.sin(omega * times)
    positions, velocities = cosine + half / omega * sine, cosine - half / omega * sine
    correlation = 3.0 * SLOW**2 * (positions * velocities - (sine / omega) ** 2)
    harmonics = 2.0 * np.pi * np.arange(1, stride) / (stride * TIMESTEP)
    weights = np.where(times == 0.0, 1.0, 2.0)
    spectra = TIMESTEP * (np.cos(np.outer(harmonics, times)) * weights) @ correlation
    return float(0.5 * spectra.sum())


def measured(stride: int) -> float:
    """The same from multiple time stepping itself: the heat that the thermostat takes out."""
    rng = np.random.default_rng(stride)
    positions, momenta = rng.normal(size=(2, ATOMS, 3))
    state = State(positions, momenta, -(1.0 + SLOW) * positions)
    impulse = 0.5 * stride * TIMESTEP * SLOW
    heat, outer = 0.0, 20_000 // stride
    for step in range(outer + outer // 10):
        if step == outer // 10:
            heat = 0.0
        state = State(state.positions, state.momenta + impulse * state.positions, state.forces)
        for inner in range(stride):
            state = velocity_verlet(state, MASSES, TIMESTEP, 1, lambda r: -(1.0 + SLOW) * r)
            momenta = state.momenta + (impulse * state.positions if inner == stride - 1 else 0.0)
            after = thermalized(momenta, rng)
            heat += 0.5 * (np.sum(momenta**2) - np.sum(after**2))
            state = State(state.positions, after, state.forces)
    return heat / (outer * stride * TIMESTEP * ATOMS)


def test_heating_is_the_known_one(power):
    for found in heating(power, STRIDES):
        assert found.total.value / 1000.0 == pytest.approx(exact(found.stride), abs=3.5 * found.total.error / 1000.0)
        assert 0.03 < found.total.error / found.total.value < 0.2
        assert found.total.value == pytest.approx(sum(part.value for part in found.species.values()))
        assert found.total.value == pytest.approx(found.shares.sum())
    nearest = heating(power, [16])[0]
    assert nearest.dominant == pytest.approx(WAVENUMBER / (16 * TIMESTEP))
    assert nearest.rate.value == pytest.approx(nearest.total.value / (3000.0 * BOLTZMANN_EV))


@pytest.mark.parametrize("stride", [14, 16])
def test_multiple_time_stepping_heats_as_much(stride):
    """Within what the run and second order in the slow forces leave open."""
    assert measured(stride) == pytest.approx(exact(stride), rel=0.2)


def test_errors_are_those_of_the_scatter(power):
    """Errors from independent tenths of the run are √10 times as large."""
    length = len(power.values) // 10
    tenths = [heating(replace(power, values=power.values[i * length : (i + 1) * length]), [14])[0] for i in range(10)]
    scatter = np.std([each.total.value for each in tenths], ddof=1)
    assert 0.5 < scatter / np.mean([each.total.error for each in tenths]) < 1.7


def test_neighbours_say_the_same_with_smaller_errors(power):
    """Others must not move with them; if they do, all pairs count."""
    alone = replace(power, neighbours=csr_array(np.eye(ATOMS)))
    for near, far in zip(heating(alone, STRIDES), heating(power, STRIDES), strict=True):
        assert near.total.value / 1000.0 == pytest.approx(exact(near.stride), rel=0.15)  # segments blur wings
        assert near.total.error < 0.5 * far.total.error
        assert near.of_all_pairs.value == pytest.approx(far.total.value)
    together = replace(alone, values=np.repeat(power.values[:, :10], 10, axis=1))
    [found] = heating(together, [14])
    assert found.total == found.of_all_pairs
    assert found.total.value > 5.0 * heating(alone, [14])[0].total.value


def test_a_stride_of_one_heats_nothing(power):
    [found] = heating(power, [1])
    assert (found.total.value, found.total.error, found.dominant) == (0.0, 0.0, None)


TAU, RATE = 4.0, 0.1  # and the power that is fed into each degree of freedom


@pytest.mark.parametrize("ensemble", ["langevin", "svr", "gle"])
def test_excess_of_temperature_under_each_thermostat(ensemble):
    """Oscillators that are kicked at random, with a known power; the GLE at their frequency."""
    rng = np.random.default_rng(3)
    n, dt = 2000, 0.1
    matrix = high_pass_friction(TAU, 1.5)
    # Exact step of the auxiliary variables of a GLE: Ceriotti, Bussi, Parrinello, eq. 17.
    decay = expm(-matrix * dt)
    noise = np.linalg.cholesky(np.eye(2) - decay @ decay.T)
    r, p, other = rng.normal(size=(3, n))
    kinetic = []
    for step in range(3000):
        p = p + np.sqrt(2.0 * RATE * dt) * rng.normal(size=n)
        if ensemble == "langevin":
            p = np.exp(-dt / TAU) * p + np.sqrt(1.0 - np.exp(-2.0 * dt / TAU)) * rng.normal(size=n)
        elif ensemble == "svr":
            now, wanted = 0.5 * p @ p, 0.5 * n
            now += (wanted - now) * (1.0 - np.exp(-dt / TAU))  # fluctuations of the thermostat are 1/√n of it
            p = p * np.sqrt(now / (0.5 * p @ p))
        else:
            p, other = decay @ [p, other] + noise @ rng.normal(size=(2, n))
        kinetic.append(p @ p / n if step > 500 else 0.0)
        p = p - 0.5 * dt * r
        r = r + dt * p
        p = p - 0.5 * dt * r
    friction_there = float(friction(matrix, np.array([1.0]))[0])
    expected = RATE * excess_times(TAU, friction_there)[ensemble]
    assert np.mean(kinetic[501:]) - 1.0 == pytest.approx(expected, rel=0.1)


def test_friction_is_averaged_over_the_spectrum():
    matrix = high_pass_friction(TAU, 1.5)
    assert friction(matrix, np.array([0.7])) == pytest.approx((1.0 - 0.98 / (1.0 + (0.7 * 1.5) ** 2)) / TAU)
    times = 0.2 * np.arange(4000)
    velocities = np.stack([np.cos(times), np.cos(2.0 * times)], axis=1)[:, :, None] * np.ones(3)
    both = friction(matrix, np.array([1.0, 2.0]))
    assert mean_friction(matrix, velocities, np.array([3.0, 1.0]), 0.2) == pytest.approx(both @ [0.75, 0.25], rel=1e-3)


class Molecules(ForceModel):
    """O and H on springs of different strength; direct forces are 2 % stiffer, and cubic in addition."""

    def __init__(self) -> None:
        super().__init__("molecules", Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT, None, remove_net_force=False)

    def _evaluate(self, structures, need):
        results = []
        for structure in structures:
            bonds = structure.positions - self.origin
            conservative = -30.0 * bonds - 100.0 * bonds**3
            direct = conservative - 0.6 * bonds
            energy = float(np.sum(15.0 * bonds**2 + 25.0 * bonds**4))
            results.append(Forces(energy, conservative, direct))
        return results


@pytest.fixture
def molecules() -> tuple[Molecules, ase.Atoms]:
    atoms = ase.Atoms("OH2OH2OH2", np.arange(27.0).reshape(9, 3), cell=30 * np.eye(3), pbc=True)
    model = Molecules()
    model.origin = atoms.positions.copy()
    return model, atoms


@pytest.fixture
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theory, "_SEGMENT", 0.05)


def test_prediction_of_a_system(molecules, short_segments):
    model, atoms = molecules
    atoms.set_constraint(FixAtoms([0]))
    before = atoms.copy()
    reported = []
    found = dark.stride(model, atoms, time=0.3, equilibration=0.1, report=lambda *each: reported.append(each))
    assert (atoms == before, reported[-1]) == (True, (800, 800))
    assert [each.stride for each in found.strides] == list(range(1, 17))
    assert 100.0 < found.temperature < 600.0
    assert 2700.0 < found.fastest < 3600.0  # of H on its spring: 2850 cm⁻¹ and the anharmonic part
    assert found.strides[1].moving == pytest.approx(8 / 9)
    assert found.strides[8].total.value > 10 * found.strides[1].total.value >= 0.0
    assert found.excess(found.strides[3], "svr").value == pytest.approx(0.2 * found.strides[3].rate.value)
    assert found.longest("nve", 1e9).stride == 16
    assert found.longest("nve", 1e-12).stride == 1
    assert found.band(2.0 * found.fastest) == "stretch overtone"
    assert found.as_json()["strides"][3]["excess_K"]["langevin"]["value"] > 0.0


def test_heavy_hydrogen_is_slower(molecules, short_segments):
    model, atoms = molecules
    light, heavy = (
        dark.stride(model, atoms, time=0.3, equilibration=0.1, hydrogen_mass=mass) for mass in (None, 4 * 1.008)
    )
    assert heavy.fastest == pytest.approx(light.fastest / 2.0, rel=0.15)
    assert heavy.masses["H"] == pytest.approx(4.032)


def test_molecules_keep_their_mass():
    water = ase.Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    masses = with_hydrogen_mass(water, 3.0, repartition=True)
    np.testing.assert_allclose(masses[1:], 3.0)
    assert masses.sum() == pytest.approx(water.get_masses().sum())
    assert with_hydrogen_mass(water, 2.014, repartition=False)[0] == water.get_masses()[0]
    with pytest.raises(DarkforcesError, match="hydrogen atoms of 7 u leave atoms of 4.0"):
        with_hydrogen_mass(water, 7.0, repartition=True)
    with pytest.raises(DarkforcesError, match="no hydrogen atoms"):
        with_hydrogen_mass(ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 3]]), 3.0, repartition=True)
    with pytest.raises(DarkforcesError, match="hydrogen atom 1 is bonded to no other element"):
        with_hydrogen_mass(ase.Atoms("OH", [[0, 0, 0], [0, 0, 5]]), 3.0, repartition=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time": 0.1}, "0.1 ps are too short to know errors: expected at least"),
        ({"time": -1.0}, "time -1 cannot be used: expected ps, more than zero"),
        ({"longest": 1}, "1 as the longest stride cannot be used"),
        ({"equilibration": -1.0}, "equilibration -1 cannot be used"),
    ],
)
def test_what_cannot_be_is_refused(options, message, monkeypatch):
    monkeypatch.setattr(theory, "_SEGMENT", 0.3)
    with pytest.raises(DarkforcesError, match=message):
        dark.stride(SpringModel(), ase.Atoms("H2", np.eye(2, 3)), **options)


def test_a_model_with_one_kind_of_forces_is_refused(short_segments):
    model = SpringModel(Need.ENERGY | Need.CONSERVATIVE)
    with pytest.raises(DarkforcesError, match="does not provide direct forces"):
        dark.stride(model, ase.Atoms("H2", np.eye(2, 3)), time=0.3)
