"""The main job, with real i-PI and driver processes: finishing, stopping, going on, and failing."""

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import ase
import numpy as np
import pytest
from forked import command_of, popen
from ipi.scripting import read_output
from ipi_processes import INPUTS, PROGRAMS, Workplace, copy_input
from programs import PATIENCE, finish, wait_until, working_in

from ipi_darkforces.analysis.overview import Overview
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.registry.load import ModelChoice
from ipi_darkforces.simulate.compose import compose, write_start
from ipi_darkforces.simulate.folder import FinishedError
from ipi_darkforces.simulate.inputs import SimulationInput
from ipi_darkforces.simulate.recipe import Recipe
from ipi_darkforces.simulate.run import Outcome, run

MODEL = ModelChoice.of("pet-m", dtype="float64")
MANY = 100_000  # steps, not all of which are done before the run is stopped


def start(name: str, output: Path, model: ModelChoice = MODEL, **options) -> Outcome:
    """Start a run of inputs that lie beside the output."""
    return run(SimulationInput.read(copy_input(name, output.with_name("inputs"))), model, output, **options)


def outputs(outcome: Outcome) -> dict[str, np.ndarray]:
    return read_output(str(outcome.folder / f"{outcome.prefix}.out"))[0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Outcome:
    """A whole run of MTS, in processes of their own."""
    return start("nve-mts2", tmp_path_factory.mktemp("finished") / "run", steps=12)


def test_a_run_reaches_its_end(finished):
    assert (finished.steps, finished.total_steps, finished.interrupted) == (12, 12, False)
    np.testing.assert_array_equal(outputs(finished)["step"], [0, 4, 8, 12])
    assert finished.seconds_per_step is not None
    assert finished.seconds_per_step > 0
    assert working_in(finished.folder) == []


def test_all_progress_is_reported(tmp_path):
    reports = []
    start("nve-direct", tmp_path / "run", steps=12, watch=lambda progress, total: reports.append((progress, total)))
    assert [progress.step for progress, _ in reports] == [0, 4, 8, 12]
    assert {total for _, total in reports} == {12}
    assert reports[0][0].drift == 0.0


def test_in_one_process_it_is_the_same_trajectory(finished, tmp_path):
    inside = start("nve-mts2", tmp_path / "run", steps=12, in_process=True)
    for name, values in outputs(finished).items():
        np.testing.assert_allclose(outputs(inside)[name], values, rtol=1e-10)


def interrupt_at(step: int, signum: signal.Signals = signal.SIGINT):
    """A watcher that presses Ctrl-C when the run gets to a step, or sends another signal."""

    def watch(progress, total):
        if progress.step >= step:
            signal.raise_signal(signum)

    return watch


def test_a_stopped_run_goes_on_as_if_nothing_had_happened(tmp_path):
    stopped = start("svr-mts8", tmp_path / "parts", steps=MANY, watch=interrupt_at(4))
    assert stopped.interrupted
    assert 4 <= stopped.steps < MANY
    assert working_in(stopped.folder) == []
    steps = stopped.steps + 4
    resumed = start("svr-mts8", tmp_path / "parts", steps=steps)
    assert (resumed.steps, resumed.interrupted) == (steps, False)
    whole = start("svr-mts8", tmp_path / "whole", steps=steps)
    for name, values in outputs(whole).items():
        np.testing.assert_allclose(outputs(resumed)[name], values, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_stop_a_run_like_ctrl_c(tmp_path, signum, request):
    before = signal.signal(signum, signal.SIG_DFL)  # nohup lets SIGHUP be ignored, which we respect
    request.addfinalizer(lambda: signal.signal(signum, before))
    stopped = start("nve-direct", tmp_path / "run", steps=MANY, watch=interrupt_at(4, signum))
    assert stopped.interrupted
    assert working_in(stopped.folder) == []


def test_a_finished_run_is_not_overwritten(finished):
    before = (finished.folder / "nve-mts2.out").read_bytes()
    with pytest.raises(FinishedError, match="finished run of 12 steps"):
        start("nve-mts2", finished.folder, steps=12)
    assert (finished.folder / "nve-mts2.out").read_bytes() == before


def test_another_input_does_not_get_into_a_folder(finished):
    with pytest.raises(DarkforcesError, match="run of another input"):
        start("nve-mts4", finished.folder, steps=100)


def test_another_model_does_not_go_on_with_a_run(finished):
    with pytest.raises(DarkforcesError, match="begun with model pet-m, dtype float64, not model pet-m$"):
        start("nve-mts2", finished.folder, ModelChoice("pet-m"), steps=100)


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(DarkforcesError, match=r"not empty \(thesis.tex"):
        start("nve-mts2", tmp_path, steps=2)
    with pytest.raises(DarkforcesError, match="not empty"):
        start("nve-mts2", tmp_path, steps=2, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "important"


def test_a_path_that_would_spoil_the_restart_is_refused(tmp_path):
    with pytest.raises(DarkforcesError, match="XML forbids '--'"):
        start("nve-mts2", tmp_path / "a--b", steps=2)
    assert not (tmp_path / "a--b").exists()


def test_overwriting_removes_the_run_and_nothing_else(tmp_path):
    first = start("nve-direct", tmp_path / "run", steps=4)
    (first.folder / "notes.txt").write_text("mine")
    again = start("nve-direct", tmp_path / "run", steps=2, overwrite=True)
    assert again.steps == 2
    assert (first.folder / "notes.txt").read_text() == "mine"


def test_two_runs_do_not_share_a_folder(tmp_path):
    first = popen(
        [sys.executable, "-m", "ipi_darkforces.cli.main", "run", copy_input("nve-direct", tmp_path / "inputs")]
        + ["--model", "pet-m", "--steps", str(MANY), "--output", tmp_path / "run"],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until((tmp_path / "run" / "i-pi.xml").exists)
        with pytest.raises(DarkforcesError, match="another simulation is running"):
            start("nve-direct", tmp_path / "run", steps=2)
    finally:
        first.send_signal(signal.SIGINT)
        assert first.wait(PATIENCE) == 130
    assert working_in(tmp_path / "run") == []


def is_locked(folder):
    """Tell whether somebody holds the folder of a run: a process that ends lets go of it after it is no longer seen."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_killed_run_ends_by_itself_and_keeps_others_out_until_then(tmp_path):
    command = [sys.executable, "-m", "ipi_darkforces.cli.main", "run", copy_input("nve-direct", tmp_path / "inputs")]
    command += ["--model", "pet-m", "--dtype", "float64", "--steps", str(MANY), "--output", tmp_path / "run"]
    killed = popen(command, stderr=subprocess.DEVNULL)
    try:
        progress = tmp_path / "run" / "nve-direct.progress"
        wait_until(lambda: progress.exists() and len(progress.read_text().splitlines()) > 6)  # steps have been done
        [ipi] = workers_called("i-pi.xml\0", tmp_path / "run")
        os.kill(ipi, signal.SIGSTOP)
    finally:
        killed.kill()
        killed.wait(PATIENCE)
    with pytest.raises(DarkforcesError, match="another simulation is running"):
        start("nve-direct", tmp_path / "run", steps=2)
    os.kill(ipi, signal.SIGCONT)
    wait_until(lambda: not working_in(tmp_path / "run") and not is_locked(tmp_path / "run"))
    state = SimulationInput.read(tmp_path / "run" / "RESTART")
    assert not Path(state.sockets_prefix).exists()
    assert start("nve-direct", tmp_path / "run", steps=state.step + 4).steps == state.step + 4


def test_a_run_that_was_killed_goes_on_from_its_checkpoint(tmp_path):
    # What is left when the machine goes down: no RESTART, but i-PI's last checkpoint.
    first = start("nve-direct", tmp_path / "run", steps=MANY, watch=interrupt_at(8))
    first.folder.joinpath("RESTART").rename(first.folder / "nve-direct.chk")
    resumed = start("nve-direct", tmp_path / "run", steps=first.steps + 4)
    assert resumed.steps == first.steps + 4
    assert outputs(resumed)["step"][0] == 0


def test_the_newest_state_of_a_run_that_was_killed_counts(tmp_path):
    # Stopped, continued, and then the machine goes down: RESTART is of the first time, the checkpoint of the second.
    first = start("nve-direct", tmp_path / "run", steps=MANY, watch=interrupt_at(4))
    stopped = (first.folder / "RESTART").read_bytes()
    second = start("nve-direct", tmp_path / "run", steps=first.steps + 8)
    (first.folder / "RESTART").rename(first.folder / "nve-direct.chk")
    (first.folder / "RESTART").write_bytes(stopped)
    third = start("nve-direct", tmp_path / "run", steps=second.steps + 4)
    assert third.steps == second.steps + 4
    step = outputs(third)["step"]
    assert (np.diff(step) > 0).all(), step


def test_a_checkpoint_that_breaks_off_does_not_count(tmp_path):
    first = start("nve-direct", tmp_path / "run", steps=4)
    state = (first.folder / "RESTART").read_bytes()
    (first.folder / "nve-direct.chk").write_bytes(state[: len(state) // 2])
    assert start("nve-direct", tmp_path / "run", steps=8).steps == 8


def workers_called(name: str, folder: Path) -> list[int]:
    return [pid for pid in working_in(folder) if name in command_of(pid)]


@pytest.mark.parametrize(("program", "name"), [("cli.driver", "the driver"), ("/i-pi\0", "i-PI")])
def test_who_was_killed_is_named(tmp_path, program, name):
    """A system that runs out of memory kills processes like this."""

    def kill(progress, total):
        for pid in workers_called(program, tmp_path / "run"):
            os.kill(pid, signal.SIGKILL)

    with pytest.raises(DarkforcesError, match=rf"^{name} stopped at step \d+: ended by SIGKILL \(see .*\.log\)"):
        start("nve-direct", tmp_path / "run", steps=MANY, watch=kill)
    assert working_in(tmp_path / "run") == []


def test_ipi_goes_on_from_its_restart_by_hand(tmp_path):
    """The driver finds in RESTART the prefix of sockets that the input says."""
    with Workplace() as workplace:
        text = copy_input("nve-mts2", tmp_path).read_text()
        text = text.replace("<simulation ", f"<simulation sockets_prefix='{workplace.prefix}' ")
        often = "<checkpoint filename='chk' stride='1' overwrite='False'/>"
        text = re.sub("<checkpoint filename='chk'.*/>", often, text)
        (tmp_path / "prefixed.xml").write_text(text)
        simulation = SimulationInput.read(tmp_path / "prefixed.xml")
        stopped = run(simulation, MODEL, tmp_path / "run", steps=MANY, watch=interrupt_at(4))
        assert 4 <= stopped.steps < MANY
        for state in ("RESTART", "nve-mts2.chk_0", "nve-mts2.chk_3"):
            assert SimulationInput.read(stopped.folder / state).sockets_prefix == workplace.prefix
        restart, last = stopped.folder / "RESTART", 4 * (stopped.steps // 4 + 2)
        total = "<total_steps>.*</total_steps>"
        restart.write_text(re.sub(total, f"<total_steps>{last}</total_steps>", restart.read_text()))
        ipi = workplace.start("ipi", sys.executable, str(PROGRAMS / "i-pi"), "RESTART", folder=stopped.folder)
        driver = workplace.start(
            "driver", str(PROGRAMS / "i-pi-darkdriver"), "--model", "pet-m", "--input", "RESTART", folder=stopped.folder
        )
        assert (ipi.wait(), driver.wait()) == (0, 0), driver.said()
    assert outputs(stopped)["step"][-1] == last


def test_of_several_systems_the_first_is_watched(tmp_path):
    text = copy_input("nve-direct", tmp_path).read_text()
    system = text[text.index("  <system>") : text.index("</simulation>")]
    both = "".join(system.replace("<system>", f"<system prefix='{name}'>") for name in ("warm", "cold"))
    (tmp_path / "both.xml").write_text(text.replace(system, both))
    simulation = SimulationInput.read(tmp_path / "both.xml")
    steps = []
    outcome = run(
        simulation, MODEL, tmp_path / "run", steps=8, watch=lambda progress, total: steps.append(progress.step)
    )
    assert steps == [0, 4, 8]
    assert outcome.prefix == "warm_nve-direct"
    assert Overview.of(outcome, simulation).time[-1] == pytest.approx(0.004)
    again = run(SimulationInput.read(tmp_path / "both.xml"), MODEL, tmp_path / "run", steps=4, overwrite=True)
    assert list(again.folder.glob("#*")) == []  # nothing was there that i-PI had to put aside


def test_a_failed_start_does_not_stand_in_the_way(tmp_path):
    with pytest.raises(DarkforcesError, match="'pet-c' does not provide direct forces"):
        start("nve-mts2", tmp_path / "run", ModelChoice("pet-c"), steps=4)
    assert working_in(tmp_path / "run") == []
    assert start("nve-direct", tmp_path / "run", ModelChoice("pet-nc"), steps=4).steps == 4


@pytest.mark.parametrize("in_process", [False, True])
def test_an_unknown_model_is_named(tmp_path, in_process):
    with pytest.raises(DarkforcesError, match="did you mean 'pet-m'"):
        start("nve-direct", tmp_path / "run", ModelChoice("pet-mm"), in_process=in_process)


def test_a_missing_start_structure_is_named(tmp_path):
    (tmp_path / "alone.xml").write_text((INPUTS / "nve-direct.xml").read_text())
    with pytest.raises(DarkforcesError, match="water.chk', which does not exist"):
        run(SimulationInput.read(tmp_path / "alone.xml"), MODEL, tmp_path / "run")


def test_a_port_in_use_is_named(tmp_path):
    text = copy_input("nve-direct", tmp_path).read_text()
    with socket.socket() as other:
        other.bind(("localhost", 0))
        other.listen()
        port = other.getsockname()[1]
        text = text.replace("mode='unix'", "mode='inet'")
        text = text.replace("<address> darkforces </address>", f"<address> localhost </address> <port> {port} </port>")
        (tmp_path / "inet.xml").write_text(text)
        with pytest.raises(DarkforcesError, match=f"localhost:{port} .* in use"):
            run(SimulationInput.read(tmp_path / "inet.xml"), MODEL, tmp_path / "run")


def test_what_ipi_says_when_it_fails_is_passed_on(tmp_path):
    text = copy_input("nve-mts2", tmp_path).read_text().replace("<nmts> [ 1, 2 ] </nmts>", "<nmts> [ 1, 2, 2 ] </nmts>")
    (tmp_path / "wrong.xml").write_text(text)
    with pytest.raises(DarkforcesError, match="i-PI stopped at step 0: .*mts levels"):
        run(SimulationInput.read(tmp_path / "wrong.xml"), MODEL, tmp_path / "run")


@pytest.fixture
def leaving(tmp_path, breaking_model) -> tuple[SimulationInput, ModelChoice]:
    """An atom that leaves the region where the model gives numbers after some ten steps of 1 fs."""
    atoms = ase.Atoms("Ar2", positions=[[1.0, 1.0, 1.0], [4.0, 1.0, 1.0]], cell=[20.0] * 3, pbc=True)
    atoms.set_velocities([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0]])  # ase's unit of time is 10.18 fs
    write_start(atoms, tmp_path / "start.chk")
    recipe = Recipe("leaving", "nve", "Ar2", "start.chk", timestep=1.0, duration=1000.0)
    (tmp_path / "leaving.xml").write_text(compose(recipe))
    return SimulationInput.read(tmp_path / "leaving.xml"), ModelChoice(str(breaking_model))


@pytest.mark.parametrize("in_process", [False, True])
def test_forces_that_are_not_numbers_stop_the_run_with_its_state_saved(tmp_path, leaving, in_process):
    simulation, model = leaving
    with pytest.raises(DarkforcesError, match=r"NaN or infinite.*state after step \d+ is in") as caught:
        run(simulation, model, tmp_path / "run", in_process=in_process)
    assert "\n" not in str(caught.value)
    saved = SimulationInput.read(tmp_path / "run" / "RESTART")
    assert 5 < saved.step < 100
    positions = read_output(str(tmp_path / "run" / "leaving.out"))[0]
    assert np.isfinite(positions["conserved"]).all()
    assert working_in(tmp_path / "run") == []


def test_the_command_ends_with_a_summary_and_a_picture(tmp_path):
    command = [sys.executable, "-m", "ipi_darkforces.cli.main", "run", "--model", "pet-m", "--time", "0.004", "--json"]
    command += [copy_input(name, tmp_path) for name in ("nve-direct", "nve-mts2")] + ["--output", tmp_path / "both"]
    done = finish(command)
    assert done.returncode == 0, done.stderr
    direct, mts = json.loads(done.stdout)
    assert (direct["steps"], mts["steps"]) == (8, 4)
    assert direct["picoseconds"] == pytest.approx(0.004)
    for picture in (direct["picture"], mts["picture"], tmp_path / "both" / "comparison.png"):
        assert Path(picture).read_bytes().startswith(b"\x89PNG")
    # The same command again: all is done, and shown.
    again = finish(command)
    assert again.returncode == 0, again.stderr
    assert [run["steps"] for run in json.loads(again.stdout)] == [8, 4]


def test_a_structure_of_ones_own_is_run(tmp_path):
    command = [sys.executable, "-m", "ipi_darkforces.cli.main", "run", "--structure", INPUTS / "water-16.xyz"]
    command += ["--model", "pet-m", "--ensemble", "langevin", "--tau", "100", "--mts", "2", "--steps", "4"]
    done = finish(command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "water-16-langevin100-mts2: 4 of 4 steps" in done.stdout
    assert (tmp_path / "water-16-langevin100-mts2" / "water-16-langevin100-mts2.out").exists()
