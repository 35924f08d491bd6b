"""A training as read from the files that it left, and the messages about one that cannot be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.registry.zoo import ZOO
from ipi_darkforces.training.recipes.stage import OPTIONS, Epoch, Stage, newest_checkpoint

WHOLE = ZOO["pet-m"].path.read_bytes()


def run_of(stage: Stage, time: str) -> Path:
    """The folder of one run of metatrain."""
    folder = stage.folder / "outputs" / "2026-11-21" / time
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save(stage: Stage, time: str, epoch: int, content: bytes = WHOLE) -> Path:
    """A checkpoint, written `epoch` seconds after the first one."""
    path = run_of(stage, time) / f"model_{epoch}.ckpt"
    path.write_bytes(content)
    os.utime(path, (1e9 + epoch, 1e9 + epoch))
    return path


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A stage in a folder in which there is nothing yet."""
    folder = tmp_path / "pet-nc"
    folder.mkdir()
    return Stage("pet-nc", folder)


class TestNewestCheckpoint:
    def test_nothing_yet(self, stage: Stage) -> None:
        assert newest_checkpoint(stage.folder) is None

    def test_newest_alone_is_kept(self, stage: Stage) -> None:
        """Ten is after nine, whatever their names and folders are."""
        others = [save(stage, "12-00-00", 8), save(stage, "12-00-00", 9)]
        newest = save(stage, "13-00-00", 10)
        assert newest_checkpoint(stage.folder) == newest
        assert newest.exists()
        assert not any(path.exists() for path in others)

    @pytest.mark.parametrize("length", [*range(6), 100, len(WHOLE) // 2, len(WHOLE) - 1000, len(WHOLE) - 1])
    def test_half_written_one_is_removed(self, length: int, stage: Stage) -> None:
        """Wherever it was cut: at some places there is another archive within it that ends there."""
        before, half = save(stage, "12-00-00", 1), save(stage, "12-00-00", 2, WHOLE[:length])
        assert newest_checkpoint(stage.folder) == before
        assert not half.exists()

    def test_half_written_one_that_ends_with_a_whole_archive_in_it(self, stage: Stage) -> None:
        """The checkpoint holds others, and zipfile is content with the last one."""
        end = b"PK\x05\x06"
        inner = WHOLE.rindex(end, 0, WHOLE.rindex(end)) + 22
        save(stage, "12-00-00", 2, WHOLE[:inner])
        assert newest_checkpoint(stage.folder) is None

    def test_only_half_written_ones(self, stage: Stage) -> None:
        half = save(stage, "12-00-00", 0, WHOLE[:1000])
        assert newest_checkpoint(stage.folder) is None
        assert not half.exists()


HEADER = "Epoch,learning rate,training loss,validation forces RMSE\n,,,meV/A\n"


def log(stage: Stage, time: str, rows: str, epochs: str) -> None:
    """Files of metatrain: a table, and a log that begins with lines of no interest here."""
    folder = run_of(stage, time)
    (folder / "train.csv").write_text(HEADER + rows)
    begin = f"[2026-11-21 {time.replace('-', ':')}][INFO] - "
    text = f"{begin}Package version: 2026.4.1\n{begin}Starting training from scratch\nMean:\n - 1 eV\n{epochs}"
    (folder / "train.log").write_text(text)


def line(seconds: float, what: str) -> str:
    return f"[2026-11-21 12:00:00][INFO] - {what} | {seconds:.2f} s used\n"


FIRST = (
    line(10.0, "Starting training")
    + line(40.0, "Epoch:    0 | learning rate: 1.000e-03 | training loss: 7.5e+02")
    + line(80.0, "Epoch:    1 | learning rate: 9.000e-04 | training loss: 6.5e+02")
)
FIRST_ROWS = "   0,1.000e-03,7.5e+02,224.02\n   1,9.000e-04,6.5e+02,138.36\n"


def metrics(rate: float, loss: float, error: float) -> dict[str, float]:
    return {"learning rate": rate, "training loss": loss, "validation forces RMSE": error}


class TestHistory:
    def test_nothing_yet(self, stage: Stage) -> None:
        assert stage.history() == []

    def test_times_and_metrics(self, stage: Stage) -> None:
        log(stage, "12-00-00", FIRST_ROWS, FIRST)
        assert stage.history() == [
            Epoch(0, 30.0, metrics(1e-3, 750.0, 224.02)),
            Epoch(1, 40.0, metrics(9e-4, 650.0, 138.36)),
        ]

    def test_over_a_restart(self, stage: Stage) -> None:
        """The last epoch of the first run was not saved; and the time in between is none of training."""
        log(stage, "12-00-00", FIRST_ROWS, FIRST)
        epochs = line(5.0, "Starting training") + line(15.0, "Epoch:    1 | training loss: 6.0e+02")
        epochs += line(30.0, "Epoch:    2 | training loss: 5.0e+02")
        log(stage, "14-00-00", "   1,9.000e-04,6.0e+02,120.00\n   2,8.000e-04,5.0e+02,110.00\n", epochs)
        history = stage.history()
        assert [(epoch.number, epoch.seconds) for epoch in history] == [(0, 30.0), (1, 10.0), (2, 15.0)]
        assert history[1].metrics["validation forces RMSE"] == 120.0

    def test_restart_that_has_not_come_to_an_epoch(self, stage: Stage) -> None:
        log(stage, "12-00-00", FIRST_ROWS, FIRST)
        log(stage, "14-00-00", "", line(5.0, "Starting training"))
        (run_of(stage, "15-00-00") / "train.csv").touch()
        (run_of(stage, "15-00-00") / "train.log").touch()
        assert [epoch.number for epoch in stage.history()] == [0, 1]

    @pytest.mark.parametrize("half", ["   1", "   1,9.000e-04,", "   1,9.000e-04,6.5e+0", "   1,9.0,6.5e+02,"])
    def test_half_written_row(self, half: str, stage: Stage) -> None:
        log(stage, "12-00-00", FIRST_ROWS.splitlines(keepends=True)[0] + half, FIRST)
        assert [epoch.number for epoch in stage.history()] == [0]

    @pytest.mark.parametrize("characters", [1, 30, 42])
    def test_half_written_line(self, characters: int, stage: Stage) -> None:
        start, first, second = FIRST.splitlines(keepends=True)
        log(stage, "12-00-00", FIRST_ROWS, start + first + second[:characters])
        assert [epoch.number for epoch in stage.history()] == [0]


class TestOptions:
    @pytest.mark.parametrize("name", [path.stem for path in OPTIONS.glob("*.yaml")])
    def test_metatrain_accepts_all_that_are_there(self, name: str, tmp_path: Path) -> None:
        options = Stage(name, tmp_path).options()
        assert options == OmegaConf.load(OPTIONS / f"{name}.yaml")
        assert options.architecture.training.checkpoint_interval == 1  # or stopping would cost more than an epoch

    def test_overrides(self, tmp_path: Path) -> None:
        options = Stage("pet-nc", tmp_path, ["architecture.training.num_epochs=7", "device=cpu"]).options()
        assert (options.architecture.training.num_epochs, options.device) == (7, "cpu")
        assert options.architecture.name == "pet"

    @pytest.mark.parametrize(
        ("override", "complaint"),
        [
            ("num_epochs=7", "Unrecognized option 'num_epochs' for base hyperparameters"),
            ("architecture.training.epochs=7", "Unrecognized option 'epochs' for training hyperparameters"),
            ("architecture.model.cutoff=long", "Input should be a valid number"),
            ("architecture.model=3", "Input should be a valid dictionary"),
            ("device={", "while parsing"),
        ],
    )
    def test_what_metatrain_would_not_accept(self, override: str, complaint: str, tmp_path: Path) -> None:
        with pytest.raises(DarkforcesError, match="^metatrain does not accept the options of stage pet-nc: ") as caught:
            Stage("pet-nc", tmp_path, [override]).options()
        assert complaint in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_cannot_change_halfway(self, stage: Stage) -> None:
        (stage.folder / "options.yaml").write_text(OmegaConf.to_yaml(stage.options()))
        save(stage, "12-00-00", 0)
        other = Stage("pet-nc", stage.folder, ["architecture.training.num_epochs=7"])
        with pytest.raises(DarkforcesError, match="stage pet-nc was begun with other options .*; give the same ones"):
            other.train()
        assert "num_epochs: 50" in (stage.folder / "options.yaml").read_text()
        assert list(stage.folder.glob("outputs/*/*/model_0.ckpt")) != []


class TestMetatrainFails:
    def test_one_line(self, stage: Stage) -> None:
        """The data are missing. And options of an earlier failure bind nobody."""
        (stage.folder / "options.yaml").write_text("device: abacus\n")
        with pytest.raises(DarkforcesError, match=r"^metatrain failed on stage pet-nc: .*\.\./train\.xyz") as caught:
            stage.train()
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith(f"(see {stage.folder / 'metatrain.log'})")
        assert (stage.folder / "options.yaml").read_text() == OmegaConf.to_yaml(stage.options())
        assert not stage.checkpoint.exists()
        assert not stage.exported.exists()
