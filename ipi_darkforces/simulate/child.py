"""A Python program that does not outlive who started it.

Started as ``python -m ipi_darkforces.simulate.child PIPE GRACE SCRATCH AHEAD LOG PROGRAM ...``, where PIPE is the read
end of a pipe whose other end is held by who started us, and by nobody else. When he has gone, however he ended, the
pipe ends; then the program gets SIGINT, on which i-PI writes its RESTART and the driver says goodbye. This needs
nothing of the system that macOS does not have.

AHEAD is a list, as JSON. With the name of a module in it, that is imported at once, and with arguments behind it, its
function `prepare` is called with them; but the program begins, and its log with it, not before there is a byte in the
pipe.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import signal
import sys
import threading
import time
from importlib import import_module

# Seconds: i-PI looks for signals once a second, and finishes the step it is in.
PATIENCE = 120.0


class _Watcher(threading.Thread):
    """Waits for the end of who started us.

    :param pipe: ends when he does
    :param grace: seconds in which we may leave by ourselves, as the driver does when i-PI has left
    :param scratch: folder that is removed then; empty for none
    """

    def __init__(self, pipe: int, grace: float, scratch: str):
        super().__init__(daemon=True)
        self._pipe = pipe
        self._grace = grace
        self._scratch = scratch
        self._orphaned = False

    def run(self) -> None:
        while os.read(self._pipe, 1):
            pass
        self._orphaned = True
        time.sleep(self._grace)
        self.clean()  # here too: i-PI ends without coming back to `main`
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(PATIENCE)
        os.kill(os.getpid(), signal.SIGKILL)

    def clean(self) -> None:
        """Remove the folder, if nobody else will."""
        if self._orphaned and self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)


def main() -> None:
    """Run the program, a file or ``-m MODULE``, as Python itself would."""
    pipe, grace, scratch, ahead, log, *program = sys.argv[1:]
    if (first := json.loads(ahead)) and not _begun(int(pipe), first, log):
        return
    watcher = _Watcher(int(pipe), float(grace), scratch)
    watcher.start()
    try:
        if program[0] == "-m":
            sys.argv = program[1:]
            runpy.run_module(program[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = program
            sys.path[0] = os.path.dirname(program[0])
            runpy.run_path(program[0], run_name="__main__")
    finally:
        watcher.clean()


def _begun(pipe: int, ahead: list[str], log: str) -> bool:
    """Do what takes long, and wait until we are told to begin; whether we were."""
    name, *arguments = ahead
    module = import_module(name)
    if arguments:
        module.prepare(*arguments)
    if not os.read(pipe, 1):
        return False
    stream = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for output in (1, 2):
        os.dup2(stream, output)
    return True


if __name__ == "__main__":
    main()
