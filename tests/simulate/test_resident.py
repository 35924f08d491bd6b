"""The resident inner loop against i-PI's own: the same trajectory, to rounding, and the same evaluations."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.constraints import FixAtoms
from calculators import FILE
from ipi.engine.motion.dynamics import NVEIntegrator
from ipi.engine.outputs import CheckpointOutput
from ipi_processes import INPUTS, Edit, in_process, ipi_here, with_beads
from programs import finish
from recorded import TracedGraphs

from ipi_darkforces.models.pet import padded
from ipi_darkforces.serve import pes
from ipi_darkforces.simulate.compose import compose, write_start
from ipi_darkforces.simulate.inner_loop import State
from ipi_darkforces.simulate.inputs import SimulationInput
from ipi_darkforces.simulate.loop import why_not_resident
from ipi_darkforces.simulate.recipe import Recipe
from ipi_darkforces.simulate.recorded_steps import RecordedSteps
from ipi_darkforces.simulate.resident import make_resident
from ipi_darkforces.split import shared

PARAMETERS = (
    f"{{ fast: ase:{FILE}:rotated, fast.forces: direct, fast.angle: 0.01, slow: ase:{FILE}:emt, "
    "component: %s, species: Cu4 }"
)
WATER = "{ model: pet-m, device: cuda, dtype: float64, component: %s, species: O16H32 }"
THERMOSTATS = {"nve": None, "langevin": 100.0, "svr": 20.0, "gle": 20.0}


def prepare(
    folder: Path, recipe: Recipe, *edits: Edit, fixed: tuple[int, ...] = (), parameters: str = PARAMETERS
) -> Path:
    """An input of four atoms of copper, whose fast forces are those of EMT, turned a little; or of water."""
    folder.mkdir(exist_ok=True)
    if parameters == PARAMETERS:
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.05, seed=1)
    else:
        atoms = ase.io.read(INPUTS / "water-16.xyz")
    atoms.set_constraint(FixAtoms(fixed))
    write_start(atoms, folder / "start.chk")
    root = ET.fromstring(compose(recipe))
    components = {each.get("name"): each.find("parameters").text for each in root.findall("ffsocket")}
    components = {name: text.split("component:")[1].split(",")[0].strip() for name, text in components.items()}
    for edit in (in_process("custom", lambda name: parameters % components[name], Path(pes.__file__)), *edits):
        edit(root)
    root.find("output/properties").set("stride", "1")
    path = folder / "input.xml"
    ET.ElementTree(root).write(path)
    return path


def recipe(ensemble: str = "nve", stride: int | None = 4, **changes: object) -> Recipe:
    return Recipe(
        "run", ensemble, "Cu4", "start.chk", stride=stride, tau=THERMOSTATS[ensemble], timestep=1.0, duration=1e5,
        thermalize=True, **changes,
    )  # fmt: skip


def with_splitting(name: str) -> Edit:
    return lambda root: root.find("system/motion/dynamics").set("splitting", name)


def with_temperature(kelvin: float) -> Edit:
    """Say the temperature, which springs between beads depend on, where no thermostat has said it."""

    def edit(root: ET.Element) -> None:
        ensemble = root.find("system/ensemble")
        if ensemble.find("temperature") is None:
            ET.SubElement(ensemble, "temperature", units="kelvin").text = str(kelvin)

    return edit


@dataclass(frozen=True)
class End:
    """The end of a simulation: positions and momenta of all beads of all systems in their order."""

    state: np.ndarray
    conserved: list[float]  # of each system
    forward: list[int]  # passes of both models
    reason: str | None  # why it was not resident


@pytest.fixture
def trajectory() -> Callable[..., End]:
    def run(path: Path, resident: bool, steps: int) -> End:
        shared.shared_split.cache_clear()  # or else the second run finds the results of the first
        with ipi_here(path) as simulation:
            reason = make_resident(simulation) if resident else None
            systems = simulation.syslist
            assert isinstance(systems[0].motion.integrator, NVEIntegrator)
            model = systems[0].forces.mforces[0].ff.driver.split.model
            before = [part.passes.forward for part in model.models]
            simulation.run(steps, write_outputs=False)
            state = np.concatenate([array.copy() for each in systems for array in (each.beads.q, each.beads.p)])
            passes = [part.passes.forward - old for part, old in zip(model.models, before, strict=True)]
            return End(state, [float(each.ensemble.econs) for each in systems], passes, reason)

    return run


def assert_same(path: Path, trajectory: Callable[..., End], steps: int = 10) -> None:
    own = trajectory(path, resident=False, steps=steps)
    found = trajectory(path, resident=True, steps=steps)
    assert found.reason is None
    np.testing.assert_allclose(found.state, own.state, rtol=0.0, atol=1e-11)  # atomic units, of momenta of up to 30
    np.testing.assert_allclose(found.conserved, own.conserved, rtol=0.0, atol=1e-11)
    # i-PI asks for both components of the first geometry at once, in any order: one evaluation or two; of systems, as
    # its own loop takes them in turn, one may seem to be another at first.
    np.testing.assert_allclose(found.forward, own.forward, atol=len(own.state))


@pytest.mark.parametrize("stride", [1, 2, 3, 4, None])
def test_without_a_thermostat(stride, trajectory, tmp_path):
    assert_same(prepare(tmp_path / "run", recipe(stride=stride)), trajectory, steps=100 if stride == 4 else 20)


@pytest.mark.parametrize(("ensemble", "stride"), [("nve", None), ("nve", 4), ("langevin", 3)])
def test_a_centre_of_mass_that_is_pushed_stays_at_rest(ensemble, stride, trajectory, tmp_path):
    """The energy that this takes is in the conserved quantity."""

    def pushed(root: ET.Element) -> None:
        for parameters in root.iter("parameters"):
            parameters.text = parameters.text.replace(f"slow: ase:{FILE}:emt", f"slow: ase:{FILE}:pushed")

    assert_same(prepare(tmp_path / "run", recipe(ensemble, stride), with_splitting("baoab"), pushed), trajectory)


@pytest.mark.parametrize("splitting", ["obabo", "baoab"])
@pytest.mark.parametrize("ensemble", ["langevin", "svr", "gle"])
@pytest.mark.parametrize("stride", [3, 4])
def test_with_a_thermostat(ensemble, splitting, stride, trajectory, tmp_path):
    assert_same(prepare(tmp_path / "run", recipe(ensemble, stride), with_splitting(splitting)), trajectory)


def test_fixed_atoms_stay(trajectory, tmp_path):
    path = prepare(tmp_path / "run", recipe("langevin", fixed=(0, 1, 2)), fixed=(0,))
    assert_same(path, trajectory, steps=5)


def test_systems_exchange_their_temperatures(trajectory, tmp_path):
    path = prepare(tmp_path / "run", recipe(), with_temperature(300), with_two_systems, with_exchange)
    assert_same(path, trajectory, steps=10)
    assert len((path.parent / "run.remd_idx").read_text().splitlines()) > 2  # they have


def test_a_bias_acts_at_outer_steps(trajectory, tmp_path):
    assert_same(prepare(tmp_path / "run", recipe(), with_bias), trajectory, steps=5)


@pytest.mark.parametrize(
    ("ensemble", "splitting", "stride", "beads"),
    [("nve", "obabo", 4, 1), ("nve", "obabo", None, 1), ("langevin", "baoab", 3, 1), ("langevin", "baoab", 4, 2)],
)
def test_systems_are_advanced_together(ensemble, splitting, stride, beads, trajectory, tmp_path):
    """Their cells differ; the thermostats draw random numbers in the order of the systems, once in a step."""
    edits = [with_splitting(splitting), with_temperature(300), with_two_systems, with_another_start]
    path = prepare(tmp_path / "run", recipe(ensemble, stride), *[with_beads(beads)] * (beads > 1), *edits)
    atoms = bulk("Cu", cubic=True, a=3.7)
    atoms.rattle(0.05, seed=2)
    write_start(atoms, path.parent / "other.chk")
    assert_same(path, trajectory, steps=10)


@pytest.mark.parametrize(
    ("ensemble", "edits"),
    [("nve", ()), ("langevin", (with_beads(2),)), ("gle", ()), ("svr", ()), ("nve", "bias"), ("nve", "exchange")],
)
def test_the_stored_state_is_the_one_that_ipi_stores(ensemble, edits, tmp_path):
    """So it is after a checkpoint, whose number stands in it; and with forcefields of a bias, which may change."""
    biased = edits == "bias"
    if isinstance(edits, str):
        edits = (with_bias,) if biased else (with_temperature(300), with_two_systems, with_exchange)
    path = prepare(tmp_path / "run", recipe(ensemble), *edits, with_checkpoints)
    with ipi_here(path) as simulation:
        assert make_resident(simulation) is None
        for steps in (1, 2, 4):
            simulation.run(steps)
            if biased:
                next(iter(simulation.fflist.values())).offset += 1.0
            simulation.chk.store()
            whole = CheckpointOutput("RESTART", 1, True, 0)
            whole.bind(simulation)  # and stores all of it
            assert simulation.chk.status.write(name="simulation") == whole.status.write(name="simulation")


@pytest.fixture
def command(tmp_path: Path) -> list[object]:
    ase.io.write(tmp_path / "cu.xyz", bulk("Cu", cubic=True))
    start = [sys.executable, "-m", "ipi_darkforces.cli.main", "run", "--structure", tmp_path / "cu.xyz", "--mts", "4"]
    return [*start, "--fast", f"ase:{FILE}:rotated", "--slow", f"ase:{FILE}:emt", "-o", "fast.forces=direct", "--json"]


def test_darkforces_run_leaves_what_it_leaves_with_ipis_own_loop(command, tmp_path):
    found = {}
    for loop, how in {"own": ["--in-process"], "resident": []}.items():
        folder = tmp_path / loop
        for steps in ("3", "10"):  # goes on
            done = finish([*command, "--steps", steps, "--output", folder, *how])
            assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["steps"] == 10
        assert "takes each fast step" not in done.stderr  # or else it says why there is none
        name = json.loads(done.stdout)["name"]
        rows = [np.loadtxt(folder / f"{name}.{output}") for output in ("progress", "disagreement")]
        found[loop] = {file.name for file in folder.iterdir()}, rows
    assert found["own"][0] == found["resident"][0]
    for resident, own in zip(found["resident"][1], found["own"][1], strict=True):
        np.testing.assert_allclose(resident, own, rtol=1e-9, atol=1e-9)
    # The plugin is in its folder only: elsewhere, its state is for a driver.
    state = SimulationInput.read(tmp_path / "resident" / "RESTART")
    assert state.parsed.threading.fetch()  # as the input has it
    assert {forcefield.settings.component for forcefield in state.socket_forcefields()} == {"fast", "slow"}


@pytest.mark.parametrize("asked", [[], ["--resident"]])
def test_it_is_said_that_ipi_takes_the_fast_steps(command, asked, tmp_path):
    done = finish([*command, "--ensemble", "npt", "--steps", "1", "--output", tmp_path / "run", *asked])
    assert done.returncode == 0, done.stderr
    reason = "it is no dynamics at constant volume"
    assert f"darkforces: i-PI takes each fast step itself, which costs more time: {reason}" in done.stderr
    assert (tmp_path / "run" / "in-process.py").exists()
    state = SimulationInput.read(tmp_path / "run" / "RESTART")
    assert len(state.socket_forcefields()) == 2


@pytest.mark.parametrize(
    ("ensemble", "splitting", "stride"),
    [
        ("nve", "obabo", 4),
        ("nve", "obabo", None),
        ("langevin", "obabo", 3),
        ("langevin", "baoab", 4),
        ("svr", "obabo", 4),
        ("svr", "baoab", 3),
        ("gle", "obabo", 3),
        ("gle", "baoab", 4),
    ],
)
def test_beads_are_advanced_together(ensemble, splitting, stride, trajectory, tmp_path):
    edits = with_beads(2), with_splitting(splitting), with_temperature(300)
    assert_same(prepare(tmp_path / "run", recipe(ensemble, stride), *edits), trajectory, steps=5)


def with_barostat(root: ET.Element) -> None:
    dynamics = root.find("system/motion/dynamics")
    dynamics.set("mode", "npt")
    barostat = ET.SubElement(dynamics, "barostat", mode="isotropic")
    ET.SubElement(barostat, "tau", units="femtosecond").text = "100"
    barostat.append(dynamics.find("thermostat"))
    ET.SubElement(root.find("system/ensemble"), "pressure", units="bar").text = "1"


def with_three_levels(root: ET.Element) -> None:
    root.find("system/motion/dynamics/nmts").text = "[1, 2, 2]"
    for weights, text in zip(root.iter("mts_weights"), ("[1, 0, 0]", "[0, 0, 1]"), strict=True):
        weights.text = text


def with_bias(root: ET.Element) -> None:
    last = root.findall("system/forces/force")[-1].get("forcefield")
    ET.SubElement(ET.SubElement(root.find("system/ensemble"), "bias"), "force", forcefield=last)


def with_two_systems(root: ET.Element) -> None:
    root.set("threading", "False")  # with threads, random numbers come in any order
    root.find("system").set("prefix", "a")
    root.append(deepcopy(root.find("system")))
    root.findall("system")[1].set("prefix", "b")


def with_another_start(root: ET.Element) -> None:
    for file in root.findall("system")[1].iter("file"):
        file.text = "other.chk"


def with_checkpoints(root: ET.Element) -> None:
    root.find("output").append(ET.fromstring("<checkpoint filename='kept' stride='3' overwrite='False'/>"))


def with_exchange(root: ET.Element) -> None:
    """Let two systems exchange their temperatures, with momenta, as often as not."""
    root.append(ET.fromstring("<smotion mode='remd'><remd><stride> 1 </stride></remd></smotion>"))
    root.findall("system")[1].find("ensemble/temperature").text = "400"


def with_different_systems(root: ET.Element) -> None:
    with_two_systems(root)
    root.findall("system")[1].find("motion/dynamics").set("splitting", "baoab")


def with_another_forcefield(root: ET.Element) -> None:
    ET.SubElement(root, "ffdirect", name="other")
    ET.SubElement(root.find("ffdirect[@name='other']"), "pes").text = "dummy"
    root.insert(0, root.find("ffdirect[@name='other']"))
    ET.SubElement(root.find("system/forces"), "force", forcefield="other").append(ET.Element("mts_weights"))
    root.findall("system/forces/force")[-1].find("mts_weights").text = "[1, 0]"


def with_contraction(root: ET.Element) -> None:
    with_beads(3)(root)
    root.find("system/forces/force").set("nbeads", "1")


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (with_barostat, "it is no dynamics at constant volume"),
        (with_three_levels, "there are 3 levels of multiple time stepping"),
        (with_bias, "there is a bias, and no multiple time stepping"),
        (with_different_systems, "systems differ in their dynamics, beads or forces"),
        (with_another_forcefield, "not all forces are those of one model of ours"),
        (with_contraction, "forces are contracted to fewer beads"),
        (with_beads(2), "atoms are fixed, and there are beads"),
        (lambda root: None, None),
    ],
)
def test_what_is_not_resident_is_said(edit, reason, tmp_path):
    """Before i-PI is started, of its input; and once more of what it has made of that."""
    stride = None if edit is with_bias else 4
    said = recipe("langevin", stride, fixed=(0, 1, 2) if reason is None or "fixed" in reason else ())
    path = prepare(tmp_path / "run", said, edit)
    with ipi_here(path) as simulation:
        assert make_resident(simulation) == reason
    root = ET.fromstring(compose(said))
    edit(root)
    assert why_not_resident(SimulationInput.of(ET.tostring(root, "unicode"), path)) == reason


@pytest.fixture
def steps_at_once(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How many fast steps are taken at once, the way of a GPU: here on the CPU, by recordings of operations."""
    graphs, counted, advance = TracedGraphs(), Counter[int](), RecordedSteps.advance
    monkeypatch.setattr(padded, "pick_device", lambda *_: torch.device("cpu"))
    monkeypatch.setattr(padded, "graphs_for", lambda *_: graphs)
    net_force = property(lambda _: False, lambda *_: None)  # it is left, and i-PI's energy has to know
    monkeypatch.setattr(padded.PaddedPetModel, "remove_net_force", net_force, raising=False)

    def counting(self: RecordedSteps, state: State, timestep: float, steps: int) -> object:
        advanced = advance(self, state, timestep, steps)
        counted[steps] += advanced is not None
        return advanced

    monkeypatch.setattr(RecordedSteps, "advance", counting)
    return counted


@pytest.mark.parametrize(
    ("ensemble", "stride", "edits", "fixed", "expected"),
    [
        ("langevin", 5, (with_splitting("baoab"),), (0, 1), {2: 3, 1: 3}),
        ("nve", 3, (with_temperature(300), with_two_systems, with_another_start), (), {2: 3}),
        ("nve", 3, (with_beads(2), with_temperature(300)), (), {}),
    ],
    ids=["fixed atoms", "systems", "beads"],
)
def test_fast_steps_on_a_device(ensemble, stride, edits, fixed, expected, steps_at_once, trajectory, tmp_path):
    """Beads move as free ring polymers between two evaluations, and are advanced step by step."""
    path = prepare(tmp_path / "run", recipe(ensemble, stride, fixed=fixed), *edits, fixed=fixed, parameters=WATER)
    other = ase.io.read(INPUTS / "water-16.xyz")
    other.rattle(0.02, seed=2)
    write_start(other, path.parent / "other.chk")
    assert_same(path, trajectory, steps=3)
    assert steps_at_once == expected
