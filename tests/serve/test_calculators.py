"""ase calculators and pairs of models through real i-PI processes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet
from calculators import FILE, copper
from ipi_processes import Workplace, in_process, read_run
from programs import finish

from ipi_darkforces.models.consistency import POINTS, STRAINS
from ipi_darkforces.simulate.compose import compose, write_start
from ipi_darkforces.simulate.recipe import Recipe
from ipi_darkforces.split.component import Component

PLUGIN = FILE.parents[1] / "drivers" / "darkforces.py"
STEPS = 4
STRIDE = 4
TIMESTEP = 2.0  # fs
# What a calculator can be served without. i-PI's own drivers and readers need scipy.
_BLOCKED = ("torch", "metatomic", "metatensor", "metatrain", "vesin", "matplotlib", "tqdm", "yaml", "snakemake")


def start():
    """Copper with velocities."""
    atoms = copper()
    spread = np.sqrt(600.0 * units.kB / atoms.get_masses())[:, None]
    atoms.set_velocities(spread * np.random.default_rng(2).normal(size=(len(atoms), 3)))
    return atoms


def prepare(folder: Path, component: Component = Component.CONSERVATIVE, stride: int | None = None, *edits) -> Path:
    """An input for copper, as `darkforces run` writes it, that writes everything at every step."""
    write_start(start(), folder / "start.chk")
    recipe = Recipe(
        "run",
        "nve",
        "Cu32",
        "start.chk",
        component=component,
        stride=stride,
        timestep=TIMESTEP,
        duration=STEPS * TIMESTEP * (stride or 1),
    )
    root = ET.fromstring(compose(recipe))
    output = root.find("output")
    output.find("properties").set("stride", "1")
    ET.SubElement(output, "checkpoint", filename="state", stride="1", overwrite="False")
    for edit in edits:
        edit(root)
    path = folder / "input.xml"
    ET.ElementTree(root).write(path)
    return path


def at_constant_pressure(root: ET.Element) -> None:
    """Turn an NVE input into an NPT one."""
    ET.SubElement(root.find("system/ensemble"), "pressure", units="gigapascal").text = "0.0"
    dynamics = root.find("system/motion/dynamics")
    dynamics.set("mode", "npt")
    ET.SubElement(dynamics, "thermostat", mode="langevin").append(_tau())
    barostat = ET.SubElement(dynamics, "barostat", mode="isotropic")
    barostat.append(_tau())
    ET.SubElement(barostat, "thermostat", mode="langevin").append(_tau())


def with_volumes(root: ET.Element) -> None:
    """Write what changes at constant pressure, too; with a seed."""
    properties = root.find("output/properties")
    properties.text = properties.text.replace("]", ", volume, pressure_md ]")


def _tau() -> ET.Element:
    tau = ET.Element("tau", units="femtosecond")
    tau.text = "100"
    return tau


def reference(stride: int = 1) -> np.ndarray:
    """Potential energies in eV of the same trajectory in ase alone."""
    atoms = start()
    atoms.calc = EMT()
    dynamics = VelocityVerlet(atoms, TIMESTEP * units.fs)
    energies = [atoms.get_potential_energy()]
    for _ in range(STEPS):
        dynamics.run(stride)
        energies.append(atoms.get_potential_energy())
    return np.array(energies)


def simulate(workplace: Workplace, path: Path, *options: str) -> str:
    """Let i-PI run an input with one driver; return what it said."""
    driver = workplace.driver(*options)
    ipi = workplace.ipi(path)
    assert (ipi.wait(), driver.wait()) == (0, 0), ipi.said() + driver.said()
    return driver.said()


def potentials(positions: np.ndarray) -> np.ndarray:
    """Energies in eV of what i-PI wrote, bohr, shape (n, 1, 3 n_atoms)."""
    atoms = start()
    atoms.calc = EMT()
    energies = []
    for each in positions:
        atoms.positions = each.reshape(-1, 3) * units.Bohr
        energies.append(atoms.get_potential_energy())
    return np.array(energies)


def test_a_calculator_is_served_as_ase_runs_it(tmp_path):
    with Workplace() as workplace:
        said = simulate(workplace, prepare(tmp_path), "--model", "ase:ase.calculators.emt:EMT")
    assert "forces of model 'ase:ase.calculators.emt:EMT' are the gradient of its energy, to 0.0" in said
    # i-PI and ase do not agree on the last digits of bohr, hartree and dalton.
    np.testing.assert_allclose(read_run(tmp_path)["potential"], reference(), atol=1e-5)


def test_a_calculator_needs_the_packages_of_no_other_model(tmp_path):
    """Imports of all these packages fail, and the simulation is the same."""
    program = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {_BLOCKED}:
            raise ImportError(f"{{name}} is not for this environment")

sys.meta_path.insert(0, Blocked())
from ipi_darkforces.cli.driver import main
main()
"""
    with Workplace() as workplace:
        ipi = workplace.ipi(prepare(tmp_path))
        command = [sys.executable, "-c", program, "-S", workplace.prefix, "--model", "ase:ase.calculators.emt:EMT"]
        driver = finish(command)
        assert (ipi.wait(), driver.returncode) == (0, 0), driver.stderr
    np.testing.assert_allclose(read_run(tmp_path)["potential"], reference(), atol=1e-5)


