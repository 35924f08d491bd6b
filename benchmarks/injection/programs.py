"""Programs that are started to be killed, and all that these start in their turn (on Linux)."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from .forked import Forge, Forked

PATIENCE = 900.0  # seconds for what must happen sooner or later, on a machine that does other things meanwhile
POLL = 0.05
_MARK = "DARKFORCES_FAULTS"


class Group:
    """Programs with a mark in their environment, by which they and all their descendants are found."""

    _all: set[Group] = set()
    _forge = Forge()

    def __init__(self) -> None:
        self._mark = uuid.uuid4().hex
        self._started: list[subprocess.Popen[Any]] = []
        self._forked: list[Forked] = []

    def __enter__(self) -> Group:
        self._all.add(self)
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()
        self._all.discard(self)

    @classmethod
    def end_all(cls) -> None:
        """Kill what still runs in all of them."""
        for group in list(cls._all):
            group.end()

    def start(self, command: Sequence[object], folder: Path, log: Path, **options: Any) -> subprocess.Popen[Any]:
        """Start a program in a folder, with what it says in a log."""
        environment = {**os.environ, _MARK: self._mark, "OMP_NUM_THREADS": "1"}
        with log.open("ab") as stream:
            process = subprocess.Popen(
                [*map(str, command)], cwd=folder, env=environment, stdout=stream, stderr=stream, **options
            )
        self._started.append(process)
        return process

    def fork(self, command: Sequence[object], folder: Path, log: Path) -> Forked:
        """Start a Python program likewise, from a process that has imported its modules."""
        process = self._forge.start(command, folder, log, {_MARK: self._mark})
        self._forked.append(process)
        return process

    def members(self) -> dict[int, str]:
        """The processes that still run, and their command lines."""
        for process in self._started:
            process.poll()  # so that none stays behind as a zombie
        found = {process.pid: "forked" for process in self._forked if process.poll() is None}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # somebody else's, or it has just ended
                if f"{_MARK}={self._mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def called(self, name: str) -> list[int]:
        """The processes with this in their command lines, but not those that have started them with the same."""
        return [pid for pid, command in self.members().items() if name in command]

    def wait_for_end(self, seconds: float) -> tuple[float, list[str]]:
        """Wait until all have ended by themselves: after how long, and the command lines of those that have not."""
        begun = time.monotonic()
        while (left := self.members()) and time.monotonic() - begun < seconds:
            time.sleep(4 * POLL)
        return time.monotonic() - begun, [*left.values()]

    def end(self) -> None:
        """Kill what still runs."""
        while left := self.members():
            for pid in left:
                send(pid, signal.SIGKILL)
            time.sleep(POLL)


def send(pid: int, number: int) -> bool:
    """Send a signal; whether there was anybody to get it."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def has_ended(process: subprocess.Popen[Any]) -> bool:
    """Tell whether a program that was started has ended."""
    return process.poll() is not None


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Wait; whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


def last_line(stream: IO[bytes]) -> str:
    """The last whole line of a file that grows."""
    stream.seek(0, os.SEEK_END)
    stream.seek(max(0, stream.tell() - 4096))
    lines = stream.read().split(b"\n")
    return lines[-2].decode(errors="replace") if len(lines) > 1 else ""
