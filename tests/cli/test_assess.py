"""``darkforces assess``, as a user meets it: real short simulations, stopped and gone on with, and what cannot be."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.constraints import FixBondLength
from calculators import FILE as CALCULATORS
from programs import PATIENCE, assert_one_error, finish, wait_until
from waters import few_waters

COMMAND = [sys.executable, "-m", "ipi_darkforces.cli.main", "assess", "pet-nc", "waters.xyz", "--time", "0.032"]
COMMAND += ["--dtype", "float64"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight waters in a cell, and what cannot be assessed."""
    folder = tmp_path_factory.mktemp("structures")
    water = few_waters(6.2 * np.eye(3))
    atoms = ase.Atoms(water.species, water.positions, cell=water.cell, pbc=True)
    ase.io.write(folder / "waters.xyz", atoms)
    bound = atoms.copy()
    bound.set_constraint(FixBondLength(0, 1))
    ase.io.write(folder / "bonds.traj", bound)
    ase.io.write(folder / "atom.xyz", ase.Atoms("O", cell=6 * np.eye(3), pbc=True))
    ase.io.write(folder / "argon.xyz", ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 3]], cell=6 * np.eye(3), pbc=True))
    return folder


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, darkforces, folder: Path):
    """Output of the command, and its exit code."""
    monkeypatch.chdir(folder)
    return partial(darkforces, "assess")


@pytest.fixture(scope="module")
def assessed(folder: Path) -> tuple[Path, dict[str, int], subprocess.CompletedProcess]:
    """Direct forces alone, stopped before their simulation, and gone on with; when its parts were written before."""
    output = folder / "assess-pet-nc-waters"
    with subprocess.Popen(COMMAND, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: process.poll() is not None or (output / "work.json").exists())
        finally:
            process.terminate()
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert "stopped; the same command goes on from there" in err
    assert not (output / "report.html").exists()
    parts = [output / "jacobian.json", output / "work.json"]
    before = {str(file): file.stat().st_mtime_ns for file in parts}
    done = finish([*COMMAND, "--json"], cwd=folder)
    return output, before, done


def test_what_was_finished_is_kept(assessed) -> None:
    _, before, _ = assessed
    assert {name: Path(name).stat().st_mtime_ns for name in before} == before


def test_precision_reaches_simulations_and_is_told(assessed) -> None:
    output, _, done = assessed
    assert json.loads(done.stdout)["dtype"] == "float64"
    models = [json.loads(file.read_text()) for file in output.glob("runs/*/model.json")]
    assert len(models) == 1
    assert all(model.items() >= {"model": "pet-nc", "dtype": "float64"}.items() for model in models)
    assert "0.5 fs; dtype float64." in (output / "report.html").read_text()


def test_another_precision_is_another_assessment(assessed, said) -> None:
    out, err, code = said("pet-nc", "waters.xyz", "--time", "0.032")
    assert (out, code) == ("", 1)
    assert "holds a campaign with dtype float64, not of the model; choose another --output" in err


def test_its_summary(assessed) -> None:
    """Thirty femtoseconds say nothing, and it says so."""
    output, _, done = assessed
    told = json.loads(done.stdout)
    assert done.returncode == told["verdict"]["exit_code"] == 12
    assert told["report"] == "assess-pet-nc-waters/report.html"
    assert {key: value for key, value in told.items() if key != "report"} == json.loads(
        (output / "assessment.json").read_text()
    )
    [direct] = told["choices"]
    assert (direct["forces"], direct["judgement"]) == ("direct", "not known")
    assert direct["nve_ps"] == pytest.approx(0.032)
    assert direct["svr_ps"] is None
    assert direct["heating_K_per_ps"]["value"] != 0.0
    assert direct["above_target_K"] == {}
    assert "too short" in told["verdict"]["headline"]
    value = told["lambda"]["lambda"]
    assert 0.0 < value["error"] <= 0.05 * value["value"]
    assert set(told["work"]["work_meV"]) == {"direct"}


