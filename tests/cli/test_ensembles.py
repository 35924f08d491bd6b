"""Ensembles of `darkforces run --structure`: constant pressure, path integrals, other masses of hydrogen."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from calculators import FILE
from ipi.engine.initializer import init_chk
from ipi.scripting import read_output
from ipi.utils.units import unit_to_user
from ipi_processes import read_beads
from programs import finish

from ipi_darkforces.analysis.io.runs import Run as Files
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.structure_file import read_atoms
from ipi_darkforces.simulate.hydrogen_mass import DEUTERIUM, with_hydrogen_mass
from ipi_darkforces.simulate.recipe import Barostat
from ipi_darkforces.simulate.structure_input import write_input

EMT = ("--model", f"ase:{FILE}:emt")
SPLIT = ("--mts", 2, "--fast", f"ase:{FILE}:rotated", "--slow", f"ase:{FILE}:emt", "-o", "fast.forces=direct")
WITHOUT_STRESS = ("--mts", 2, "--fast", f"ase:{FILE}:without", "--slow", f"ase:{FILE}:emt", "-o", "fast.name=stress")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`darkforces run` of four atoms of copper, shaken, or of the structure that is there."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    atoms.set_momenta(np.random.default_rng(1).normal(size=(4, 3)))
    atoms.write(tmp_path / "cu.xyz")

    def started(*options: object, structure: str = "cu.xyz", folder: str = "run") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ipi_darkforces.cli.main", "run", "--structure", structure]
        return finish([*command, "--in-process", "--output", folder, *options], cwd=tmp_path)

    return started


def outputs(folder: Path) -> dict[str, np.ndarray]:
    (path,) = folder.glob("*.out")
    return read_output(str(path))[0]


def cell(folder: Path) -> np.ndarray:
    """The cell in bohr, a vector in each column."""
    text = ET.parse(folder / "RESTART").getroot().find("system/cell").text
    return np.array(text.strip(" []\n").split(","), float).reshape(3, 3)


def test_constant_pressure_changes_the_volume_alike_with_multiple_time_stepping(run, tmp_path):
    pressure = ("--ensemble", "npt", "--pressure", "20GPa", "--barostat-tau", 100, "--steps", 16)
    for folder, options in {
        "alone": [*EMT, "--timestep", 0.5],
        "split": [*SPLIT, "--timestep", 0.25],
        "without": [*WITHOUT_STRESS, "--timestep", 0.25],
    }.items():
        done = run(*pressure, *options, folder=folder)
        assert done.returncode == 0, done.stderr
    alone, split, without = (outputs(tmp_path / folder) for folder in ("alone", "split", "without"))
    assert alone["volume"][-1] < 0.9 * alone["volume"][0]
    assert alone["density"][-1] * alone["volume"][-1] == pytest.approx(alone["density"][0] * alone["volume"][0])
    for found in (split, without):
        assert alone["time"][-1] == found["time"][-1]
        shrunk, expected = (1.0 - each["volume"][-1] / each["volume"][0] for each in (found, alone))
        assert shrunk == pytest.approx(expected, rel=1e-3)
    assert without["volume"][-1] != split["volume"][-1]  # all of the virial comes with the slow forces
    text = (tmp_path / "alone" / "input.xml").read_text()
    assert "<pressure units='bar'> 200000 </pressure>" in text
    assert "<thermostat mode='svr'> <tau units='femtosecond'> 100 </tau>" in text
    np.testing.assert_allclose(cell(tmp_path / "alone") / cell(tmp_path / "alone")[0, 0], np.eye(3), atol=1e-12)


def test_an_anisotropic_cell_changes_its_shape(run, tmp_path):
    done = run(*EMT, "--ensemble", "npt", "--anisotropic", "--thermostat", "langevin", "--steps", 8)
    assert done.returncode == 0, done.stderr
    found = cell(tmp_path / "run")
    assert np.abs(np.triu(found, 1)).max() > 1e-6
    assert np.ptp(np.diag(found)) > 1e-6


def test_slow_forces_that_drive_ring_polymers_are_warned_of(tmp_path, caplog):
    structure = water(tmp_path)
    common = {"ensemble": "pile", "tau": 100.0, "beads": 32}
    write_input(structure, tmp_path, stride=4, **common)
    assert "every 2 fs on ring polymers with modes of a period of 2.5 fs" in caplog.text
    caplog.clear()
    write_input(structure, tmp_path, stride=4, slow_beads=4, **common)
    write_input(structure, tmp_path, stride=2, **common)
    write_input(structure, tmp_path, **common)
    assert "period" not in caplog.text


def test_path_integrals_and_contraction(run, tmp_path):
    """Ring polymers contracted to as many beads as they have are the same; fewer are an approximation."""
    positions = {}
    for beads in (None, 4, 1):
        slow = [] if beads is None else ["--slow-beads", beads]
        done = run(*SPLIT, "--beads", 4, *slow, "--steps", 4, folder=f"of-{beads}")
        assert done.returncode == 0, done.stderr
        positions[beads] = read_beads(tmp_path / f"of-{beads}" / "RESTART", "q")
    assert positions[None].shape == (4, 12)
    assert np.ptp(positions[None], axis=0).min() > 1e-4
    np.testing.assert_allclose(positions[4], positions[None], rtol=0, atol=1e-10)
    assert 1e-9 < np.abs(positions[1] - positions[None]).max() < 1e-2
    found = outputs(tmp_path / "of-1")
    # Beads that start as one have the kinetic energy of a classical atom.
    assert found["kinetic_cv"][0] == pytest.approx(1.5 * 4 * 300 / 11604.5, rel=1e-3)
    assert found["temperature"].mean() == pytest.approx(300, rel=0.5)
    for written in ("input.xml", "i-pi.xml"):  # as it was made, and with plugins in place of the sockets
        root = ET.parse(tmp_path / "of-1" / written).getroot()
        kind = "ffsocket" if written == "input.xml" else "ffdirect"
        batches = {each.get("name"): each.findtext("batch_size") for each in root.findall(kind)}
        assert {name: batch and int(batch) for name, batch in batches.items()} == {"slow": None, "fast": 4}
    (velocities,) = (tmp_path / "of-1").glob("*.vel.xyz")
    assert "v_centroid" in velocities.read_text()


def test_masses_stay_when_a_run_goes_on_and_analysis_knows_them(run, tmp_path):
    water(tmp_path)
    for steps in (1, 8):
        done = run(*EMT, "--hmr", 3, "--steps", steps, structure="water.xyz")
        assert done.returncode == 0, done.stderr
    trajectory = Files.read(tmp_path / "run", pytest.fail).trajectory("velocities")  # which does not say them
    np.testing.assert_allclose(trajectory.masses, [18.015 - 6, 3, 3], atol=2e-3)


@pytest.mark.parametrize(
    ("mass", "repartition", "masses"), [(3.0, True, [18.015 - 6, 3, 3]), (DEUTERIUM, False, [15.999, 2.014, 2.014])]
)
def test_other_masses_of_hydrogen(tmp_path, mass, repartition, masses):
    """The kinetic energy of each atom is as it was."""
    path = write_input(water(tmp_path), tmp_path, hydrogen_mass=mass, repartition=repartition)
    beads, _, _ = init_chk(path.with_suffix(".start.chk"))
    np.testing.assert_allclose(unit_to_user("mass", "dalton", beads.m), masses, atol=2e-3)
    kinetic = (beads.p[0] ** 2).reshape(3, 3).sum(axis=1) / beads.m
    before = read_atoms(tmp_path / "water.xyz", "structure")
    expected = (before.get_momenta() ** 2).sum(axis=1) / before.get_masses()
    np.testing.assert_allclose(kinetic / kinetic[0], expected / expected[0], rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hydrogen_mass": 0.5, "repartition": True}, "have 1.008 u and cannot be given 0.5 u: expected more"),
        ({"hydrogen_mass": np.nan, "repartition": True}, "cannot be given nan u"),
        ({"hydrogen_mass": 9.0, "repartition": True}, "leave atoms of 0.015 u beside them: expected less"),
        ({"ensemble": "pile", "tau": 100.0}, "'pile' is the thermostat of path integrals: expected --beads P"),
        ({"slow_beads": 2, "stride": 2}, "--slow-beads 2 is for path integrals: expected --beads P"),
        (
            {"ensemble": "svr", "tau": 100.0, "beads": 4, "barostat": Barostat()},
            "thermostat 'svr' is not known for 4 beads: expected pile$",
        ),
    ],
)
def test_what_cannot_be_simulated_is_named(tmp_path, options, message):
    with pytest.raises(DarkforcesError, match=message):
        write_input(water(tmp_path), tmp_path, **options)


def test_hydrogen_that_is_heavy_already_takes_only_what_it_lacks(tmp_path):
    atoms = read_atoms(water(tmp_path), "structure")
    atoms.set_masses([12.0, 3.0, 3.0])
    np.testing.assert_allclose(with_hydrogen_mass(atoms, 3.0, True), [12.0, 3.0, 3.0])
    np.testing.assert_allclose(with_hydrogen_mass(atoms, 3.5, True), [11.0, 3.5, 3.5])
    with pytest.raises(DarkforcesError, match="have 3 u and cannot be given 2.014 u"):
        with_hydrogen_mass(atoms, DEUTERIUM, False)


def water(folder: Path) -> Path:
    """A molecule in a cell."""
    atoms = molecule("H2O", cell=[6.0] * 3, pbc=True)
    atoms.set_momenta(np.random.default_rng(2).normal(size=(3, 3)))
    atoms.write(folder / "water.xyz")
    return folder / "water.xyz"


def test_other_seeds_give_other_velocities(tmp_path):
    """Their folders differ too, as the folder is named for the input."""
    bulk("Cu", cubic=True).write(tmp_path / "cu.xyz")
    paths = [write_input(tmp_path / "cu.xyz", tmp_path, seed=seed) for seed in (None, 1, 2)]
    assert [path.stem for path in paths] == [f"cu-nve-conservative{end}" for end in ("", "-seed1", "-seed2")]
    assert [ET.parse(path).getroot().find("prng/seed").text.strip() for path in paths] == ["31415", "1", "2"]
    with pytest.raises(DarkforcesError, match="--seed -1 cannot be used: expected a number, at least 0"):
        write_input(tmp_path / "cu.xyz", tmp_path, seed=-1)
