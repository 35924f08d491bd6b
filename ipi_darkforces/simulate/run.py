"""Starting i-PI and the driver, watching them, and stopping both cleanly.

i-PI and the driver are processes of their own (or one, with the model as a plugin inside i-PI). We watch by reading an
output that i-PI writes for us, and stop i-PI with the signal on which it writes its RESTART.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DarkforcesError
from ..models.registry.kinds import specified
from ..models.registry.load import ModelChoice
from ..signals import Interrupts, noted_interrupts
from ..split.monitor import TOO_FAR, Watch
from .child import PATIENCE
from .ending import SoftExit, cause, complaint, soft_exit, trouble_with
from .explosion import Explosion, ExplosionWatch, fastest_atoms
from .folder import FinishedError, RunFolder
from .good_state import GoodState
from .inputs import SimulationInput
from .loop import is_at_constant_pressure, why_not_resident
from .processes import Process, scratch_folder
from .programs import GRACE, Programs
from .progress import Pace, Progress, Tail

log = logging.getLogger(__name__)
POLL = 0.1  # seconds between looks at what i-PI has written
PROGRESS_EVERY = 2.0  # fs
_TAIL = 2**20  # bytes of i-PI's log in which its last words are
# What the driver says of an explosion that happened between two looks at the temperature.
_LOST = "positions are NaN or infinite"


@dataclass(frozen=True)
class Outcome:
    """The end of a run.

    :param prefix: what the names of i-PI's outputs begin with, of the first system if there are several
    :param steps: steps done in all
    :param total_steps: steps that were asked for
    :param seconds_per_step: wall time, over the second half of what was done now; None if too little was
    :param interrupted: whether it was stopped by a signal, of the user or the system
    :param finished: i-PI's words for that nothing is left to do before all steps are done, as of an optimisation that
        has converged; None if it has not said so
    :param told: why i-PI has stopped by itself, as the input or a file EXIT told it; None if it has not
    :param explosion: None if there was none
    """

    folder: Path
    prefix: str
    steps: int
    total_steps: int
    seconds_per_step: float | None
    interrupted: bool
    finished: str | None = None
    told: str | None = None
    explosion: Explosion | None = None


def run(
    simulation: SimulationInput,
    model: ModelChoice,
    output: Path,
    steps: int | None = None,
    in_process: bool = False,
    overwrite: bool = False,
    resident: bool | None = False,
    watch: Callable[[Progress, int], None] = lambda progress, total: None,
    warn_above: float = TOO_FAR,
) -> Outcome:
    """Run a simulation, or go on with it, until it is finished, stopped, or has exploded.

    :param output: folder for everything; see `RunFolder`
    :param steps: i-PI steps in all; None for what the input says
    :param in_process: the model as a plugin inside i-PI, instead of a process of its own
    :param overwrite: start anew even if the folder holds a run
    :param resident: fast steps in the resident inner loop; the model is in i-PI's process then. None: where it can take
        them, on a CPU, unless `in_process`; where it cannot, a line of the log says why, and only at constant pressure
        the model is in i-PI's process
    :param watch: called with the progress and the number of steps in all
    :param warn_above: eV/Å, see `Watch`
    :return: how it ended; also when it was interrupted (SIGINT, SIGTERM or SIGHUP), with i-PI's RESTART written, and
        when it exploded, with a RESTART from before that
    :raises FinishedError: if the folder holds this run and it is finished
    :raises DarkforcesError: if the folder holds something else, i-PI or the driver fails, or the folder can no longer
        be written; RESTART is written if any step was done and it can be
    """
    specified(model.model).check()
    plugin_asked_for = in_process and not resident
    in_process, in_resident_loop = _loop(simulation, model, in_process, resident)
    folder = RunFolder(output)
    with (
        folder.locked() as lock,
        noted_interrupts() as interrupts,
        scratch_folder() as scratch,
        ExitStack() as stack,
    ):
        anew = overwrite and folder.is_run
        programs = Programs(folder, scratch, [lock, scratch.lock], stack, anew)

        def start(prepared: SimulationInput) -> None:
            """Start what takes seconds, and change nothing before the driver says that it can serve."""
            _check_unfinished(folder, prepared)
            quiet = prepared.root.attribs.get("verbosity", "").strip() == "quiet"
            if in_process:
                programs.start_ipi_with_model(quiet, in_resident_loop, simulation, _choice(model, prepared, warn_above))
            else:
                _check_ports(prepared)
                programs.start_ipi(quiet)
                if prepared.socket_forcefields():
                    options = [f"--{key}={value}" for key, value in model.parameters().items()]
                    options += [f"--warn-above={warn_above}", *["--goes-on"] * (prepared.step > 0)]
                    programs.start_driver(simulation, options)
            programs.wait_for_model(interrupts)

        prepared = folder.begin(simulation, model.identity(), steps, overwrite, start)
        programs.settle_log()
        species = prepared.species
        stride = max(1, round(PROGRESS_EVERY / (prepared.timestep or PROGRESS_EVERY)))
        prepared.add_outputs(stride, folder.states.next_number(prepared))
        asked = prepared.sockets() if in_process and not plugin_asked_for else {}
        if in_process:
            folder.serve_in_process(prepared, _choice(model, prepared, warn_above))
        folder.launch(prepared)
        (folder.path / "EXIT").unlink(missing_ok=True)  # on which it was stopped the last time
        earlier = None if programs.driver is None else programs.driver.log_start
        tail = Tail(folder, prepared.system_prefixes[0], earlier)  # before i-PI adds to it
        programs.ipi.begin()
        running = _Run(folder, prepared, species, programs.ipi, programs.driver, interrupts, tail)
        try:
            return running.watch(_alarmed(watch, Watch(prepared.prefix, warn_above), species))
        finally:
            with suppress(OSError, ValueError):  # of a full disk, say, which has been said
                folder.states.forget_sockets(scratch.prefix, prepared, asked)


def _choice(model: ModelChoice, prepared: SimulationInput, warn_above: float) -> dict[str, str]:
    """Keyword arguments of `DarkforcesDriver` that say which model."""
    return {**model.parameters(), "warn_above": str(warn_above), "goes_on": str(prepared.step > 0)}


def _loop(
    simulation: SimulationInput, model: ModelChoice, in_process: bool, resident: bool | None
) -> tuple[bool, bool]:
    """Choose whether the model is in i-PI's process, and whether the resident loop takes the fast steps; see `run`."""
    asked = bool(resident)
    if not asked and (in_process or resident is not None):
        return in_process, False
    can = _can_be_resident(simulation, model, asked)
    return asked or can or (_is_on_cpu(model) and is_at_constant_pressure(simulation)), can


