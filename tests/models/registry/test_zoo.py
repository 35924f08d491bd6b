from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from programs import PATIENCE
from toy_models import export_toy

from ipi_darkforces import Need, Structure, load_model
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.registry import export as export_module
from ipi_darkforces.models.registry import kinds
from ipi_darkforces.models.registry import zoo as zoo_module
from ipi_darkforces.models.registry.card import Card
from ipi_darkforces.models.registry.export import cache_directory, exported, is_checkpoint
from ipi_darkforces.models.registry.options import Loading
from ipi_darkforces.models.registry.zoo import ZOO, all_models, card_of, install, user_directory
from ipi_darkforces.split.shared import shared_split

LOAD_AND_SAY_FROM_WHERE = """
from ipi_darkforces.models.registry.export import exported
from ipi_darkforces.models.registry.load import load_model
from ipi_darkforces.models.registry.zoo import ZOO

load_model("pet-m", backend="metatomic")
print(exported(ZOO["pet-m"].path))
"""


CARD = Card("mine", "a network", "some data", "CC0", "nobody", "a day", {"energy_mae_meV_per_atom": 1.5}, "anywhere")
TAKEN = "model 'water2' is there already: .*water2.ckpt'; choose another name, or overwrite it$"
NO_NAME = "cannot be the name of a model; expected at most 100 letters, digits"


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the user's models in which there is nothing yet, nor is there the folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "ipi-darkforces" / "models"


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
        ("given", "meant"), [("pet-mm", "pet-m"), ("PET-NC", "pet-nc"), ("petc", "pet-c"), ("sevennet", "sevennet-0")]
    )
    def test_misspelt_name_gets_a_suggestion_and_all_names(self, given: str, meant: str) -> None:
        with pytest.raises(DarkforcesError) as caught:
            load_model(given)
        message = str(caught.value)
        assert f"model '{given}' is neither a name nor a path; did you mean '{meant}" in message
        assert "Names: pet-m, pet-c, pet-nc, pet-xs, mace-mp-0, sevennet-0, " in message
        assert "; or the path of a metatrain checkpoint (.ckpt) or of an exported" in message
        assert "\n" not in message

    @pytest.mark.parametrize(
        ("given", "meant"),
        [
            *((each, "ase:ase.calculators.emt:EMT") for each in ("EMT", "emt", "ase:emt", "ase.calculators.emt")),
            *((each, "ase:ase.calculators.emt:EMT") for each in ("ase.calculators.emt.EMT", "ase:ase.calculators.emt")),
            *((each, "ase:ase.calculators.lj:LennardJones") for each in ("LennardJones", "lj")),
            *((each, "ase:tblite.ase:TBLite") for each in ("tblite", "TBLite", "tblite.ase:TBLite")),
            ("my.module:make", "ase:my.module:make"),
            ("orb", "orb-v2"),
            ("mace", "mace-mp-0"),
        ],
    )
    def test_what_is_near_is_named(self, given: str, meant: str) -> None:
        with pytest.raises(DarkforcesError) as caught:
            load_model(given)
        assert f"; did you mean '{meant}'?" in str(caught.value)

    @pytest.mark.parametrize("name", ["xyzzy", "water", "a", "", "gap20", "emt.pt", "models/emt.ckpt"])
    def test_what_is_near_to_nothing(self, name: str) -> None:
        with pytest.raises(DarkforcesError, match="does not exist|neither a name nor a path") as caught:
            load_model(name)
        assert "did you mean" not in str(caught.value)

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
        assert shared_split("pet-m", Loading()) is shared_split("pet-m", Loading())
        assert shared_split("pet-m", Loading()) is not shared_split("pet-m", Loading(dtype="float64"))


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
        outputs = [process.communicate(timeout=PATIENCE) for process in processes]
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
        other = fake_checkpoint(tmp_path / ZOO["pet-m"].path.name)
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
        """The checkpoint has what every checkpoint has, and is spoilt inside."""
        broken = fake_checkpoint(tmp_path / "broken.ckpt")
        with pytest.raises(DarkforcesError, match="broken.ckpt' cannot be exported") as caught:
            exported(broken)
        assert "\n" not in str(caught.value)
        assert names(cache) == []

    def test_file_that_is_no_checkpoint_is_one_clear_line(self, cache: Path, tmp_path: Path) -> None:
        broken = tmp_path / "broken.ckpt"
        broken.write_bytes(ZOO["pet-m"].path.read_bytes()[:-100])
        with pytest.raises(DarkforcesError, match=r"broken.ckpt' is not a metatrain checkpoint \(.ckpt\)$"):
            exported(broken)
        assert not cache.exists()

    def test_missing_checkpoint_is_one_clear_line(self, cache: Path, tmp_path: Path) -> None:
        with pytest.raises(DarkforcesError, match="none.ckpt' cannot be read: No such file or directory$"):
            exported(tmp_path / "none.ckpt")

    def test_checkpoint_that_changes_meanwhile_is_not_kept(
        self, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The export may have the new weights, under the name in the cache of the old ones."""
        checkpoint = fake_checkpoint(tmp_path / "model.ckpt")

        def train_and_export(checkpoint: Path, target: Path) -> None:
            checkpoint.write_bytes(b"new weights")
            target.write_bytes(b"model")

        monkeypatch.setattr(export_module, "_export", train_and_export)
        with pytest.raises(DarkforcesError, match="model.ckpt' has changed while it was exported"):
            exported(checkpoint)
        assert names(cache) == []

    def test_cache_that_cannot_be_made_is_one_clear_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file where the folder should be stops even root."""
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        with pytest.raises(DarkforcesError, match="cannot write the model cache .*; set XDG_CACHE_HOME") as caught:
            load_model("pet-m", backend="metatomic")
        assert "\n" not in str(caught.value)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_read_only_cache_is_one_clear_line(self, cache: Path) -> None:
        cache.mkdir()
        cache.chmod(0o500)
        with pytest.raises(DarkforcesError, match=r"cannot write the model cache .* \(Permission denied\)"):
            load_model("pet-m", backend="metatomic")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_read_only_cache_that_has_the_model_will_do(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_instead_of_exporting(monkeypatch)
        path = exported(ZOO["pet-m"].path)
        cache.chmod(0o500)
        assert exported(ZOO["pet-m"].path) == path


OTHER = 12345  # a user
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


class TestWhoseCache:
    """A file in the cache is run as code."""

    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        return write_instead_of_exporting(monkeypatch)

    def refused(self, said: str) -> None:
        with pytest.raises(DarkforcesError) as caught:
            exported(ZOO["pet-m"].path)
        advice = "remove that, or set XDG_CACHE_HOME to a folder of your own"
        assert str(caught.value) == f"the model cache holds code that is run, and is not used: {said}; {advice}"

    @pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077])
    def test_is_made_for_its_owner_alone(self, umask: int, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "a" / "b"))
        before = os.umask(umask)
        try:
            path = exported(ZOO["pet-m"].path)
        finally:
            os.umask(before)
        assert path.parent == cache / "a" / "b" / "ipi-darkforces"
        assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent, cache)] == [0o600, 0o700, 0o700]
        assert exported(ZOO["pet-m"].path) == path

    @AS_ROOT
    def test_folder_of_another_user(self, cache: Path) -> None:
        cache.mkdir()
        os.chown(cache, OTHER, OTHER)
        self.refused(f"'{cache}' is a folder of user {OTHER}, not of root")
        assert names(cache) == []

    @AS_ROOT
    def test_file_of_another_user(self, cache: Path) -> None:
        path = exported(ZOO["pet-m"].path)
        os.chown(path, OTHER, OTHER)
        self.refused(f"'{path}' is a file of user {OTHER}, not of root")

    @AS_ROOT
    def test_link_of_another_user_to_a_folder_of_ours(self, cache: Path, tmp_path: Path) -> None:
        (tmp_path / "ours").mkdir(mode=0o700)
        cache.symlink_to(tmp_path / "ours")
        os.chown(cache, OTHER, OTHER, follow_symlinks=False)
        self.refused(f"'{cache}' is a link of user {OTHER}, not of root")
        assert names(tmp_path / "ours") == []

    @pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777])
    def test_folder_that_others_can_write_to(self, mode: int, cache: Path) -> None:
        cache.mkdir()
        cache.chmod(mode)
        self.refused(f"'{cache}' is a folder that others can write to (mode {mode:o})")
        assert names(cache) == []

    @pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
    def test_file_that_others_can_write_to(self, mode: int, cache: Path) -> None:
        path = exported(ZOO["pet-m"].path)
        path.chmod(mode)
        self.refused(f"'{path}' is a file that others can write to (mode {mode:o})")

    def test_link_in_the_place_of_a_file(self, cache: Path, tmp_path: Path) -> None:
        path = exported(ZOO["pet-m"].path)
        path.rename(tmp_path / "elsewhere.pt")
        for target in (tmp_path / "elsewhere.pt", tmp_path / "nowhere.pt"):
            path.symlink_to(target)
            self.refused(f"'{path}' is no regular file")
            path.unlink()

    def test_below_a_folder_in_which_everybody_can_replace_it(self, cache: Path, tmp_path: Path) -> None:
        tmp_path.chmod(0o777)
        self.refused(f"'{cache}' is below '{tmp_path}', which everybody can write to: what is there may be theirs")
        tmp_path.chmod(0o1777)  # as /tmp: only who made something can remove it
        assert exported(ZOO["pet-m"].path).parent == cache

    def test_link_of_ones_own_to_a_folder_elsewhere(self, cache: Path, tmp_path: Path) -> None:
        (tmp_path / "large-disk").mkdir()
        cache.symlink_to(tmp_path / "large-disk")
        path = exported(ZOO["pet-m"].path)
        assert names(tmp_path / "large-disk") == [path.name]

    def test_model_is_not_loaded_from_a_cache_of_others(self, cache: Path, tmp_path: Path) -> None:
        path = exported(ZOO["pet-m"].path)
        export_toy(path)
        path.chmod(0o666)
        with pytest.raises(DarkforcesError, match="the model cache holds code that is run, and is not used"):
            load_model("pet-m", backend="metatomic")


