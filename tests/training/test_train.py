"""The whole way from data to a model with a name, also when it is stopped on the way: real trainings of real data."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import ase.io
import numpy as np
import pytest
from forked import Forked
from programs import PATIENCE, wait_until
from tiny_training import Training

from ipi_darkforces import Need, Structure, load_model
from ipi_darkforces.cli import main
from ipi_darkforces.models.registry.card import Card
from ipi_darkforces.models.registry.zoo import user_directory
from ipi_darkforces.training.recipes.stage import Stage

EPOCHS = 30  # of the training that is stopped
EVALUATION = ("my-water-errors.json", "my-water-parity.png")


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """The command takes SIGTERM for its own, and here it runs within pytest."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command in this process, for where nothing is to be trained; its exit code."""

    def run(training: Training, *more: str) -> int:
        for name, place in training.places.items():
            monkeypatch.setenv(name, place)
        monkeypatch.setattr(sys, "argv", ["darkforces", *training.arguments, *more])
        with pytest.raises(SystemExit) as caught:
            main.main()
        assert isinstance(caught.value.code, int)
        return caught.value.code

    return run


@pytest.fixture
def training(data_file: Path, tmp_path: Path) -> Iterator[Training]:
    """A training that has not begun."""
    training = Training(tmp_path, data_file, "pet-nc", EPOCHS)
    yield training
    training.end()