def _can_be_resident(simulation: SimulationInput, model: ModelChoice, asked: bool) -> bool:
    """Tell whether the resident inner loop is to take the fast steps; say why not, unless nobody would expect it.

    :param asked: whether the user has asked for it
    """
    reason = why_not_resident(simulation)
    if reason is None and not asked and not _is_on_cpu(model):
        reason = f"on {model.loading.device} that has not been measured; --resident tries it"
    expected = simulation.timestep is not None and simulation.socket_forcefields()
    if reason is not None and (asked or expected):
        log.info("i-PI takes each fast step itself, which costs more time: %s", reason)
    return reason is None


def _is_on_cpu(model: ModelChoice) -> bool:
    return model.loading.device.startswith("cpu")


def _alarmed(
    report: Callable[[Progress, int], None], alarm: Watch, species: np.ndarray | None
) -> Callable[[Progress, int], None]:
    """Report progress, and warn of forces that differ too much."""

    def report_and_warn(progress: Progress, total: int) -> None:
        report(progress, total)
        if progress.disagreement is not None and species is not None:
            alarm.warn(progress.disagreement, species)

    return report_and_warn


def _check_unfinished(folder: RunFolder, prepared: SimulationInput) -> None:
    """Raise a FinishedError if i-PI has said that nothing is left to do, before all steps were done."""
    if prepared.step > 0 and (finished := _finished(folder)):
        raise FinishedError(
            f"'{folder.path}' holds a finished run: i-PI said '{finished}' after step {prepared.step} of "
            f"{prepared.total_steps}; to keep it, choose another --output; to start anew, --overwrite"
        )


def _finished(folder: RunFolder) -> str | None:
    """The message of i-PI when nothing was left to do; None if there is none."""
    try:
        with folder.ipi_log.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL))
            last = soft_exit(stream.read().decode(errors="replace").splitlines())
    except OSError:
        return None
    return last.message if last is not None and last.success else None


def last_outcome(output: Path) -> Outcome:
    """The end of the run in a folder, when it ended."""
    folder = RunFolder(output)
    state = folder.states.last()
    assert state is not None  # or else it would not have been finished
    finished = _finished(folder)
    return Outcome(output, state.system_prefixes[0], state.step, state.total_steps, None, False, finished)


