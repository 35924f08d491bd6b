"""Inputs written for a recipe, and the checkpoints that they start from."""

import ase
import numpy as np
import pytest
from ase.build import bulk
from ipi.engine.initializer import init_chk
from ipi.engine.simulation import Simulation
from ipi.utils.units import Constants, unit_to_internal, unit_to_user

from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.simulate.compose import compose, high_pass_friction, write_start
from ipi_darkforces.simulate.recipe import Barostat, Recipe
from ipi_darkforces.split.component import Component


def argon(tmp_path, **recipe):
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * (2, 2, 2)
    write_start(atoms, tmp_path / "start.chk")
    return Recipe(**{"name": "argon", "ensemble": "nve", "species": f"Ar{len(atoms)}", "start": "start.chk", **recipe})


def load(recipe, tmp_path, monkeypatch):
    """The simulation that i-PI makes of the input, without opening sockets."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.xml").write_text(compose(recipe))
    with (tmp_path / "input.xml").open() as stream:
        return Simulation.load_from_xml(stream, read_only=True)


def test_multiple_time_stepping_has_two_components_and_a_longer_step(tmp_path, monkeypatch):
    simulation = load(argon(tmp_path, stride=4, duration=100.0), tmp_path, monkeypatch)
    system = simulation.syslist[0]
    assert unit_to_user("time", "femtosecond", system.motion.dt) == pytest.approx(2.0)
    assert simulation.tsteps == 50
    np.testing.assert_array_equal(system.motion.nmts, [1, 4])
    weights = {c.ffield: list(c.mts_weights) for c in system.fcomp}
    assert weights == {"slow": [1, 0], "fast": [0, 1]}
    assert simulation.fflist["fast"].pars == {"component": "fast", "species": "Ar32"}
    assert simulation.fflist["fast"].socket.address != simulation.fflist["slow"].socket.address


@pytest.mark.parametrize("component", [Component.CONSERVATIVE, Component.DIRECT])
def test_without_a_stride_there_is_one_component(tmp_path, monkeypatch, component):
    simulation = load(argon(tmp_path, component=component), tmp_path, monkeypatch)
    assert [f.pars["component"] for f in simulation.fflist.values()] == [component.value]


@pytest.mark.parametrize(
    ("ensemble", "mode"), [("langevin", "ThermoLangevin"), ("svr", "ThermoSVR"), ("gle", "ThermoGLE")]
)
def test_thermostats(tmp_path, monkeypatch, ensemble, mode):
    simulation = load(argon(tmp_path, ensemble=ensemble, tau=20.0, temperature=250.0), tmp_path, monkeypatch)
    system = simulation.syslist[0]
    assert type(system.motion.thermostat).__name__ == mode
    assert unit_to_user("temperature", "kelvin", system.ensemble.temp) == pytest.approx(250.0)


def test_a_thermostat_needs_its_time_constant(tmp_path):
    with pytest.raises(DarkforcesError, match="time constant"):
        compose(argon(tmp_path, ensemble="svr"))


@pytest.mark.parametrize(("anisotropic", "barostat"), [(False, "BaroBZP"), (True, "BaroMTK")])
def test_barostats(tmp_path, monkeypatch, anisotropic, barostat):
    recipe = argon(tmp_path, ensemble="svr", tau=20.0, barostat=Barostat(100.0, 300.0, anisotropic))
    system = load(recipe, tmp_path, monkeypatch).syslist[0]
    assert system.motion.enstype == "npt"
    found = system.motion.barostat
    assert type(found).__name__ == barostat
    assert unit_to_user("pressure", "bar", system.ensemble.pext) == pytest.approx(100.0)
    assert unit_to_user("time", "femtosecond", found.tau) == pytest.approx(300.0)
    assert unit_to_user("time", "femtosecond", found.thermostat.tau) == pytest.approx(300.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ensemble": "nve", "tau": None}, "needs a thermostat"),
        ({"fixed": (0, 1, 2)}, "some are fixed"),
        ({"pbc": "TTF"}, "so along TTF"),
        ({"barostat": Barostat(pressure=float("inf"))}, "--pressure inf cannot be used"),
    ],
)
def test_a_constant_pressure_that_cannot_be(tmp_path, changes, message):
    recipe = argon(tmp_path, **{"ensemble": "svr", "tau": 20.0, "barostat": Barostat(), **changes})
    with pytest.raises(DarkforcesError, match=message):
        compose(recipe)


def test_thermal_velocities_are_those_of_the_temperature(tmp_path, monkeypatch):
    simulation = load(argon(tmp_path, thermalize=True, temperature=80.0), tmp_path, monkeypatch)
    system = simulation.syslist[0]
    kinetic = system.nm.kin / (1.5 * system.beads.natoms * Constants.kb)
    assert unit_to_user("temperature", "kelvin", kinetic) == pytest.approx(80.0, rel=0.5)


def test_high_pass_friction_spares_slow_motions():
    tau, memory = 10.0, 50.0
    drift = high_pass_friction(tau, memory)
    assert (np.linalg.eigvalsh(drift + drift.T) > 0).all()  # the noise that belongs to it exists

    def friction(frequency):
        """Real part of the Fourier-Laplace transform of the memory kernel."""
        return (drift[0, 0] - drift[0, 1] * drift[1, 0] / (drift[1, 1] + 1j * frequency)).real

    assert friction(0.0) == pytest.approx(0.02 / tau)
    assert friction(0.3) == pytest.approx(1 / tau, rel=0.01)  # 1/fs: a libration of water
    assert friction(1e9) == pytest.approx(1 / tau)


def test_a_start_keeps_every_digit(tmp_path):
    rng = np.random.default_rng(0)
    atoms = ase.Atoms("OH2", positions=rng.normal(size=(3, 3)), cell=[9.1, 9.2, 9.3], pbc=True)
    atoms.set_momenta(rng.normal(size=(3, 3)))
    write_start(atoms, tmp_path / "start.chk")
    beads, cell, _ = init_chk(tmp_path / "start.chk")
    np.testing.assert_allclose(unit_to_user("length", "angstrom", beads.q[0]), atoms.positions.ravel(), rtol=1e-12)
    np.testing.assert_allclose(unit_to_user("momentum", "ase", beads.p[0]), atoms.get_momenta().ravel(), rtol=1e-12)
    np.testing.assert_allclose(unit_to_user("mass", "dalton", beads.m), atoms.get_masses(), rtol=1e-12)
    np.testing.assert_allclose(cell.h, unit_to_internal("length", "angstrom", atoms.cell.array.T), rtol=1e-12)
    assert list(beads.names) == ["O", "H", "H"]


@pytest.mark.parametrize(
    ("beads", "slow_beads", "period"), [(32, None, 2.5), (32, 4, 12.8), (8, None, 10.0), (32, 1, np.inf)]
)
def test_the_fastest_mode_that_slow_forces_drive(tmp_path, monkeypatch, beads, slow_beads, period):
    """At 300 K; as i-PI has the frequencies of normal modes."""
    recipe = argon(tmp_path, ensemble="pile", tau=100.0, beads=beads, slow_beads=slow_beads, stride=4)
    assert recipe.fastest_driven_period == pytest.approx(period, rel=0.01)
    if slow_beads is None:
        highest = load(recipe, tmp_path, monkeypatch).syslist[0].nm.omegak.max()
        assert recipe.fastest_driven_period == pytest.approx(
            unit_to_user("time", "femtosecond", 2 * np.pi / highest), rel=1e-4
        )