def test_two_models_are_each_evaluated_when_they_are_due(tmp_path):
    fast, slow = tmp_path / "fast", tmp_path / "slow"
    options = f"fast.counter={fast},slow.counter={slow},fast.angle=0.02,fast.forces=direct"
    with Workplace() as workplace:
        simulate(
            workplace, prepare(tmp_path, Component.CONSERVATIVE, STRIDE),
            "--fast", f"ase:{FILE}:rotated", "--slow", f"ase:{FILE}:emt", "-o", options,
        )  # fmt: skip
    # Each was evaluated a few times more to see whether its forces are what they are said to be.
    assert len(fast.read_text()) == STRIDE * STEPS + 1 + POINTS
    assert len(slow.read_text()) == STEPS + 1 + POINTS + len(STRAINS)
    run = read_run(tmp_path)
    # Where both are known, i-PI has the energy of the slow model alone ...
    np.testing.assert_allclose(run["potential"], potentials(run["positions"]), atol=1e-6)
    # ... and the trajectory is nearly its own, which it is not with the forces of the fast one alone.
    drift = np.ptp(run["conserved"])
    assert drift < 0.01 * np.ptp(run["potential"])


def test_with_a_stride_of_one_two_models_are_the_slow_one(tmp_path):
    with Workplace() as workplace:
        options = ("--fast", f"ase:{FILE}:rotated?angle=0.1;forces=direct", "--slow", f"ase:{FILE}:emt")
        simulate(workplace, prepare(tmp_path, Component.CONSERVATIVE, 1), *options)
    np.testing.assert_allclose(read_run(tmp_path)["potential"], reference(), atol=1e-5)


def test_inside_ipi(tmp_path):
    def parameters(name: str) -> str:
        return (
            f"{{ fast: ase:{FILE}:rotated, fast.forces: direct, fast.angle: 0.1, slow: ase:{FILE}:emt, "
            f"component: {name}, species: Cu32 }}"
        )

    with Workplace() as workplace:
        path = prepare(tmp_path, Component.CONSERVATIVE, 1, in_process("custom", parameters, PLUGIN))
        ipi = workplace.ipi(path)
        assert ipi.wait() == 0, ipi.said()
    np.testing.assert_allclose(read_run(tmp_path)["potential"], reference(), atol=1e-5)


def test_a_socket_beside_a_plugin_both_without_parameters(tmp_path):
    """i-PI gives both the same dictionary, and the plugin puts something of its own into it."""

    def beside_a_plugin(root):
        socket = root.find("ffsocket")
        socket.remove(socket.find("parameters"))
        plugin = ET.SubElement(root, "ffdirect", name="nothing", pbc="False")
        ET.SubElement(plugin, "pes").text = "dummy"
        ET.SubElement(root.find("system/forces"), "force", forcefield="nothing")

    with Workplace() as workplace:
        path = prepare(tmp_path, Component.CONSERVATIVE, None, beside_a_plugin)
        options = ("--model", "ase:ase.calculators.emt:EMT", "--species", "Cu32", "--verbose", "--input", str(path))
        said = simulate(workplace, path, *options)
    assert "ignored in the <parameters> that i-PI sent" in said
    np.testing.assert_allclose(read_run(tmp_path)["potential"], reference(), atol=1e-5)


def test_forces_that_are_not_what_they_are_said_to_be_end_it_at_once(tmp_path):
    with Workplace() as workplace:
        ipi = workplace.ipi(prepare(tmp_path))
        driver = workplace.driver("--model", f"ase:{FILE}:rotated", "-o", "angle=0.05")
        assert driver.wait() == 1
        errors = [line for line in driver.said().splitlines() if line.startswith("darkforces: error: ")]
        assert len(errors) == 1, driver.said()
        assert "are not the gradient of its energy, as they are said to be" in errors[0]
        assert "Traceback" not in driver.said()
        assert ipi.running


