"""Inputs of many kinds, run with real i-PI and driver processes."""

import json
import os
import signal
from pathlib import Path

import ase
import ase.units
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ipi.scripting import read_output

from ipi_darkforces.analysis.overview import Overview
from ipi_darkforces.cli.main import main
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.registry.load import ModelChoice
from ipi_darkforces.simulate.folder import RunFolder
from ipi_darkforces.simulate.inputs import SimulationInput
from ipi_darkforces.simulate.processes import Process
from ipi_darkforces.simulate.run import Outcome, run

MODEL = ModelChoice("ase:ase.calculators.emt:EMT")
DYNAMICS = (
    "<motion mode='dynamics'> <dynamics mode='nve'> <timestep units='femtosecond'> 1 </timestep> </dynamics> </motion>"
)


@pytest.fixture
def aluminium(tmp_path) -> ase.Atoms:
    """Four atoms, which are in ``data/al.xyz`` as i-PI reads them."""
    atoms = bulk("Al", cubic=True)
    atoms.rattle(0.1, seed=1)
    (tmp_path / "data").mkdir()
    cell = " ".join(str(length) for length in (*atoms.cell.lengths(), 90, 90, 90))
    lines = [f"Al {x:.12f} {y:.12f} {z:.12f}" for x, y, z in atoms.positions]
    comment = f"# CELL(abcABC): {cell} positions{{angstrom}} cell{{angstrom}}"
    (tmp_path / "data" / "al.xyz").write_text("\n".join([str(len(atoms)), comment, *lines, ""]))
    return atoms


def input_of(
    system: str, prefix: str = "al", more: str = "", parameters: str = "{ template: data/al.xyz }", outputs: str = ""
) -> str:
    return f"""<simulation verbosity='low' floatformat='%22.14e'>
  <output prefix='{prefix}'>
    <properties filename='out' stride='1'> [ step, potential{{electronvolt}}, temperature{{kelvin}} ] </properties>
    {outputs}
  </output>
  <total_steps> 8 </total_steps>
  <prng> <seed> 3 </seed> </prng>
  <ffsocket name='d' mode='unix' pbc='False'>
    <address> al </address> <parameters> {parameters} </parameters>
  </ffsocket>
  {more}
  {system}
</simulation>
"""


SYSTEM = f"""<system>
    <initialize nbeads='1'>
      <file mode='xyz'> data/al.xyz </file> <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces> <force forcefield='d'/> </forces>
    <ensemble> <temperature units='kelvin'> 300 </temperature> </ensemble>
    {DYNAMICS}
  </system>"""
REPLICA = SYSTEM.replace("<system>", "<system prefix='r/replica-INDEX'>").replace("300", "TEMP")
REPLICAS = f"""<smotion mode='remd'> <remd> <stride> 2 </stride> </remd> </smotion>
  <system_template>
    <labels> [ INDEX, TEMP, START ] </labels>
    <instance> [ 0, 300, data/al.xyz ] </instance>
    <instance> [ 1, 450, data/al.xyz ] </instance>
    <template>
      {REPLICA.replace("data/al.xyz", "START")}
    </template>
  </system_template>"""


def long(text: str) -> str:
    """The same for long enough to be stopped."""
    return text.replace("<total_steps> 8 <", "<total_steps> 100000 <")


def energy(atoms: ase.Atoms) -> float:
    """Energy by EMT, eV."""
    atoms = atoms.copy()
    atoms.calc = EMT()
    return float(atoms.get_potential_energy())


def start(path: Path, text: str, **options) -> Outcome:
    path.write_text(text)
    return run(SimulationInput.read(path), MODEL, path.parent / "run", **options)


