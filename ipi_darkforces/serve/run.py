"""Starting i-PI and the driver, watching them, and stopping both cleanly.

i-PI and the driver are processes of their own (or one, with the model as a plugin inside i-PI). We watch by reading an
output that i-PI writes for us, and stop i-PI with the signal on which it writes its RESTART.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ERROR, DarkforcesError
from ..forces.disagreement import Disagreement, by_quantity
from .folder import RunFolder
from .inputs import SimulationInput
from .watch import TOO_FAR, Watch

POLL = 0.1  # seconds between looks at what i-PI has written
PROGRESS_EVERY = 2.0  # fs
# Seconds: i-PI looks for signals once a second, and finishes the step it is in.
PATIENCE = 120.0


@dataclass(frozen=True)
class ModelChoice:
    """Which model serves the forces, as on the command line; see `load_model`."""

    model: str
    device: str = "cpu"
    dtype: str | None = None
    variant: str | None = None
    backend: str = "auto"

    def said(self) -> dict[str, str]:
        """What was said, by name."""
        return {key: value for key, value in vars(self).items() if value is not None}

    def deciding(self) -> dict[str, str]:
        """What of it decides the forces."""
        return {key: value for key, value in self.said().items() if key not in ("device", "backend")}


@dataclass(frozen=True)
class Progress:
    """How far a simulation is.

    :param step: i-PI steps
    :param time: fs
    :param temperature: K
    :param drift: eV, by how much i-PI's conserved quantity has changed since the beginning of the run
    :param disagreement: of both kinds of forces, with multiple time stepping; in the replica where it is worst
    """

    step: int
    time: float
    temperature: float
    drift: float
    disagreement: Disagreement | None


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    :param folder: where everything is
    :param prefix: what the names of i-PI's outputs begin with, of the first system if there are several
    :param steps: steps done in all
    :param total_steps: steps that were asked for
    :param seconds_per_step: wall time, over the second half of what was done now; None if too little was
    :param interrupted: whether the user stopped it
    """

    folder: Path
    prefix: str
    steps: int
    total_steps: int
    seconds_per_step: float | None
    interrupted: bool


def run(
    simulation: SimulationInput,
    model: ModelChoice,
    output: Path,
    steps: int | None = None,
    in_process: bool = False,
    overwrite: bool = False,
    watch: Callable[[Progress, int], None] = lambda progress, total: None,
    warn_above: float = TOO_FAR,
) -> Outcome:
    """Run a simulation, or go on with it, until it is finished or interrupted.

    :param simulation: the i-PI input
    :param model: which model serves the forces
    :param output: folder for everything; see `RunFolder`
    :param steps: i-PI steps in all; None for what the input says
    :param in_process: the model as a plugin inside i-PI, instead of a process of its own
    :param overwrite: start anew even if the folder holds a run
    :param watch: called with the progress and the number of steps in all
    :param warn_above: eV/Å, see `Watch`
    :return: how it ended; also when it was interrupted (SIGINT or SIGTERM), with i-PI's RESTART written
    :raises FinishedError: if the folder holds this run and it is finished
    :raises DarkforcesError: if the folder holds something else, i-PI or the driver fails; RESTART is written if any
        step was done
    """
    folder = RunFolder(output)
    with folder.locked() as lock:
        prepared = folder.begin(simulation, model.deciding(), steps, overwrite)
        species = prepared.species
        prepared.add_progress(max(1, round(PROGRESS_EVERY / (prepared.timestep or PROGRESS_EVERY))))
        if in_process:
            prepared.serve_in_process({**model.said(), "warn_above": str(warn_above)})
        else:
            _check_ports(prepared)
        folder.launched.write_text(prepared.text())
        with _scratch() as prefix, interruptible():
            run = _Run(folder, lock, prepared, model, prefix, in_process, warn_above)
            try:
                return run.watch(_alarmed(watch, Watch(prepared.prefix, warn_above), species))
            finally:
                folder.forget_sockets(prefix, prepared)


