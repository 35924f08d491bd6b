"""Fingerprints of models in runs and campaigns, which do not go on with other models."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path

import pytest

from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.registry.kinds import specified
from ipi_darkforces.models.registry.zoo import ZOO

ASE = f"ase {metadata.version('ase')}"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Two in the current folder: the beginnings of their SHA-256 by their names."""
    monkeypatch.chdir(tmp_path)
    for name in ("mine.py", "weights.model"):
        (tmp_path / name).write_text(f"what is in {name}")
    return {file.name: digest(file) for file in tmp_path.iterdir()}


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def fingerprint(model: str) -> str:
    return specified(model).fingerprint()


def test_of_a_checkpoint() -> None:
    assert fingerprint("pet-nc") == fingerprint(str(ZOO["pet-m"].path)) == digest(ZOO["pet-m"].path)


def test_of_a_calculator_in_a_package() -> None:
    assert fingerprint("ase:ase.calculators.emt:EMT?asap_cutoff=true") == ASE


def test_of_a_calculator_in_a_file_and_with_one(files: dict[str, str]) -> None:
    assert fingerprint("ase:mine.py:make") == files["mine.py"]
    assert fingerprint("ase:mine.py:make?size=3;file=weights.model") == f"{files['mine.py']}, {files['weights.model']}"
    assert fingerprint("ase:ase.calculators.emt:EMT?file=weights.model") == f"{ASE}, {files['weights.model']}"


def test_of_two_models(files: dict[str, str]) -> None:
    assert fingerprint("fast=pet-nc slow=ase:mine.py:make") == f"{digest(ZOO['pet-m'].path)} and {files['mine.py']}"


def test_of_a_model_of_another_package(files: dict[str, str]) -> None:
    pytest.importorskip("sevenn")
    version = metadata.version("sevenn")
    assert fingerprint("sevennet-0?weights=weights.model") == f"sevenn {version}, {files['weights.model']}"
    name, _, of_the_package = fingerprint("sevennet-0").partition(", ")
    assert name == f"sevenn {version}"
    assert len(of_the_package) == 12


def test_of_what_is_no_model() -> None:
    with pytest.raises(DarkforcesError, match="^model 'pet-q' is neither a name from `darkforces models` nor a file$"):
        fingerprint("pet-q")


def test_a_module_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_calculators").mkdir()
    for name in ("__init__", "good"):
        (tmp_path / "my_calculators" / f"{name}.py").write_text(f"raise RuntimeError('{name} is imported')")
    expected = digest(tmp_path / "my_calculators" / "good.py")
    assert fingerprint("ase:my_calculators.good:make") == expected
