"""The folder of a distillation: labels, trainings and the student, kept so that the same command goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from ..atomic import write_atomically
from ..digest import digest
from ..errors import DarkforcesError
from ..training.labels import LabelledTrajectory
from .sample import System


@dataclass(frozen=True)
class DistillationSettings:
    """Settings on which labels and students depend.

    :param teacher: its fingerprint
    :param structures: a digest of those to start from
    :param temperature: K
    :param timestep: fs, of the fast forces
    """

    teacher: str
    structures: str
    size: str
    temperature: float
    timestep: float
    seed: int


class DistillFolder:
    """Files of a distillation.

    :param path: the folder; made by `begin`
    """

    def __init__(self, path: Path, name: str):
        self.path = path
        self.checkpoint = path / f"{name}.ckpt"
        self.lock = path / "lock"
        self._settings = path / "settings.json"
        self._rounds = path / "rounds.json"
        self._labels = path / "labels"
        self._held_out = path / "held-out"
        self._students = path / "students.txt"

    def check(self, settings: DistillationSettings) -> None:
        """Check that the folder is one of a distillation with these settings, empty, or not there.

        :raises DarkforcesError: if it holds something else
        """
        if self._settings.exists():
            self._check_settings(settings)
            return
        if not self.path.is_dir():
            return
        strangers = sorted(each.name for each in self.path.iterdir() if each not in (self._labels, self._held_out))
        if strangers:
            raise DarkforcesError(
                f"'{self.path}' is no folder of a distillation and not empty ({', '.join(strangers[:3])}...); choose "
                "another --folder"
            )

    def begin(self, settings: DistillationSettings) -> None:
        """Make the folder, if it is not there.

        :raises DarkforcesError: if it cannot be made
        """
        if self._settings.exists():
            return
        try:
            for folder in (self._labels, self._held_out):
                folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._settings, json.dumps(asdict(settings), indent=2) + "\n")
        except OSError as error:
            raise DarkforcesError(f"folder '{self.path}' cannot be used: {error.strerror}") from error

    def _check_settings(self, settings: DistillationSettings) -> None:
        begun = _read(
            self._settings, "the settings of a distillation", lambda found: isinstance(found, dict) and bool(found)
        )
        for name, value in asdict(settings).items():
            if begun.get(name) != value:
                what = "the teacher or its weights were" if name == "teacher" else f"{name} was"
                raise DarkforcesError(
                    f"'{self.path}' was begun when {what} {begun.get(name)}, and is now {value}: expected the same, or "
                    "another --folder"
                )

    def rounds(self) -> list[dict[str, int]]:
        """The plan of each round: ``labels`` in all after it, and ``steps`` of the optimizer."""
        return _read(self._rounds, "the rounds of a distillation", _are_rounds) if self._rounds.exists() else []

    def plan_rounds(self, rounds: Sequence[dict[str, int]]) -> None:
        """Keep what rounds are to do."""
        write_atomically(self._rounds, json.dumps(list(rounds), indent=2) + "\n")

    def training(self, number: int) -> Path:
        """The state of the training of a round, from 0."""
        return self.path / f"round-{number + 1}.pt"

    def add_student(self) -> None:
        """Note that the checkpoint is one of a student, which a later one may replace before it gets the name."""
        write_atomically(self._students, "".join(f"{each}\n" for each in [*self._known(), digest(self.checkpoint)]))

    def has_made(self, checkpoint: Path) -> bool:
        """Tell whether a checkpoint is, or was once, the student of this folder."""
        made = {*self._known(), *([digest(self.checkpoint)] if self.checkpoint.exists() else [])}
        return digest(checkpoint) in made

    def _known(self) -> list[str]:
        return self._students.read_text(errors="replace").split() if self._students.exists() else []

    def held_out(self) -> list[LabelledTrajectory]:
        """Pieces of the dynamics by which students are judged, in order, up to one that is missing."""
        paths = (self._held_out / f"{number:05d}.npz" for number in count())
        return [LabelledTrajectory.read(path) for path in takewhile(Path.exists, paths)]

    def add_held_out(self, number: int, piece: LabelledTrajectory) -> None:
        """Keep a piece of these; later ones are of another course."""
        path = self._held_out / f"{number:05d}.npz"
        for later in sorted(self._held_out.glob("*.npz"), reverse=True):
            if later.name > path.name:
                later.unlink()
        piece.write(path)

    def forget_held_out(self) -> None:
        """Remove these, the last one first, so that what is left at any time is their beginning."""
        for path in sorted(self._held_out.glob("*.npz"), reverse=True):
            path.unlink()

    def branches(self) -> dict[int, LabelledTrajectory]:
        """Labels of all branches of dynamics so far, by their numbers, also of those that an error ended early."""
        paths = sorted(self._labels.glob("*.npz"))
        return {int(path.stem): LabelledTrajectory.read(path) for path in paths if path.stem.isdecimal()}

    def add_branch(self, number: int, branch: LabelledTrajectory, failure: str | None) -> None:
        """Keep the labels of a branch; the reason for its end comes first, so that no labels lack it."""
        if failure is not None:
            write_atomically(self._labels / f"{number:05d}.txt", failure + "\n")
        branch.write(self._labels / f"{number:05d}.npz")

    def failures(self) -> list[str]:
        """Reasons for which branches ended early."""
        return [path.read_text(errors="replace").strip() for path in sorted(self._labels.glob("*.txt"))]


def _are_rounds(found: Any) -> bool:
    return isinstance(found, list) and all(
        isinstance(each, dict) and all(type(each.get(name)) is int and each[name] > 0 for name in ("labels", "steps"))
        for each in found
    )


def _read(path: Path, what: str, holds: Callable[[Any], bool]) -> Any:
    """Read JSON, of which something has to hold; null, as which damaged text is read, must not."""
    try:
        found = json.loads(path.read_text())
    except ValueError:
        found = None
    if not holds(found):
        raise DarkforcesError(f"'{path}' is damaged: expected {what}")
    return found


def digest_of(systems: Sequence[System]) -> str:
    """The beginning of the SHA-256 of structures and masses."""
    sha = hashlib.sha256()
    for system in systems:
        sha.update(system.structure.key + system.masses.tobytes())
    return sha.hexdigest()[:12]
