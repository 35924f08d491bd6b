"""Trainings that take seconds: a box of water to train on, and the command that trains a tiny network on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import ase
import numpy as np
from ase.build import molecule
from forked import Forked, popen
from programs import PATIENCE

SPACING = 3.1  # Å, between molecules
TINY = [
    *(f"architecture.model.d_{part}=8" for part in ("pet", "node", "head", "feedforward")),
    "architecture.model.num_heads=1",
    "architecture.model.num_gnn_layers=1",
]


def molecules() -> ase.Atoms:
    """Eight water molecules in a periodic box, turned such that none is in another's way."""
    box = ase.Atoms(cell=[2 * SPACING] * 3, pbc=True)
    for place in np.ndindex(2, 2, 2):
        water = molecule("H2O")
        water.rotate(180 * (sum(place) % 2), "x", center="COM")
        water.rotate(90 * place[2], "z", center="COM")
        water.translate(SPACING * np.array(place) - water.get_center_of_mass())
        box += water
    return box


class Training:
    """The command `darkforces train`, as users start it, with a network that trains within a second.

    Nothing of it outlives the test: neither the command, nor a metatrain without it.
    """

    def __init__(self, folder: Path, data: Path, recipe: str, epochs: int):
        self.folder, self.output, self.name = folder, folder / "run", "my-water"
        self.log = folder / "said.log"
        self.places = {"XDG_DATA_HOME": str(folder / "data"), "XDG_CACHE_HOME": str(folder / "cache")}
        options = [*TINY, f"architecture.training.num_epochs={epochs}"]
        self.arguments = ["train", recipe, "--data", str(data), "--fraction", "0.25", "--branches", "1"]
        self.arguments += ["--output", str(self.output), "--name", self.name]
        self.arguments += [part for option in options for part in ("-r", f"all:{option}")]
        self._processes: list[subprocess.Popen[bytes] | Forked] = []

    def start(self) -> subprocess.Popen[bytes] | Forked:
        """Start a training in a process of its own."""
        environment = os.environ | self.places | {"OMP_NUM_THREADS": "1"}
        with self.log.open("wb") as log:
            process = popen(
                [sys.executable, "-m", "ipi_darkforces.cli.main", *self.arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        self._processes.append(process)
        return process

    def finish(self) -> int:
        """Start it and wait for its end; its exit code."""
        return self.start().wait(PATIENCE)

    def said(self) -> str:
        return self.log.read_text()

    def metatrain(self) -> list[int]:
        """The processes that train: those that are in the folder of a stage."""
        return [int(link.parent.name) for link in Path("/proc").glob("[0-9]*/cwd") if _is_in(link, self.output)]

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        for pid in self.metatrain():
            os.kill(pid, signal.SIGKILL)


def _is_in(link: Path, folder: Path) -> bool:
    try:
        return link.readlink().is_relative_to(folder)
    except OSError:  # the process has ended, or is not ours
        return False
