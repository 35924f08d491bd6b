"""The commands ``darkforces jacobian`` and ``darkforces work``, as a user meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from programs import assert_one_error

from ipi_darkforces import Structure

Say = Callable[..., tuple[str, str, int]]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, darkforces: Say, folder: Path) -> Say:
    """Output of a command in the folder with the structures, with its exit code."""
    monkeypatch.chdir(folder)
    return darkforces


@pytest.fixture
def folder(tmp_path: Path, water: Structure) -> Path:
    """Two waters in a cell; one atom; argon; and the first of the waters on a path that is not closed."""
    positions = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0], [0, 0, 2.9], [0.2, 0.3, 1.95], [0.7, -0.6, 3.2]])
    waters = ase.Atoms("OH2OH2", positions, cell=10 * np.eye(3), pbc=True)
    ase.io.write(tmp_path / "waters.xyz", waters)
    ase.io.write(tmp_path / "molecule.xyz", ase.Atoms("OH2", positions[:3]))
    ase.io.write(tmp_path / "atom.xyz", ase.Atoms("O"))
    ase.io.write(tmp_path / "argon.xyz", ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 3]]))
    path = [waters.copy() for _ in range(5)]
    for i, frame in enumerate(path):
        frame.positions[:3, 0] += 0.1 * i
    ase.io.write(tmp_path / "open.xyz", path)
    return tmp_path


def test_jacobian_exactly(said: Say, folder: Path) -> None:
    out, err, code = said("jacobian", "pet-m", "waters.xyz", "open.xyz", "--plot", "mine.pdf")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "pet-m: direct forces, as they are served, without their mean"
    assert lines[2] == "waters.xyz: 6 atoms"
    assert 0.0 < float(lines[3].split()[1]) < 0.3
    assert "open.xyz #4: 6 atoms" in lines
    assert any(line.split()[:4] == ["0.5", "to", "1.5", "4"] for line in lines)
    assert lines[-1] == "written: mine.pdf"
    assert (folder / "mine.pdf").read_bytes().startswith(b"%PDF")


def test_jacobian_of_molecules_is_that_without_their_torque(said: Say) -> None:
    alone, _, _ = said("jacobian", "pet-m", "molecule.xyz")
    assert alone.splitlines()[0] == "pet-m: direct forces, as they are served, without their mean and torque"
    both, _, _ = said("jacobian", "pet-m", "molecule.xyz", "waters.xyz")
    assert both.splitlines()[0].endswith(", without their mean and, of molecules, torque")


def test_jacobian_for_machines(said: Say, folder: Path) -> None:
    """The bonds of the table add up to the whole; the estimate agrees; conservative forces are conservative."""
    exact, estimated, conservative = (
        json.loads(said("jacobian", "pet-m", "waters.xyz", "--json", "--dtype", "float64", *more)[0])
        for more in ([], ["--error", "0.05"], ["--forces", "conservative"])
    )
    value = exact["structures"][0]["lambda"]
    norms = [
        np.linalg.norm(exact["structures"][0][f"{kind}_of_pairs_eV_per_angstrom2"])
        for kind in ("antisymmetric", "total")
    ]
    assert value == pytest.approx(norms[0] / norms[1])
    guess = estimated["structures"][0]["lambda"]
    assert guess["error"] <= 0.05 * guess["value"]
    assert abs(guess["value"] - value) < 3.5 * guess["error"]
    assert (conservative["forces"], conservative["structures"][0]["is_rounding"]) == ("conservative", True)
    assert conservative["structures"][0]["lambda"] < 1e-13
    assert not (folder / "jacobian-pet-m-waters.png").exists()


def test_rounding_is_called_so(said: Say) -> None:
    out, _, code = said("jacobian", "pet-c", "waters.xyz", "--forces", "conservative")
    assert code == 0
    assert "(rounding: derivatives are known to 1e-07; the forces are conservative)" in out


def test_fastest_backend_gives_the_same_by_differences(said: Say) -> None:
    """That backend cannot be differentiated."""
    exact, differences = (
        json.loads(said("jacobian", "pet-m", "waters.xyz", "--json", "--dtype", "float64", *more)[0])
        for more in ([], ["--backend", "auto"])
    )
    assert differences["structures"][0]["lambda"] == pytest.approx(exact["structures"][0]["lambda"], rel=1e-5)


def test_work(said: Say, folder: Path) -> None:
    out, err, code = said("work", "pet-m", "waters.xyz", "--atom", "4", "--tolerance", "1", "--plot")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("pet-m: the molecule of O 3, H 4, H 5 turns; ")
    work = {line.split()[0]: line.split()[2:] for line in lines if " forces " in line and line.endswith("meV")}
    assert set(work) == {"conservative", "direct"}
    for total, error, unit in work.values():
        assert (float(error) <= 1.0, unit) == (True, "meV")
        assert np.isfinite(float(total))
    assert abs(float(work["conservative"][0])) <= 1.0
    assert (folder / "work-pet-m-waters.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["jacobian", "pet-c", "waters.xyz"],
            "does not provide direct forces; it provides energy, conservative forces",
        ),
        (["jacobian", "pet-c", "waters.xyz"], "to judge those, give --forces conservative"),
        (["jacobian", "pet-m", "atom.xyz"], "atom.xyz has one atom: expected at least two"),
        (["jacobian", "pet-m", "argon.xyz"], "argon.xyz: model 'pet-m' does not know Ar; it knows H, O"),
        (["jacobian", "pet-m", "no.xyz"], "structure file 'no.xyz' does not exist"),
        (["jacobian", "pet-m", "waters.xyz", "--error", "5"], "--error 5 is not a relative error: expected a number"),
        (["jacobian", "pet-m", "waters.xyz", "--error", "0.1", "--plot", "a.png"], "contradict each other"),
        (["jacobian", "pet-m", "waters.xyz", "--plot", "waters.xyz"], "'waters.xyz' has no suffix of a picture"),
        (["work", "pet-m"], "expected either a STRUCTURE, of which a molecule turns, or --path FILE"),
        (["work", "pet-m", "waters.xyz", "--path", "open.xyz"], "expected either a STRUCTURE"),
        (["work", "pet-m", "--path", "open.xyz"], ") ends 0.4 Å from where it began; expected the last"),
        (["work", "pet-m", "--path", "open.xyz", "--atom", "1"], "--path and --atom contradict each other"),
        (["work", "pet-m", "waters.xyz", "--tolerance", "-1"], "--tolerance -1 is not an error: expected meV"),
        (["work", "pet-m", "waters.xyz", "--atom", "6"], "waters.xyz has no atom 6: expected 0 to 5"),
        (["work", "pet-m", "argon.xyz"], "argon.xyz has no molecule to turn"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], message: str, said: Say, folder: Path) -> None:
    before = sorted(folder.iterdir())
    out, err, code = said(*arguments)
    assert_one_error(code, out, err, message)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("command", ["jacobian", "work"])
def test_help_is_a_page(command: str, said: Say) -> None:
    out, _, code = said(command, "--help")
    assert code == 0
    assert f"darkforces {command} pet-m inputs/water.xyz" in out
    assert "reading the" in out
