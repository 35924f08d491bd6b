"""``darkforces models``: the list, a model's card, and what is said of models and cards that are broken."""

import hashlib
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import metatomic.torch  # noqa: F401  (or no checkpoint can be read, for the classes in it)
import pytest
import torch
from programs import finish

from ipi_darkforces.cli import main, models
from ipi_darkforces.models.registry import kinds
from ipi_darkforces.models.registry.card import Card
from ipi_darkforces.models.registry.packages import PACKAGED
from ipi_darkforces.models.registry.zoo import ZOO, card_of, install

ROOT = Path(__file__).parents[2]
CARD = Card("PET for ethanol", "PET", "MD17", "CC0", "nobody", "a day", {"energy_mae_meV_per_atom": 1.25}, "gas")


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch) -> Path:
    """A folder of the user's own models, still empty, and a terminal in which no line is broken."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path / "data" / "ipi-darkforces" / "models"


@pytest.fixture
def quick(monkeypatch, pet_file):
    """Load the bundled model instead of exporting a checkpoint, which takes seconds."""
    monkeypatch.setattr(kinds, "exported", lambda checkpoint: pet_file)


@pytest.fixture
def said(monkeypatch, capsys):
    """Output of the command, here and not in a process of its own, with its exit code."""

    def say(*arguments) -> tuple[str, str, int]:
        monkeypatch.setattr(sys, "argv", ["darkforces", "models", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main.main()
        return (*capsys.readouterr(), done.value.code)

    return say


class _Runs:
    """An object that runs a statement when it is unpickled."""

    def __init__(self, statement: str):
        self.statement = statement

    def __reduce__(self):
        return (exec, (self.statement,))


def poison(checkpoint: Path, statement: str) -> None:
    """Put code into a checkpoint, beside what is in it."""
    content = torch.load(checkpoint, weights_only=False, map_location="cpu")
    torch.save({"code": _Runs(statement), **content}, checkpoint)


def rows(text: str) -> dict:
    return {row["name"]: row for row in json.loads(text)}


def shown(text: str) -> str:
    """A page with its lines joined, wherever they were broken."""
    return " ".join(text.split())


class TestList:
    def test_says_what_models_provide(self, said):
        out, _, code = said("--json")
        listed = rows(out)
        assert code == 0
        assert list(listed) == ["pet-m", "pet-c", "pet-nc", "pet-xs", *PACKAGED]
        assert "direct forces" in listed["pet-m"]["provides"]
        assert "direct forces" not in listed["pet-c"]["provides"]
        assert "conservative forces" not in listed["pet-nc"]["provides"]
        assert listed["pet-m"]["elements"] == ["H", "O"]
        assert listed["pet-m"]["card"] == card_of("pet-m").as_dict()
        assert not listed["pet-m"]["own"]

    def test_is_legible(self, said):
        out, _, code = said()
        assert code == 0
        assert f"pet-m   {card_of('pet-m').description}\n" in out
        assert "pet-c   the same weights as pet-m; conservative forces only\n" in out
        assert "        provides energy, direct forces, virial; knows H, O\n" in out
        assert "your own" not in out

    def test_shows_a_model_only_the_errors_of_what_it_provides(self, said):
        lines = shown(said()[0]).split("errors: ")
        assert all(word in lines[1] for word in ("energy MAE", "conservative MAE", "direct MAE", "meV/atom", "meV/Å"))
        assert "direct" not in lines[2].partition("pet-nc")[0]
        assert "conservative" not in lines[3].partition("models of other packages")[0]

    def test_runs_no_code_that_is_in_a_checkpoint(self, own, said, tmp_path):
        """Neither in the list nor in a broken one; given by its name it is loaded, as is all that people ask for."""
        install(
            ZOO["pet-m"].path, replace(CARD, provides=("energy", "conservative forces"), elements=("C", "O")), "mine"
        )
        proof = tmp_path / "ran"
        poison(own / "mine.ckpt", f"open({str(proof)!r}, 'w').close()")
        out, _, code = said()
        assert code == 0
        assert "mine    PET for ethanol (your own)\n        provides energy, conservative forces; knows C, O\n" in out
        row = rows(said("--json")[0])["mine"]
        assert (row["provides"], row["elements"]) == (["energy", "conservative forces"], ["C", "O"])
        assert not proof.exists()
        said("mine")
        assert proof.exists()

    def test_has_the_users_own_models(self, said):
        install(ZOO["pet-m"].path, CARD, "ethanol")
        out, _, code = said()
        assert code == 0
        assert "ethanol  PET for ethanol (your own)\n" in out
        assert "\n         what it provides, its card does not say: darkforces models ethanol\n" in out
        assert "\n         errors: energy MAE 1.25 meV/atom\n" in out
        assert rows(said("--json")[0])["ethanol"]["own"]

    def test_goes_on_after_a_broken_card(self, own, said):
        install(ZOO["pet-m"].path, CARD, "aspirin")
        install(ZOO["pet-m"].path, CARD, "ethanol")
        (own / "aspirin.json").write_text("{}")
        out, _, code = said()
        assert code == 0
        (line,) = (line for line in out.splitlines() if "problem" in line)
        assert f"problem: model card '{own / 'aspirin.json'}': lacks description, architecture" in line
        assert "aspirin  no description (your own)\n" in out
        assert "ethanol  PET for ethanol (your own)\n" in out
        assert "lacks description" in rows(said("--json")[0])["aspirin"]["problem"]

    def test_goes_on_after_broken_weights(self, own, said):
        install(ZOO["pet-m"].path, CARD, "ethanol")
        (own / "ethanol.ckpt").write_text("weights")
        out, _, code = said()
        assert code == 0
        assert "pet-nc" in out
        assert f"problem: '{own / 'ethanol.ckpt'}' is not a metatrain checkpoint (.ckpt)\n" in out


class TestOtherPackages:
    @pytest.fixture(autouse=True)
    def caches(self, tmp_path, monkeypatch) -> Path:
        """Empty caches of the packages' weights."""
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("CACHED_PATH_CACHE_ROOT", str(tmp_path / "cache" / "orb"))
        return tmp_path / "cache"

    def test_says_what_installs_a_model(self, said):
        out, _, code = said("mace-mp-0")
        assert code == 0
        assert out.startswith("mace-mp-0: MACE-MP-0, large, for materials (PBE, MPtrj), as in the paper\n")
        assert "package mace-torch (paper: 0.3.8): not here; bash environments/make.sh mace" in shown(out)
        assert (ROOT / "environments" / "make.sh").is_file()

    def test_says_where_weights_come_from_until_they_are_here(self, said, caches):
        address = PACKAGED["mace-mp-0"].weights.source
        assert f"weights MACE_MPtrj_2022.9.model: not here; from {address}" in shown(said("mace-mp-0")[0])
        path = caches / "mace" / "MACE_MPtrj_20229model"  # what mace-torch 0.3.16 makes of that name
        path.parent.mkdir(parents=True)
        path.touch()
        assert f"weights {path}" in shown(said("mace-mp-0")[0])

    def test_finds_the_newest_weights_of_orb(self, said, caches):
        folder = caches / "orb"
        folder.mkdir(parents=True)
        name = hashlib.sha256(PACKAGED["orb-v2"].weights.source.encode()).hexdigest()
        for age, ending in ((2, ".old"), (1, ".new"), (0, ".new.json"), (0, ".new.lock")):
            (folder / (name + ending)).touch()
            os.utime(folder / (name + ending), (1e9 - age, 1e9 - age))
        assert rows(said("--json")[0])["orb-v2"]["file"] == str(folder / f"{name}.new")

    @pytest.mark.parametrize("name", PACKAGED)
    def test_every_environment_can_be_made(self, name):
        environment = PACKAGED[name].package.environment
        pins = (ROOT / "environments" / f"{environment}.txt").read_text().lower()
        assert f"{PACKAGED[name].package.name}==" in pins.replace("_", "-")
        assert (
            f"    {environment}) package={PACKAGED[name].package.name} ;;"
            in (ROOT / "environments" / "make.sh").read_text()
        )


