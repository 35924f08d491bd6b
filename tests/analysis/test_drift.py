"""Drifts in the units that they say."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ipi.scripting import read_output
from ipi_files import simulate, write_table

from ipi_darkforces.analysis.drift import Drift, draw, measure
from ipi_darkforces.analysis.io.runs import Run
from ipi_darkforces.analysis.io.setup import Constraints
from ipi_darkforces.analysis.io.units import BOLTZMANN_EV
from ipi_darkforces.analysis.selection import Selection
from ipi_darkforces.errors import DarkforcesError

MEV_PER_KELVIN = 3000.0 * BOLTZMANN_EV  # for each atom


def read(path: Path) -> Run:
    notices: list[str] = []
    run = Run.read(path, notices.append)
    assert notices == []
    return run


@pytest.fixture
def heating(tmp_path) -> Run:
    """2 K/fs with a noise of 5 K, and 0.3 eV/fs with a noise of 1 meV, of 3 atoms."""
    rng = np.random.default_rng(0)
    step = np.arange(500)
    noise = rng.normal(size=(2, 500))
    rows = np.column_stack([step, step, 300 + 2 * step + 5 * noise[0], -9.0 + 0.3 * step + 0.001 * noise[1]])
    return replace(read(write_table(tmp_path / "run.out", rows)), n_atoms=3)


def test_slopes_are_in_the_units_they_say(heating):
    drift = measure(heating, Selection())
    assert drift.temperature_slope.value == pytest.approx(2000.0, rel=0.01)  # K/ps
    assert drift.conserved_slope.value == pytest.approx(100_000.0, rel=1e-5)  # meV/atom/ps
    assert abs(drift.temperature_slope.value - 2000.0) < 4.0 * drift.temperature_slope.error < 40.0
    assert abs(drift.conserved_slope.value - 1e5) < 4.0 * drift.conserved_slope.error
    assert drift.relative_slope.value == pytest.approx(drift.conserved_slope.value / drift.kinetic_deviation)
    text = drift.as_json()
    assert text["conserved_drift_meV_per_atom_per_ps"]["value"] == drift.conserved_slope.value
    assert text["temperature_drift_K_per_ps"]["margin95"] > 1.9 * drift.temperature_slope.error


def test_errors_of_energies_are_no_smaller_than_heat_allows(heating):
    """√(2 k_B T P/(N t)), of 799 K on average, 1e5 meV/atom/ps, 3 atoms and 0.499 ps."""
    drift = measure(heating, Selection())
    known = np.sqrt(2000.0 * BOLTZMANN_EV * 799.0 * 1e5 / (3 * 0.499))
    assert drift.conserved_slope.error == pytest.approx(known, rel=1e-3)
    assert measure(replace(heating, n_atoms=None), Selection()).conserved_slope.error < 1.0


def test_without_a_number_of_atoms_energies_are_for_all_of_them(heating):
    drift = measure(replace(heating, n_atoms=None), Selection())
    assert drift.conserved_slope.value == pytest.approx(300_000.0, rel=1e-5)
    assert "conserved_drift_meV_per_ps" in drift.as_json()
    assert drift.relative_slope is None


def test_where_atoms_are_fixed_the_others_hold_the_energy(heating):
    """The temperature of what moves, two of three atoms, is given; the energy is still for each of the three."""
    free = measure(heating, Selection())
    held = measure(replace(heating, constraints=Constraints(300.0, False, (0, 1, 2))), Selection())
    assert held.kinetic_deviation == pytest.approx(free.kinetic_deviation * 2 / 3)
    assert held.heating.value == pytest.approx(free.heating.value * 3 / 2)
    assert held.conserved_slope.value == free.conserved_slope.value


def test_the_deviation_of_the_kinetic_energy(harmonic):
    """It comes from i-PI's temperature, and from its kinetic energy where the number of atoms is not known."""
    run = read(harmonic)
    values, _ = read_output(str(harmonic / "run.out"))
    drift = measure(run, Selection())
    assert drift.kinetic_deviation == pytest.approx(1000.0 * values["kinetic_md"].std() / 192, rel=1e-6)
    of_all = measure(replace(run, n_atoms=None), Selection())
    assert of_all.kinetic_deviation == pytest.approx(1000.0 * values["kinetic_md"].std(), rel=1e-12)


