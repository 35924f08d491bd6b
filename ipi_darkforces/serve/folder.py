"""The folder of a run: what is in it, how far the run got, and what may be overwritten.

A folder belongs to one simulation. It holds everything needed to start or continue it:

    input.xml               the simulation, with the files that it starts from beside it
    model.json              the model that it was begun with
    i-pi.xml                what i-PI was started with last: input.xml or RESTART, adapted to how it is served
    RESTART                 i-PI's state after the last step
    PREFIX.out, ...         i-PI's outputs; PREFIX.progress is for those who watch
    i-pi.log, driver.log    what the programs said
    summary.png, .json      what came out
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DarkforcesError
from ..lock import locked
from ..whole import write_whole
from .inputs import DISAGREEMENT, PROGRESS, SimulationInput

_OURS = (
    "input.xml",
    "model.json",
    "i-pi.xml",
    "RESTART",
    "i-pi.log",
    "driver.log",
    "summary.png",
    "summary.json",
    "EXIT",
)


class FinishedError(DarkforcesError):
    """There is nothing left to do in this folder."""


class RunFolder:
    """The folder of one simulation.

    :param path: where it is; made if it does not exist
    """

    def __init__(self, path: Path):
        self.path = path

    @property
    def input(self) -> Path:
        """The simulation as it was asked for."""
        return self.path / "input.xml"

    @property
    def _model(self) -> Path:
        return self.path / "model.json"

    @property
    def launched(self) -> Path:
        """What i-PI is started with."""
        return self.path / "i-pi.xml"

    @property
    def ipi_log(self) -> Path:
        """What i-PI has said."""
        return self.path / "i-pi.log"

    @property
    def restart(self) -> Path:
        """i-PI's state after the last step."""
        return self.path / "RESTART"

    def progress(self, prefix: str) -> Path:
        """Where i-PI writes step, time, temperature and conserved quantity."""
        return self.path / f"{prefix}.{PROGRESS}"

    def disagreement(self, prefix: str) -> Path:
        """Where i-PI writes how far both kinds of forces are apart, with multiple time stepping."""
        return self.path / f"{prefix}.{DISAGREEMENT}"

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Keep others out while the simulation runs.

        Yields the lock as a file descriptor; a process that inherits it holds the lock too, should we be killed.

        :raises DarkforcesError: if somebody else is running a simulation here, or i-PI could not read its RESTART
        """
        if "--" in str(self.path.resolve()):
            raise DarkforcesError(
                f"i-PI writes the path of its folder into a comment of its RESTART, where XML forbids '--': "
                f"'{self.path.resolve()}'; choose another --output"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path / ".lock", f"another simulation is running in '{self.path}'") as lock:
            yield lock

    def begin(
        self, simulation: SimulationInput, model: dict[str, str], steps: int | None, overwrite: bool
    ) -> SimulationInput:
        """Prepare the folder, for a new simulation or for going on with one that was stopped.

        :param simulation: what was asked for; its files are copied into the folder
        :param model: what decides the forces, by name; a run goes on with what it was begun with
        :param steps: when it shall be finished; None for what the input says
        :param overwrite: start anew even if the folder holds a run
        :return: what to give to i-PI: `simulation`, or its RESTART
        :raises FinishedError: if the run is finished
        :raises DarkforcesError: if the folder holds something else
        """
        if not self.input.exists():
            self._check_empty()
        elif overwrite:
            self._clear()
        files = simulation.make_files_local()
        simulation.set_total_steps(simulation.total_steps if steps is None else steps)
        state = self.last_state()
        if state is not None and state.step > 0:
            self._check_same(simulation, model)
            return self._continued(state, simulation)
        self._clear()  # what is left of a run that did not get anywhere
        for file in files:
            shutil.copyfile(file, self.path / file.name)
        self.input.write_text(simulation.text())
        self._model.write_text(json.dumps(model, indent=2) + "\n")
        return simulation

    def _continued(self, state: SimulationInput, simulation: SimulationInput) -> SimulationInput:
        total = simulation.total_steps
        if state.step >= total:
            raise FinishedError(
                f"'{self.path}' holds a finished run of {state.step} steps; to go on, give --steps or --time beyond"
                " that; to keep it, choose another --output; to start anew, --overwrite"
            )
        state.set_total_steps(total)
        state.adopt_forcefields(simulation)
        return state

    def _check_same(self, simulation: SimulationInput, model: dict[str, str]) -> None:
        """Raise a DarkforcesError if the run in the folder is another one, but for its length."""
        otherwise = "choose another --output, or --overwrite it"
        held = SimulationInput.read(self.input)
        held.set_total_steps(simulation.total_steps)
        if held.text() != simulation.text():
            raise DarkforcesError(f"'{self.path}' holds a run of another input; {otherwise}")
        begun_with = json.loads(self._model.read_text())
        if begun_with != model:
            raise DarkforcesError(
                f"'{self.path}' holds a run begun with {_listed(begun_with)}, not {_listed(model)}; {otherwise}"
            )

    def last_state(self) -> SimulationInput | None:
        """Where i-PI got to: its RESTART, or its last checkpoint if it had no time to write one.

        :raises DarkforcesError: if there are such files, and none of them can be read
        """
        if not self.input.exists():
            return None
        states, broken = [], None
        for file in self.states(SimulationInput.read(self.input).prefix):
            try:
                states.append(SimulationInput.read(file))
            except DarkforcesError as error:  # i-PI was killed while it wrote this one
                broken = error
        if broken is not None and not states:
            raise broken
        return max(states, key=lambda state: state.step, default=None)

    def states(self, prefix: str) -> list[Path]:
        """What i-PI can go on from."""
        return [file for file in (self.restart, self.path / f"{prefix}.chk") if file.exists()]

    def forget_sockets(self, ours: str, simulation: SimulationInput) -> None:
        """Take the prefix of our sockets out of what i-PI can go on from, which remembers it.

        Whoever starts i-PI with that by hand gets the prefix of the input: the folder of our sockets is gone then.

        :param ours: with which i-PI was started
        :param simulation: what it was started with
        """
        for file in self.states(simulation.prefix):
            text, named = file.read_text(), "sockets_prefix='{}'"
            write_whole(file, text.replace(named.format(ours), named.format(simulation.sockets_prefix), 1))

    def _check_empty(self) -> None:
        strangers = sorted(p.name for p in self.path.iterdir() if p.name != ".lock")
        if strangers:
            raise DarkforcesError(
                f"'{self.path}' is no folder of a run and not empty ({', '.join(strangers[:3])}...); "
                "choose another --output"
            )

    def _clear(self) -> None:
        """Remove a run; nothing else."""
        if not self.input.exists():
            return
        held = SimulationInput.read(self.input)
        for name in _OURS:
            (self.path / name).unlink(missing_ok=True)
        for prefix in {held.prefix, *held.system_prefixes}:
            for file in self.path.glob(f"{prefix}.*"):
                file.unlink()


def _listed(model: dict[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in model.items())
