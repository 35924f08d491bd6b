"""The folder of a run: what it goes on with, what it refuses, and that nothing of anybody's is lost."""

import json
import math
import os
import shutil
import signal
from pathlib import Path

import ase
import pytest
from ipi.engine.outputs import CheckpointOutput

from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.simulate.added_outputs import state_stride
from ipi_darkforces.simulate.compose import compose, write_start
from ipi_darkforces.simulate.folder import FinishedError, OtherRunError, RunFolder
from ipi_darkforces.simulate.inputs import SimulationInput
from ipi_darkforces.simulate.recipe import Recipe

MODEL = {"model": "/there/mine.pt", "dtype": "float64", "fingerprint": "0123456789ab"}


@pytest.fixture
def source(tmp_path) -> Path:
    """An input for two atoms of argon, in a folder of its own."""
    (tmp_path / "here").mkdir()
    write_start(ase.Atoms("Ar2", [[0, 0, 0], [3, 0, 0]], cell=[10] * 3, pbc=True), tmp_path / "here" / "start.chk")
    path = tmp_path / "here" / "argon.xml"
    path.write_text(compose(Recipe("argon", "nve", "Ar2", "start.chk", timestep=1.0)))
    return path


@pytest.fixture
def output(tmp_path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    return path


def begin(source: Path, output: Path, model=None, overwrite: bool = False, steps: int | None = None) -> SimulationInput:
    folder = RunFolder(output)
    simulation = folder.begin(SimulationInput.read(source), model or MODEL, steps, overwrite)
    simulation.add_outputs(2, folder.states.next_number(simulation))
    folder.launch(simulation)
    return simulation


def state(output: Path, step: int) -> str:
    """RESTART after so many steps: the input, with structure in place of the file that it starts from."""
    text = (output / "i-pi.xml").read_text()
    system = (output / "start.chk").read_text()
    beads = system[system.index("<beads") : system.index("<forces>")]
    start, end = text.index("<initialize"), text.index("</initialize>") + len("</initialize>")
    text = text[:start] + beads + text[end:]
    return text.replace("<simulation ", "<simulation ", 1).replace(
        "<total_steps>", f"<step>{step}</step>\n<total_steps>"
    )


def test_a_run_goes_on_from_its_newest_state(source, output):
    begin(source, output)
    (output / "RESTART").write_text(state(output, 3))
    (output / "argon.chk").write_text(state(output, 5))
    (output / "argon.resume_0").write_text(state(output, 4))
    assert begin(source, output).step == 5


def test_states_that_are_cut_at_any_byte_do_not_count(source, output):
    begin(source, output)
    whole = {name: state(output, step) for name, step in (("RESTART", 7), ("argon.chk", 6), ("argon.resume_1", 5))}
    (output / "argon.resume_0").write_text(state(output, 4))
    n = min(map(len, whole.values()))
    for cut in [*range(0, n - 1, n // 60), *range(n - 14, n - 1)]:
        for name, text in whole.items():
            (output / name).write_text(text.rstrip()[:cut])
        last = RunFolder(output).states.last()
        assert last is not None
        assert last.step == 4, cut


def test_what_a_run_went_on_from_is_a_state_too(source, output):
    """i-PI opens its RESTART before it knows what to write: a full disk leaves nothing of it."""
    begin(source, output)
    (output / "RESTART").write_text(state(output, 9))
    begin(source, output)
    (output / "RESTART").write_text("")
    assert begin(source, output).step == 9


def test_a_run_without_any_whole_state_is_not_thrown_away(source, output):
    begin(source, output)
    (output / "RESTART").write_text("<simulation>")
    with pytest.raises(DarkforcesError, match="no state is complete"):
        begin(source, output)
    assert begin(source, output, overwrite=True).step == 0


def test_only_the_last_two_of_our_states_are_kept(source, output):
    simulation = begin(source, output)
    for number in (8, 9, 10, 11):
        (output / f"argon.resume_{number}").write_text("")
    RunFolder(output).states.drop_old(simulation)
    assert sorted(file.name for file in output.glob("*.resume_*")) == ["argon.resume_10", "argon.resume_11"]
    assert RunFolder(output).states.next_number(simulation) == 12


@pytest.mark.parametrize(
    "others", [[], [1], [2], [20], [25], [62], [99], [100], [125], [1000], [1001], [210, 500], [30, 30]]
)
def test_our_states_come_as_often_as_others_and_seldom_at_the_same_step(others):
    ours = state_stride(others)
    # i-PI opens the user's anew at each multiple of the stride: then ours is the newest that is whole.
    assert 0.8 * min([100, *others]) <= ours <= min([100, *(max(stride, 20) for stride in others)])
    for stride in others:
        assert math.lcm(ours, stride) == ours * stride


@pytest.mark.parametrize("stride", ["24", "100"])
def test_a_checkpoint_of_the_user_s_is_not_taken_for_ours(source, output, stride):
    text = source.read_text().replace(
        "</output>", f"<checkpoint filename='resume' overwrite='False' stride='{stride}'/></output>"
    )
    source.write_text(text)
    simulation = begin(source, output)
    assert simulation.added.state == "darkforces-resume"
    again = SimulationInput.read(output / "i-pi.xml")
    again.adopt(SimulationInput.read(output / "input.xml"))
    assert [o.filename for o in again.parsed.output.fetch() if isinstance(o, CheckpointOutput)] == ["chk", "resume"]


def test_a_start_that_is_called_as_i_pi_s_state_is_not_taken_for_it(source, output):
    for name in ("RESTART", "argon.chk", "argon.resume_0"):
        (source.parent / name).write_text(
            (source.parent / "start.chk").read_text().replace("<system>", "<step>50</step><system>")
        )
        other = source.with_name("other.xml")
        other.write_text(source.read_text().replace("start.chk", name))
        begin(other, output)
        assert RunFolder(output).states.last() is None
        assert (output / "files" / name).exists()


def resumable(source: Path, output: Path, **options) -> None:
    """A run that has got somewhere."""
    begin(source, output, **options)
    (output / "RESTART").write_text(state(output, 3))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<timestep units='femtosecond'> 1 <", "<timestep units='femtosecond'> 2 <", "<timestep> is '2', not '1'"),
        ("<seed> 31415 <", "<seed> 1 <", "<seed> is '1', not '31415'"),
        ("mode='nve'", "mode='nvt'", "mode of <dynamics> is 'nvt', not 'nve'"),
        ("filename='vel'", "filename='v'", "filename of <trajectory> is 'v', not 'vel'"),
        ("<system>", "<system prefix='a'>", "prefix of <system> is 'a', not not given"),
        ("<prng> <seed> 31415 </seed> </prng>", "", "<simulation> has <ffsocket> where it had <prng>"),
    ],
)
def test_an_input_that_was_changed_in_its_folder_is_another_one(source, output, old, new, said):
    resumable(source, output)
    text = (output / "input.xml").read_text()
    assert old in text
    (output / "input.xml").write_text(text.replace(old, new))
    with pytest.raises(OtherRunError) as caught:
        begin(output / "input.xml", output)
    assert said in str(caught.value)
    assert (output / "input.xml").read_text() == text.replace(old, new)
    assert (output / "RESTART").exists()
    assert begin(source, output).step == 3  # the run itself can go on
    fresh = begin(output / "input.xml", output, overwrite=True)
    assert fresh.step == 0
    assert (output / "input.xml").read_text() == text.replace(old, new)
    assert not (output / "RESTART").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<total_steps> 2000 </total_steps>", "<total_steps> 3000 </total_steps> <total_time> 60 </total_time>"),
        ("verbosity='low'", "verbosity='high'"),
        ("<address> darkforces </address>", "<address> here </address> <port> 31415 </port>"),
    ],
)
def test_what_does_not_make_another_simulation_may_change(source, output, old, new):
    resumable(source, output)
    assert old in source.read_text()
    source.write_text(source.read_text().replace(old, new))
    state = begin(source, output)
    assert state.step == 3
    assert state.total_steps in (2000, 3000)
    assert [f.address for f in state.socket_forcefields()] == ["here" if "here" in new else "darkforces"]


