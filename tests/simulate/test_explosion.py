"""Explosions: recognised, with a state from before them; and what only resembles one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import ase.units
import numpy as np
import pytest
from aluminium import DYNAMICS, N_ATOMS, command, write_input
from calculators import FILE
from programs import finish

from ipi_darkforces.simulate.explosion import ExplosionWatch
from ipi_darkforces.simulate.inputs import SimulationInput
from ipi_darkforces.simulate.progress import Progress

KINETIC = 1.5 * N_ATOMS * ase.units.kB  # eV/K


def test_it_is_no_success_and_goes_on_from_before_it(tmp_path):
    """Forces that become much too strong after some time, in one process only: the next one goes on as it should."""
    path, folder = write_input(tmp_path, DYNAMICS.format(2.0), steps=400), tmp_path / "run"
    model = f"ase:{FILE}:unhinged"
    done = finish(command(path, folder, "--in-process", "-o", "after=150", model=model))
    assert done.returncode == 3, done.stderr
    explosion = json.loads((folder / "summary.json").read_text())["explosion"]
    assert json.loads((folder / "summary.json").read_text())["ended"] == "exploded"
    # The circle and the strains of the check come before the first step.
    assert 120 < explosion["began_after_step"] < 150 < explosion["step"] + 20
    assert explosion["temperature_K"] > 3000.0
    assert f"exploded at step {explosion['step']} (" in done.stderr
    good = SimulationInput.read(folder / "RESTART").step
    assert good == explosion["last_good_step"]
    assert 50 < good <= explosion["began_after_step"]
    assert SimulationInput.read(folder / "RESTART.exploded").step > explosion["began_after_step"]
    again = finish(command(path, folder, "--in-process", "-o", "after=100000", model=model))
    assert again.returncode == 1  # it is another model
    again = finish(command(path, folder, "--in-process", "-o", "after=150", "--steps", str(good + 20), model=model))
    assert again.returncode == 0, again.stderr
    rows = np.loadtxt(folder / "al.progress")
    assert rows[-1, 0] == good + 20
    assert rows[-1, 2] < 1000.0


def test_without_an_earlier_state_it_begins_anew(tmp_path):
    path, folder = write_input(tmp_path, DYNAMICS.format(60.0)), tmp_path / "run"
    for _ in range(2):
        done = finish(command(path, folder))
        assert done.returncode == 3, done.stderr
        assert "there is no earlier state than its start" in done.stderr
    assert not (folder / "RESTART").exists()


def watch(tmp_path: Path, motion: str = DYNAMICS.format(1.0), n_atoms: int | None = N_ATOMS) -> ExplosionWatch:
    return ExplosionWatch(SimulationInput.read(write_input(tmp_path, motion)), n_atoms)


def progress(step: int, temperature: float, drift: float = 0.0, time: float | None = None) -> Progress:
    return Progress(step, float(step) if time is None else time, temperature, drift, None)


class TestFalseAlarms:
    def test_a_strained_structure_becomes_hot_and_keeps_its_energy(self, tmp_path):
        looking = watch(tmp_path)
        course = [0.0, 10.0, 500.0, 3000.0, 9000.0, 8000.0, 4000.0]
        assert not any(looking.see(progress(i, t, 0.1 * KINETIC * 300.0)) for i, t in enumerate(course))

    def test_direct_forces_and_thermostats_move_the_conserved_quantity(self, tmp_path):
        looking = watch(tmp_path)
        assert not any(looking.see(progress(i, 300.0 + i % 400, i * KINETIC * 300.0)) for i in range(1000))

    def test_a_hot_start_is_as_it_was_asked_for(self, tmp_path):
        looking = watch(tmp_path)
        assert not any(looking.see(progress(i, 20_000.0, 3.0 * KINETIC * 300.0)) for i in range(100))

    def test_where_time_stands_still_there_is_no_temperature(self, tmp_path):
        """In optimisations, and when structures are replayed, time stands still."""
        looking = watch(tmp_path)
        assert not any(looking.see(progress(i, 1e5 * i, 1e3 * i, time=0.0)) for i in range(100))

    def test_a_ramp_is_as_hot_as_it_ends(self, tmp_path):
        ramp = """<motion mode='multi'>
          <motion mode='dynamics'><dynamics mode='nve'><timestep units='femtosecond'> 1 </timestep></dynamics></motion>
          <motion mode='t_ramp'><t_ramp><t_start units='kelvin'> 300 </t_start><t_end units='kelvin'> 6000 </t_end>
            <total_steps> 1000 </total_steps></t_ramp></motion>
        </motion>"""
        looking = watch(tmp_path, ramp)
        assert not any(looking.see(progress(i, 300.0 + 6.0 * i, i * KINETIC * 300.0)) for i in range(1000))


class TestSigns:
    def test_hot_and_not_conserved(self, tmp_path):
        looking = watch(tmp_path)
        for i in range(100):
            assert not looking.see(progress(i, 300.0))
        assert not looking.see(progress(100, 1500.0, 0.5))
        assert looking.in_doubt
        assert looking.see(progress(101, 3500.0, 2.0 * KINETIC * 300.0))
        explosion = looking.explosion("atom 2 (Al)", 50, None)
        assert explosion.as_json() == {
            "step": 101,
            "picoseconds": pytest.approx(0.101),
            "temperature_K": 3500.0,
            "conserved_change_eV": pytest.approx(600.0 * KINETIC),
            "began_after_step": 99,
            "began_after_picoseconds": pytest.approx(0.099),
            "fastest_atoms": "atom 2 (Al)",
            "last_good_step": 50,
        }
        assert "it began after step 99 (0.099 ps); fastest: atom 2 (Al)" in explosion.text

    @pytest.mark.parametrize("n_atoms", [N_ATOMS, None])
    def test_a_temperature_at_which_nothing_holds_together(self, tmp_path, n_atoms):
        looking = watch(tmp_path, n_atoms=n_atoms)
        looking.see(progress(0, 300.0))
        assert not looking.see(progress(1, 25_000.0))
        assert looking.see(progress(2, 35_000.0))

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_no_numbers(self, tmp_path, value):
        for report in (progress(1, value), progress(1, 300.0, value)):
            looking = watch(tmp_path)
            looking.see(progress(0, 300.0))
            assert looking.see(report)
            assert None in looking.explosion(None, 0, None).as_json().values()
