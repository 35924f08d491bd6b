"""The folder of each simulation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DarkforcesError
from .folder import RunFolder

_SUFFIX = "-run"  # of the folder for an input whose name has none that could be left out


@dataclass(frozen=True)
class Place:
    """An input and the folder for its simulation.

    :param goes_on: whether the folder was given, in place of an input
    :param steps: that were asked for last, if so
    """

    input: Path
    folder: Path
    goes_on: bool = False
    steps: int | None = None

    @property
    def name(self) -> str:
        """Name of the simulation."""
        named = self.input.suffix and not self.goes_on and self.input != RunFolder(self.folder).input
        return self.input.stem if named else self.folder.resolve().name


def places(inputs: Sequence[Path], output: Path | None) -> list[Place]:
    """The folders of simulations.

    :param inputs: i-PI inputs of any name, or folders of runs that shall go on
    :param output: the folder for one, or the one in which those of several are
    :raises DarkforcesError: if two would share a folder, or a folder would have the name of a file
    """
    found = [_place(path, output, len(inputs) > 1) for path in inputs]
    folders = [os.path.realpath(place.folder) for place in found]
    if len(set(folders)) < len(folders):
        raise DarkforcesError("two of the inputs have the same name, and so would their folders")
    for place in found:
        if place.folder.exists() and not place.folder.is_dir():
            raise DarkforcesError(f"'{place.folder}' is a file, and no folder for a run; choose another --output")
    return found


def _place(path: Path, output: Path | None, several: bool) -> Place:
    if path.is_dir():
        run = RunFolder(path)
        if not run.is_run:
            raise DarkforcesError(f"'{path}' is a folder without a run to go on with; expected an i-PI input")
        if output is not None:
            raise DarkforcesError(
                f"'{path}' is the folder of a run, which goes on there; expected no --output beside it"
            )
        return Place(run.input, path, True, run.total_steps)
    if output is not None and not several:
        return Place(path, output)
    if output is None and RunFolder(path.parent).is_run and path.name == RunFolder(path.parent).input.name:
        return Place(path, path.parent)
    return Place(path, (output or Path()) / (path.stem if path.suffix else f"{path.name}{_SUFFIX}"))
