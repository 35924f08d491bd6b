"""Starting i-PI and the driver, and learning whether the driver can serve before anything is changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
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


class Programs:
    """i-PI and the driver, of which each takes seconds to start: they do so together.

    :param folder: of the run
    :param scratch: where their sockets will be
    :param kept: file descriptors that they inherit
    :param stack: at whose end they end too
    :param anew: whether what the folder holds is to be overwritten, the driver's log too
    """

    ipi: Process
    driver: Process | None = None

    def __init__(self, folder: RunFolder, scratch: Scratch, kept: Sequence[int], stack: ExitStack, anew: bool):
        self._folder = folder
        self._scratch = scratch
        self._kept = kept
        self._stack = stack
        self._anew = anew

    def start_ipi(self, quiet: bool, in_process: bool, resident: bool) -> None:
        """Let i-PI import what it needs, until it is told to begin.

        :param quiet: whether the input wants it to say nothing, not even why it stops
        :param in_process: without a driver, which else removes what is left in the end
        :param resident: with the resident inner loop
        """
        arguments = ["-V", "low"] if quiet else []
        ahead, program = ("ipi", [ipi_script()]) if not resident else (_RESIDENT, ["-m", _RESIDENT])
        command = [*program, "-S", self._scratch.prefix, *arguments, self._folder.launched.name]
        path, log, scratch = self._folder.path, self._folder.ipi_log, self._scratch.folder if in_process else None
        ipi = Process("i-PI", command, path, log, self._kept, scratch=scratch, ahead=ahead)
        self.ipi = self._stack.enter_context(ipi)

    def start_driver(self, simulation: SimulationInput, options: Sequence[str]) -> None:
        """Let the driver load the model.

        :param simulation: as it was asked for
        :param options: of the driver: which model, and how
        """
        reader, writer = os.pipe()
        self._ready = self._stack.enter_context(os.fdopen(reader, "rb"))
        places = [f"--input={simulation.source.absolute()}", f"--sockets_prefix={self._scratch.prefix}"]
        command = ["-m", "ipi_darkforces.cli.driver", *options, *places, f"--ready={writer}"]
        path, log, kept = self._folder.path, self._folder.driver_log, [*self._kept, writer]
        if self._anew:  # the old one stays until the driver can serve
            log = self._folder.fresh_driver_log
            log.unlink(missing_ok=True)
            self._stack.callback(log.unlink, missing_ok=True)
        try:
            driver = Process("the driver", command, path, log, kept, GRACE, self._scratch.folder)
        finally:
            os.close(writer)
        self.driver = self._stack.enter_context(driver)

    def wait_for_driver(self, interrupts: Interrupts) -> None:
        """Wait until it can serve.

        :raises DarkforcesError: if it cannot
        :raises KeyboardInterrupt: if there is an interrupt before
        """
        assert self.driver is not None
        while not select([self._ready], [], [], _POLL)[0]:
            if interrupts.came:
                raise KeyboardInterrupt
        if self._ready.read(1):
            return
        self.driver.wait(GRACE)
        error = complaint(self.driver.log_lines())
        if error is not None:
            self.driver.take_back()
            raise DarkforcesError(error)
        words, log = self.driver.log_lines(), self._folder.driver_log
        if self._anew:
            with log.open("ab") as stream:
                stream.write(self.driver.log.read_bytes())
        reason = self.driver.how_it_ended or cause(words) or (words or ["it said nothing"])[-1]
        raise DarkforcesError(f"the driver stopped before the run began: {reason.strip()} (see {log})")

    def settle_log(self) -> None:
        """Put the driver's log in place of that of a run that was overwritten."""
        if self._anew:
            self._folder.driver_log.unlink(missing_ok=True)
            if self.driver is not None:
                self.driver.move_log(self._folder.driver_log)

    def dismiss_driver(self) -> None:
        """End it without a trace, if it was for the check only."""
        if self.driver is not None:
            self.driver.end()
            self.driver.take_back()
            self.driver = None
