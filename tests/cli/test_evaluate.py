"""The command ``darkforces evaluate``, as a user meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase import units
from ase.calculators.singlepoint import SinglePointCalculator
from programs import assert_one_error, finish

from ipi_darkforces import Need, Structure, load_model


def evaluate(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ipi_darkforces.cli.main", "evaluate", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return finish(command, cwd=cwd, env=environment)


def write(path: Path, structures: list[Structure], energies: list[float], forces: list[np.ndarray]) -> None:
    frames = []
    for structure, energy, values in zip(structures, energies, forces, strict=True):
        atoms = ase.Atoms(structure.species, structure.positions, cell=structure.cell, pbc=True)
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=values)
        frames.append(atoms)
    ase.io.write(path, frames, format="extxyz")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, water: Structure) -> Path:
    """A folder with labels that the bundled model misses by 10 meV/Å for O, 40 meV/Å for H, and 1 meV/atom.

    ``au.xyz`` has the same in atomic units, ``gradients.xyz`` has the wrong sign.
    """
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    structures = [
        Structure(water.species, water.positions + rng.normal(0.0, 0.02, (192, 3)), water.cell) for _ in range(3)
    ]
    results = load_model("pet-m").evaluate(structures, Need.ENERGY | Need.CONSERVATIVE)
    offset = np.where(np.arange(192) < 64, 0.010, 0.040)[:, None] * np.where(np.arange(192) % 2, 1, -1)[:, None]
    energies = [result.energy - 0.192 for result in results]
    forces = [result.conservative + offset for result in results]
    write(folder / "val.xyz", structures, energies, forces)
    write(
        folder / "au.xyz",
        structures,
        [energy / units.Hartree for energy in energies],
        [values / (units.Hartree / units.Bohr) for values in forces],
    )
    write(folder / "gradients.xyz", structures[:1], energies[:1], [-forces[0]])
    return folder


def test_numbers_for_machines(data: Path, tmp_path: Path) -> None:
    done = evaluate("pet-m", data / "val.xyz", data / "val.xyz", "--no-plot", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads(done.stdout)
    assert (summary["structures"], summary["atoms"]) == (6, 6 * 192)
    assert summary["energy_meV_per_atom"]["total"]["mae"] == pytest.approx(1.0, abs=0.05)  # single precision
    assert summary["energy_meV_per_atom"]["mean"] == pytest.approx(1.0, abs=0.05)
    conservative = summary["conservative_forces_meV_per_angstrom"]
    assert conservative["total"]["mae"] == pytest.approx(30.0, abs=0.05)
    assert conservative["elements"]["O"]["rmse"] == pytest.approx(10.0, abs=0.05)
    assert conservative["elements"]["H"]["mae"] == pytest.approx(40.0, abs=0.05)
    assert summary["milliseconds_per_structure"]["energy_conservative_direct"]["median"] > 0.0
    assert summary["picture"] is None
    assert list(tmp_path.iterdir()) == []


def test_table_and_picture_for_people(data: Path, tmp_path: Path) -> None:
    """The name that a picture gets; and units that are given are those of the file."""
    given = ["--energy-unit", "hartree", "--force-unit", "hartree/bohr"]
    done = evaluate("pet-c", data / "au.xyz", "--plot", *given, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "pet-c on au.xyz: 3 structures, 576 atoms"
    rows = {line[:30].strip(): line[30:].split() for line in lines if line.endswith("meV/Å") or line.startswith("  ")}
    assert rows["conservative forces"][0] == "30.0"
    assert rows["H"] == ["40.0", "40.0"]
    assert rows["O"] == ["10.0", "10.0"]
    assert "direct" not in done.stdout
    assert lines[-1] == "written: parity-pet-c-au.png"
    assert (tmp_path / "parity-pet-c-au.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_is_not_overwritten_unasked(data: Path, tmp_path: Path) -> None:
    picture = tmp_path / "mine.png"
    picture.write_text("mine")
    done = evaluate("pet-nc", data / "val.xyz", "--plot", picture, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"darkforces: error: '{picture}' exists; choose another name, or --overwrite it\n"
    assert picture.read_text() == "mine"
    done = evaluate("pet-nc", data / "val.xyz", "--plot", picture, "--overwrite", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pet-m", "au.xyz"], "in hartree/bohr instead of eV/Angstrom; give --force-unit hartree/bohr"),
        (["pet-m", "gradients.xyz"], "they seem to be gradients instead of forces"),
        (["pet-m", "val.xyz", "missing.xyz"], "data file 'missing.xyz' does not exist"),
        (["pet-m", "val.xyz", "--energy-key", "e"], "structure 0 in 'val.xyz' has no 'e'; there are: energy; choose"),
        (["pet-q", "val.xyz"], "did you mean 'pet-"),
        (["pet-m", "val.xyz", "--plot", "no/such.png"], "there is no folder 'no'"),
        (["pet-m", "val.xyz", "--plot", "table.txt"], "'table.txt' has no suffix of a picture: expected one of"),
        (["pet-m", "val.xyz", "--plot", "a.png", "--no-plot"], "--plot and --no-plot contradict each other"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], message: str, data: Path) -> None:
    before = sorted(data.iterdir())
    done = evaluate(*arguments, cwd=data)
    assert_one_error(done.returncode, done.stdout, done.stderr, message)
    assert sorted(data.iterdir()) == before


def test_wrong_units_of_length(data: Path, tmp_path: Path) -> None:
    """In bohr, atoms are too far from each other, which may be; in nm they overlap, which may not."""
    frames = ase.io.read(data / "val.xyz", index=":")
    for unit, scale in (("bohr", 1.0 / units.Bohr), ("nm", 0.1)):
        for atoms in frames:
            results = atoms.calc.results
            atoms.set_cell(scale * 12.4447 * np.eye(3), scale_atoms=True)
            atoms.calc = SinglePointCalculator(atoms, **results)
        ase.io.write(tmp_path / f"{unit}.xyz", frames)
    bohr, nm = (evaluate("pet-m", f"{unit}.xyz", cwd=tmp_path) for unit in ("bohr", "nm"))
    assert bohr.returncode == 0
    assert bohr.stderr.startswith("darkforces: the shortest distances between atoms are 1.")
    assert "seem to be in bohr, expected Å" in bohr.stderr
    assert nm.returncode == 1
    assert nm.stderr.startswith("darkforces: error: the shortest distances between atoms are 0.")


def test_data_are_read_without_torch(data: Path) -> None:
    """Only `load_model` may load it, which first says how its threads shall wait; else evaluations take far longer."""
    code = """
import sys
import ipi_darkforces.cli.main
from ipi_darkforces.diagnostics.reference import read_reference, suspicious

print(suspicious(read_reference("val.xyz")), "torch" in sys.modules)
"""
    done = finish([sys.executable, "-c", code], cwd=data)
    assert done.stdout == "None False\n", done.stderr


def test_help_is_a_page(tmp_path: Path) -> None:
    done = evaluate("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "darkforces evaluate pet-m val.xyz" in done.stdout
    assert "hartree/bohr" in done.stdout


def test_a_unit_that_does_not_exist_is_refused_with_those_that_do(data: Path) -> None:
    done = evaluate("pet-m", "val.xyz", "--force-unit", "eV/A", cwd=data)
    assert done.returncode == 2
    assert "'eV/Angstrom'" in done.stderr
    assert "Traceback" not in done.stderr