def test_the_deviation_of_the_kinetic_energy_of_beads_is_for_one_of_them(tmp_path):
    """The conserved quantity is that of one bead too; i-PI's kinetic energy is that of all beads together."""

    def with_two_beads(root: ET.Element) -> None:
        root.find("system/initialize").set("nbeads", "2")

    folder = simulate("svr-direct", tmp_path / "run", 12, with_two_beads)
    values, _ = read_output(str(folder / "run.out"))
    drift = measure(read(folder), Selection())
    assert drift.kinetic_deviation == pytest.approx(1000.0 * values["kinetic_md"].std() / 2 / 192, rel=1e-6)


def test_from_velocities_alone(harmonic):
    run = read(harmonic)
    drift = measure(replace(run, tables=()), Selection())
    assert drift.conserved is None
    assert drift.as_json()["conserved_drift_meV_per_atom_per_ps"] is None
    np.testing.assert_allclose(drift.temperature, run.tables[0].columns["temperature"], rtol=1e-5)
    velocities = replace(run.trajectory("velocities"), interval=None)
    with pytest.raises(DarkforcesError, match="no drift; give --interval"):
        measure(replace(run, tables=(), trajectories=(velocities,)), Selection())
    with pytest.raises(DarkforcesError, match="has no velocities"):
        measure(replace(run, tables=(), trajectories=()), Selection())


def test_the_beginning_can_be_left_out(heating):
    drift = measure(heating, Selection(discard=0.4))
    assert drift.time[0] == pytest.approx(0.4)
    assert drift.conserved[0] == 0.0
    assert len(drift.conserved) == 100


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
@pytest.mark.parametrize("count", [1, 5])
def test_pictures(heating, tmp_path, suffix, count):
    path = tmp_path / f"picture{suffix}"
    drift = measure(heating, Selection())
    others = [Drift("velocities", 3, drift.time, drift.temperature, None, None, None)]
    draw([drift] * count + others, path)
    assert path.read_bytes().startswith(b"\x89PNG" if suffix == ".png" else b"%PDF")
    draw(others, path)


def made_up(conserved: np.ndarray | None, interval: float = 0.004) -> Drift:
    """A conserved quantity in meV/atom, one value after the other."""
    n = 100 if conserved is None else len(conserved)
    time = interval * np.arange(n)
    return Drift("made up", 192, time, np.full(n, 300.0), None if conserved is None else time, conserved, 1.0)


def test_a_drift_as_a_temperature() -> None:
    """Water of 300 K with the paper's direct forces: 7 K/ps."""
    series = 7.0 * MEV_PER_KELVIN * 0.004 * np.arange(1000) + 0.01 * np.random.default_rng(0).normal(size=1000)
    found = made_up(series).heating
    assert found is not None
    assert found.error is not None
    assert found.error < 1.5
    assert found.value == pytest.approx(7.0, abs=3.5 * found.error)


def test_the_interval_of_a_random_walk_covers_its_drift() -> None:
    """A walk over 0.4 ps of 192 atoms."""
    random = np.random.default_rng(1)
    covered = []
    for _ in range(200):
        steps = 5.0 * MEV_PER_KELVIN * 0.004 + 0.02 * random.normal(size=100)
        found = made_up(np.cumsum(steps)).heating
        assert found is not None
        margin = found.margin()
        assert margin is not None
        covered.append(abs(found.value - 5.0) <= margin)
    assert 0.90 <= np.mean(covered) <= 1.0


def test_what_is_too_short_has_no_slope() -> None:
    found = made_up(np.arange(10.0)).heating
    assert found is not None
    assert (np.isnan(found.value), found.error) == (True, None)


def test_without_a_conserved_quantity_nothing_is_known() -> None:
    assert made_up(None).heating is None
