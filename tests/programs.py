"""Programs that tests start: patience with them, and an end to all that is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from forked import is_parent, popen

# Seconds, to guard against hanging for ever. They say nothing about speed: ten other programs may share the processors.
PATIENCE = 600.0
_MARK = "DARKFORCES_TESTS"


def finish(command: Sequence[object], encoding: str = "utf-8", **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; `options` are those of `subprocess.Popen` but for pipes."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = popen(command, **{"stdin": subprocess.DEVNULL, "stdout": stdout, "stderr": stderr} | options)
        try:
            code = process.wait(PATIENCE)
        except BaseException:
            process.kill()
            raise
        said = []
        for stream in (stdout, stderr):
            stream.seek(0)
            said.append(stream.read().decode(encoding))
    return subprocess.CompletedProcess([*command], code, *said)


def assert_one_error(code: int, out: str, err: str, message: str = "") -> None:
    """A command printed nothing but one line, about what is wrong."""
    assert (code, out) == (1, ""), err
    assert message in err
    assert err.startswith("darkforces: error: "), err
    assert err.count("\n") == 1, err


def wait_until(condition: Callable[[], object], what: str = "condition") -> None:
    """Look again and again."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"no {what} in time"
        time.sleep(0.05)


def mark() -> None:
    """Mark all programs that this process starts from now on, and all that those start."""
    os.environ[_MARK] = str(os.getpid())


def running() -> set[int]:
    """All processes of the machine, where the system tells (on Linux)."""
    with suppress(FileNotFoundError):
        return {int(name) for name in os.listdir("/proc") if name.isdigit()}
    return set()


def working_in(folder: Path) -> list[int]:
    """Processes that still work in this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == folder.resolve():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def end_all_but(before: set[int]) -> None:
    """Kill the marked programs that did not run before, whoever started them and in whatever session."""
    while left := [pid for pid in running() - before if _is_marked(pid) and not is_parent(pid)]:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):  # it has ended by itself, or is not our own child
                continue
        time.sleep(0.01)


def _is_marked(pid: int) -> bool:
    folder = Path(f"/proc/{pid}")
    try:
        marked = f"{_MARK}={os.getpid()}".encode() in (folder / "environ").read_bytes().split(b"\0")
        # Python's own helper, which lives as long as this process.
        return marked and b"multiprocessing.resource_tracker" not in (folder / "cmdline").read_bytes()
    except OSError:
        return False
