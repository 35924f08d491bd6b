"""Starting and continuing a run in its folder, and what may be overwritten there.

A folder belongs to one simulation. It holds everything needed to start or continue it: see `run_files`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from ..atomic import write_atomically
from ..errors import DarkforcesError
from ..lock import locked
from ..models.registry.specification import without_folders
from .copies import aside, consists_of, has, is_text, is_unfinished, put_copies, same
from .files import InputFile
from .inputs import SimulationInput
from .run_files import DRIVER_LOG, FRESH_LOG, INPUT, OURS, RunFiles
from .run_record import RunRecord, difference
from .states import States

_PLUGIN = Path(__file__).with_name("in_process.py")
_FINGERPRINT = "fingerprint"


class FinishedError(DarkforcesError):
    """Error: there is nothing left to do in this folder."""


class OtherRunError(DarkforcesError):
    """Error: what the folder holds does not go on as was asked for."""


class RunFolder(RunFiles):
    """The folder of one simulation.

    :param path: where it is; made if it does not exist
    """

    @property
    def states(self) -> States:
        """The states that i-PI can go on from."""
        return States(self)

    def begun_with(self) -> dict[str, str]:
        """The model that the run was begun with, and how it was to be evaluated, by name.

        :raises OtherRunError: if that is not known
        """
        try:
            record = json.loads(self.model.read_text())
            return {str(key): str(value) for key, value in record.items()}
        except (OSError, ValueError, AttributeError) as error:
            raise OtherRunError(f"'{self.path}' does not say which model its run was begun with") from error

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Keep others out while the simulation runs.

        Yields the lock as a file descriptor; a process that inherits it holds the lock too, should we be killed. A
        folder that was made for a simulation that failed before its first step is removed again, unless the error says
        what there is to see in it.

        :raises DarkforcesError: if somebody else is running a simulation here, i-PI could not read its RESTART, or the
            folder cannot be made
        """
        if "--" in str(self.path.resolve()):
            raise DarkforcesError(
                f"i-PI writes the path of its folder into a comment of its RESTART, where XML forbids '--': "
                f"'{self.path.resolve()}'; choose another --output"
            )
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DarkforcesError(
                f"the folder '{self.path}' cannot be made: {error.strerror}; choose another --output"
            ) from error
        try:
            with locked(self.path / ".lock", f"another simulation is running in '{self.path}'") as lock:
                yield lock
        except (DarkforcesError, KeyboardInterrupt) as error:
            if made and f"{self.path}{os.sep}" not in str(error) and self.states.last() is None:
                self._remove(made)
            raise

    def _remove(self, made: Sequence[Path]) -> None:
        """Remove folders that were made for nothing."""
        simulation = self.as_launched
        begun = RunRecord.read(self.begun)
        with suppress(OSError):  # somebody else has put something there
            self._clear([] if simulation is None else [simulation], set())
            for name in () if begun is None else begun.copies:
                (self.path / name).unlink(missing_ok=True)
            for name in (*OURS, ".lock"):
                (self.path / name).unlink(missing_ok=True)
            for inner, _, _ in sorted(os.walk(self.path), reverse=True):
                os.rmdir(inner)
            for outer in made[1:]:
                outer.rmdir()

    def begin(
        self,
        simulation: SimulationInput,
        model: dict[str, str],
        steps: int | None,
        overwrite: bool,
        check: Callable[[SimulationInput], None] = lambda prepared: None,
    ) -> SimulationInput:
        """Prepare the folder, for a new simulation or for going on with one that was stopped.

        :param simulation: what was asked for; the files that it names are copied into the folder
        :param model: what decides the forces, by name; a run goes on with what it was begun with
        :param steps: when it shall be finished; None for what the input says
        :param overwrite: start anew even if the folder holds a run
        :param check: called with what is returned, when nothing else is in its way and nothing has been changed yet
        :return: what to give to i-PI: the simulation, or a state of it
        :raises FinishedError: if the run is finished
        :raises OtherRunError: if it is another one
        :raises DarkforcesError: if the folder holds something else, or the simulation cannot be
        """
        simulation.check()
        fresh, files = simulation.copied(lambda name: name in OURS or simulation.outputs.match(name))
        if not self.is_run:
            self._check_free(simulation, fresh, files)
        if steps is not None:
            fresh.set_total_steps(steps)
        if fresh.step >= fresh.total_steps:
            raise DarkforcesError(
                f"'{simulation.source}' is of a simulation that is finished, at step {fresh.step} of "
                f"{fresh.total_steps}; to go on from there, give --steps or --time beyond that"
            )
        if self.is_run and not overwrite:
            states, broken = self.states.read()
            if states:
                self._check_same(fresh, files, model)
                state = self._continued(max(states, key=lambda state: state.step), fresh)
                check(state)
                return state
            if broken is not None:
                raise OtherRunError(f"'{self.path}' holds a run of which no state is complete: {broken}")
        check(fresh)
        try:
            self._start(fresh, files, model)
        except OSError as error:
            raise DarkforcesError(f"'{self.path}' cannot be written: {error.strerror}") from error
        return fresh

    def _check_free(self, simulation: SimulationInput, fresh: SimulationInput, files: Sequence[InputFile]) -> None:
        """Raise a DarkforcesError if something is in the way of a new run.

        Its own copies are not: a full disk or a kill while the folder was prepared has left them.
        """
        copies = {self.path / file.target for file in files if has(self.path / file.target, file.digest())}
        if is_text(self.input, fresh.faithful_text()):
            copies.add(self.input)
        there = sorted(
            path.name
            for path in self.path.iterdir()
            if path.name not in (".lock", DRIVER_LOG) and not is_unfinished(path) and not consists_of(path, copies)
        )
        if not there:
            return
        if not os.path.samefile(simulation.folder, self.path):
            raise DarkforcesError(
                f"'{self.path}' is no folder of a run and not empty ({', '.join(there[:3])}...); "
                "choose another --output"
            )
        # In the folder of an input, only what a run would overwrite is in the way.
        in_the_way = [name for name in there if name in OURS and not same(self.path / name, simulation.source)]
        in_the_way += [file.name for file in simulation.outputs.existing(self.path) if file.name not in OURS]
        if in_the_way:
            raise DarkforcesError(
                f"'{self.path}' holds '{in_the_way[0]}', which a run there would overwrite; choose another --output"
            )

    def _start(self, fresh: SimulationInput, files: Sequence[InputFile], model: dict[str, str]) -> None:
        """Put the files of a new simulation in place of those of an old one, none of which is lost that is not a copy.

        Nothing is removed before everything new is there, as the new may be made from the old.
        """
        before = [held for held in (self.as_begun, self.as_launched) if held is not None] if self.is_run else []
        begun, text = RunRecord.read(self.begun), fresh.text()
        ours = {} if begun is None else begun.copies
        digests = {file.target: file.digest() for file in files}
        put = put_copies(self.path, {INPUT: fresh.faithful_text()}, files, fresh.source, ours)
        self._clear(before, set(digests))
        for target, known in ours.items():
            if target not in digests and target != INPUT and has(self.path / target, known):
                (self.path / target).unlink()
        watched = {file.target: digests[file.target] for file in files if not file.written}
        RunRecord(text, fresh.step, watched, put).write(self.begun)
        write_atomically(self.model, json.dumps(model, indent=2) + "\n")
        fresh.settle(self.input)

    def _continued(self, state: SimulationInput, simulation: SimulationInput) -> SimulationInput:
        total = simulation.total_steps
        if state.step >= total:
            raise FinishedError(
                f"'{self.path}' holds a finished run of {state.step} steps; to go on, give --steps or --time beyond"
                " that; to keep it, choose another --output; to start anew, --overwrite"
            )
        state.adopt(simulation)
        state.settle(self.restart)
        return state

    def _check_same(self, fresh: SimulationInput, files: Sequence[InputFile], model: dict[str, str]) -> None:
        """Raise a DarkforcesError if the run in the folder is another one, but for its length."""
        begun = RunRecord.read(self.begun)
        held = SimulationInput.read(self.input).text() if begun is None else begun.input
        other = difference(held, fresh.text())
        if other is not None:
            raise OtherRunError(f"'{self.path}' holds a run of another input than '{fresh.source}' ({other})")
        for file in files:
            known = None if begun is None else begun.files.get(file.target)
            if known is not None and file.digest() != known:
                raise OtherRunError(
                    f"'{self.path}' holds a run that was begun with another '{file.source}', which has changed"
                )
        self._check_model(model)

    def _check_model(self, model: dict[str, str]) -> None:
        begun, now = self.begun_with(), dict(model)
        before, after = begun.pop(_FINGERPRINT, None), now.pop(_FINGERPRINT, None)
        known = before is not None and after is not None
        alike = {**begun, "model": without_folders(begun["model"])} == {**now, "model": without_folders(now["model"])}
        if begun != now and not (known and alike and before == after):  # the same file in another place is the same
            raise OtherRunError(f"'{self.path}' holds a run begun with {_listed(begun)}, not {_listed(now)}")
        if known and before != after:
            raise OtherRunError(
                f"'{self.path}' holds a run begun with {_listed(begun)}, which has changed since (from {before} to "
                f"{after})"
            )

    def serve_in_process(self, simulation: SimulationInput, model: dict[str, str]) -> None:
        """Let a plugin inside i-PI serve a simulation; its file, and what it loads, are put into the folder.

        What says which model cannot stand in i-PI's input, whose lists end with commas.

        :param model: keyword arguments of `DarkforcesDriver` that say which model: ``model``, ``device``, ...
        """
        shutil.copyfile(_PLUGIN, self.plugin)
        write_atomically(self.choice, json.dumps({**model, "virials": asdict(simulation.virials)}, indent=2) + "\n")
        simulation.serve_in_process(self.plugin.name, self.choice.name)

    def launch(self, simulation: SimulationInput) -> None:
        """Write down what i-PI is started with, and make what it needs for its outputs.

        :param simulation: what `begin` has returned, adapted to how it is served
        :raises DarkforcesError: if the folder cannot be written
        """
        first = simulation.source == self.input
        try:
            for folder in simulation.outputs.folders():
                (self.path / folder).mkdir(parents=True, exist_ok=True)
            if first and simulation.step > 0:  # i-PI writes these with step 0 only
                for name, header in simulation.outputs.headers().items():
                    (self.path / name).write_text(header)
            write_atomically(self.launched, simulation.text())
            state = f"{Path(simulation.prefix).name}.{simulation.added.state}_"
            for file in simulation.outputs.checkpoints(self.path):
                # i-PI puts aside what it would overwrite, and fails to where the prefix has a folder.
                if file.parent != self.path and not file.name.startswith(state):
                    file.rename(aside(file))
        except OSError as error:
            raise DarkforcesError(f"'{self.path}' cannot be written: {error.strerror}") from error

    def _clear(self, simulations: Sequence[SimulationInput], keep: Set[str]) -> None:
        """Remove what is left of runs, but not what they are made from."""
        for name in OURS:
            if name not in (INPUT, DRIVER_LOG, FRESH_LOG):  # the driver is at work already
                (self.path / name).unlink(missing_ok=True)
        for simulation in simulations:
            for file in simulation.outputs.existing(self.path):
                if file.relative_to(self.path).as_posix() not in keep:
                    file.unlink(missing_ok=True)


def _listed(model: dict[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in model.items())
