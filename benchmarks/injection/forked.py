"""Programs that are forked from a process that has imported their modules, which is most of what their start takes.

They are processes of their own in all else, in a session of their own. This file is also that process's program: it
reads what to start from its standard input, and writes process numbers.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_MODULES = (
    "ipi.scripting",
    "ipi_darkforces.cli.serving",
    "ipi_darkforces.cli.running",
    "ipi_darkforces.models.ase_calculator",
    "ase.calculators.emt",
)
_POLL = 0.02


class Forked:
    """A program that runs, with as much of `subprocess.Popen` as is needed."""

    def __init__(self, pid: int):
        self.pid = pid

    def poll(self) -> int | None:
        """None as long as it runs; how it ended is not known."""
        return None if Path(f"/proc/{self.pid}").exists() else 0

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait for its end."""
        while self.poll() is None:
            time.sleep(_POLL)
        return 0


class Forge:
    """The process that has imported the modules; started when it is first needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def start(self, command: Sequence[object], folder: Path, log: Path, environment: dict[str, str]) -> Forked:
        """Start ``python PROGRAM ...`` or ``python -m MODULE ...`` in a folder, with what it says in a log."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:  # not there yet, or ended by somebody
                pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
                self._process = subprocess.Popen([sys.executable, __file__], **pipes)
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            words = [str(word) for word in command if str(word) != sys.executable]
            self._process.stdin.write(json.dumps([words, str(folder), str(log), environment]) + "\n")
            self._process.stdin.flush()
            return Forked(int(self._process.stdout.readline()))


def main() -> None:
    """Fork a program for each line."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that end are gone
    for name in _MODULES:
        importlib.import_module(name)
    while line := sys.stdin.readline():
        words, folder, log, environment = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.environ.update(environment)
            _become(words, folder, log)
            return
        print(pid, flush=True)


def _become(words: list[str], folder: str, log: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()
    os.chdir(folder)
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for there, number in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(there, number)
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main()
