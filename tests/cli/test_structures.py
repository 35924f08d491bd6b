"""Structures as users have them, in the commands that read them: i-PI's own files, fixed atoms, slabs, labels."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixBondLength, FixCartesian
from ipi.scripting import read_output
from ipi.utils.units import Elements, unit_to_user
from programs import finish

from ipi_darkforces.models.structure_file import read_atoms, read_frames

MODEL = "ase:ase.calculators.emt:EMT"
BOHR = unit_to_user("length", "angstrom", 1.0)  # Å
Run = Callable[..., subprocess.CompletedProcess[str]]
Say = Callable[..., tuple[str, str, int]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`darkforces run` with a structure of this name in the folder of the test; its output goes to `run`."""

    def started(structure: str, *options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ipi_darkforces.cli.main", "run", "--structure", structure, "--output", "run"]
        return finish([*command, *options], cwd=tmp_path)

    return started


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, darkforces: Say, tmp_path: Path) -> Say:
    """Output of a command in the folder of the test, with its exit code."""
    monkeypatch.chdir(tmp_path)
    return darkforces


def slab(pbc: bool = True) -> ase.Atoms:
    """Three layers of copper in a left-handed cell that i-PI cannot take, shaken."""
    atoms = fcc111("Cu", (2, 2, 3), vacuum=6.0)
    atoms.rattle(0.05, seed=3)
    atoms.rotate(50.0, (1.0, 2.0, 3.0), rotate_cell=True)
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    atoms.pbc = [True, True, pbc]
    return atoms


def energy(atoms: ase.Atoms) -> float:
    copy = atoms.copy()
    copy.calc = EMT()
    return float(copy.get_potential_energy())


def column(path: Path, name: str) -> np.ndarray:
    return np.atleast_1d(read_output(str(path))[0][name])


def potential(folder: Path) -> float:
    (output,) = folder.glob("*.out")
    return float(column(output, "potential")[0])


@pytest.mark.parametrize("options", [["--ensemble", "svr", "--tau", "20"], ["--mts", "2"]], ids=["svr", "mts"])
def test_fixed_atoms_stay_fixed_and_the_temperature_is_that_of_the_others(
    run: Run, tmp_path: Path, options: list[str]
) -> None:
    atoms = slab()
    atoms.set_constraint([FixAtoms(range(4)), FixCartesian([4], [False, False, False])])
    ase.io.write(tmp_path / "slab.traj", atoms)
    model = ["--fast", MODEL, "--slow", MODEL] if "--mts" in options else ["--model", MODEL]
    for steps in (3, 6):  # and after it has gone on
        done = run("slab.traj", *model, *options, "--steps", steps, "--json")
        assert done.returncode == 0, done.stderr
    folder = tmp_path / "run"
    assert "<fixatoms>" in (folder / "input.xml").read_text()
    assert potential(folder) == pytest.approx(energy(atoms), abs=1e-6)
    (start,) = folder.glob("*.start.chk")
    begin, end = read_atoms(start, "start"), read_atoms(folder / "RESTART", "end")
    np.testing.assert_array_equal(end.positions[:4], begin.positions[:4])
    assert (end.positions[4:] != begin.positions[4:]).all()
    assert not end.arrays["momenta"][:4].any()
    # i-PI has coordinates that do not move at the temperature of the ensemble in its own temperatures.
    (properties,), (progress,) = folder.glob("*.out"), folder.glob("*.progress")
    kinetic, mixed = column(properties, "kinetic_md")[0], column(properties, "temperature")[0]
    assert (36 * mixed - 12 * 300.0) / 24 == pytest.approx(2 * kinetic / (24 * 8.617333e-5), rel=1e-5)
    expected = np.mean(36 * column(progress, "temperature") - 12 * 300.0) / 24
    assert json.loads(done.stdout)["temperature_K"]["value"] == pytest.approx(expected)


def test_slabs_are_periodic_where_they_are(run: Run, tmp_path: Path) -> None:
    atoms = slab(pbc=False)
    atoms.set_cell(atoms.cell.array * [[1.0], [1.0], [0.5]])  # images along the third vector would matter
    ase.io.write(tmp_path / "slab@1.extxyz", atoms)
    done = run("slab@1.extxyz", "--model", MODEL, "--steps", 1)
    assert done.returncode == 0, done.stderr
    assert "'slab@1.extxyz' is not periodic along all of its cell vectors (pbc TTF)" in done.stderr
    assert potential(tmp_path / "run") == pytest.approx(energy(atoms), abs=1e-5)
    other = atoms.copy()
    other.pbc = True
    assert abs(energy(other) - energy(atoms)) > 0.1