def _alarmed(
    report: Callable[[Progress, int], None], alarm: Watch, species: np.ndarray | None
) -> Callable[[Progress, int], None]:
    """The same, with warnings."""

    def report_and_warn(progress: Progress, total: int) -> None:
        report(progress, total)
        if progress.disagreement is not None and species is not None:
            alarm.warn(progress.disagreement, species)

    return report_and_warn


def last_outcome(output: Path) -> Outcome:
    """How the run in a folder ended, when it ended."""
    state = RunFolder(output).last_state()
    assert state is not None  # or else it would not have been finished
    return Outcome(output, state.system_prefixes[0], state.step, state.total_steps, None, False)


class _Run:
    """The processes of one run."""

    def __init__(
        self,
        folder: RunFolder,
        lock: int,
        prepared: SimulationInput,
        model: ModelChoice,
        prefix: str,
        in_process: bool,
        warn_above: float,
    ):
        self._folder = folder
        self._prepared = prepared
        self._tail = _Tail(folder, prepared.system_prefixes[0])  # before i-PI adds to it
        self._ipi = _Process("i-PI", [_ipi_script(), "-S", prefix, folder.launched.name], folder.path, "i-pi.log", lock)
        self._driver: _Process | None = None
        if not in_process:
            options = [f"--{key}={value}" for key, value in model.said().items()]
            options += [f"--warn-above={warn_above}", f"--input={folder.launched.name}", f"--sockets_prefix={prefix}"]
            command = [sys.executable, "-m", "ipi_darkforces.cli.driver", *options]
            self._driver = _Process("the driver", command, folder.path, "driver.log", lock)

    def watch(self, report: Callable[[Progress, int], None]) -> Outcome:
        """Report progress until i-PI has left."""
        total = self._prepared.total_steps
        reports: list[tuple[int, float]] = []  # steps, and when we heard of them
        interrupted = False
        at_fault = self._ipi
        try:
            while self._ipi.running and not (self._driver and self._driver.failed):
                time.sleep(POLL)
                for progress in self._tail.read():
                    report(progress, total)
                    reports.append((progress.step, time.monotonic()))
            for progress in self._tail.read():  # what was written since the last look
                report(progress, total)
            if self._driver and self._driver.failed:
                at_fault = self._driver
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self._stop()
        state = self._folder.last_state()
        steps = 0 if state is None else state.step
        if steps < total and not interrupted:
            raise DarkforcesError(self._what_went_wrong(state, at_fault))
        prefix = self._prepared.system_prefixes[0]
        return Outcome(self._folder.path, prefix, steps, total, _pace(reports), interrupted)

    def _stop(self) -> None:
        """Let i-PI write its RESTART and leave; the driver follows."""
        self._ipi.interrupt()
        self._ipi.wait(PATIENCE)
        if self._driver is not None:
            self._driver.wait(5.0)

    def _what_went_wrong(self, state: SimulationInput | None, at_fault: _Process) -> str:
        steps = 0 if state is None else state.step
        saved = f"; i-PI's state after step {steps} is in {state.source}" if state and steps else ""
        for process in (self._driver, self._ipi):
            for line in reversed(process.said() if process else []):
                if line.startswith(ERROR):
                    return line.removeprefix(ERROR) + saved
        return f"{at_fault.name} stopped at step {steps}: {at_fault.last_words()} (see {at_fault.log}){saved}"


