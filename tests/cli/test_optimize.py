"""The command ``darkforces optimize``, as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from programs import assert_one_error

from ipi_darkforces import Need
from ipi_darkforces.diagnostics.structures import read_structures
from ipi_darkforces.models.registry.load import load_model

Say = Callable[..., tuple[str, str, int]]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, darkforces: Say, folder: Path) -> Say:
    """Output of the command in the folder with the structures, with its exit code."""
    monkeypatch.chdir(folder)
    return partial(darkforces, "optimize")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two waters in a cell; one atom; argon."""
    positions = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0], [0, 0, 2.9], [0.2, 0.3, 1.95], [0.7, -0.6, 3.2]])
    ase.io.write(tmp_path / "waters.xyz", ase.Atoms("OH2OH2", positions, cell=10 * np.eye(3), pbc=True))
    ase.io.write(tmp_path / "atom.xyz", ase.Atoms("O"))
    ase.io.write(tmp_path / "argon.xyz", ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 3]]))
    return tmp_path


def test_table_and_picture(say: Say, folder: Path) -> None:
    out, err, code = say("pet-m", "waters.xyz", "--steps", 3, "--starts", 2, "--plot")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "pet-m: geometry optimisations, at most 3 steps"
    assert "2 molecules, converged below 1e-05 eV/Å" in lines
    assert "2 structures, converged below 0.0001 eV/Å" in lines
    assert not any("clusters" in line for line in lines)  # there are but two molecules
    rows = [line.split()[:5] for line in lines if line.startswith(("  FIRE ", "  L-BFGS ")) and " (0 to " in line]
    assert [row[:2] for row in rows] == 2 * [[a, f] for a in ("FIRE", "L-BFGS") for f in ("conservative", "direct")]
    assert all(row[2:] == ["0", "(0", "to"] for row in rows)
    assert "PET-NC 52" in out
    assert "fell after 3 steps" in out  # why none arrives
    assert "of 2 not further, as there its two kinds of forces are more than 1 eV/Å apart" in out
    assert lines[-3] == "each optimisation: optimize-pet-m-waters.jsonl"
    assert lines[-1] == "written: optimize-pet-m-waters.png"
    assert (folder / "optimize-pet-m-waters.png").read_bytes().startswith(b"\x89PNG")


def test_double_precision_by_default(say: Say, folder: Path) -> None:
    """Unless another precision is asked for."""
    arguments = ("pet-nc", "waters.xyz", "--sets", "structures", "--steps", "1", "--json")
    said = [json.loads(say(*arguments, *more)[0]) for more in ((), ("--dtype", "float32"))]
    assert [each["dtype"] for each in said] == ["float64", "float32"]
    double, single = (each["optimizations"][0]["largest_force_eV_per_angstrom"][0] for each in said)
    (structure,) = read_structures(folder / "waters.xyz").values()
    (forces,) = load_model("pet-nc", dtype="float64").evaluate([structure], Need.DIRECT)
    assert double == pytest.approx(np.linalg.norm(forces.direct, axis=1).max(), rel=1e-9)
    assert single != pytest.approx(double, rel=1e-9)


def test_crystals_of_what_a_calculator_knows_and_the_same_again(say: Say, folder: Path) -> None:
    """No structures are needed; the second time, all is found in the file of results."""
    arguments = ("ase:ase.calculators.emt:EMT", "--sets", "crystals", "--starts", "2", "--json")
    out, _, code = say(*arguments, "--results", "kept.jsonl")
    assert code == 0
    said = json.loads(out)
    assert {each["set"] for each in said["optimizations"]} == {"crystals"}
    for each in said["optimizations"]:
        assert each["outcome"] == "converged"
        assert each["minimum"] is True
        assert each["largest_force_eV_per_angstrom"][-1] < 1e-4
        assert 0.0 < each["displaced_angstrom"] <= 0.1
    kept = (folder / "kept.jsonl").read_text()
    assert kept.count("\n") == len(said["optimizations"]) == 4
    assert json.loads(say(*arguments, "--results", "kept.jsonl")[0]) == said
    assert (folder / "kept.jsonl").read_text() == kept


