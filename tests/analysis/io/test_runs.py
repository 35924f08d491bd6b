"""Finding what a simulation left behind, from whatever path the user has."""

from __future__ import annotations

import shutil
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ipi_files import simulate, with_motion, with_trajectory, without_temperature, write_table
from ipi_processes import with_beads

from ipi_darkforces.analysis.io.runs import Reading, Run
from ipi_darkforces.analysis.io.setup import Constraints
from ipi_darkforces.errors import DarkforcesError

ROWS = np.array([[0, 0.0, 300.0, 0.0], [4, 2.0, 301.0, 0.0], [8, 4.0, 299.0, 0.0]])


def find(path: Path, reading: Reading | None = None) -> tuple[Run, list[str]]:
    notices: list[str] = []
    return Run.read(path, notices.append, reading or Reading()), notices


@pytest.fixture
def copied(harmonic, tmp_path) -> Path:
    """A copy of the run, to do something to."""
    return Path(shutil.copytree(harmonic, tmp_path / "run-1"))


@pytest.mark.parametrize("name", ["", "input.xml", "RESTART"])
def test_a_folder_an_input_or_a_restart(copied, name):
    run, notices = find(copied / name)
    assert notices == []
    assert run.name == "run-1"
    assert [table.path.name for table in run.tables] == ["run.out"]
    assert {each.path.name: each.interval for each in run.trajectories} == pytest.approx(
        {"run.vel_0.xyz": 0.0005, "run.si_0.xyz": 0.001, "run.pos_0.xyz": 0.002, "run.ase_0.extxyz": 0.0005}
    )
    assert run.trajectory("positions").path.name == "run.pos_0.xyz"
    assert run.target == pytest.approx(300.0)
    assert run.constraints.fixcom
    assert run.constraints.temperature == pytest.approx(300.0)
    assert run.n_atoms == 192


def test_a_folder_made_by_darkforces_run(copied):
    """There, what i-PI was started with has the output for those who watch, which the input does not have."""
    text = (copied / "input.xml").read_text()
    table = "<properties filename='progress' stride='1'> [ step, time{femtosecond}, temperature{kelvin} ] </properties>"
    (copied / "i-pi.xml").write_text(text.replace("</output>", f"{table}</output>"))
    write_table(copied / "run.progress", ROWS)
    run, _ = find(copied)
    assert {table.path.name for table in run.tables} == {"run.out", "run.progress"}
    assert run.table("conserved").path.name == "run.out"  # it has more rows


def test_an_input_of_another_name(copied):
    (copied / "input.xml").rename(copied / "water.xml")
    assert find(copied / "water.xml")[0].name == "water"
    assert find(copied)[0].name == "run-1"


def test_outputs_without_their_input(copied):
    for name in ("input.xml", "RESTART", "run.ase_0.extxyz"):
        (copied / name).unlink()
    run, _ = find(copied)
    assert [table.path.name for table in run.tables] == ["run.out"]
    assert run.trajectory("velocities").interval == pytest.approx(0.0005)  # from the properties
    assert (run.target, run.constraints, run.n_atoms) == (None, None, 192)


@pytest.mark.parametrize("with_input", [True, False])
def test_one_file_and_what_lies_beside_it(copied, with_input):
    if not with_input:
        (copied / "input.xml").unlink()
        (copied / "RESTART").unlink()
    velocities, _ = find(copied / "run.vel_0.xyz")
    assert (velocities.name, velocities.tables, len(velocities.trajectories)) == ("run.vel_0", (), 1)
    assert velocities.trajectories[0].interval == pytest.approx(0.0005)
    properties, _ = find(copied / "run.out")
    assert (properties.name, len(properties.tables), properties.trajectories) == ("run.out", 1, ())
    assert velocities.target == properties.target == (pytest.approx(300.0) if with_input else None)


def test_masses_are_those_of_the_simulation_and_not_of_a_list(copied):
    """The start has ase's mass of oxygen, and not i-PI's."""
    run, _ = find(copied)
    np.testing.assert_allclose(run.trajectory("velocities").masses[[0, 100]], [15.999, 1.008], rtol=1e-10)
    text = (copied / "RESTART").read_text()
    begin = text.index("<m ")
    end = text.index("</m>", begin)
    heavy = text[begin:end].replace("2.9164393111", "5.9164393111")
    assert heavy != text[begin:end]
    (copied / "RESTART").write_text(text[:begin] + heavy + text[end:])
    assert find(copied)[0].trajectory("velocities").masses[0] > 32.0