class _Run:
    """A run of i-PI, watched until it ends.

    :param species: atomic numbers, shape (n_atoms,), as far as the input says
    :param driver: None if the model is inside i-PI
    """

    def __init__(
        self,
        folder: RunFolder,
        prepared: SimulationInput,
        species: np.ndarray | None,
        ipi: Process,
        driver: Process | None,
        interrupts: Interrupts,
        tail: Tail,
    ):
        self._folder = folder
        self._inode = folder.path.stat().st_ino
        self._prepared = prepared
        self._ipi = ipi
        self._driver = driver
        self._interrupts = interrupts
        self._tail = tail
        self._pace = Pace()
        self._species = species
        self._explosions = ExplosionWatch(prepared, None if species is None else len(species))
        self._good = GoodState(folder, prepared)
        self._trouble: str | None = None
        self._at_fault = ipi
        self._how = ""  # it ended, if a signal ended it

    def watch(self, report: Callable[[Progress, int], None]) -> Outcome:
        """Report progress until i-PI has left, or has to."""
        exploded = False
        try:
            while not exploded and self._goes_on():
                time.sleep(POLL)
                exploded = self._look(report)
                self._folder.states.drop_old(self._prepared)
            if not exploded:
                exploded = self._look(report)  # what was written since the last look
            self._note_fault()
        finally:
            self._stop()
        return self._outcome(exploded)

    def _goes_on(self) -> bool:
        if self._interrupts.came or not self._ipi.running or (self._driver is not None and self._driver.failed):
            return False
        try:
            there = self._folder.path.stat().st_ino == self._inode
        except OSError:
            there = False
        if not there:
            self._trouble = trouble_with(self._folder.path, self._inode)
        return there

    def _look(self, report: Callable[[Progress, int], None]) -> bool:
        """Look at what i-PI has written; whether it has exploded."""
        for remark in self._tail.remarks():
            log.warning("%s", remark)
        for progress in self._tail.read():
            exploded = self._explosions.see(progress)
            report(progress, self._prepared.total_steps)
            if exploded:
                return True
            self._pace.note(progress.step)
            self._good.look(progress, self._explosions.in_doubt)
        return False

    def _note_fault(self) -> None:
        """Note who has failed, if somebody has, before we end them."""
        if self._driver is not None and self._driver.failed:
            self._at_fault = self._driver
        self._how = self._at_fault.how_it_ended

    def _stop(self) -> None:
        """Let i-PI write its RESTART and leave; the driver follows."""
        self._ipi.interrupt()
        deadline = time.monotonic() + PATIENCE
        while not self._ipi.wait(POLL) and time.monotonic() < deadline and not self._interrupts.insistent:
            pass
        self._ipi.end()
        if self._driver is not None:
            self._driver.wait(GRACE)
            self._driver.end()

    def _outcome(self, exploded: bool) -> Outcome:
        """The outcome of the run.

        :raises DarkforcesError: if it should not have
        """
        try:
            state = self._folder.states.last()
        except DarkforcesError:  # none of the states can be read: there is another reason why
            state = None
        steps = 0 if state is None else state.step
        if exploded or self._lost():
            return self._exploded()
        self._good.forget()
        end = soft_exit(self._ipi.log_lines()) or SoftExit("")
        if self._trouble is not None:
            raise DarkforcesError(f"{self._trouble}, and the run was stopped")
        if self._interrupts.came or steps >= self._prepared.total_steps:
            return self._ended(steps, interrupted=steps < self._prepared.total_steps)
        if end.success:
            return self._ended(steps, finished=end.message)
        if end.told is not None and self._at_fault is self._ipi and not self._how:
            return self._ended(steps, interrupted=end.signalled, told=end.told)
        raise DarkforcesError(self._what_went_wrong(state, end))

    def _ended(
        self,
        steps: int,
        interrupted: bool = False,
        finished: str | None = None,
        told: str | None = None,
        explosion: Explosion | None = None,
    ) -> Outcome:
        prefix, total = self._prepared.system_prefixes[0], self._prepared.total_steps
        pace = self._pace.seconds_per_step
        return Outcome(self._folder.path, prefix, steps, total, pace, interrupted, finished, told, explosion)

    def _complaint(self) -> str | None:
        return next(
            (error for each in (self._driver, self._ipi) if each and (error := complaint(each.log_lines()))), None
        )

    def _lost(self) -> bool:
        """Tell whether the driver has ended because of an explosion that we have not seen, or only its beginning."""
        error = self._complaint()
        return error is not None and self._explosions.seen and (_LOST in error or self._explosions.in_doubt)

    def _exploded(self) -> Outcome:
        atoms = fastest_atoms(self._good.restore(), self._species)
        explosion = self._explosions.explosion(atoms, self._good.step, self._complaint())
        return self._ended(explosion.seen.step, explosion=explosion)

    def _what_went_wrong(self, state: SimulationInput | None, end: SoftExit) -> str:
        steps = 0 if state is None else state.step
        saved = f"; i-PI's state after step {steps} is in {state.source}" if state and steps else ""
        trouble = trouble_with(self._folder.path, self._inode)
        if trouble is not None:
            return f"i-PI stopped: {trouble}{saved}"
        error = None if self._how else self._complaint()
        if error is not None:
            return error + saved
        words = self._at_fault.log_lines()
        reason = self._how or (end.message if end.problem else "") or cause(words) or (words or ["it said nothing"])[-1]
        return f"{self._at_fault.name} stopped at step {steps}: {reason.strip()} (see {self._at_fault.log}){saved}"


def _check_ports(simulation: SimulationInput) -> None:
    for forcefield in simulation.socket_forcefields():
        if forcefield.mode != "inet":
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as i-PI does
            try:
                probe.bind((forcefield.address, forcefield.port))
            except OSError as error:
                raise DarkforcesError(
                    f"i-PI cannot listen at {forcefield.address}:{forcefield.port} for forcefield "
                    f"'{forcefield.name}': {error.strerror}; choose another <port>"
                ) from error