FAULTY = """\
from ase.calculators.calculator import Calculator


class Faulty(Calculator):
    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms, *_):
        self.results = {"energy": 0.0, "forces": 0.1 * atoms.positions[:, [1, 2, 0]]}


class Failing(Faulty):
    def calculate(self, *_):
        raise RuntimeError("no licence")
"""


@pytest.mark.parametrize("more", [(), ("--displace", "0.1")])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Failing", "cannot compute the forces of H2O: RuntimeError: no licence"),
        ("Faulty", "are not the gradient of its energy"),
    ],
)
def test_calculators_that_fail_at_once_are_errors(
    name: str, message: str, more: tuple[str, ...], say: Say, folder: Path
) -> None:
    """There are no results; nor are forces followed that are no gradient, though they should be."""
    (folder / "faulty.py").write_text(FAULTY)
    out, err, code = say(f"ase:faulty.py:{name}", "waters.xyz", "--sets", "molecules", *more)
    assert_one_error(code, out, err, message)
    assert err.startswith("darkforces: error: waters.xyz, around atom ")
    assert not list(folder.glob("*.jsonl"))


def test_displaced_as_far_as_is_asked_for(say: Say) -> None:
    """Whatever the model knows."""
    arguments = ("pet-nc", "waters.xyz", "--sets", "molecules", "--starts", 1, "--steps", 1, "--json")
    (near, *_), (far, *_) = (
        json.loads(say(*arguments, *more)[0])["optimizations"] for more in ((), ("--displace", "0.4"))
    )
    assert near["displaced_angstrom"] <= 0.1
    assert (far["displaced_angstrom"], far["displacement_limited_by"]) == (0.4, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pet-m", "no.xyz"], "structure file 'no.xyz' does not exist"),
        (["pet-m", "atom.xyz"], "atom.xyz has one atom: expected at least two"),
        (["pet-m", "argon.xyz"], "argon.xyz: model 'pet-m' does not know Ar; it knows H, O"),
        (
            ["pet-m", "waters.xyz", "--sets", "clusters"],
            "no clusters can be cut out of waters.xyz: expected at least 4",
        ),
        (["pet-m", "waters.xyz", "--steps", "0"], "--steps 0 is too few: expected at least 1"),
        (["pet-m", "waters.xyz", "--starts", "0"], "--starts 0 is too few: expected at least 1"),
        (["pet-m", "waters.xyz", "--seed", "-1"], "--seed -1 is too few: expected at least 0"),
        (["pet-m", "waters.xyz", "--fmax", "0"], "--fmax 0 cannot be used: expected eV/Å, more than zero"),
        (["pet-m", "waters.xyz", "--displace", "nan"], "--displace nan cannot be used: expected Å, more than zero"),
        (["pet-m", "--sets", "molecules"], "molecules are made from structures: expected a file of them"),
        (["pet-m", "waters.xyz", "--results", "no/where.jsonl"], "'no/where.jsonl' cannot hold the optimisations"),
        (["pet-m", "waters.xyz", "--results", "waters.xyz"], "line 1 is no optimisation; give another --results FILE"),
        (["pet-m", "waters.xyz", "--plot", "waters.xyz"], "'waters.xyz' has no suffix of a picture"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], message: str, say: Say, folder: Path) -> None:
    before = sorted(folder.iterdir())
    out, err, code = say(*arguments)
    assert_one_error(code, out, err, message)
    assert sorted(folder.iterdir()) == before


def test_help_is_a_page(say: Say) -> None:
    out, _, code = say("--help")
    assert code == 0
    assert "darkforces optimize pet-m inputs/water.xyz" in out
    assert "reading the table" in out