def test_its_page_and_pictures(assessed) -> None:
    output, _, _ = assessed
    page = (output / "report.html").read_text()
    assert "Is pet-nc safe to run with direct forces?" in page
    assert "Whether direct forces are safe is not known." in page
    assert "What counts as safe" in page
    for name in ("choices", "nve", "work"):
        assert (output / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (output / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert f'<a href="{name}.pdf">' in page
    assert page.count("data:image/png;base64,") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pet-nc", "waters.xyz", "--temperature", "350"], "with temperature_K 300.0, not 350.0; choose another"),
        (["pet-nc", "waters.xyz", "--output", "."], "is no folder of a campaign and not empty"),
        (["pet-m", "bonds.traj"], "'bonds.traj' has a constraint FixBondLengths, which cannot be kept"),
        (["pet-m", "atom.xyz"], "'atom.xyz' has one atom: expected at least two"),
        (["pet-m", "argon.xyz"], "model 'pet-m' does not know Ar; it knows H, O"),
        (["pet-m", "no.xyz"], "'no.xyz' does not exist"),
        (["pet-mm", "waters.xyz"], "did you mean 'pet-m'"),
        (["pet-m", "waters.xyz", "--time", "0.01"], "--time 0.01 is too short for M = 16: expected at least 0.032 ps"),
        (["pet-m", "waters.xyz", "--time", "nan"], "--time nan cannot be used: expected ps, more than zero"),
        (["pet-m", "waters.xyz", "--timestep", "0"], "--timestep 0 cannot be used: expected fs, more than zero"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], message: str, said, assessed, folder: Path) -> None:
    before = sorted(folder.iterdir())
    out, err, code = said(*arguments)
    assert_one_error(code, out, err, message)
    assert sorted(path for path in folder.iterdir() if path.name != ".lock") == before


def test_without_direct_forces_there_is_nothing_to_try(said, folder: Path) -> None:
    out, err, code = said("pet-c", "waters.xyz")
    assert (code, err) == (11, "")
    assert out.startswith("pet-c has conservative forces only, and nothing is to be chosen")
    assert out.count("\n") == 1
    out, _, code = said("pet-c", "waters.xyz", "--json")
    assert (code, json.loads(out)["verdict"]["advice"]) == (11, "conservative")
    assert not (folder / "assess-pet-c-waters").exists()


def test_the_predicted_stride_is_confirmed_and_advised(said, folder: Path) -> None:
    """Forces of copper that are turned a little, corrected to those of ase's potential: all strides are safe."""
    copper = bulk("Cu", cubic=True)
    copper.rattle(0.05)
    ase.io.write(folder / "copper.xyz", copper)
    pair = f"fast=ase:{CALCULATORS}:rotated?forces=direct slow=ase:{CALCULATORS}:emt"
    command = (pair, "copper.xyz", "--timestep", "2", "--time", "0.128", "--output", "copper", "--json")
    out, err, code = said(*command)
    told = json.loads(out)
    assert (code, told["verdict"]["stride"]) == (10, 16)
    assert [each["forces"] for each in told["choices"]] == ["conservative", "direct", "mts16"]
    predicted = {each["stride"]: each for each in told["strides"]["strides"]}
    assert told["choices"][2]["predicted_heating_K_per_ps"] == predicted[16]["heating_K_per_ps"]
    assert any(text.startswith("Expected with M = 16") for text in told["verdict"]["text"])
    assert "3 of 6: heating of strides; about" in err
    assert "6 of 6: NVE, multiple time stepping; about" in err
    assert "Heating of every stride, predicted from 2 ps" in (folder / "copper" / "report.html").read_text()
    again, _, _ = said(*command)
    assert json.loads(again)["choices"] == told["choices"]


def test_help_is_a_page(said) -> None:
    out, _, code = said("--help")
    assert code == 0
    assert "darkforces assess pet-m inputs/water.xyz --thorough" in out
    assert "12  nothing is shown to be safe" in out
