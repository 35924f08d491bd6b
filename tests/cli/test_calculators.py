"""Commands that take a model take an ase calculator, with its options, and two models as one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.emt import EMT
from calculators import FILE, as_structure, copper, turn
from toy_models import SpringModel

from ipi_darkforces import Need
from ipi_darkforces.assessment import model_diagnostics
from ipi_darkforces.cli import driver, main
from ipi_darkforces.models.ase_calculator import CalculatorModel

ROTATED = f"ase:{FILE}:rotated"
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """A command in a folder with a structure, cu.xyz, and reference data, val.xyz."""
    monkeypatch.chdir(tmp_path)
    copper().write("cu.xyz")
    frames = []
    for displacement in (0.02, 0.04):
        frames.append(copper(displacement))
        frames[-1].calc = EMT()
        frames[-1].get_forces()
    ase.io.write("val.xyz", frames)

    def run(*words: str) -> tuple[int, str, str]:
        program = driver if words[0] == "i-pi-darkdriver" else main
        monkeypatch.setattr(sys, "argv", list(words))
        with pytest.raises(SystemExit) as end:
            program.main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return run


def test_evaluate(run: Command) -> None:
    code, out, _ = run(
        "darkforces", "evaluate", ROTATED, "val.xyz", "-o", "forces=direct", "-o", "angle=0.05", "--json"
    )
    assert code == 0
    found = json.loads(out)
    assert found["model"] == f"{ROTATED}?forces=direct;angle=0.05"
    assert found["conservative_forces_meV_per_angstrom"] is None
    errors = [np.abs(atoms.get_forces() @ (turn(0.05) - np.eye(3)).T) for atoms in ase.io.read("val.xyz", ":")]
    mae = found["direct_forces_meV_per_angstrom"]["total"]["mae"]
    assert mae == pytest.approx(1000.0 * np.mean(errors), rel=1e-4)


def test_pictures_are_called_after_the_model(run: Command, tmp_path: Path) -> None:
    pair = f"fast={ROTATED}?forces=direct slow=ase:{FILE}:emt"
    code, _, _ = run("darkforces", "evaluate", pair, "val.xyz", "--plot")
    assert code == 0
    assert (tmp_path / "parity-calculators.py_rotated_direct-calculators.py_emt-val.png").is_file()


def test_jacobian(run: Command) -> None:
    """The Jacobian of rotated forces is the rotated Jacobian of the others."""
    code, out, _ = run("darkforces", "jacobian", ROTATED, "cu.xyz", "-o", "forces=direct,angle=0.05", "--json")
    assert code == 0
    (found,) = json.loads(out)["structures"]
    structure = as_structure(copper())
    blocks = CalculatorModel(EMT(), "emt").jacobian(structure, Need.CONSERVATIVE).matrix()
    rotated = np.einsum("ab,ibjc->iajc", turn(0.05), blocks)
    rotated -= rotated.mean(axis=0)  # served without the net force
    matrix = rotated.reshape(96, 96)
    assert found["lambda"] == pytest.approx(np.linalg.norm(matrix - matrix.T) / np.linalg.norm(matrix) / 2, rel=1e-4)


def test_assessment_of_models_without_derivatives(tmp_path: Path) -> None:
    found = model_diagnostics.asymmetry(
        tmp_path, SpringModel, as_structure(copper()), "copper", 0.05, lambda done, reached: None
    )
    # J = -1 + P/10 with the cyclic permutation P, of which the antisymmetric part has the norm of sqrt(3/2).
    assert found["lambda"]["value"] == pytest.approx(0.1 * np.sqrt(1.5) / np.sqrt(3.0 + 0.03), rel=1e-4)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["darkforces", "evaluate", ROTATED, "val.xyz"], "say forces=direct if they are predicted as such"),
        (
            ["darkforces", "evaluate", ROTATED, "val.xyz", "-o", "angle"],
            "'angle' in -o has no name: expected key=value",
        ),
        (["darkforces", "jacobian", "pet-m", "cu.xyz", "-o", "angle=1"], "model 'pet-m' has no options, but was given"),
        (
            ["darkforces", "run", "--structure", "cu.xyz"],
            "which model? expected either a model, or one for fast and one",
        ),
        (["i-pi-darkdriver"], "which model? expected either a model, or one for fast and one for slow forces"),
        (
            ["i-pi-darkdriver", "--fast", "pet-m"],
            "which model? expected either a model, or one for fast and one for slow",
        ),
        (
            ["i-pi-darkdriver", "--fast", ROTATED, "--slow", "pet-m", "-o", "angle=0.1"],
            "option 'angle' is for which of the two models? expected fast.angle or slow.angle",
        ),
        (
            ["i-pi-darkdriver", "--model", ROTATED, "-o", "angel=0.1,component=fast"],
            "cannot be made: TypeError: rotated() got an unexpected keyword argument 'angel'",
        ),
        (
            ["i-pi-darkdriver", "--model", f"ase:{FILE}:emt", "--component", "fast"],
            "component 'fast' cannot be served: model 'ase:",
        ),
    ],
)
def test_what_is_wrong_is_one_line(run: Command, words: list[str], says: str) -> None:
    code, out, err = run(*words)
    assert (code, out) == (1, "")
    assert says in err
    assert err.count("darkforces: error: ") == 1
    assert "Traceback" not in err
