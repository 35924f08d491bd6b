"""The files of a run: what is called how in its folder.

input.xml               the simulation, for people to read and to change, with the files that it names beside it
model.json              the model that it was begun with
begun.json              the input and the files that it was begun with, to notice when they are changed
i-pi.xml                what i-PI was started with last: input.xml or a state, adapted to how it is served
in-process.py, .json    the plugin that serves it inside of i-PI, and which model that loads
RESTART                 i-PI's state after the last step; of a run that has exploded, one from before that
RESTART.exploded        that in which i-PI was stopped then
PREFIX.resume_N         i-PI's last two states of those that it saves now and then
PREFIX.out, ...         i-PI's outputs; PREFIX.progress is for those who watch
i-pi.log, driver.log    what the programs said
summary.png, .json      what came out
"""

from __future__ import annotations

from pathlib import Path

from ..errors import DarkforcesError
from .begun import Begun
from .inputs import SimulationInput
from .outputs import DISAGREEMENT, PROGRESS

# States that are kept while a run goes on, should it explode; and the one in which it was stopped when it did.
GOOD, CANDIDATE, EXPLODED = "RESTART.good", "RESTART.candidate", "RESTART.exploded"
INPUT, DRIVER_LOG, FRESH_LOG = "input.xml", "driver.log", "driver.log.new"
OURS = (
    INPUT,
    "model.json",
    "begun.json",
    "i-pi.xml",
    "in-process.py",
    "in-process.json",
    "RESTART",
    GOOD,
    CANDIDATE,
    EXPLODED,
    "i-pi.log",
    DRIVER_LOG,
    FRESH_LOG,
    "summary.png",
    "summary.json",
    "EXIT",
)


class RunFiles:
    """The files of one simulation.

    :param path: the folder
    """

    def __init__(self, path: Path):
        self.path = path

    @property
    def input(self) -> Path:
        """The simulation as it was asked for."""
        return self.path / INPUT

    @property
    def model(self) -> Path:
        """Record of the model that the run was begun with."""
        return self.path / "model.json"

    @property
    def begun(self) -> Path:
        """Record of the input and files that the run was begun with."""
        return self.path / "begun.json"

    @property
    def launched(self) -> Path:
        """Input with which i-PI is started."""
        return self.path / "i-pi.xml"

    @property
    def ipi_log(self) -> Path:
        """Log of i-PI."""
        return self.path / "i-pi.log"

    @property
    def driver_log(self) -> Path:
        """Log of the driver, which is only added to."""
        return self.path / DRIVER_LOG

    @property
    def fresh_driver_log(self) -> Path:
        """Log of a driver whose run is to take the place of another one."""
        return self.path / FRESH_LOG

    @property
    def restart(self) -> Path:
        """i-PI's state after the last step."""
        return self.path / "RESTART"

    @property
    def plugin(self) -> Path:
        """Plugin that serves the forces inside of i-PI."""
        return self.path / "in-process.py"

    @property
    def choice(self) -> Path:
        """Record of the model that the plugin loads."""
        return self.path / "in-process.json"

    def progress(self, prefix: str) -> Path:
        """Output of step, time, temperature and conserved quantity."""
        launched = self.as_launched
        name = None if launched is None else launched.added.progress
        return self.path / f"{prefix}.{name or PROGRESS}"

    def disagreement(self, prefix: str) -> Path:
        """Output of the difference of both kinds of forces, with multiple time stepping."""
        launched = self.as_launched
        name = None if launched is None else launched.added.disagreement
        return self.path / f"{prefix}.{name or DISAGREEMENT}"

    @property
    def as_launched(self) -> SimulationInput | None:
        """Input with which i-PI was started last; None if it was not, or what is there cannot be read."""
        try:
            return SimulationInput.read(self.launched)
        except DarkforcesError:
            return None

    @property
    def as_begun(self) -> SimulationInput | None:
        """The input that the run was begun with; None if it cannot be read."""
        try:
            begun = Begun.read(self.begun)
            return SimulationInput.read(self.input) if begun is None else SimulationInput.of(begun.input, self.input)
        except DarkforcesError:
            return None

    @property
    def is_run(self) -> bool:
        """Tell whether a run was begun here."""
        return self.model.exists() and self.input.exists() or self.begun.exists()

    @property
    def total_steps(self) -> int | None:
        """Steps that were asked for last; None if i-PI was never started."""
        launched = self.as_launched
        return None if launched is None else launched.total_steps
