"""The files of a training that go into the zoo, and their names there."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import Training

from ipi_darkforces import Need, Structure, load_model
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.registry.zoo import user_directory
from ipi_darkforces.training.recipes.publish import check_free, slim

ROOT = Path(__file__).parents[2]
STATES = ("optimizer_state_dict", "best_optimizer_state_dict", "scheduler_state_dict")


@pytest.fixture
def original(finished: Training) -> Path:
    """A checkpoint as metatrain leaves it."""
    return finished.output / "pet-m-distilled" / "model.ckpt"


@pytest.fixture
def slimmed(original: Path, tmp_path: Path) -> Path:
    """The same without what only training needs."""
    slim(original, tmp_path / "slim.ckpt")
    return tmp_path / "slim.ckpt"


def read(path: Path) -> dict[str, object]:
    return torch.load(path, map_location="cpu", weights_only=False)


class TestSlim:
    def test_predicts_the_same(
        self, original: Path, slimmed: Path, water: Structure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        need = Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT
        before, after = (load_model(str(path)).evaluate([water], need)[0] for path in (original, slimmed))
        assert after.energy == before.energy
        np.testing.assert_array_equal(after.conservative, before.conservative)
        np.testing.assert_array_equal(after.direct, before.direct)

    def test_has_no_state_of_the_training(self, original: Path, slimmed: Path) -> None:
        before, after = read(original), read(slimmed)
        assert all(before[state] for state in STATES)
        assert [after[state] for state in STATES] == [None] * 3
        assert after.keys() == before.keys()

    def test_weights_are_the_best_ones_and_there_once(self, original: Path, slimmed: Path) -> None:
        best, after = read(original)["best_model_state_dict"], read(slimmed)
        assert after["model_state_dict"].keys() == best.keys()
        for name, weights in after["model_state_dict"].items():
            if isinstance(weights, torch.Tensor):
                assert torch.equal(weights, best[name])
                assert weights.data_ptr() == after["best_model_state_dict"][name].data_ptr()

    def test_is_a_third_of_the_size_or_less(self, original: Path, slimmed: Path) -> None:
        assert 3 * slimmed.stat().st_size < original.stat().st_size

    def test_says_nothing_of_this_machine(self, finished: Training, slimmed: Path) -> None:
        """Torch does not compress what it writes, so that a path would be seen."""
        content = slimmed.read_bytes()
        assert b"../pet-m-ft/model.ckpt" in content
        for place in (finished.folder, slimmed.parent, ROOT, sys.prefix, Path.home()):
            assert f"{place}/".encode() not in content

    def test_same_again_is_the_same_file(self, original: Path, slimmed: Path) -> None:
        before = slimmed.read_bytes()
        slim(original, slimmed)
        assert slimmed.read_bytes() == before

    def test_too_large(self, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ipi_darkforces.training.recipes.publish.LARGEST", 0.01)
        with pytest.raises(DarkforcesError, match=r"model.ckpt' is a model of 0 MB: expected at most 0 MB$"):
            slim(original, tmp_path / "large.ckpt")
        assert list(tmp_path.iterdir()) == []


class TestCheckFree:
    @pytest.fixture(autouse=True)
    def own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The user's folder."""
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        user_directory().mkdir(parents=True)
        return user_directory()

    def test_free(self, tmp_path: Path) -> None:
        check_free("my-water", tmp_path)

    def test_taken(self, own: Path, tmp_path: Path) -> None:
        (own / "my-water.ckpt").write_bytes(b"another")
        message = rf"^model 'my-water' is there already: '{own}/my-water.ckpt'; choose another --name$"
        with pytest.raises(DarkforcesError, match=message):
            check_free("my-water", tmp_path)
        (tmp_path / "my-water.ckpt").write_bytes(b"ours")
        with pytest.raises(DarkforcesError, match=message):
            check_free("my-water", tmp_path)

    def test_taken_by_this_very_training(self, own: Path, tmp_path: Path) -> None:
        for folder in (own, tmp_path):
            (folder / "my-water.ckpt").write_bytes(b"ours")
        check_free("my-water", tmp_path)

    @pytest.mark.parametrize("name", ["pet-m", "pet-c", "pet-nc", "", "my water", "../water", "water.ckpt", "x" * 101])
    def test_no_name_for_a_model_of_ones_own(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(DarkforcesError, match="cannot be the name of a model|is the name of a bundled model"):
            check_free(name, tmp_path)