def _pace(reports: list[tuple[int, float]]) -> float | None:
    """Seconds per step over the second half, when the model has warmed up."""
    if len(reports) < 2:
        return None
    (first, started), (last, ended) = reports[len(reports) // 2 - 1], reports[-1]
    return (ended - started) / (last - first) if last > first else None


class _Tail:
    """Reads what i-PI adds to the outputs that we watch."""

    def __init__(self, folder: RunFolder, prefix: str):
        self._progress = _NewLines(folder.progress(prefix))
        self._disagreements = _NewLines(folder.disagreement(prefix))
        self._origin: float | None = None  # the conserved quantity at the beginning
        self._disagreement: Disagreement | None = None
        for _ in self.read():  # a run that is continued: only what is added is news
            pass

    def read(self) -> Iterator[Progress]:
        lines = self._progress.read()
        known = _by_step(self._disagreements.read())  # what i-PI writes after the others
        for line in lines:
            if line.startswith("#"):
                continue
            step, now, temperature, conserved = map(float, line.split())
            if self._origin is None:
                self._origin = conserved
            self._disagreement = known.get(int(step), self._disagreement)
            yield Progress(int(step), now, temperature, conserved - self._origin, self._disagreement)


class _NewLines:
    """Whole lines that are added to a file."""

    def __init__(self, path: Path):
        self._path = path
        self._position = 0

    def read(self) -> list[str]:
        if not self._path.exists():
            return []
        with self._path.open("rb") as stream:
            stream.seek(self._position)
            text = stream.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._position += len(whole)
        return whole.decode().splitlines()


def _by_step(lines: list[str]) -> dict[int, Disagreement]:
    """From i-PI's extras: a comment with the step, and a line of numbers."""
    found = {}
    for comment, line in zip(lines[:-1], lines[1:], strict=True):
        step = re.search(r"# Step: +(\d+)", comment)
        if step and not line.lstrip().startswith("#"):
            found[int(step[1])] = _worst(line)
    return found


def _worst(line: str) -> Disagreement:
    """Of all replicas."""
    rms, largest, worst, work = by_quantity(np.array(line.split(), float))
    i = int(largest.argmax())
    return Disagreement(rms[i], int(worst[i]), largest[i], work[i])


class _Process:
    """A program that works for us, in a session of its own, so that Ctrl-C in the terminal reaches us alone."""

    def __init__(self, name: str, command: list[str], folder: Path, log: str, lock: int):
        self.name = name
        self.log = folder / log
        with self.log.open("ab") as stream:
            self._start = stream.tell()  # what an earlier run said is kept, but is not news
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                pass_fds=[lock],
            )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def failed(self) -> bool:
        return bool(self._process.poll())

    def interrupt(self) -> None:
        """Ask it to stop, as Ctrl-C does."""
        if self.running:
            self._process.send_signal(signal.SIGINT)

    def wait(self, patience: float) -> None:
        """Wait for it to leave; make it, if it does not or the user has no more patience."""
        try:
            self._process.wait(patience)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self._process.kill()
            self._process.wait()

    def said(self) -> list[str]:
        """The lines that it has written."""
        with self.log.open("rb") as stream:
            stream.seek(self._start)
            return stream.read().decode(errors="replace").splitlines()

    def last_words(self) -> str:
        """Of what it died, as far as it or the system says."""
        code = self._process.poll()
        if code is not None and code < 0:
            return f"ended by {signal.Signals(-code).name}"
        return (self.said() or ["it said nothing"])[-1].strip()


def _ipi_script() -> str:
    """The program ``i-pi`` that belongs to this Python."""
    beside = Path(sys.executable).with_name("i-pi")
    found = str(beside) if beside.exists() else shutil.which("i-pi")
    if found is None:
        raise DarkforcesError("the program 'i-pi' is not there: pip install ipi")
    return found


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


@contextmanager
def _scratch() -> Iterator[str]:
    """A prefix for unix sockets that nobody else uses: several runs can go on at the same time.

    Not in the run's folder: the path of a unix socket must be shorter than about 100 characters.
    """
    with tempfile.TemporaryDirectory(prefix="darkforces-", dir="/tmp" if os.path.isdir("/tmp") else None) as folder:
        yield f"{folder}/"


@contextmanager
def interruptible() -> Iterator[None]:
    """Take SIGTERM, which batch systems send, and SIGHUP, when a terminal is closed, for Ctrl-C."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {signum: signal.signal(signum, interrupt) for signum in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