class TestFinished:
    def test_has_a_name(self, finished: Training, monkeypatch: pytest.MonkeyPatch, water: Structure) -> None:
        for name, place in finished.places.items():
            monkeypatch.setenv(name, place)
        model = load_model(finished.name)
        assert Need.DIRECT | Need.CONSERVATIVE in model.provides
        assert np.isfinite(model.evaluate([water], Need.DIRECT)[0].direct).all()

    def test_has_a_card(self, finished: Training) -> None:
        card = Card.read(finished.output / "my-water.json")
        assert card.description == "pet-m-distilled, trained with darkforces train"
        assert card.architecture.startswith("pet, 1888 parameters, cutoff 3.5, d_pet 8,")
        stages = r"pet-nc: 2 epochs in 0\.0 h, then pet-m-ft: 2 epochs .*, then pet-m-distilled: 2 epochs in 0\.0 h;"
        assert re.search(stages, card.training)
        assert card.errors.keys() == {
            "energy_mae_meV_per_atom",
            "conservative_mae_meV_per_A",
            "direct_mae_meV_per_A",
            "direct_minus_conservative_rms_meV_per_A",
        }

    def test_leaves_what_was_promised(self, finished: Training) -> None:
        files = {path.name for path in finished.output.iterdir() if path.is_file()}
        assert {f"my-water{end}" for end in (".ckpt", ".json", "-errors.json", "-parity.png")} <= files
        assert (finished.output / "my-water-parity.png").read_bytes().startswith(b"\x89PNG")
        for stage in ("pet-nc", "pet-m-ft", "pet-m-distilled"):
            assert {"model.ckpt", "model.pt", "options.yaml"} <= {
                path.name for path in (finished.output / stage).iterdir()
            }
        assert [path for path in finished.output.rglob("*") if path.suffix == ".part"] == []
        assert list(finished.output.glob("*/outputs/*/*/*.ckpt")) == []

    def test_distilled_on_its_own_labels(self, finished: Training) -> None:
        """Of five structures from one branch, one is for validation; the labels are those of the stage before."""
        pool = {name: ase.io.read(finished.output / f"pool-{name}.xyz", ":") for name in ("train", "validation")}
        assert (len(pool["train"]), len(pool["validation"])) == (4, 1)
        atoms = pool["validation"][0]
        teacher = load_model(str(finished.output / "pet-m-ft" / "model.pt"))
        structure = Structure.from_ase(atoms)
        forces = teacher.evaluate([structure], Need.CONSERVATIVE)[0].conservative
        # The one removes the net force, which is rounding, and the other does not.
        np.testing.assert_allclose(atoms.get_forces(), forces, rtol=0, atol=1e-4)

    def test_nothing_is_done_twice(
        self, finished: Training, here: Callable[..., int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = contents(finished.output)
        assert here(finished) == 0
        assert contents(finished.output) == before
        assert "conservative mae meV per A" in capsys.readouterr().out

    def test_edited_card_is_kept_and_installed_where_it_was_missing(
        self, finished: Training, here: Callable[..., int], tmp_path: Path
    ) -> None:
        """Between the checkpoint and its card, something stopped the installation."""
        places, finished.places = finished.places, finished.places | {"XDG_DATA_HOME": str(tmp_path)}
        card = finished.output / "my-water.json"
        written = card.read_text()
        try:
            card.write_text(written.replace("not stated: edit this card", "edited"))
            models = tmp_path / "ipi-darkforces" / "models"
            models.mkdir(parents=True)
            shutil.copy(finished.output / "my-water.ckpt", models)
            assert here(finished) == 0
            assert Card.read(models / "my-water.json").data == "edited"
        finally:
            finished.places = places
            card.write_text(written)


def contents(folder: Path) -> dict[Path, bytes]:
    """Contents of all files, but for those of the evaluation, which takes another time each time."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in EVALUATION]
    return {path: path.read_bytes() for path in files}


class TestStopped:
    def test_goes_on_where_it_was(
        self, training: Training, here: Callable[..., int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Stopped as a batch system does, then killed, so that metatrain is left alone; then let finish."""
        stage = Stage("pet-nc", training.output / "pet-nc")

        first = training.start()
        wait_for_epoch(training, first, stage, 1)
        first.send_signal(signal.SIGTERM)
        assert first.wait(PATIENCE) == 130
        assert "Traceback" not in training.said()
        assert training.metatrain() == []

        second = training.start()
        wait_for_epoch(training, second, stage, 2 + stage.history()[-1].number)
        (orphan,) = training.metatrain()
        os.kill(orphan, signal.SIGSTOP)  # or it could finish before we look
        second.kill()
        second.wait()
        capsys.readouterr()
        assert here(training) == 1
        message = f"darkforces: error: stage pet-nc is being trained already in '{stage.folder}'\n"
        assert capsys.readouterr().err == message
        os.kill(orphan, signal.SIGKILL)
        wait_until(lambda: training.metatrain() == [])
        assert not stage.checkpoint.exists()

        assert training.finish() == 0, training.said()
        assert [epoch.number for epoch in stage.history()] == list(range(EPOCHS))
        begun = [first_epoch(table) for table in sorted(stage.folder.glob("outputs/*/*/train.csv"))]
        assert len(begun) == 3
        assert 0 == begun[0] < begun[1] < begun[2]
        assert f"{EPOCHS} epochs" in Card.read(training.output / "my-water.json").training


def wait_for_epoch(training: Training, process: subprocess.Popen[bytes] | Forked, stage: Stage, number: int) -> None:
    """Wait until there is the checkpoint of an epoch, or of a later one; so the one before is whole."""

    def saved() -> bool:
        assert process.poll() is None, training.said()
        return any(int(path.stem[6:]) >= number for path in stage.folder.glob("outputs/*/*/model_*.ckpt"))

    wait_until(saved)


def first_epoch(table: Path) -> int:
    return int(list(csv.reader(table.read_text().splitlines()))[2][0])


class TestRefused:
    """Before anything is trained: in one line, with exit code 1."""

    @pytest.fixture(autouse=True)
    def _nothing_is_trained(self, training: Training) -> Iterator[None]:
        yield
        assert not (training.output / "pet-nc").exists()

    @pytest.fixture
    def fails(
        self, training: Training, here: Callable[..., int], capsys: pytest.CaptureFixture[str]
    ) -> Callable[..., str]:
        """The message about arguments that come in addition to, or instead of, those of the training."""

        def run(*more: str) -> str:
            assert here(training, *more) == 1
            said = capsys.readouterr().err
            assert said.startswith("darkforces: error: ")
            assert said.count("\n") == 1
            return said

        return run

    def test_as_users_see_it(self, training: Training) -> None:
        training.arguments += ["-r", "nonsense"]
        assert training.finish() == 1
        assert training.said().startswith("darkforces: error: --override nonsense: expected STAGE:OPTION=VALUE")
        assert training.said().count("\n") == 1

    @pytest.mark.parametrize("override", ["pet-nc", "pet-nc:device", "device=cpu", "pet-x:device=cpu", ":device=cpu"])
    def test_override_without_a_stage_or_value(self, override: str, fails: Callable[..., str]) -> None:
        assert f"--override {override}: expected STAGE:OPTION=VALUE" in fails("-r", override)

    @pytest.mark.parametrize(
        ("override", "complaint"),
        [
            ("all:architecture.training.num_epoch=3", "Unrecognized option 'num_epoch'"),
            ("all:architecture.training.num_epochs=ten", "Input should be a valid integer"),
            ("pet-m-ft:architecture.name=petty", "stage pet-m-ft: Architecture 'petty' is not a valid architecture"),
            ("pet-m-ft:device=[", "options of stage pet-m-ft: while parsing"),
        ],
    )
    def test_override_that_metatrain_does_not_accept(
        self, override: str, complaint: str, training: Training, fails: Callable[..., str]
    ) -> None:
        """Also where it is for a stage that comes later."""
        training.arguments[1] = "pet-m-ft"
        assert complaint in fails("-r", override)

    def test_missing_data(self, fails: Callable[..., str], tmp_path: Path) -> None:
        message = f"data file '{tmp_path / 'none.xyz'}' cannot be read: No such file or directory"
        assert message in fails("--data", str(tmp_path / "none.xyz"))

    def test_name_of_a_bundled_model(self, fails: Callable[..., str]) -> None:
        assert "'pet-m' is the name of a bundled model; choose another name" in fails("--name", "pet-m")

    def test_name_of_another_model(
        self, training: Training, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", training.places["XDG_DATA_HOME"])
        taken = user_directory() / "my-water.ckpt"
        taken.parent.mkdir(parents=True)
        taken.write_bytes(b"another model")
        assert f"model 'my-water' is there already: '{taken}'; choose another --name" in fails()

    def test_name_that_is_none(self, fails: Callable[..., str]) -> None:
        assert "'my water' cannot be the name of a model" in fails("--name", "my water")

    def test_output_that_is_a_file(self, data_file: Path, fails: Callable[..., str]) -> None:
        assert f"--output '{data_file}' cannot be made: File exists" in fails("--output", str(data_file))

    def test_no_branches(self, fails: Callable[..., str]) -> None:
        assert "--branches 0: expected at least one" in fails("--branches", "0")
