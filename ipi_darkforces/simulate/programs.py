"""Starting i-PI and the driver, and learning whether the driver can serve before anything is changed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from select import select

from ..errors import DarkforcesError
from ..signals import Interrupts
from .ending import cause, complaint
from .folder import RunFolder
from .inputs import SimulationInput
from .processes import Process, Scratch, ipi_script

GRACE = 5.0  # seconds in which the driver notices that i-PI has left
_POLL = 0.1  # seconds between looks for interrupts
_RESIDENT = "ipi_darkforces.simulate.resident_program"
_LOAD_AHEAD = "ipi_darkforces.simulate.load_ahead"


class Programs:
    """i-PI and the driver, of which each takes seconds to start: they do so together.

    :param scratch: where their sockets will be
    :param kept: file descriptors that they inherit
    :param stack: at whose end they end too
    :param anew: whether what the folder holds is to be overwritten, the driver's log too
    """

    ipi: Process
    driver: Process | None = None
    _loading: Process | None = None  # the one of them that loads the model

    def __init__(self, folder: RunFolder, scratch: Scratch, kept: Sequence[int], stack: ExitStack, anew: bool):
        self._folder = folder
        self._scratch = scratch
        self._kept = kept
        self._stack = stack
        self._anew = anew

    def start_ipi(self, quiet: bool) -> None:
        """Let i-PI import what it needs, until it is told to begin.

        :param quiet: whether the input wants it to say nothing, not even why it stops
        """
        self._start_ipi(quiet, [ipi_script()], ["ipi"])

    def start_ipi_with_model(
        self, quiet: bool, resident: bool, simulation: SimulationInput, choice: Mapping[str, str]
    ) -> None:
        """Let what will be i-PI load the model; it removes in the end what a driver else removes.

        :param quiet: see `start_ipi`
        :param resident: with the resident inner loop
        :param simulation: as it was asked for
        :param choice: keyword arguments of `DarkforcesDriver` that say which model
        """
        program = ["-m", _RESIDENT] if resident else [ipi_script()]
        if not simulation.socket_forcefields():
            self._start_ipi(quiet, program, ["ipi"], scratch=self._scratch.folder)
            return
        with self._announcement() as writer:
            ahead = [_LOAD_AHEAD, str(simulation.source.absolute()), json.dumps(choice), str(writer)]
            self._start_ipi(quiet, program, ahead, self._log_before_begin(), [writer], self._scratch.folder)
        self._loading = self.ipi

    def _start_ipi(
        self,
        quiet: bool,
        program: Sequence[str],
        ahead: Sequence[str],
        ahead_log: Path | None = None,
        kept: Sequence[int] = (),
        scratch: Path | None = None,
    ) -> None:
        arguments = ["-V", "low"] if quiet else []
        command = [*program, "-S", self._scratch.prefix, *arguments, self._folder.launched.name]
        path, log, inherited = self._folder.path, self._folder.ipi_log, [*self._kept, *kept]
        ipi = Process("i-PI", command, path, log, inherited, scratch=scratch, ahead=ahead, ahead_log=ahead_log)
        self.ipi = self._stack.enter_context(ipi)

    def start_driver(self, simulation: SimulationInput, options: Sequence[str]) -> None:
        """Let the driver load the model.

        :param simulation: as it was asked for
        :param options: of the driver: which model, and how
        """
        with self._announcement() as writer:
            places = [f"--input={simulation.source.absolute()}", f"--sockets_prefix={self._scratch.prefix}"]
            command = ["-m", "ipi_darkforces.cli.driver", *options, *places, f"--ready={writer}"]
            path, log, kept = self._folder.path, self._log_before_begin(), [*self._kept, writer]
            driver = Process("the driver", command, path, log, kept, GRACE, self._scratch.folder)
        self._loading = self.driver = self._stack.enter_context(driver)

    def _log_before_begin(self) -> Path:
        """The log of who loads the model, before anything is changed: the old one stays until the model can serve."""
        if not self._anew:
            return self._folder.driver_log
        log = self._folder.fresh_driver_log
        log.unlink(missing_ok=True)
        self._stack.callback(log.unlink, missing_ok=True)
        return log

    @contextmanager
    def _announcement(self) -> Iterator[int]:
        """A file descriptor to which a program is to write when its model can serve."""
        reader, writer = os.pipe()
        self._ready = self._stack.enter_context(os.fdopen(reader, "rb"))
        try:
            yield writer
        finally:
            os.close(writer)

    def wait_for_model(self, interrupts: Interrupts) -> None:
        """Wait until it is loaded and can serve.

        :raises DarkforcesError: if it cannot
        :raises KeyboardInterrupt: if there is an interrupt before
        """
        loading = self._loading
        if loading is None:
            return
        while not select([self._ready], [], [], _POLL)[0]:
            if interrupts.came:
                raise KeyboardInterrupt
        if self._ready.read(1):
            return
        loading.wait(GRACE)
        error = complaint(loading.log_lines())
        if error is not None:
            loading.take_back()
            raise DarkforcesError(error)
        words, log = loading.log_lines(), self._folder.driver_log
        if self._anew:
            with log.open("ab") as stream:
                stream.write(loading.log.read_bytes())
        reason = loading.how_it_ended or cause(words) or (words or ["it said nothing"])[-1]
        raise DarkforcesError(f"the driver stopped before the run began: {reason.strip()} (see {log})")

    def settle_log(self) -> None:
        """Put the driver's log in place of that of a run that was overwritten."""
        if self._anew:
            self._folder.driver_log.unlink(missing_ok=True)
            if self.driver is not None:
                self.driver.move_log(self._folder.driver_log)