def test_a_file_that_was_changed_is_noticed(source, output):
    resumable(source, output)
    (source.parent / "start.chk").write_text((source.parent / "start.chk").read_text().replace("Ar", "Ne"))
    with pytest.raises(DarkforcesError, match=r"another '.*start.chk', which has changed"):
        begin(source, output)


def test_a_changed_model_is_noticed(source, output):
    resumable(source, output)
    with pytest.raises(
        DarkforcesError, match=r"begun with model /there/mine.pt, dtype float64, which has changed since"
    ):
        begin(source, output, {**MODEL, "fingerprint": "ba9876543210"})
    with pytest.raises(DarkforcesError, match=r"begun with .*, not model /there/other.pt, dtype float64$"):
        begin(source, output, {**MODEL, "model": "/there/other.pt", "fingerprint": "ba9876543210"})


def test_the_same_model_may_lie_elsewhere(source, output):
    resumable(source, output)
    assert begin(source, output, {**MODEL, "model": "/scratch/mine.pt"}).step == 3
    with pytest.raises(DarkforcesError, match="not model /scratch/mine.pt"):  # of which nothing else is known
        begin(source, output, {"model": "/scratch/mine.pt", "dtype": "float64"})


def test_a_model_of_a_run_that_knew_no_fingerprints_goes_on(source, output):
    resumable(source, output)
    (output / "model.json").write_text(json.dumps({"model": "/there/mine.pt", "dtype": "float64"}))
    (output / "begun.json").unlink()
    assert begin(source, output).step == 3


