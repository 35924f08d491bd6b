"""One training by metatrain, in a folder of its own, that can be stopped at any moment."""

from __future__ import annotations

import csv
import os
import pickle
import re
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import STDOUT, Popen
from typing import TYPE_CHECKING

from ...atomic import write_atomically
from ...errors import DarkforcesError
from ...lock import locked

if TYPE_CHECKING:
    from omegaconf import DictConfig

# metatrain, torch and what they need are imported where they are needed: not for help, nor to read a log.
OPTIONS = Path(__file__).parent / "options"
PROGRAM = f"{__package__}.metatrain_program"

_SHOWN = ("energy MAE (per atom)", "forces MAE", "non_conservative_force MAE (per atom)")
_EPOCH = re.compile(r"Epoch: +(?P<number>\d+) \|.* \| (?P<used>[\d.]+) s used$")
_START = re.compile(r"Starting training \| (?P<used>[\d.]+) s used$")
# Settings of the machine that make training faster. torch and glibc read them when a process starts.
_SETTINGS: dict[str, str] = {
    # Threads that wait by spinning slow each other down many times over as soon as anything else wants a core.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Training allocates and frees the same large arrays thousands of times. glibc hands each back to the kernel, which
    # clears it anew for the next; keeping them makes a step on two cores up to a third faster.
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "100000000",
}


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
        """The finished model; there only if it is complete."""
        return self.folder / "model.ckpt"

    @property
    def exported(self) -> Path:
        """The same, exported."""
        return self.folder / "model.pt"

    def options(self) -> DictConfig:
        """Options for metatrain, checked as metatrain does.

        :raises DarkforcesError: if metatrain would not accept it
        """
        from metatrain.utils.architectures import check_architecture_options, get_default_hypers
        from metatrain.utils.pydantic import validate_base_options
        from omegaconf import DictConfig, OmegaConf

        try:
            options = OmegaConf.merge(
                OmegaConf.load(OPTIONS / f"{self.name}.yaml"), OmegaConf.from_dotlist(list(self.overrides))
            )
            assert isinstance(options, DictConfig)
            validate_base_options(OmegaConf.to_container(options))
            name = options.architecture.name
            whole = OmegaConf.merge({"architecture": get_default_hypers(name)}, options)
            check_architecture_options(name, OmegaConf.to_container(whole.architecture))
        except Exception as error:  # metatrain, pydantic, OmegaConf and yaml raise many kinds, with many lines
            raise DarkforcesError(
                f"metatrain does not accept the options of stage {self.name}: {_in_brief(str(error))}"
            ) from error
        return options

    def train(self) -> None:
        """Train to the end, from wherever it was left.

        :raises DarkforcesError: if the folder was begun with other options, or metatrain fails
        """
        if self.checkpoint.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        taken = f"stage {self.name} is being trained already in '{self.folder}'"
        with locked(self.folder / "lock", taken) as lock:  # metatrain inherits it
            epochs = self._write_options()
            returncode = self._run(epochs, lock)
        if returncode != 0:
            log = self.folder / "metatrain.log"
            reason = f"killed by signal {-returncode}" if returncode < 0 else _last_error(log)
            raise DarkforcesError(f"metatrain failed on stage {self.name}: {reason} (see {log})")
        os.replace(self.folder / "unfinished.pt", self.exported)
        os.replace(self.folder / "unfinished.ckpt", self.checkpoint)
        for leftover in [*self.folder.glob("outputs/*/*/*.ckpt"), *self.folder.glob("outputs/*/*/*.pt")]:
            leftover.unlink()

    def _run(self, epochs: int, lock: int) -> int:
        """Let metatrain go on from the last complete checkpoint; its exit code."""
        command = [sys.executable, "-W", "ignore", "-m", PROGRAM, "train", "options.yaml", "-o", "unfinished.pt"]
        start = newest_checkpoint(self.folder)
        if start is not None:
            command += ["--restart", str(start.relative_to(self.folder))]
        with open(self.folder / "metatrain.log", "w") as log:
            process = Popen(command, cwd=self.folder, env=_environment(), stdout=log, stderr=STDOUT, pass_fds=[lock])
            try:
                _watch(process, self, epochs)
            finally:  # no training without the one who started it
                process.terminate()
                process.wait()
        return process.returncode

    def _write_options(self) -> int:
        """Put the options into the folder, where they stay once there is a checkpoint; the number of epochs."""
        from omegaconf import OmegaConf

        options = self.options()
        text = OmegaConf.to_yaml(options)
        path = self.folder / "options.yaml"
        if path.exists() and path.read_text() != text and newest_checkpoint(self.folder) is not None:
            raise DarkforcesError(
                f"stage {self.name} was begun with other options (see {path}); "
                "give the same ones to go on, or another --output to begin anew"
            )
        write_atomically(path, text)
        return int(options.architecture.training.num_epochs)

    def history(self) -> list[Epoch]:
        """Epochs that metatrain logged, over all restarts, in order; of one that was repeated, its last time."""
        epochs: dict[int, Epoch] = {}
        for folder in _runs(self.folder):
            rows = _rows(folder / "train.csv")
            for number, seconds in _seconds(folder / "train.log").items():
                if number in rows:
                    epochs[number] = Epoch(number, seconds, rows[number])
        return [epochs[number] for number in sorted(epochs)]


@dataclass(frozen=True)
class Epoch:
    """A line of metatrain's log: number, seconds it took (see `metatrain_program`), metrics as metatrain names them."""

    number: int
    seconds: float
    metrics: dict[str, float]


def newest_checkpoint(folder: Path) -> Path | None:
    """The last complete checkpoint of a training that was stopped; all others are removed."""
    checkpoints = sorted(folder.glob("outputs/*/*/model_*.ckpt"), key=lambda path: path.stat().st_mtime, reverse=True)
    newest = next((path for path in checkpoints if _is_complete(path)), None)
    for path in checkpoints:
        if path != newest:
            path.unlink()
    return newest


def _is_complete(checkpoint: Path) -> bool:
    """Tell whether a checkpoint is complete; zipfile would take an archive within a half-written one for the whole."""
    import metatomic.torch  # noqa: F401  (or no checkpoint can be read, for the classes in it)
    import torch

    try:
        torch.load(checkpoint, map_location="cpu", weights_only=False)
    except (RuntimeError, EOFError, pickle.UnpicklingError, OSError):
        return False
    return True


def _watch(process: Popen[bytes], stage: Stage, epochs: int) -> None:
    """A progress bar until metatrain is done; old checkpoints are removed on the way."""
    from tqdm import tqdm

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
    """Seconds of each epoch, from the times that `metatrain_program` puts into metatrain's train.log."""
    seconds = {}
    last = None
    for line in log.read_text().splitlines():
        match = _START.search(line) or _EPOCH.search(line)
        if match is None:
            continue
        now = float(match["used"])
        if match.re is _EPOCH and last is not None:
            seconds[int(match["number"])] = now - last
        last = now
    return seconds


def _last_error(log: Path) -> str:
    """Error of metatrain, which comes after its thanks for reporting it; if it does not, its last line."""
    _, thanks, complaint = log.read_text().rpartition("Thank you!\n")
    lines = [line for line in complaint.splitlines() if line.strip()]
    return _in_brief(complaint if thanks else (lines or ["no output"])[-1])


def _in_brief(text: str) -> str:
    return textwrap.shorten(text, 300, placeholder=" ...")


def _environment() -> dict[str, str]:
    """Environment variables of a process that trains; what the user has set stays."""
    return {**_SETTINGS, **os.environ}