def darkforces(*words: str | Path) -> int:
    """The exit code of a command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["darkforces", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


def column(folder: Path, name: str, quantity: str) -> np.ndarray:
    return read_output(str(folder / name))[0][quantity]


def interrupt_at(step: int):
    def watch(progress, total):
        if progress.step >= step:
            signal.raise_signal(signal.SIGINT)

    return watch


def test_replicas_from_a_template_run_and_go_on(tmp_path, aluminium):
    outputs = "<properties filename='progress' stride='1'> [ step, volume ] </properties>"
    outputs += "<checkpoint filename='chk' stride='2' overwrite='True'/>"
    text = long(input_of(REPLICAS, prefix="x", outputs=outputs))
    first = start(tmp_path / "remd.xml", text, watch=interrupt_at(2))
    assert first.interrupted
    assert (first.folder / "input.xml").read_text() == text
    outcome = start(tmp_path / "remd.xml", text, steps=first.steps + 4)
    assert outcome.steps == first.steps + 4
    for name in ("r/replica-0_x.out", "r/replica-1_x.out"):
        np.testing.assert_array_equal(column(outcome.folder, name, "step"), range(outcome.steps + 1))
        assert column(outcome.folder, name, "potential")[0] == pytest.approx(energy(aluminium), abs=1e-6)
    cold, warm = (column(outcome.folder, f"r/replica-{i}_x.out", "temperature")[0] for i in (0, 1))
    assert warm / cold != pytest.approx(1.0, abs=0.01)
    assert np.isfinite(Overview.of(outcome, SimulationInput.read(tmp_path / "remd.xml")).temperature).all()
    bohr3 = aluminium.get_volume() / ase.units.Bohr**3  # in the user's own file of that name
    np.testing.assert_allclose(column(outcome.folder, "r/replica-0_x.progress", "volume"), bohr3, rtol=1e-6)


def test_a_prefix_with_a_folder(tmp_path, aluminium):
    outputs = "<checkpoint filename='chk' stride='1' overwrite='True'/>"
    text = long(input_of(SYSTEM, prefix="out/of/al", outputs=outputs))
    first = start(tmp_path / "al.xml", text, watch=interrupt_at(2))
    outcome = start(tmp_path / "al.xml", text, steps=first.steps + 4)
    assert (first.interrupted, outcome.steps) == (True, first.steps + 4)
    np.testing.assert_array_equal(column(outcome.folder, "out/of/al.out", "step"), range(outcome.steps + 1))
    again = start(tmp_path / "al.xml", text, steps=2, overwrite=True)
    np.testing.assert_array_equal(column(again.folder, "out/of/al.out", "step"), range(3))


@pytest.mark.parametrize("prefix", ["../al", "/tmp/al"])
def test_outputs_elsewhere_are_refused(tmp_path, aluminium, prefix):
    with pytest.raises(DarkforcesError, match="would not be in the folder of its run"):
        start(tmp_path / "al.xml", input_of(SYSTEM, prefix=prefix))
    assert not (tmp_path / "run").exists()


WALL = """import numpy as np
from ipi.pes.dummy import Dummy_driver
__DRIVER_NAME__ = "wall"
__DRIVER_CLASS__ = "Wall"
class Wall(Dummy_driver):
    def __init__(self, table, **others):
        self.height = float(open(table).read())
        super().__init__()
    def compute_structure(self, cell, pos):
        return self.height, np.zeros_like(pos), np.zeros((3, 3)), ""
"""


def test_a_potential_of_ones_own_beside_the_model(tmp_path, aluminium):
    """The potential is in a file elsewhere, which reads another one."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "wall.py").write_text(WALL)
    (tmp_path / "height.txt").write_text("1.0")  # Ha
    folder = tmp_path / "here"
    folder.mkdir()
    (tmp_path / "data").rename(folder / "data")
    wall = "<ffdirect name='wall'> <pes> custom </pes> <pes_path> ../mine/wall.py </pes_path>"
    wall += "<parameters> { table: ../height.txt } </parameters> </ffdirect>"
    system = SYSTEM.replace("<forces>", "<forces> <force forcefield='wall'/>")
    outcome = start(folder / "al.xml", input_of(system, more=wall), steps=2)
    hartree = 27.211386
    assert column(outcome.folder, "al.out", "potential")[0] == pytest.approx(energy(aluminium) + hartree, abs=1e-4)


