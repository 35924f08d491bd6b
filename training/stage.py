"""One training by metatrain, in a folder of its own, that can be stopped at any moment."""

from __future__ import annotations

import csv
import fcntl
import os
import pickle
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import torch
from data import put_in_place
from omegaconf import OmegaConf
from tqdm import tqdm

from ipi_darkforces.errors import DarkforcesError, one_line

OPTIONS = Path(__file__).parent / "options"

_SHOWN = ("energy MAE (per atom)", "forces MAE", "non_conservative_force MAE (per atom)")
_EPOCH = re.compile(r"^\[([^\]]+)\]\[INFO\] - Epoch: +(\d+) \|")
_START = re.compile(r"^\[([^\]]+)\]\[INFO\] - Starting training$")


@dataclass(frozen=True)
class Stage:
    """A training.

    :param name: of its options file
    :param folder: where it lives; earlier stages and data are beside it, as its options say
    :param overrides: for metatrain's options, such as ``architecture.training.num_epochs=10``
    """

    name: str
    folder: Path
    overrides: Sequence[str] = ()

    @property
    def checkpoint(self) -> Path:
        """The finished model; there only if it is whole."""
        return self.folder / "model.ckpt"

    @property
    def exported(self) -> Path:
        """The same, exported."""
        return self.folder / "model.pt"

    def train(self) -> None:
        """Train to the end, from wherever it was left.

        :raises DarkforcesError: if the folder was begun with other options, or metatrain fails
        """
        if self.checkpoint.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked() as lock:
            epochs = self._write_options()
            returncode = self._run(epochs, lock)
        if returncode != 0:
            raise DarkforcesError(
                f"metatrain failed on stage {self.name}: {_last_error(self.folder / 'metatrain.log')}"
            )
        os.replace(self.folder / "unfinished.pt", self.exported)
        os.replace(self.folder / "unfinished.ckpt", self.checkpoint)
        for leftover in [*self.folder.glob("outputs/*/*/*.ckpt"), *self.folder.glob("outputs/*/*/*.pt")]:
            leftover.unlink()

    def _run(self, epochs: int, lock: int) -> int:
        """Let metatrain go on from the last whole checkpoint; its exit code."""
        command = [sys.executable, "-W", "ignore", "-m", "metatrain", "train", "options.yaml", "-o", "unfinished.pt"]
        start = newest_checkpoint(self.folder)
        if start is not None:
            command += ["--restart", str(start.relative_to(self.folder))]
        with open(self.folder / "metatrain.log", "a") as log:
            process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, pass_fds=[lock])
            try:
                _watch(process, self, epochs)
            finally:  # no training without the one who started it
                process.terminate()
                process.wait()
        return process.returncode

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Keep a second training out; metatrain inherits the lock, so that it holds even if we are killed."""
        with open(self.folder / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DarkforcesError(f"stage {self.name} is being trained already in '{self.folder}'") from error
            yield lock.fileno()

    def _write_options(self) -> int:
        """Put the options into the folder; the number of epochs."""
        options = OmegaConf.merge(
            OmegaConf.load(OPTIONS / f"{self.name}.yaml"), OmegaConf.from_dotlist(list(self.overrides))
        )
        text = OmegaConf.to_yaml(options)
        path = self.folder / "options.yaml"
        if not path.exists():
            put_in_place(path, text)
        elif path.read_text() != text:
            raise DarkforcesError(
                f"stage {self.name} was begun with other options (see {path}); "
                "give the same ones to go on, or another --output to begin anew"
            )
        return int(options.architecture.training.num_epochs)

    def history(self) -> list[Epoch]:
        """What metatrain logged, over all restarts, in order; an epoch that was repeated counts as its last time."""
        epochs: dict[int, Epoch] = {}
        for folder in _runs(self.folder):
            rows = _rows(folder / "train.csv")
            for number, seconds in _seconds(folder / "train.log").items():
                if number in rows:
                    epochs[number] = Epoch(number, seconds, rows[number])
        return [epochs[number] for number in sorted(epochs)]


@dataclass(frozen=True)
class Epoch:
    """One line of metatrain's log: number, seconds it took, and metrics as metatrain names them."""

    number: int
    seconds: float
    metrics: dict[str, float]


def newest_checkpoint(folder: Path) -> Path | None:
    """The last whole checkpoint of a training that was stopped; all others are removed."""
    checkpoints = sorted(folder.glob("outputs/*/*/model_*.ckpt"), key=lambda path: path.stat().st_mtime, reverse=True)
    newest = next((path for path in checkpoints if _is_whole(path)), None)
    for path in checkpoints:
        if path != newest:
            path.unlink()
    return newest


def _is_whole(checkpoint: Path) -> bool:
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=False)
    except (RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile, OSError):
        return False
    return True


def _watch(process: subprocess.Popen[bytes], stage: Stage, epochs: int) -> None:
    """A progress bar until metatrain is done; old checkpoints are removed on the way."""
    done = len(stage.history())
    with tqdm(total=epochs, initial=done, desc=stage.name, unit="epoch", smoothing=0.1) as bar:
        while process.poll() is None:
            time.sleep(1.0)
            history = stage.history()
            if len(history) != bar.n:
                bar.update(len(history) - bar.n)
                bar.set_postfix_str(_in_short(history[-1]))
                for old in sorted(stage.folder.glob("outputs/*/*/model_*.ckpt"), key=lambda p: p.stat().st_mtime)[:-2]:
                    old.unlink()  # the last but one stays: the last may be half-written


def _in_short(epoch: Epoch) -> str:
    shown = {name: epoch.metrics.get(f"validation {name}") for name in _SHOWN}
    labels = ("energy {:.2f} meV/atom", "conservative {:.1f} meV/Å", "direct {:.1f} meV/Å")
    return ", ".join(label.format(value) for label, value in zip(labels, shown.values(), strict=True) if value)


def _runs(folder: Path) -> list[Path]:
    """Output folders of metatrain, which are named for when they were begun."""
    return sorted(path.parent for path in folder.glob("outputs/*/*/train.csv"))


def _rows(table: Path) -> dict[int, dict[str, float]]:
    """The lines of metatrain's train.csv by epoch; its second line has the units."""
    with open(table, newline="") as lines:
        reader = csv.DictReader(lines)
        next(reader, None)
        rows = {}
        for row in reader:
            try:
                rows[int(row["Epoch"])] = {key: float(value) for key, value in row.items() if key != "Epoch"}
            except (TypeError, ValueError):  # a line that is being written
                break
    return rows


def _seconds(log: Path) -> dict[int, float]:
    """How long each epoch took, from the times in metatrain's train.log."""
    seconds = {}
    last = None
    for line in log.read_text().splitlines():
        match = _START.match(line) or _EPOCH.match(line)
        if match is None:
            continue
        now = datetime.fromisoformat(match[1])
        if match.re is _EPOCH and last is not None:
            seconds[int(match[2])] = (now - last).total_seconds()
        last = now
    return seconds


def _last_error(log: Path) -> str:
    lines = [line for line in log.read_text().splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line or "ERROR" in line]
    return f"{one_line(Exception((errors or lines or ['no output'])[-1]))} (see {log})"
