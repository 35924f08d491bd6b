"""The first look at a run."""

import numpy as np
import pytest

from ipi_darkforces.analysis.io.setup import Constraints
from ipi_darkforces.analysis.overview import Overview, draw

HEADER = """\
# column   1     --> step : The current simulation time step.
# column   2     --> time{femtosecond} : The elapsed simulation time.
# column   3     --> temperature{kelvin} : The current temperature.
# column   4     --> conserved{electronvolt} : The value of the conserved energy quantity per bead.
"""


@pytest.fixture
def heating(tmp_path):
    """Properties as i-PI writes them: 2 K and 0.3 eV every fs, with noise, for 3 atoms."""
    rng = np.random.default_rng(0)
    step = np.arange(500)
    rows = np.column_stack([step, step, 300 + 2 * step + rng.normal(0, 5, 500), -9.0 + 0.3 * step])
    path = tmp_path / "run.progress"
    lines = [" ".join(f"{value:.10e}" for value in row) for row in rows]
    path.write_text(HEADER + "\n".join(lines) + "\n")
    return path


def test_drifts_are_in_the_units_they_say(heating):
    overview = Overview.read(heating, "heating", 3)
    assert overview.temperature_slope.value == pytest.approx(2000.0, rel=0.01)  # K/ps
    assert overview.conserved_slope.value == pytest.approx(100_000.0, rel=1e-6)  # meV/atom/ps
    assert overview.conserved[0] == 0.0
    assert overview.as_json()["conserved_drift_meV_per_atom_per_ps"]["value"] == pytest.approx(1e5)


def test_without_a_number_of_atoms_energies_are_for_all_of_them(heating):
    overview = Overview.read(heating, "heating", None)
    assert overview.conserved_slope.value == pytest.approx(300_000.0, rel=1e-6)
    assert overview.energy_unit == "meV"


def test_the_temperature_is_that_of_what_moves(heating):
    """i-PI has two of nine coordinates at 250 K, those that are fixed."""
    overview = Overview.read(heating, "heating", 3)
    fixed = Overview.read(heating, "heating", 3, Constraints(250.0, fixed=(0, 4)))
    np.testing.assert_allclose(fixed.temperature, (9 * overview.temperature - 2 * 250.0) / 7)
    assert (overview.moving, fixed.moving) == (1.0, pytest.approx(7 / 9))
    without = Overview.read(heating, "heating", 3, Constraints(None, fixed=(0, 4)))  # i-PI counts nothing then
    np.testing.assert_allclose(without.temperature, 9 * overview.temperature / 7)


def test_steps_that_were_done_twice_count_once(heating):
    lines = heating.read_text().splitlines()
    again = lines[4 + 450 :]
    heating.write_text("\n".join(lines + again) + "\n")
    assert len(Overview.read(heating, "heating", 3).time) == 500


def test_a_picture_is_drawn(heating, tmp_path):
    overview = Overview.read(heating, "heating", 3)
    draw([overview, overview], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