def test_a_potential_of_ones_own_alone(tmp_path, aluminium):
    """There is nothing to serve, and no driver that says so."""
    (tmp_path / "wall.py").write_text(WALL.replace("table, **", "**").replace("float(open(table).read())", "0.5"))
    wall = "<ffdirect name='wall'> <pes> custom </pes> <pes_path> wall.py </pes_path> </ffdirect>"
    text = input_of(SYSTEM.replace("forcefield='d'", "forcefield='wall'"), more=wall)
    text = text[: text.index("<ffsocket")] + text[text.index("</ffsocket>") + len("</ffsocket>") :]
    outcome = start(tmp_path / "al.xml", text, steps=500)
    assert outcome.steps == 500
    np.testing.assert_allclose(column(outcome.folder, "al.out", "potential"), 0.5 * 27.211386, rtol=1e-6)


@pytest.mark.parametrize("name", ["R&D", "a, b", "it's {x}: 'y'"])
def test_in_process_in_a_folder_of_any_name(tmp_path, aluminium, name):
    folder = tmp_path / name
    folder.mkdir()
    (tmp_path / "data").rename(folder / "data")
    (folder / "calc.py").write_text("from ase.calculators.emt import EMT\ndef make(): return EMT()\n")
    path = folder / "al.xml"
    path.write_text(input_of(SYSTEM))
    model = ModelChoice(f"ase:{folder / 'calc.py'}:make")
    for steps in (2, 4):
        outcome = run(SimulationInput.read(path), model, folder / "run", steps, in_process=True)
        assert outcome.steps == steps
    assert column(outcome.folder, "al.out", "potential")[0] == pytest.approx(energy(aluminium), abs=1e-6)
    np.testing.assert_array_equal(column(outcome.folder, "al.out", "step"), range(5))


def test_a_run_that_is_killed_loses_at_most_a_hundred_steps(tmp_path, aluminium):
    def kill(progress, total):
        if progress.step >= 102:
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    if (process / "cwd").resolve() == (tmp_path / "run").resolve():
                        os.kill(int(process.name), signal.SIGKILL)
                except OSError:
                    continue

    text = long(input_of(SYSTEM))
    with pytest.raises(DarkforcesError, match=r"state after step \d+ is in .*al.resume_"):
        start(tmp_path / "al.xml", text, watch=kill)
    assert not (tmp_path / "run" / "RESTART").exists()
    state = RunFolder(tmp_path / "run").states.last()
    assert state is not None
    assert start(tmp_path / "al.xml", text, steps=state.step + 2).steps == state.step + 2


def test_a_replayed_trajectory(tmp_path, aluminium):
    frames = [aluminium.copy() for _ in range(3)]
    for i, frame in enumerate(frames):
        frame.rattle(0.02, seed=i)
    cell = " ".join(str(length) for length in (*aluminium.cell.lengths(), 90, 90, 90))
    lines = []
    for frame in frames:
        lines += ["4", f"# CELL(abcABC): {cell} positions{{angstrom}} cell{{angstrom}}"]
        lines += [f"Al {x:.12f} {y:.12f} {z:.12f}" for x, y, z in frame.positions]
    (tmp_path / "frames.xyz").write_text("\n".join(lines) + "\n")
    system = SYSTEM.replace(DYNAMICS, "<motion mode='replay'> <file mode='xyz'> frames.xyz </file> </motion>")
    outcome = start(tmp_path / "al.xml", input_of(system), steps=3)
    expected = [energy(aluminium), *map(energy, frames)]
    np.testing.assert_allclose(column(outcome.folder, "al.out", "potential"), expected, atol=1e-6)