class TestCard:
    def test_bundled_models_have_one_card(self) -> None:
        card = ZOO["pet-m"].card
        assert card_of("pet-m") == card_of("pet-c") == card_of("pet-nc") == card
        assert "energy_mae_meV_per_atom" in card.errors

    def test_is_next_to_a_checkpoint_given_by_its_path(self, tmp_path: Path) -> None:
        CARD.write(tmp_path / "my.model.json")
        (tmp_path / "my.model.ckpt").touch()
        assert card_of(str(tmp_path / "my.model.ckpt")) == CARD

    @pytest.mark.parametrize("name", ["my.ckpt", "my.pt", "no-name", "", ".ckpt"])
    def test_model_without(self, name: str, tmp_path: Path) -> None:
        """A file next to an exported model need not be a card."""
        (tmp_path / "my.pt").touch()
        if name == "my.pt":
            CARD.write(tmp_path / "my.json")
        assert card_of(str(tmp_path / name)) is None


class TestOwnModels:
    def test_are_where_the_user_wants_them(self, own: Path) -> None:
        assert user_directory() == own

    @pytest.mark.parametrize("unset", [None, ""])
    def test_are_in_the_home_by_default(self, unset: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/somewhere")
        if unset is None:
            monkeypatch.delenv("XDG_DATA_HOME")
        else:
            monkeypatch.setenv("XDG_DATA_HOME", unset)
        assert user_directory() == Path("/somewhere/.local/share/ipi-darkforces/models")

    def test_come_and_go_while_we_run(self, own: Path) -> None:
        assert list(all_models()) == list(ZOO)
        checkpoint = install(ZOO["pet-m"].path, CARD, "water2")
        assert list(all_models()) == [*ZOO, "water2"]
        assert all_models()["water2"].own
        assert card_of("water2") == CARD
        checkpoint.unlink()
        assert list(all_models()) == list(ZOO)

    def test_load_under_their_names_with_all_that_they_have(self, exports: list[Path]) -> None:
        checkpoint = install(ZOO["pet-m"].path, CARD, "water2")
        model = load_model("water2", backend="metatomic")
        assert model.name == "water2"
        assert Need.DIRECT | Need.CONSERVATIVE in model.provides
        assert exports == [checkpoint]

    def test_broken_card_stops_no_model(self, own: Path, exports: list[Path]) -> None:
        install(ZOO["pet-m"].path, CARD, "water2")
        install(ZOO["pet-m"].path, CARD, "water3")
        (own / "water2.json").write_text("{")
        assert [load_model(name, backend="metatomic").name for name in ("water3", "pet-m", "water2")] == [
            "water3",
            "pet-m",
            "water2",
        ]
        with pytest.raises(DarkforcesError, match="water2.json' is not JSON"):
            card_of("water2")
        assert card_of("water3") == CARD

    def test_weights_without_a_card_are_no_model_and_it_is_said_why(self, own: Path) -> None:
        own.mkdir(parents=True)
        shutil.copy(ZOO["pet-m"].path, own / "water2.ckpt")
        assert list(all_models()) == list(ZOO)
        with pytest.raises(DarkforcesError, match="^model 'water2' has no card: expected '.*models/water2.json'$"):
            load_model("water2")

    def test_misspelt_names_are_recognised(self, own: Path) -> None:
        install(ZOO["pet-m"].path, CARD, "ethanol")
        with pytest.raises(DarkforcesError, match="mean 'ethanol'[?] Names: pet-m, .*, pet-xs, ethanol, mace"):
            load_model("ethanool")

    def test_bundled_names_stay_with_the_bundled_models(
        self, own: Path, exports: list[Path], caplog: pytest.LogCaptureFixture
    ) -> None:
        shutil.copy(install(ZOO["pet-m"].path, CARD, "water2"), own / "pet-m.ckpt")
        CARD.write(own / "pet-m.json")
        assert all_models()["pet-m"] == ZOO["pet-m"]
        assert card_of("pet-m") != CARD
        load_model("pet-m", backend="metatomic")
        assert exports == [ZOO["pet-m"].path]
        assert [record.getMessage() for record in caplog.records] == [
            f"'pet-m' is the bundled model; rename your own one in {own} to use it"
        ]
        load_model("pet-c", backend="metatomic")
        assert len(caplog.records) == 1

    @pytest.mark.parametrize("name", ["my-model.pt", ".hidden"])
    def test_names_hide_no_paths_and_show_no_hidden_files(self, name: str, own: Path) -> None:
        own.mkdir(parents=True)
        (own / f"{name}.ckpt").touch()
        CARD.write((own / f"{name}.ckpt").with_suffix(".json"))
        assert list(all_models()) == list(ZOO)


class TestInstall:
    def test_copies_checkpoint_and_card_and_nothing_else(self, own: Path) -> None:
        assert install(ZOO["pet-m"].path, CARD, "pet-m_v2.1+new") == own / "pet-m_v2.1+new.ckpt"
        assert names(own) == ["pet-m_v2.1+new.ckpt", "pet-m_v2.1+new.json"]
        assert (own / "pet-m_v2.1+new.ckpt").read_bytes() == ZOO["pet-m"].path.read_bytes()

    @pytest.mark.parametrize("overwrite", [False, True])
    @pytest.mark.parametrize("name", ZOO)
    def test_bundled_names_are_refused(self, name: str, overwrite: bool, own: Path) -> None:
        with pytest.raises(DarkforcesError, match=f"^'{name}' is the name of a bundled model; choose another name$"):
            install(ZOO["pet-m"].path, CARD, name, overwrite)
        assert not own.exists()

    @pytest.mark.parametrize(
        "name", ["", ".", "..", "a/b", "../a", ".a", "-a", "a b", "a\n", "a\0b", "a.pt", "a.ckpt", "x" * 101, "\udc80"]
    )
    def test_what_is_no_plain_file_name_is_refused(self, name: str, own: Path) -> None:
        with pytest.raises(DarkforcesError, match=NO_NAME) as caught:
            install(ZOO["pet-m"].path, CARD, name, overwrite=True)
        assert "\n" not in str(caught.value)
        assert not own.exists()

    def test_taken_names_are_refused(self, own: Path) -> None:
        install(ZOO["pet-m"].path, CARD, "water2")
        with pytest.raises(DarkforcesError, match=TAKEN):
            install(ZOO["pet-m"].path, replace(CARD, description="other"), "water2")
        assert card_of("water2") == CARD

    @pytest.mark.parametrize("suffix", [".ckpt", ".json"])
    def test_names_of_files_that_are_no_model_are_taken_too(self, suffix: str, own: Path) -> None:
        """They may be somebody's weights."""
        own.mkdir(parents=True)
        (own / f"water2{suffix}").write_text("precious")
        with pytest.raises(DarkforcesError, match=TAKEN):
            install(ZOO["pet-m"].path, CARD, "water2")
        assert (own / f"water2{suffix}").read_text() == "precious"

    def test_overwrites_when_asked_to(self, own: Path, tmp_path: Path) -> None:
        install(fake_checkpoint(tmp_path / "other.ckpt"), replace(CARD, description="other"), "water2")
        install(ZOO["pet-m"].path, CARD, "water2", overwrite=True)
        assert (own / "water2.ckpt").read_bytes() == ZOO["pet-m"].path.read_bytes()
        assert card_of("water2") == CARD

    @pytest.mark.parametrize("content", [b"", b"weights", b"half", b"exported"])
    def test_what_is_no_checkpoint_is_refused(self, content: bytes, own: Path, tmp_path: Path, pet_file: Path) -> None:
        contents = {b"half": ZOO["pet-m"].path.read_bytes()[:900000], b"exported": pet_file.read_bytes()}
        (tmp_path / "my.ckpt").write_bytes(contents.get(content, content))
        with pytest.raises(DarkforcesError, match=r"my.ckpt' is not a metatrain checkpoint \(.ckpt\)$"):
            install(tmp_path / "my.ckpt", CARD, "water2")
        assert names(own) == []

    def test_a_model_that_is_there_survives_a_bad_one(self, own: Path, tmp_path: Path) -> None:
        install(ZOO["pet-m"].path, CARD, "water2")
        (tmp_path / "my.ckpt").touch()
        with pytest.raises(DarkforcesError, match="is not a metatrain checkpoint"):
            install(tmp_path / "my.ckpt", CARD, "water2", overwrite=True)
        assert card_of("water2") == CARD
        assert (own / "water2.ckpt").read_bytes() == ZOO["pet-m"].path.read_bytes()

    @pytest.mark.parametrize(
        ("given", "why"), [("none.ckpt", "No such file or directory"), ("folder", "Is a directory")]
    )
    def test_what_cannot_be_copied_is_one_line(self, given: str, why: str, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        with pytest.raises(DarkforcesError, match=f"^cannot copy '.*{given}' to '.*water2.ckpt': {why}$"):
            install(tmp_path / given, CARD, "water2")

    def test_folder_that_cannot_be_made_is_one_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
        with pytest.raises(DarkforcesError, match="^cannot copy '.*' to '.*water2.ckpt': Not a directory$"):
            install(ZOO["pet-m"].path, CARD, "water2")

    @pytest.mark.parametrize("step", ["copyfile", "replace", "write"])
    @pytest.mark.parametrize("before", ["nothing", "old"])
    def test_who_is_stopped_leaves_no_half_model(
        self, step: str, before: str, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Stopped at any step, what is there under the name is whole: old weights with the old card, or no model."""
        old = fake_checkpoint(tmp_path / "old.ckpt")
        if before == "old":
            install(old, replace(CARD, description="old"), "water2")

        def stop(*_arguments: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            where = {"copyfile": zoo_module.shutil, "replace": zoo_module.os, "write": Card}[step]
            patch.setattr(where, step, stop)
            with pytest.raises(KeyboardInterrupt):
                install(ZOO["pet-m"].path, CARD, "water2", overwrite=True)
        kept = before == "old" and step == "copyfile"
        assert ("water2" in all_models()) == kept
        if kept:
            assert card_of("water2") == replace(CARD, description="old")
            assert (own / "water2.ckpt").read_bytes() == old.read_bytes()
        assert set(names(own)) <= {"water2.ckpt", "water2.json"}


class TestCheckpointByPath:
    @pytest.mark.parametrize("name", ["water:2.ckpt", "no suffix"])
    def test_is_exported_once(self, name: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A real export, with a name that metatrain would look for on the web."""
        (tmp_path / "folder").mkdir()
        shutil.copy(ZOO["pet-m"].path, tmp_path / "folder" / name)
        monkeypatch.chdir(tmp_path / "folder")
        model = load_model(name, backend="metatomic")
        assert model.name == name
        assert Need.DIRECT | Need.CONSERVATIVE in model.provides
        before = [path.stat() for path in cache.iterdir()]
        load_model(name, backend="metatomic")
        assert [path.stat().st_mtime_ns for path in cache.iterdir()] == [stat.st_mtime_ns for stat in before]
        assert len(before) == 1

    @pytest.mark.parametrize("content", ["", "weights"])
    def test_what_is_none_is_one_line(self, content: str, cache: Path, tmp_path: Path) -> None:
        path = tmp_path / "my.ckpt"
        path.write_text(content)
        with pytest.raises(DarkforcesError, match=f"^'{path}' is not a metatrain checkpoint \\(.ckpt\\)$"):
            load_model(str(path), backend="metatomic")

    def test_exported_model_is_none(self, pet_file: Path) -> None:
        assert is_checkpoint(ZOO["pet-m"].path)
        assert not is_checkpoint(pet_file)

    def test_missing_file(self) -> None:
        with pytest.raises(DarkforcesError, match="^model file 'no/my.ckpt' does not exist$"):
            load_model("no/my.ckpt")

    def test_folder(self, tmp_path: Path) -> None:
        (tmp_path / "folder.ckpt").mkdir()
        with pytest.raises(DarkforcesError, match="folder.ckpt' does not exist$"):
            load_model(str(tmp_path / "folder.ckpt"))


def fake_checkpoint(path: Path) -> Path:
    """A file that looks like a checkpoint from outside."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fake/data.pkl", b"architecture_name")
    return path


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch, pet_file: Path) -> list[Path]:
    """A list of the checkpoints that should be exported, in whose place the bundled model is loaded."""
    asked: list[Path] = []

    def ask(checkpoint: Path) -> Path:
        asked.append(checkpoint)
        return pet_file

    monkeypatch.setattr(kinds, "exported", ask)
    return asked


def write_instead_of_exporting(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A list of the exports, which are not made, as they take seconds."""
    exports: list[Path] = []

    def export(checkpoint: Path, target: Path) -> None:
        target.write_bytes(b"model")
        exports.append(target)

    monkeypatch.setattr(export_module, "_export", export)
    return exports
