"""The ends of runs, as i-PI says them: all steps done, nothing left to do, told to stop, or failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aluminium import command, write_input
from forked import popen
from programs import PATIENCE, finish, wait_until

from ipi_darkforces.simulate.ending import cause, complaint, soft_exit
from ipi_darkforces.simulate.inputs import SimulationInput

CONVERGES = """<motion mode='minimize'><optimizer mode='bfgs'>
  <tolerances><energy> 1e-6 </energy><force> 1e-3 </force><position> 1e-2 </position></tolerances>
</optimizer></motion>"""
PHONONS = """<motion mode='vibrations'><vibrations mode='fd'>
  <pos_shift> 0.001 </pos_shift><prefix> phonons </prefix><asr> crystal </asr>
</vibrations></motion>"""


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.parametrize(
    ("motion", "words"),
    [(CONVERGES, "Geometry optimization converged. Exiting simulation"), (PHONONS, "Dynamic matrix is calculated.")],
)
def test_what_has_nothing_left_to_do_is_finished(tmp_path, motion, words):
    path, folder = write_input(tmp_path, motion, steps=300), tmp_path / "run"
    done = finish(command(path, folder))
    assert done.returncode == 0, done.stderr
    assert words in done.stdout
    assert "nan" not in done.stdout
    assert "K/ps" not in done.stdout
    held = summary(folder)
    assert held["ended"] == "finished"
    assert 0 < held["steps"] < 300
    assert held["steps"] == SimulationInput.read(folder / "RESTART").step
    again = finish(command(path, folder))
    assert again.returncode == 1
    assert f"holds a finished run: i-PI said '{words}" in again.stderr
    assert summary(folder) == held


def test_the_change_of_the_energy_of_an_optimisation_is_that_of_its_potential(tmp_path):
    path, folder = write_input(tmp_path, CONVERGES, steps=300), tmp_path / "run"
    assert finish(command(path, folder)).returncode == 0
    rows = [line.split() for line in (folder / "al.out").read_text().splitlines() if not line.startswith("#")]
    change = float(rows[-1][2]) - float(rows[0][2])
    assert change < -1e-4
    assert summary(folder)["energy_change_meV_per_atom"] == pytest.approx(1000.0 * change / 4, abs=1e-3)


def test_told_by_its_input_to_stop_it_goes_on_with_the_same_command(tmp_path):
    path, folder = write_input(tmp_path, more="<total_time> 4 </total_time>"), tmp_path / "run"
    steps = []
    for _ in range(2):
        done = finish(command(path, folder, "--resident"))  # the time begins once the model is loaded
        assert done.returncode == 0, done.stderr
        steps.append(summary(folder)["steps"])
        assert f"stopped after step {steps[-1]} (its <total_time> is over); the same command goes on" in done.stderr
        assert summary(folder)["ended"] == "stopped"
    assert 0 < steps[0] < steps[1] < 100_000


def test_a_file_that_stops_it_does_not_stop_it_again(tmp_path):
    path, folder = write_input(tmp_path), tmp_path / "run"
    steps = []
    for _ in range(2):
        before = len(read(folder / "al.progress"))
        with (tmp_path / "said").open("wb") as stream, popen(command(path, folder), stderr=stream) as process:
            wait_until(lambda before=before: process.poll() or len(read(folder / "al.progress")) > before + 500)
            (folder / "EXIT").touch()
            assert process.wait(PATIENCE) == 0, read(tmp_path / "said")
        said = read(tmp_path / "said")
        steps.append(summary(folder)["steps"])
        assert f"stopped after step {steps[-1]} (there was a file EXIT in its folder); the same command" in said
    assert 0 < steps[0] < steps[1]


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_a_run_that_ended_before_its_summary_gets_one(tmp_path):
    path, folder = write_input(tmp_path, steps=40), tmp_path / "run"
    first = finish(command(path, folder))
    assert first.returncode == 0, first.stderr
    held = summary(folder)
    (folder / "summary.json").unlink()
    second = finish(command(path, folder))
    assert second.returncode == 0, second.stderr
    assert {**summary(folder), "milliseconds_per_step": 0} == {**held, "milliseconds_per_step": 0}
    third = finish(command(path, folder))
    assert third.returncode == 1
    assert "holds a finished run of 40 steps" in third.stderr


def warned(message: str) -> list[str]:
    return ["something else", f" !W! Soft exit has been requested with message: '{message}'. Cleaning up.", "more"]


class TestWhatIPiSays:
    def test_success(self) -> None:
        end = soft_exit(warned("NEB finished successfully at STEP 7. I-PI reports success. Restartable as is: NO."))
        assert end is not None
        assert (end.success, end.problem, end.told) == (True, False, None)
        assert end.message == "NEB finished successfully at STEP 7."

    def test_a_problem(self) -> None:
        end = soft_exit(warned("ERROR: climbing bead is the endpoint. I-PI reports a problem. Restartable as is: NO."))
        assert end is not None
        assert (end.success, end.problem, end.told) == (False, True, None)

    def test_the_end_of_all_steps_is_not_success_before_they_are_done(self) -> None:
        said = [" @simulation.run: Wall clock time expired! Bye bye!"]
        said += warned(" @ SIMULATION: Exiting cleanly. I-PI reports success. Restartable as is: NO.")
        end = soft_exit(said)
        assert end is not None
        assert (end.success, end.told) == (False, "its <total_time> is over")

    def test_a_signal(self) -> None:
        end = soft_exit(warned(" @SOFTEXIT: Kill signal received Restartable as is: YES."))
        assert end is not None
        assert end.signalled

    def test_nothing(self) -> None:
        assert soft_exit(["Starting the polling thread main loop."]) is None

    def test_the_cause_is_the_exception_whatever_is_said_later(self) -> None:
        said = [
            "Traceback (most recent call last):",
            '  File "i-pi", line 1',
            "    main()",
            "KeyError: 'not a property'",
        ]
        assert (
            cause([*said, " @ForceField (d): Starting the polling thread main loop."]) == "KeyError: 'not a property'"
        )
        thread = ["Exception in thread Thread-1:", "Traceback (most recent call last):", "  File", "OSError: closed"]
        assert cause([*said, *thread]) == "KeyError: 'not a property'"
        assert cause(thread) == "OSError: closed"
        assert cause(["all is well"]) is None

    def test_a_complaint_is_ours(self) -> None:
        assert complaint(["darkforces: error: first", "darkforces: error: last", "more"]) == "last"