def test_a_state_is_an_input_too(tmp_path, aluminium, monkeypatch, capsys):
    """Whatever the files are called, and from wherever they are run; its outputs can be analysed."""
    monkeypatch.chdir(tmp_path)
    outputs = "<properties filename='e' stride='1'> [ step, time{picosecond}, conserved{electronvolt} ] </properties>"
    (tmp_path / "input").write_text(input_of(SYSTEM, outputs=outputs))
    model = ["--model", MODEL.model]
    assert darkforces("run", "input", *model, "--json") == 0
    (tmp_path / "input-run" / "RESTART").rename(tmp_path / "RESTART")
    assert darkforces("run", "RESTART", *model) == 1
    assert "finished, at step 8 of 8" in capsys.readouterr().err
    assert not (tmp_path / "RESTART-run").exists()
    assert darkforces("run", "RESTART", *model, "--steps", "40", "--json") == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 40
    np.testing.assert_array_equal(column(tmp_path / "RESTART-run", "al.out", "step"), range(9, 41))
    assert darkforces("analyze", "drift", "RESTART-run") == 0
    assert "RESTART-run" in capsys.readouterr().out


def test_a_folder_goes_on_with_what_it_was_begun_with(tmp_path, aluminium, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "al.xml").write_text(input_of(SYSTEM))
    assert darkforces("run", "al.xml", "--model", MODEL.model, "--steps", "3", "--output", "mine", "--json") == 0
    assert darkforces("run", "mine", "--steps", "6", "--json") == 0
    assert darkforces("run", "mine/input.xml", "--model", MODEL.model, "--steps", "7", "--json") == 0
    capsys.readouterr()
    assert darkforces("run", "mine", "--json") == 1
    assert "finished run of 7 steps" in capsys.readouterr().err
    assert darkforces("run", "al.xml", "--model", "pet-m", "--output", "mine") == 1
    assert "choose another --output, or --overwrite it" in capsys.readouterr().err
    assert darkforces("run", "data", "--model", MODEL.model) == 1
    assert "'data' is a folder without a run" in capsys.readouterr().err
    (tmp_path / "al").write_text("a file")
    assert darkforces("run", "al.xml", "--model", MODEL.model) == 1
    assert "'al' is a file" in capsys.readouterr().err


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("in_process", [False, True])
def test_a_model_that_cannot_serve_changes_nothing(tmp_path, aluminium, monkeypatch, in_process):
    """It is found before the folder is prepared, in which there may be a run that was to be overwritten."""
    path = tmp_path / "al.xml"
    path.write_text(input_of(SYSTEM, parameters="{ template: data/al.xyz, component: direct }"))
    with monkeypatch.context() as patch:
        patch.setattr(Process, "begin", lambda process: pytest.fail("i-PI has begun"))
        with pytest.raises(DarkforcesError, match="does not provide direct forces"):
            run(SimulationInput.read(path), MODEL, tmp_path / "run", in_process=in_process)
    assert not (tmp_path / "run").exists()
    path.write_text(input_of(SYSTEM))
    assert run(SimulationInput.read(path), MODEL, tmp_path / "run", steps=1, in_process=in_process).steps == 1
    before = contents(tmp_path / "run")
    with pytest.raises(DarkforcesError, match="does not know Al"):
        run(SimulationInput.read(path), ModelChoice("pet-m"), tmp_path / "run", in_process=in_process, overwrite=True)
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("in_process", [False, True])
def test_the_log_of_an_overwritten_run_is_gone(tmp_path, aluminium, in_process):
    """But not that of one which goes on."""
    (path := tmp_path / "al.xml").write_text(input_of(SYSTEM))
    log = tmp_path / "run" / "driver.log"
    run(SimulationInput.read(path), MODEL, tmp_path / "run", steps=1)
    log.write_text("earlier\n" + log.read_text())
    run(SimulationInput.read(path), MODEL, tmp_path / "run", steps=2)
    assert (log.read_text().count("earlier"), log.read_text().count("connected to i-PI")) == (1, 2)
    run(SimulationInput.read(path), MODEL, tmp_path / "run", steps=1, overwrite=True, in_process=in_process)
    assert not log.exists() if in_process else log.read_text().count("connected to i-PI") == 1
    assert "earlier" not in (log.read_text() if log.exists() else "")
    assert not (tmp_path / "run" / "driver.log.new").exists()
