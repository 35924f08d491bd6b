"""The file of finished optimisations, from which an interrupted command resumes.

A line for each. An optimisation is known again by its start, to the last bit, its algorithm, kind of forces and
limits, and by what the model says of the start: one whose weights have changed says something else. Those in which the
model failed are not kept: another time it may not fail.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DarkforcesError
from .optimizations import Optimization

_BEGIN = '{"optimization": "'
_SAME = 1e-4  # eV, eV/Å: rounding errors in single precision are smaller, differences of models larger


class Records:
    """Finished optimisations in a file, which grows with each that is added.

    :param path: of the file, which need not exist
    :param model: which model in which precision, in a line
    :raises DarkforcesError: if it is something else, or cannot be read
    """

    def __init__(self, path: Path, model: str):
        self._path, self._model = path, model
        self._known: dict[str, dict[str, Any]] = {}
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise self._unusable("there is no folder for it, or it cannot be written")
        try:
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable(getattr(error, "strerror", None) or "it is no text") from error
        for number, line in enumerate(lines, 1):
            if not line.startswith(_BEGIN) and not _BEGIN.startswith(line):
                raise self._unusable(f"line {number} is no optimisation")
            try:
                record = json.loads(line)
            except json.JSONDecodeError:  # cut off by whatever stopped the program that wrote it
                continue
            self._known[record["optimization"]] = record

    def find(self, begun: Optimization, most_steps: int) -> Optimization | None:
        """An optimisation that was done before, with the same model; None if there is none.

        :param begun: the same, when the model has been asked for its start only
        :param most_steps: after which it would be stopped
        """
        record = self._known.get(self._key(begun, most_steps))
        if record is None:
            return None
        found = Optimization.from_json(begun.start, record)
        same = np.allclose(found.forces[:1], begun.forces, atol=_SAME) and np.allclose(
            found.energies[:1], begun.energies, rtol=0.0, atol=_SAME
        )
        return found if same else None

    def add(self, done: Optimization, most_steps: int) -> None:
        """Write one down, unless the model failed.

        :raises DarkforcesError: if the file cannot be written
        """
        if done.failure is not None:
            return
        line = json.dumps({"optimization": self._key(done, most_steps), **done.as_json()})
        try:
            with self._path.open("a+b") as file:
                if file.tell():
                    file.seek(-1, 2)
                    line = line if file.read() == b"\n" else f"\n{line}"  # after one that was cut off
                file.write(f"{line}\n".encode())
        except OSError as error:
            raise self._unusable(error.strerror) from error

    def _unusable(self, reason: str | None) -> DarkforcesError:
        return DarkforcesError(
            f"'{self._path}' cannot hold the optimisations that are done: {reason}; give another --results FILE"
        )

    def _key(self, run: Optimization, most_steps: int) -> str:
        settings = f"{self._model} {run.algorithm} {run.kind} {run.threshold!r} {most_steps}".encode()
        fixed = b"" if run.start.moving.all() else run.start.moving.tobytes()
        return hashlib.sha256(run.start.structure.key + run.start.original.key + settings + fixed).hexdigest()
