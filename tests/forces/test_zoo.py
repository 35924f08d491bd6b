from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy_models import export_toy

from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.forces import Need, Structure, load_model
from ipi_darkforces.forces import export as export_module
from ipi_darkforces.forces.export import cache_directory, exported
from ipi_darkforces.forces.zoo import ZOO, shared_split

LOAD_AND_SAY_FROM_WHERE = """
from ipi_darkforces.forces.export import exported
from ipi_darkforces.forces.zoo import ZOO, load_model

load_model("pet-m")
print(exported(ZOO["pet-m"].path))
"""


class TestNames:
    @pytest.mark.parametrize("name", ZOO)
    def test_every_model_loads_under_its_name(self, name: str) -> None:
        assert load_model(name).name == name

    def test_pet_m_provides_both_kinds_of_force(self) -> None:
        assert Need.DIRECT | Need.CONSERVATIVE in load_model("pet-m").provides

    @pytest.mark.parametrize(
        ("name", "missing", "has"),
        [("pet-c", Need.DIRECT, Need.CONSERVATIVE), ("pet-nc", Need.CONSERVATIVE, Need.DIRECT)],
    )
    def test_one_headed_models_refuse_the_other_kind(
        self, name: str, missing: Need, has: Need, water: Structure
    ) -> None:
        model = load_model(name)
        assert has in model.provides
        message = f"^model '{name}' does not provide {missing}; it provides energy, {has}"
        with pytest.raises(DarkforcesError, match=message):
            model.evaluate([water], missing)

    def test_bundled_model_knows_water_alone(self) -> None:
        assert load_model("pet-m").species == {1, 8}

    @pytest.mark.parametrize(
        ("given", "meant"), [("pet-mm", "pet-m"), ("PET-NC", "pet-nc"), ("petc", "pet-c"), ("water", "pet-")]
    )
    def test_misspelt_name_gets_a_suggestion_and_all_names(self, given: str, meant: str) -> None:
        with pytest.raises(DarkforcesError) as caught:
            load_model(given)
        message = str(caught.value)
        assert f"model '{given}' is neither a name nor a path; did you mean '{meant}" in message
        assert "Names: pet-m, pet-c, pet-nc" in message
        assert "\n" not in message

    @pytest.mark.parametrize("name", ["", "my-model.pt", "models/pet", "./pet-m", "x" * 5000, "x" * 5000 + ".pt"])
    def test_what_looks_like_a_path_but_is_none(self, name: str) -> None:
        with pytest.raises(DarkforcesError, match="does not exist|neither a name nor a path") as caught:
            load_model(name)
        assert "\n" not in str(caught.value)

    def test_path_of_an_exported_model(self, tmp_path: Path) -> None:
        path = export_toy(tmp_path / "my-model.pt")
        assert load_model(str(path)).name == str(path)

    def test_path_without_a_suffix(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        export_toy(tmp_path / "mymodel")
        monkeypatch.chdir(tmp_path)
        assert load_model("mymodel").name == "mymodel"

    def test_unknown_dtype(self) -> None:
        with pytest.raises(DarkforcesError, match="dtype 'half' is not known: expected float32 or float64"):
            load_model("pet-m", dtype="half")

    def test_one_model_is_shared_by_all_who_ask_for_the_same(self) -> None:
        assert shared_split("pet-m") is shared_split("pet-m")
        assert shared_split("pet-m") is not shared_split("pet-m", dtype="float64")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "ipi-darkforces"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestCache:
    def test_is_where_the_user_wants_it(self, cache: Path) -> None:
        assert cache_directory() == cache

    @pytest.mark.parametrize("unset", [None, ""])
    def test_is_in_the_home_by_default(self, unset: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/somewhere")
        if unset is None:
            monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        else:
            monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert cache_directory() == Path("/somewhere/.cache/ipi-darkforces")

    def test_two_processes_at_once_export_one_whole_model(self, cache: Path) -> None:
        """Both find the cache empty; whoever is later replaces a whole file by a whole file."""
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", LOAD_AND_SAY_FROM_WHERE],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        outputs = [process.communicate(timeout=120) for process in processes]
        assert [process.returncode for process in processes] == [0, 0], outputs
        assert outputs[0] == outputs[1]
        assert [Path(outputs[0][0].strip()).name] == names(cache)
        assert outputs[0][1] == ""  # metatrain's and torch's remarks are kept from the user

    def test_exports_once(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        exports = write_instead_of_exporting(monkeypatch)
        assert exported(ZOO["pet-m"].path) == exported(ZOO["pet-nc"].path)
        assert len(exports) == 1

    def test_other_weights_make_another_file(
        self, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_instead_of_exporting(monkeypatch)
        other = tmp_path / ZOO["pet-m"].checkpoint
        other.write_bytes(b"other weights")
        assert exported(other) != exported(ZOO["pet-m"].path)

    @pytest.mark.parametrize("package", ["metatrain", "metatomic-torch", "metatensor-torch", "torch"])
    def test_other_versions_make_another_file(self, package: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_instead_of_exporting(monkeypatch)
        before, version = exported(ZOO["pet-m"].path), export_module.version
        monkeypatch.setattr(export_module, "version", lambda name: "99" if name == package else version(name))
        assert exported(ZOO["pet-m"].path) != before

    def test_no_half_file_is_left_by_an_export_that_fails(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def dies(checkpoint: Path, target: Path) -> None:
            target.write_bytes(b"half a mod")
            raise KeyboardInterrupt

        monkeypatch.setattr(export_module, "_export", dies)
        with pytest.raises(KeyboardInterrupt):
            exported(ZOO["pet-m"].path)
        assert names(cache) == []

    def test_checkpoint_that_cannot_be_exported_is_one_clear_line(self, cache: Path, tmp_path: Path) -> None:
        broken = tmp_path / "broken.ckpt"
        broken.write_bytes(b"no checkpoint")
        with pytest.raises(DarkforcesError, match="broken.ckpt' cannot be exported") as caught:
            exported(broken)
        assert "\n" not in str(caught.value)
        assert names(cache) == []

    def test_cache_that_cannot_be_made_is_one_clear_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file where the folder should be stops even root."""
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        with pytest.raises(DarkforcesError, match="cannot write the model cache .*; set XDG_CACHE_HOME") as caught:
            load_model("pet-m")
        assert "\n" not in str(caught.value)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_read_only_cache_is_one_clear_line(self, cache: Path) -> None:
        cache.mkdir()
        cache.chmod(0o500)
        with pytest.raises(DarkforcesError, match=r"cannot write the model cache .* \(Permission denied\)"):
            load_model("pet-m")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_read_only_cache_that_has_the_model_will_do(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_instead_of_exporting(monkeypatch)
        path = exported(ZOO["pet-m"].path)
        cache.chmod(0o500)
        assert exported(ZOO["pet-m"].path) == path


def write_instead_of_exporting(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """For tests of the cache alone: a list of the exports, which take seconds otherwise."""
    exports: list[Path] = []

    def export(checkpoint: Path, target: Path) -> None:
        target.write_bytes(b"model")
        exports.append(target)

    monkeypatch.setattr(export_module, "_export", export)
    return exports