def test_without_any_state_masses_are_those_of_ipi(copied):
    for path in (copied / "input.xml", copied / "RESTART", *copied.glob("*.chk"), *copied.glob("run.state*")):
        path.unlink()
    assert find(copied)[0].trajectory("velocities").masses[0] == 15.9994


def test_what_an_input_says_about_motion(tmp_path):
    fixed = with_motion("fixatoms", "[ 1, 5 ]"), with_motion("fixcom", "False"), without_temperature
    folder = simulate("nve-direct", tmp_path / "fixed", 2, with_trajectory("vel", "velocities"), *fixed)
    run, _ = find(folder)
    assert run.constraints == Constraints(None, False, (3, 4, 5, 15, 16, 17))
    assert run.target is None


def test_without_a_thermostat_there_is_no_target(tmp_path):
    run, _ = find(simulate("nve-direct", tmp_path / "nve", 2))
    assert run.target is None
    assert run.constraints.temperature == pytest.approx(300.0)


@pytest.mark.parametrize(("name", "each"), [("nve-direct", False), ("svr-direct", False), ("gle-direct", True)])
def test_whether_a_thermostat_acts_on_each_atom(tmp_path, name, each):
    assert find(simulate(name, tmp_path / name, 2))[0].of_each_atom is each


def test_several_beads(tmp_path):
    outputs = with_trajectory("pos", "positions"), with_trajectory("vel", "velocities"), with_beads(2)
    run, notices = find(simulate("svr-direct", tmp_path / "beads", 2, *outputs))
    assert [each.path.name for each in run.trajectories] == ["run.pos_0.xyz"]
    assert len(notices) == 2
    assert "velocities of 2 beads; they are not used" in notices[1]


def test_a_damaged_file_does_not_hide_the_others(copied):
    (copied / "run.pos_0.xyz").write_text("")
    run, notices = find(copied)
    assert notices == [f"'{copied}/run.pos_0.xyz' is empty"]
    assert run.trajectory("velocities").path.name == "run.vel_0.xyz"
    with pytest.raises(DarkforcesError, match="has no positions: add <trajectory filename='pos'> positions"):
        run.trajectory("positions")


def test_a_table_that_is_not_there(copied):
    run, _ = find(copied)
    with pytest.raises(DarkforcesError, match=r"no table of temperature\(C\); it has conserved, kinetic_md, potential"):
        run.table("temperature(C)")


def test_a_trajectory_of_another_program(tmp_path):
    atoms = ase.Atoms("OH2", positions=np.eye(3), cell=[5, 5, 5], pbc=True)
    ase.io.write(tmp_path / "md.extxyz", [atoms] * 3)
    run, _ = find(tmp_path / "md.extxyz", Reading(interval=0.002))
    assert (run.name, run.n_atoms, run.target, run.constraints) == ("md", 3, None, None)
    assert run.trajectory("positions").interval == 0.002
    with pytest.raises(DarkforcesError, match="has no velocities"):
        run.trajectory("velocities")


def test_several_simulations_in_one_folder(copied):
    shutil.copy(copied / "run.out", copied / "other.out")
    (copied / "RESTART").unlink()
    (copied / "input.xml").unlink()
    with pytest.raises(
        DarkforcesError, match=r"outputs of several simulations \(other, run\); give an input or a file"
    ):
        find(copied)


@pytest.mark.parametrize("kind", ["missing", "empty", "never run", "other XML"])
def test_paths_where_there_is_nothing(tmp_path, kind):
    path = tmp_path / ("run.xml" if "XML" in kind or kind == "never run" else "folder")
    if kind == "empty":
        path.mkdir()
    if kind == "never run":
        shutil.copy(Path(__file__).parents[3] / "inputs" / "nve-direct.xml", path)
    if kind == "other XML":
        path.write_text("<html></html>")
    message = {
        "missing": "does not exist",
        "empty": "has no outputs",
        "never run": "has no outputs: looked for",
        "other XML": "is not an i-PI input",
    }[kind]
    with pytest.raises(DarkforcesError, match=message):
        find(path)


def test_two_inputs_in_one_folder(copied):
    (copied / "input.xml").rename(copied / "first.xml")
    (copied / "RESTART").unlink()
    text = (copied / "first.xml").read_text()
    (copied / "second.xml").write_text(text.replace('prefix="run"', 'prefix="other"'))
    assert find(copied)[0].tables[0].path.name == "run.out"  # the second was never run
    shutil.copy(copied / "run.out", copied / "other.out")
    with pytest.raises(DarkforcesError, match="several simulations; give one of the inputs: first.xml, second.xml"):
        find(copied)