class TestConstantPressure:
    def test_with_a_stress_the_cell_changes(self, tmp_path):
        path = prepare(tmp_path, Component.CONSERVATIVE, None, at_constant_pressure)
        with Workplace() as workplace:
            simulate(workplace, path, "--model", "ase:ase.calculators.emt:EMT")

    @pytest.mark.parametrize("said", ["True", "False"])
    def test_without_one_it_is_one_line(self, tmp_path, said):
        path = prepare(tmp_path, Component.CONSERVATIVE, None, at_constant_pressure)
        with Workplace() as workplace:
            workplace.ipi(path)
            driver = workplace.driver("--model", f"ase:{FILE}:without", "-o", f"name=stress,said={said}")
            assert driver.wait() == 1
            assert re.search(
                "^darkforces: error: .*: the cell changes, which takes a virial, but model", driver.said(), re.M
            )
            assert "Traceback" not in driver.said()

    def test_direct_forces_with_a_direct_stress_take_it(self, tmp_path):
        """The same as the conservative ones here, and so the same trajectory."""
        runs = {}
        for component in (Component.CONSERVATIVE, Component.DIRECT):
            folder = tmp_path / component.value
            folder.mkdir()
            path = prepare(folder, component, None, at_constant_pressure, with_volumes)
            forces = "?forces=direct" if component is Component.DIRECT else ""
            with Workplace() as workplace:
                simulate(workplace, path, "--model", f"ase:{FILE}:emt{forces}", "--keep-net-force")
            runs[component] = read_run(folder)
        assert np.ptp(runs[Component.DIRECT]["volume"]) > 0
        for name in ("volume", "potential", "conserved"):
            np.testing.assert_allclose(runs[Component.DIRECT][name], runs[Component.CONSERVATIVE][name], rtol=1e-9)

    # Two models of which the slow one alone has a stress.
    WITHOUT_DIRECT_STRESS = (
        *("--fast", f"ase:{FILE}:without", "-o", "fast.name=stress,fast.forces=direct"),
        *("--slow", f"ase:{FILE}:emt"),
    )

    @pytest.mark.parametrize("component", [Component.DIRECT, Component.FAST])
    def test_direct_forces_alone_without_one_are_refused(self, tmp_path, component):
        path = prepare(tmp_path, Component.DIRECT, None, at_constant_pressure)
        with Workplace() as workplace:
            workplace.ipi(path)
            driver = workplace.driver(*self.WITHOUT_DIRECT_STRESS, "--component", component.value)
            assert driver.wait() == 1
            errors = [line for line in driver.said().splitlines() if line.startswith("darkforces: error: ")]
            assert len(errors) == 1, driver.said()
            assert "has no direct stress, and this simulation asks for" in errors[0]

    def test_the_split_is_right_without_one(self, tmp_path):
        """A stride of 1 gives the trajectory of the slow model; the virial is all in its share."""
        runs = {}
        for name, stride, options in [
            ("alone", None, ("--model", f"ase:{FILE}:emt")),
            ("split", 1, self.WITHOUT_DIRECT_STRESS),
        ]:
            folder = tmp_path / name
            folder.mkdir()
            path = prepare(folder, Component.CONSERVATIVE, stride, at_constant_pressure, with_volumes)
            with Workplace() as workplace:
                simulate(workplace, path, *options)
            runs[name] = read_run(folder)
        assert np.ptp(runs["split"]["volume"]) > 0
        np.testing.assert_allclose(runs["split"]["volume"], runs["alone"]["volume"], rtol=1e-9)
        np.testing.assert_allclose(runs["split"]["pressure_md"], runs["alone"]["pressure_md"], rtol=1e-6)

    def test_without_one_at_constant_volume_all_is_well(self, tmp_path):
        with Workplace() as workplace:
            said = simulate(workplace, prepare(tmp_path), "--model", f"ase:{FILE}:without?name=stress")
        assert "has no stress: for constant volume only" in said
        np.testing.assert_allclose(read_run(tmp_path)["potential"], reference(), atol=1e-5)


def test_darkforces_run_takes_two_models_and_goes_on_with_the_same(tmp_path):
    """The run goes on in its own folder, from where relative paths would mean something else."""
    (tmp_path / "mine.py").write_text(FILE.read_text())
    start().write(tmp_path / "copper.xyz")
    command = [sys.executable, "-m", "ipi_darkforces.cli.main", "run", "--structure", "copper.xyz", "--mts", "2"]
    command += ["--fast", "ase:mine.py:rotated", "--slow", "ase:mine.py:emt", "--output", "out", "--timestep", "2"]

    def run(options: str) -> subprocess.CompletedProcess:
        words = [*command, "--steps", "3", "-o", options]
        return finish(words, cwd=tmp_path)

    done = run("fast.forces=direct")
    assert done.returncode == 0, done.stderr
    model = json.loads((tmp_path / "out" / "model.json").read_text())["model"]
    assert model == f"fast=ase:{tmp_path}/mine.py:rotated?forces=direct slow=ase:{tmp_path}/mine.py:emt"
    other = run("fast.forces=direct,fast.angle=0.03")
    assert other.returncode == 1
    assert "holds a run begun with model fast=ase:" in other.stderr