def test_a_new_run_may_start_from_the_one_that_it_replaces(source, output):
    resumable(source, output)
    text = (output / "input.xml").read_text()
    (output / "input.xml").write_text(text.replace(" start.chk ", " RESTART "))
    before = (output / "RESTART").read_text()
    begin(output / "input.xml", output, overwrite=True)
    assert (output / "files" / "RESTART").read_text() == before
    assert not (output / "RESTART").exists()
    assert "files/RESTART" in (output / "input.xml").read_text()


def test_another_input_does_not_replace_a_changed_one(source, output):
    begin(source, output)
    mine = (output / "input.xml").read_text().replace("31415", "27182")
    (output / "input.xml").write_text(mine)
    begin(source, output)  # nothing was simulated yet
    assert (output / "input.xml.old").read_text() == mine
    assert (output / "input.xml").read_text() == source.read_text()
    begin(source, output)
    assert not (output / "input.xml.old2").exists()


def test_an_input_in_its_own_folder_is_run_there(source):
    here = source.parent
    (here / "argon.py").write_text("mine")
    for name in (source.name, "input.xml"):
        source.rename(here / name)
        source = here / name
        text = source.read_text()
        begin(source, here)
        (here / "RESTART").write_text(state(here, 3))
        (here / "argon.out").write_text("")
        assert begin(source, here).step == 3
        assert begin(source, here, overwrite=True).step == 0
        assert source.read_text() == text
        assert (here / "argon.py").read_text() == "mine"
        assert (here / "start.chk").exists()
        assert not (here / "argon.out").exists()
        for mine in ("model.json", "begun.json", "i-pi.xml"):
            (here / mine).unlink()
        if name != "input.xml":
            (here / "input.xml").unlink()


def test_what_an_input_has_simulated_by_hand_is_not_overwritten(source):
    here = source.parent
    (here / "RESTART").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(DarkforcesError, match="holds 'RESTART', which a run there would overwrite"):
            begin(source, here, overwrite=overwrite)
    assert (here / "RESTART").read_text() == "mine"