class TestOneModel:
    def test_shows_all_that_the_card_says(self, said):
        out, _, code = said("pet-m")
        assert code == 0
        card = card_of("pet-m").as_dict()
        for name, text in card.items():
            if name != "errors":
                assert shown(text if isinstance(text, str) else ", ".join(text)) in shown(out), name
        assert out.startswith("pet-m: ")
        assert [line for line in out.splitlines() if len(line) > 100 and "  file " not in line] == []
        for value in card["errors"].values():
            assert f"  {value:.4g} meV/" in out

    def test_withheld_forces_have_no_errors(self, said):
        assert "direct MAE" in said("pet-m")[0]
        assert "direct MAE" not in said("pet-c")[0]

    def test_checkpoint_with_the_card_next_to_it(self, tmp_path, said, quick):
        shutil.copy(ZOO["pet-m"].path, tmp_path / "my.ckpt")
        CARD.write(tmp_path / "my.json")
        out, _, code = said(tmp_path / "my.ckpt")
        assert code == 0
        assert out.startswith(f"{tmp_path / 'my.ckpt'}: PET for ethanol\n\n  provides ")
        assert "\n  data           MD17\n  data license   CC0\n" in out
        assert "\n  errors         energy MAE  1.25 meV/atom\n" in out

    def test_exported_model_without_a_card(self, said, pet_file):
        out, _, code = said(pet_file)
        assert code == 0
        assert "  knows          H, O\n" in out
        assert out.endswith("\n  card           none\n")
        assert rows(said("--json", pet_file)[0])[str(pet_file)]["card"] is None

    def test_broken_card_does_not_hide_what_the_model_provides(self, tmp_path, said, quick):
        shutil.copy(ZOO["pet-m"].path, tmp_path / "my.ckpt")
        (tmp_path / "my.json").write_text("{")
        out, _, code = said(tmp_path / "my.ckpt")
        assert code == 0
        assert "  knows          H, O\n" in out
        assert f"\n  problem        model card '{tmp_path / 'my.json'}' is not JSON: " in out

    def test_several_are_shown_one_after_the_other(self, said):
        out, _, _ = said("pet-m", "pet-c")
        assert "\n\npet-c: the same weights as pet-m; conservative forces only\n\n" in out

    def test_what_cannot_be_loaded_is_one_line(self, tmp_path, said):
        (tmp_path / "my.ckpt").write_text("weights")
        out, err, code = said(tmp_path / "my.ckpt")
        assert (out, code) == ("", 1)
        assert err == f"darkforces: error: '{tmp_path / 'my.ckpt'}' is not a metatrain checkpoint (.ckpt)\n"


@pytest.mark.parametrize(
    ("key", "value", "label", "text"),
    [
        ("energy_mae_meV_per_atom", 0.55, "energy MAE", "0.55 meV/atom"),
        ("direct_minus_conservative_rms_meV_per_A", 70.0, "direct minus conservative RMS", "70 meV/Å"),
        ("stress_rmse_meV_per_A3", 1.23456, "stress RMSE", "1.235 meV/Å³"),
        ("K_K", 3, "K", "3 K"),
        ("something", 3, "something", "3"),
    ],
)
def test_errors_are_written_as_people_do(key, value, label, text):
    assert models._readable(key, value) == (label, text)


def test_as_a_process_with_a_model_of_ones_own(own, tmp_path, monkeypatch):
    """A real process: a model with a name, a checkpoint that must be exported, and the same in the list."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    install(ZOO["pet-m"].path, CARD, "ethanol")
    command = [sys.executable, "-m", "ipi_darkforces.cli.main", "models", "ethanol", "--json"]
    done = finish(command)
    assert done.returncode == 0, done.stderr
    row = rows(done.stdout)["ethanol"]
    assert row["file"] == str(own / "ethanol.ckpt")
    assert "direct forces" in row["provides"]
    assert row["card"] == CARD.as_dict()
