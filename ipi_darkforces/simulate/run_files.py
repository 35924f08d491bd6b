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
from .inputs import SimulationInput
from .outputs import DISAGREEMENT, PROGRESS
from .run_record import RunRecord

INPUT, MODEL, BEGUN, LAUNCHED = "input.xml", "model.json", "begun.json", "i-pi.xml"
PLUGIN, CHOICE = "in-process.py", "in-process.json"
# States that are kept while a run goes on, should it explode; and the one in which it was stopped when it did.
RESTART, GOOD, CANDIDATE, EXPLODED = "RESTART", "RESTART.good", "RESTART.candidate", "RESTART.exploded"
IPI_LOG, DRIVER_LOG, FRESH_LOG = "i-pi.log", "driver.log", "driver.log.new"
OURS = (
    *(INPUT, MODEL, BEGUN, LAUNCHED, PLUGIN, CHOICE, RESTART, GOOD, CANDIDATE, EXPLODED),
    *(IPI_LOG, DRIVER_LOG, FRESH_LOG, "summary.png", "summary.json", "EXIT"),
)


class RunFiles:
    """The files of one simulation."""

    def __init__(self, path: Path):
        self.path = path
        self.input = path / INPUT  # the simulation as it was asked for
        self.model = path / MODEL  # the model that the run was begun with
        self.begun = path / BEGUN  # input and files that it was begun with
        self.launched = path / LAUNCHED  # the input with which i-PI is started
        self.plugin = path / PLUGIN  # serves the forces inside of i-PI
        self.choice = path / CHOICE  # the model that the plugin loads
        self.restart = path / RESTART  # i-PI's state after the last step
        self.ipi_log = path / IPI_LOG
        self.driver_log = path / DRIVER_LOG  # which is only added to
        self.fresh_driver_log = path / FRESH_LOG  # of a driver whose run is to take the place of another one

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
            begun = RunRecord.read(self.begun)
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
