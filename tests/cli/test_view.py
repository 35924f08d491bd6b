"""The command ``darkforces view``: what is written is what chemiscope reads, and the forces of the model."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest

import ipi_darkforces as dark

Say = Callable[..., tuple[str, str, int]]


@pytest.fixture
def said(darkforces: Say, frames: list[ase.Atoms]) -> Say:
    """Output and exit code of the command, in the folder with the structures."""
    return partial(darkforces, "view")


@pytest.fixture
def frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[ase.Atoms]:
    """Ten frames of a water molecule in a cell, whose bond becomes longer."""
    monkeypatch.chdir(tmp_path)
    water = ase.Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], cell=10 * np.eye(3), pbc=True)
    frames = [water.copy() for _ in range(10)]
    for i, frame in enumerate(frames):
        frame.positions[1, 0] += 0.03 * i
    ase.io.write("water.xyz", frames)
    return frames


def test_arrows_are_the_forces(said: Say, frames: list[ase.Atoms]) -> None:
    out, err, code = said("pet-m", "water.xyz", "--frames", "4", "--plot", "arrows.pdf")
    assert (err, code) == ("", 0)
    assert Path("arrows.pdf").read_bytes().startswith(b"%PDF")
    assert out.splitlines()[-3] == "written: view-pet-m-water.json.gz; open it on chemiscope.org"
    assert out.splitlines()[-1] == "written: arrows.pdf"
    found = json.loads(gzip.decompress(Path("view-pet-m-water.json.gz").read_bytes()))
    kept = [frames[i] for i in (0, 3, 6, 9)]
    model = dark.load_model("pet-m")
    results = [model.evaluate(atoms) for atoms in kept]
    for structure, atoms in zip(found["structures"], kept, strict=True):
        assert structure["names"] == atoms.get_chemical_symbols()
        np.testing.assert_allclose(np.transpose([structure[axis] for axis in "xyz"]), atoms.positions, atol=1e-5)
        np.testing.assert_allclose(structure["cell"], atoms.cell.array.ravel())
    assert [each["center"] for each in found["environments"]] == 4 * [0, 1, 2]
    assert [each["structure"] for each in found["environments"]] == np.repeat(range(4), 3).tolist()
    vectors = {
        "conservative": np.concatenate([each.conservative for each in results]),
        "direct": np.concatenate([each.direct for each in results]),
    }
    vectors["direct - conservative"] = vectors["direct"] - vectors["conservative"]
    for (name, shape), (kind, expected) in zip(found["shapes"].items(), vectors.items(), strict=True):
        title, _, scale = name.partition(", 1 Å for ")
        assert title == kind
        arrows = np.array([atom["vector"] for atom in shape["parameters"]["atom"]])
        np.testing.assert_allclose(arrows * float(scale.split()[0]), 1000.0 * expected, rtol=1e-4, atol=0.1)
        assert 0.3 < np.sqrt(np.mean(np.sum(arrows**2, axis=1))) <= 1.0001
        lengths = 1000.0 * np.linalg.norm(expected, axis=1)
        properties = found["properties"]
        np.testing.assert_allclose(properties[f"{kind}, of each atom"]["values"], lengths, atol=0.1)
        rms = np.sqrt(np.mean(lengths.reshape(4, 3) ** 2, axis=1))
        np.testing.assert_allclose(properties[f"{kind}, rms"]["values"], rms, atol=0.1)
    (shown,) = found["settings"]["structure"][0]["shape"]
    assert shown in found["shapes"]
    assert {axis["property"] for axis in found["settings"]["map"].values()} <= set(found["properties"])


def test_a_model_with_one_kind_of_forces_and_for_machines(said: Say) -> None:
    out, err, code = said("ase:ase.calculators.emt:EMT", "water.xyz", "--json", "--output", "mine.json")
    assert (err, code) == ("", 0)
    found = json.loads(out)
    assert (found["file"], list(found["forces"]), len(found["structures"])) == ("mine.json", ["conservative"], 10)
    longest = found["forces"]["conservative"]
    assert longest["structure"] in found["structures"]
    assert longest["largest_meV_per_angstrom"] >= max(longest["rms_meV_per_angstrom"])
    assert len(json.loads(Path("mine.json").read_text())["shapes"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pet-m", "no.xyz"], "structure file 'no.xyz' does not exist"),
        (["pet-m", "water.xyz", "--frames", "0"], "--frames 0 is not a number of structures: expected at least 1"),
        (["pet-m", "water.xyz", "--output", "a.png"], "expected a name in .json or .json.gz"),
        (["pet-m", "water.xyz", "--output", "there.json"], "'there.json' exists; choose another name, or --overwrite"),
        (["pet-m", "argon.xyz"], "argon.xyz: model 'pet-m' does not know Ar"),
    ],
)
def test_one_line_says_what_is_wrong(said: Say, arguments: list[str], message: str) -> None:
    ase.io.write("argon.xyz", ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 3]]))
    Path("there.json").touch()
    before = set(Path().iterdir())
    out, err, code = said(*arguments)
    assert (out, code) == ("", 1)
    assert message in err
    assert err.count("\n") == 1
    assert set(Path().iterdir()) == before
