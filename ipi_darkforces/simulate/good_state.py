"""A state of i-PI from before an explosion, from which the run can be resumed."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from .folder import RunFolder
from .inputs import SimulationInput
from .progress import Progress
from .run_files import CANDIDATE, EXPLODED, GOOD

_CALM = 20  # reports without a sign of an explosion, after which a checkpoint counts as good
_STEP = re.compile(rb"<step>\s*(\d+)\s*</step>")
_HEAD = 2**20  # bytes of a state in which that stands


class GoodState:
    """Checkpoints of i-PI that are kept while a run goes on.

    They are looked at as they are written. One is kept as soon as what followed shows that all was well.

    :param prepared: what i-PI is started with
    """

    def __init__(self, folder: RunFolder, prepared: SimulationInput):
        self._folder = folder
        self._prepared = prepared
        self._good = folder.path / GOOD
        self._candidate = folder.path / CANDIDATE
        self._candidate_step: int | None = None
        self._seen = self._newest()
        self._calm_reports = 0
        self.step = prepared.step
        with suppress(OSError):
            if prepared.step > 0:
                shutil.copyfile(folder.launched, self._good)
            else:
                self._good.unlink(missing_ok=True)

    def look(self, progress: Progress, in_doubt: bool) -> None:
        """Look at what i-PI has written by the time of a report."""
        with suppress(OSError):  # a full disk stops i-PI, which says so
            if in_doubt:
                self._candidate_step = None
            elif self._candidate_step is None:
                self._take()
            elif progress.step >= self._candidate_step:
                self._calm_reports += 1
                if self._calm_reports >= _CALM:
                    os.replace(self._candidate, self._good)
                    self.step, self._candidate_step = self._candidate_step, None

    def _take(self) -> None:
        newest = self._newest()
        if newest is None or newest == self._seen:
            return
        shutil.copyfile(newest[1], self._candidate)
        step = _complete_state(self._candidate)
        if step is not None:  # or else i-PI is writing it
            self._seen, self._candidate_step, self._calm_reports = newest, step, 0

    def _newest(self) -> tuple[int, Path] | None:
        """The newest checkpoint, and the time at which it was written."""
        return max(((changed, file) for file in self._checkpoints() if (changed := _changed(file))), default=None)

    def _checkpoints(self) -> list[Path]:
        return [file for file in self._folder.states.of(self._prepared) if file != self._folder.restart]

    def forget(self) -> None:
        """Remove what is kept, of a run that has not exploded."""
        with suppress(OSError):
            self._candidate.unlink(missing_ok=True)
            self._good.unlink(missing_ok=True)

    def restore(self) -> Path:
        """Put the good state where the run goes on from, and later ones aside.

        :return: the one in which i-PI was stopped
        """
        exploded = self._folder.path / EXPLODED
        with suppress(OSError):
            self._candidate.unlink(missing_ok=True)
            if self._folder.restart.exists():
                os.replace(self._folder.restart, exploded)
            # When those that are looked at have been put aside, there may be others before them.
            while later := [file for file in self._checkpoints() if (_complete_state(file) or 0) > self.step]:
                for file in later:
                    os.replace(file, file.with_name(f"{file.name}.exploded"))
            if self._good.exists():
                os.replace(self._good, self._folder.restart)
        return exploded


def _changed(file: Path) -> int | None:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None


def _complete_state(file: Path) -> int | None:
    """The step of a state of i-PI; None if there is none, or it breaks off."""
    try:
        with file.open("rb") as stream:
            step = _STEP.search(stream.read(_HEAD))
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 100))
            return int(step[1]) if step and stream.read().rstrip().endswith(b"</simulation>") else None
    except OSError:
        return None
