"""The states of a run: files of i-PI that it can go on from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ..atomic import write_atomically
from ..errors import DarkforcesError
from .inputs import SimulationInput
from .outputs import numbered
from .run_files import RunFiles
from .run_record import RunRecord

_KEPT = 2  # the newest, which may not be complete, and the one before


class States:
    """The states in the folder of a run."""

    def __init__(self, files: RunFiles):
        self._files = files

    def of(self, simulation: SimulationInput) -> list[Path]:
        """Files of a simulation that i-PI has written and can go on from."""
        files = [self._files.restart, *simulation.outputs.checkpoints(self._files.path)]
        return [file for file in files if file.exists()]

    def all(self) -> list[Path]:
        """Files that i-PI can go on from, among them the input with which it was started last."""
        held = [each for each in (self._files.as_begun, self._files.as_launched) if each is not None]
        files = [self._files.restart, self._files.launched, *(file for each in held for file in self.of(each))]
        return [file for file in dict.fromkeys(files) if file.exists()]

    def read(self) -> tuple[list[SimulationInput], DarkforcesError | None]:
        """Read those that are complete, beyond the beginning of the run; and what is wrong with one that is not."""
        states: list[SimulationInput] = []
        broken, first = None, 0
        if self._files.is_run:
            begun = RunRecord.read(self._files.begun)
            first = 0 if begun is None else begun.step
            for file in self.all():
                try:
                    state = SimulationInput.read(file)
                except DarkforcesError as error:  # i-PI was killed while it wrote this one
                    broken = error
                else:
                    states += [state] if state.step > first else []
        return states, broken

    def last(self) -> SimulationInput | None:
        """The newest complete one: i-PI's RESTART, one of its checkpoints, or what it was started with last."""
        return max(self.read()[0], key=lambda state: state.step, default=None)

    def next_number(self, simulation: SimulationInput) -> int:
        """The number that the next of i-PI's checkpoints is to have."""
        there = self._numbered(simulation)
        return int(there[-1].name.rpartition("_")[2]) + 1 if there else 0

    def drop_old(self, simulation: SimulationInput) -> None:
        """Remove i-PI's checkpoints but the last two: the newest may not be complete yet."""
        for file in self._numbered(simulation)[:-_KEPT]:
            with suppress(OSError):  # which those say who cannot do without
                file.unlink()

    def _numbered(self, simulation: SimulationInput) -> list[Path]:
        return numbered(self._files.path / f"{simulation.prefix}.{simulation.added.state}")

    def forget_sockets(self, ours: str, simulation: SimulationInput, asked: Mapping[str, str]) -> None:
        """Take out what we have put there: the prefix of our sockets, our checkpoints, and plugins in place of sockets.

        And that i-PI is to use no threads, which the resident loop can do without. Whoever starts i-PI with that by
        hand gets the prefix of the input: the folder of our sockets is gone then. And whoever takes it elsewhere gets
        what the input asks for: plugins are in this folder only.

        :param ours: with which i-PI was started
        :param simulation: what it was started with
        :param asked: the XML of forcefields in whose place there were plugins, by their names
        """
        named, begun = "sockets_prefix='{}'", self._files.as_begun
        state = re.compile(rf"\n\s*<checkpoint filename='{re.escape(simulation.added.state)}'[^>]*>[^<]*</checkpoint>")
        states = [self._files.restart, *simulation.outputs.all_checkpoints(self._files.path)]
        for file in [self._files.launched, *states]:
            with suppress(OSError, UnicodeDecodeError):  # it is not there, not complete, or the disk is full
                text = file.read_text()
                changed = text.replace(named.format(ours), named.format(simulation.sockets_prefix), 1)
                if file != self._files.launched:  # which says that we asked for them
                    changed = state.sub("", changed)
                    if begun is not None and begun.parsed.threading.fetch():
                        changed = changed.replace(" threading='False'", "", 1)
                    for name, socket in asked.items():
                        plugin = rf"(?s)<ffdirect(?= [^>]*\bname='{re.escape(name)}').*?</ffdirect>"
                        changed = re.sub(plugin, socket.replace("\\", r"\\"), changed)
                if changed != text:
                    write_atomically(file, changed)
