"""The resident inner loop against i-PI's own: the same trajectory, to rounding, and the same evaluations."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.constraints import FixAtoms
from calculators import FILE
from ipi.engine.motion.dynamics import NVEIntegrator
from ipi_processes import Edit, in_process, ipi_here, with_beads
from programs import finish

from ipi_darkforces.serve import pes
from ipi_darkforces.simulate.compose import compose, write_start
from ipi_darkforces.simulate.recipe import Recipe
from ipi_darkforces.simulate.resident import make_resident
from ipi_darkforces.split import shared

PARAMETERS = (
    f"{{ fast: ase:{FILE}:rotated, fast.forces: direct, fast.angle: 0.01, slow: ase:{FILE}:emt, "
    "component: %s, species: Cu4 }"
)
THERMOSTATS = {"nve": None, "langevin": 100.0, "svr": 20.0, "gle": 20.0}


def prepare(folder: Path, recipe: Recipe, *edits: Edit, fixed: tuple[int, ...] = ()) -> Path:
    """An input of four atoms of copper, whose fast forces are those of EMT, turned a little."""
    folder.mkdir(exist_ok=True)
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    atoms.set_constraint(FixAtoms(fixed))
    write_start(atoms, folder / "start.chk")
    root = ET.fromstring(compose(recipe))
    components = {each.get("name"): each.find("parameters").text for each in root.findall("ffsocket")}
    components = {name: text.split("component:")[1].split(",")[0].strip() for name, text in components.items()}
    for edit in (in_process("custom", lambda name: PARAMETERS % components[name], Path(pes.__file__)), *edits):
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


@pytest.fixture
def trajectory(tmp_path: Path) -> Callable[..., tuple[np.ndarray, np.ndarray, int, str | None]]:
    """Positions, momenta and conserved quantity at the end, bytes of evaluations, and why it was not resident."""

    def run(path: Path, resident: bool, steps: int):
        shared.shared_split.cache_clear()  # or else the second run finds the results of the first
        with ipi_here(path) as simulation:
            reason = make_resident(simulation) if resident else None
            [system] = simulation.syslist
            assert isinstance(system.motion.integrator, NVEIntegrator)
            model = system.forces.mforces[0].ff.driver._split.model
            before = [part.passes.forward for part in model.parts]
            simulation.run(steps, write_outputs=False)
            state = np.concatenate([system.beads.q.copy(), system.beads.p.copy()])
            passes = [part.passes.forward - old for part, old in zip(model.parts, before, strict=True)]
            return state, float(system.ensemble.econs), passes, reason

    return run


def assert_same(path: Path, trajectory: Callable, steps: int = 25) -> None:
    own, conserved, passes, _ = trajectory(path, resident=False, steps=steps)
    found, energy, resident_passes, reason = trajectory(path, resident=True, steps=steps)
    assert reason is None
    np.testing.assert_allclose(found, own, rtol=0.0, atol=1e-11)  # bohr and atomic units of momentum, of up to 30
    assert energy == pytest.approx(conserved, abs=1e-11)
    # i-PI asks for both components of the first geometry at once, in any order: one evaluation or two.
    np.testing.assert_allclose(resident_passes, passes, atol=1)


@pytest.mark.parametrize("stride", [1, 2, 3, 4, None])
def test_without_a_thermostat(stride, trajectory, tmp_path):
    assert_same(prepare(tmp_path / "run", recipe(stride=stride)), trajectory, steps=100)


@pytest.mark.parametrize("splitting", ["obabo", "baoab"])
@pytest.mark.parametrize("ensemble", ["langevin", "svr", "gle"])
@pytest.mark.parametrize("stride", [3, 4])
def test_with_a_thermostat(ensemble, splitting, stride, trajectory, tmp_path):
    assert_same(prepare(tmp_path / "run", recipe(ensemble, stride), with_splitting(splitting)), trajectory)


def test_fixed_atoms_stay(trajectory, tmp_path):
    path = prepare(tmp_path / "run", recipe("langevin", fixed=(0, 1, 2)), fixed=(0,))
    assert_same(path, trajectory)


def test_darkforces_run_leaves_what_it_leaves_with_ipis_own_loop(tmp_path):
    command = [sys.executable, "-m", "ipi_darkforces.cli.main", "run", "--structure", tmp_path / "cu.xyz", "--mts", "4"]
    command += ["--fast", f"ase:{FILE}:rotated", "--slow", f"ase:{FILE}:emt", "-o", "fast.forces=direct", "--steps"]
    ase.io.write(tmp_path / "cu.xyz", bulk("Cu", cubic=True))
    found = {}
    for loop, how in {"own": ["--in-process"], "resident": ["--resident"]}.items():
        folder = tmp_path / loop
        for steps in ("3", "10"):  # goes on
            done = finish([*command, steps, "--output", folder, "--json", *how])
            assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["steps"] == 10
        assert "resident loop" not in done.stderr  # or else it says why there is none
        rows = np.loadtxt(folder / f"{json.loads(done.stdout)['name']}.progress")
        found[loop] = {file.name for file in folder.iterdir()}, rows
    assert found["own"][0] == found["resident"][0]
    np.testing.assert_allclose(found["resident"][1], found["own"][1], rtol=1e-9, atol=1e-9)


def test_what_is_not_resident_is_said(trajectory, tmp_path):
    path = prepare(tmp_path / "beads", recipe("langevin"), with_beads(2))
    *_, reason = trajectory(path, resident=True, steps=1)
    assert reason == "there are 2 beads"
