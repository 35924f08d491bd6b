"""upet's models by name, from a cache of Hugging Face that this test fills; nothing is downloaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from ipi_darkforces import Need, Structure, load_model
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.registry.upet import upet_checkpoint
from ipi_darkforces.models.registry.zoo import ZOO


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of upet's models in that cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "models--lab-cosmo--upet" / "snapshots" / "abcdef" / "models"
    folder.mkdir(parents=True)
    for name in ("pet-mad-s-v1.5.0", "pet-mad-s-v1.10.0", "pet-mad-xs-v1.6.0", "pet-omat-s-v1.0.0"):
        (folder / f"{name}.ckpt").touch()
    return folder


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("upet:pet-mad-s", "pet-mad-s-v1.10.0.ckpt"),  # by its numbers, not as text
        ("upet:pet-mad-s-v1.5.0", "pet-mad-s-v1.5.0.ckpt"),
        ("upet:pet-mad-xs", "pet-mad-xs-v1.6.0.ckpt"),
        ("upet:pet-omat-s", "pet-omat-s-v1.0.0.ckpt"),
    ],
)
def test_finds_the_newest_version_or_the_one_that_is_named(name: str, file: str, models: Path) -> None:
    assert upet_checkpoint(name) == models / file


@pytest.mark.parametrize("name", ["upet:pet-mad-m", "upet:pet-mad-s-v1.6.0"])
def test_says_which_file_is_missing(name: str) -> None:
    message = (
        rf"^model '{name}' is not on this machine and cannot be downloaded \(.*\); get a "
        rf"models/{name[5:]}\*.ckpt of https://huggingface.co/lab-cosmo/upet and give its path in place of the name$"
    )
    with pytest.raises(DarkforcesError, match=message):
        load_model(name)


def test_loads_both_kinds_of_force(models: Path, water: Structure) -> None:
    shutil.copy(ZOO["pet-m"].path, models / "pet-mad-l-v1.0.0.ckpt")
    model = load_model("upet:pet-mad-l")
    both = Need.CONSERVATIVE | Need.DIRECT
    [found] = model.evaluate([water], both)
    [expected] = load_model("pet-m").evaluate([water], both)
    assert model.name == "upet:pet-mad-l"
    assert (found.conservative == expected.conservative).all()
    assert (found.direct == expected.direct).all()