def test_a_full_disk_leaves_what_was_there(source, output, monkeypatch):
    resumable(source, output)
    before = {file.name: file.read_bytes() for file in output.iterdir()}

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(DarkforcesError, match="cannot be written: No space left"):
        begin(source, output, overwrite=True)
    assert {file.name: file.read_bytes() for file in output.iterdir()} == before


def fail(source: Path, folder: RunFolder, why: str) -> None:
    with folder.locked():
        begin(source, folder.path)
        raise DarkforcesError(why)


def test_a_folder_that_was_made_for_nothing_is_not_left(source, tmp_path):
    folder = RunFolder(tmp_path / "a" / "b" / "run")
    with pytest.raises(DarkforcesError, match="the model is wrong"):
        fail(source, folder, "the model is wrong")
    assert not (tmp_path / "a").exists()
    with pytest.raises(DarkforcesError, match="something is wrong"):
        fail(source, folder, f"something is wrong (see {folder.path / 'driver.log'})")
    assert folder.input.exists()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DarkforcesError, match="cannot be made: Not a directory"),
        RunFolder(tmp_path / "file" / "x").locked(),
    ):
        pass


def test_a_state_that_is_finished_is_not_begun_with(source, output, tmp_path):
    begin(source, output)
    restart = source.with_name("RESTART")
    restart.write_text(state(output, 2000))
    (tmp_path / "other").mkdir()
    with pytest.raises(DarkforcesError, match="finished, at step 2000 of 2000"):
        begin(restart, tmp_path / "other")
    fresh = begin(restart, tmp_path / "other", steps=2010)
    header = (tmp_path / "other" / "argon.out").read_text()
    assert header.startswith("# column   1     --> step : The current simulation time step.\n")
    assert RunFolder(tmp_path / "other").states.last() is None
    assert (fresh.step, fresh.total_steps) == (2000, 2010)


def test_a_finished_run_says_so(source, output):
    begin(source, output, steps=3)
    (output / "RESTART").write_text(state(output, 3))
    with pytest.raises(FinishedError, match="finished run of 3 steps"):
        begin(source, output, steps=3)


def test_copies_that_a_full_disk_has_left_are_not_in_the_way(source, output):
    (output / "start.chk").write_bytes((source.parent / "start.chk").read_bytes())
    begin(source, output)
    assert RunFolder(output).is_run


def test_a_kill_while_the_folder_was_prepared_is_not_in_the_way(source, output):
    """Killed before each of the steps that put something in place, the same command goes on."""
    elsewhere = source.parent / "elsewhere"
    elsewhere.mkdir()
    (source.parent / "start.chk").rename(elsewhere / "start.chk")
    moved = source.parent / "below" / "argon.xml"
    moved.parent.mkdir()
    moved.write_text(source.read_text().replace("start.chk", "../elsewhere/start.chk"))  # is copied to files/
    kills = 0
    while killed_while_preparing(moved, output, kills):
        left = sorted(str(path.relative_to(output)) for path in output.rglob("*"))
        begin(moved, output)
        assert RunFolder(output).is_run, left
        assert not list(output.glob(".unfinished-*"))
        shutil.rmtree(output)
        output.mkdir()
        kills += 1
    assert kills >= 4  # the start, the input, and both records


def killed_while_preparing(source: Path, output: Path, replacements: int) -> bool:
    """Begin in a process that is killed when it has put so many files in place; whether it had more to do."""
    child = os.fork()
    if child == 0:
        replace, done = os.replace, 0

        def replace_or_die(*paths):
            nonlocal done
            if done == replacements:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            replace(*paths)

        os.replace = replace_or_die
        try:
            RunFolder(output).begin(SimulationInput.read(source), MODEL, None, False)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_somebody_elses_file_of_the_same_name_is(source, output):
    (output / "start.chk").write_text("mine")
    with pytest.raises(DarkforcesError, match=r"not empty \(start.chk"):
        begin(source, output)
    assert (output / "start.chk").read_text() == "mine"