def test_a_cluster_is_no_crystal(run: Run, tmp_path: Path) -> None:
    atoms = ase.Atoms("Cu4", 2.4 * np.vstack([np.zeros(3), np.eye(3)]), cell=4.0 * np.eye(3))
    ase.io.write(tmp_path / "cluster.extxyz", atoms)
    done = run("cluster.extxyz", "--model", MODEL, "--steps", 1, "--in-process")
    assert done.returncode == 0, done.stderr
    assert "'cluster.extxyz' is not periodic" in done.stderr
    assert potential(tmp_path / "run") == pytest.approx(energy(atoms), abs=1e-9)


def test_ipi_starts_from_heavy_atoms(run: Run, tmp_path: Path) -> None:
    text = "\n".join(f"{label} {x} {y} {z}" for label, x, y, z in [("O1", 3, 3, 3), ("D", 3.9, 3, 3), ("H", 3, 3.9, 3)])
    (tmp_path / "hdo.xyz").write_text(
        f"3\n# CELL(abcABC): 8 8 8 90 90 90 positions{{angstrom}} cell{{angstrom}}\n{text}\n"
    )
    done = run("hdo.xyz", "--model", MODEL, "--steps", 1)
    assert done.returncode == 0, done.stderr
    masses = read_atoms(tmp_path / "run" / "RESTART", "end").get_masses()
    assert masses[1] == pytest.approx(Elements.mass_list["D"])
    assert masses[2] == pytest.approx(1.008)


@pytest.mark.parametrize(
    ("structure", "says"),
    [
        ("bonds.traj", "'bonds.traj' has a constraint FixBondLengths, which cannot be kept"),
        ("ghost.xyz", "structure 0 in 'ghost.xyz' cannot be used: atom 1 has the label 'Gh', which names no element"),
        ("all.traj", "'all.traj' has fixed atoms only"),
    ],
)
def test_what_cannot_be_is_refused_before_it_starts(said: Say, tmp_path: Path, structure: str, says: str) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.set_constraint(FixBondLength(0, 1) if structure == "bonds.traj" else FixAtoms(range(4)))
    if structure.endswith("traj"):
        ase.io.write(tmp_path / structure, atoms)
    (tmp_path / "ghost.xyz").write_text('2\nLattice="9 0 0 0 9 0 0 0 9"\nCu 0 0 0\nGh 2 0 0\n')
    _, err, code = said("run", "--structure", structure, "--model", MODEL, "--steps", 1, "--output", "run")
    assert code == 1
    (line,) = err.splitlines()
    assert line.startswith(f"darkforces: error: {says}")
    assert not (tmp_path / "run").exists()


class TestFilesOfIpi:
    """Files of i-PI are in bohr unless they say otherwise, in every command."""

    @pytest.fixture(autouse=True)
    def files(self, tmp_path: Path) -> ase.Atoms:
        atoms = bulk("Cu", cubic=True) * (2, 1, 1)
        atoms.rattle(0.05, seed=1)
        ase.io.write(tmp_path / "angstrom.extxyz", atoms)
        rows = "".join("Cu {:.12f} {:.12f} {:.12f}\n".format(*row) for row in atoms.positions / BOHR)
        edges = " ".join(f"{edge:.12f}" for edge in atoms.cell.lengths() / BOHR)
        (tmp_path / "bohr@1.xyz").write_text(f"8\n# CELL(abcABC): {edges} 90 90 90 cell{{atomic_unit}}\n{rows}")
        return atoms

    def test_jacobian(self, said: Say) -> None:
        found = []
        for file in ("angstrom.extxyz", "bohr@1.xyz"):
            out, err, code = said("jacobian", MODEL, file, "--forces", "conservative", "--json")
            assert (code, err) == (0, "")
            found.append(json.loads(out)["structures"][0]["total_of_pairs_eV_per_angstrom2"])
        np.testing.assert_allclose(*found, atol=1e-5)

    def test_optimize(self, said: Say) -> None:
        energies = []
        for file in ("angstrom.extxyz", "bohr@1.xyz"):
            out, err, code = said("optimize", MODEL, file, "--sets", "structures", "--steps", 2, "--json")
            assert (code, err) == (0, "")
            energies.append([run["energy_eV"][0] for run in json.loads(out)["optimizations"]])
        np.testing.assert_allclose(*energies, atol=1e-6)

    def test_run(self, run: Run, files: ase.Atoms, tmp_path: Path) -> None:
        done = run("bohr@1.xyz", "--model", MODEL, "--steps", 1)
        assert done.returncode == 0, done.stderr
        assert potential(tmp_path / "run") == pytest.approx(energy(files), abs=1e-6)
        # What i-PI has written is read in turn.
        (written,) = (tmp_path / "run").glob("*.pos_0.xyz")
        assert energy(next(read_frames(written, "structure"))) == pytest.approx(energy(files), abs=1e-3)


def test_that_constraints_do_not_count_is_said(said: Say, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.set_constraint(FixAtoms([0]))
    ase.io.write(tmp_path / "cu.traj", atoms)
    _, _, code = said("jacobian", MODEL, "cu.traj", "--forces", "conservative")
    assert code == 0
    assert any("the constraints in 'cu.traj' do not count here" in message for message in caplog.messages)
