"""Python programs forked from a process that has imported their modules: most of the time of a start is spent on that.

They are processes of their own in all else: arguments, folder, environment, open files, session, signals, exit codes.
This file is also the program of the process that they are forked from.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_MODULES = (
    "ase.calculators.emt",
    "ipi.scripting",
    "ipi_darkforces.cli.analyze",
    "ipi_darkforces.cli.serving",
    "ipi_darkforces.cli.running",
    "ipi_darkforces.models.ase_calculator",
    "ipi_darkforces.models.metatomic",
    "ipi_darkforces.simulate.child",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "metatomic.torch",
    "metatrain.__main__",
    "metatrain.pet",
    "metatrain.utils.io",
    "PIL.BmpImagePlugin",  # these four for any picture
    "PIL.GifImagePlugin",
    "PIL.JpegImagePlugin",
    "PIL.PpmImagePlugin",
    "scipy.signal",
    "scipy.stats",
    "snakemake.cli",
    "vesin",
)
# A program with another value of one of these would import other things, or import them otherwise.
_MATTER_TO_IMPORTS = ("PYTHONPATH", "PYTHONSAFEPATH", "PYTHONWARNINGS", "MPLBACKEND", "MPLCONFIGDIR", "LD_PRELOAD")
_PLACE = "DARKFORCES_FORKS"  # names the folder of the process that forks, in the environment
_OPTIONS = {"cwd", "env", "stdin", "stdout", "stderr", "start_new_session", "pass_fds"}
_QUIET = ["-W", "ignore"]
_HIGH = 500  # file descriptors from here on are nobody's


class Forked:
    """A program that runs, with as much of `subprocess.Popen` as is needed."""

    def __init__(self, pid: int, end: Path):
        self.pid = pid
        self.returncode: int | None = None
        self._end = end

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *exception: object) -> None:
        self.wait()

    def poll(self) -> int | None:
        """The exit code, or minus the number of the signal that has ended it; None as long as it runs."""
        if self.returncode is None and self._end.exists():
            self.returncode = int(self._end.read_text())
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raise `subprocess.TimeoutExpired` if that takes longer."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def popen(command: Sequence[object], fork_code: bool = False, **options: Any) -> subprocess.Popen[Any] | Forked:
    """Start a program as `subprocess.Popen` does; fork it where that makes no difference but in time.

    :param fork_code: also code that is given to ``python -c``, where it does not matter what has been imported
    """
    words = [*map(str, command)]
    environment = options.get("env") or dict(os.environ)
    if not _can_be_forked(words, environment, options, fork_code):
        return subprocess.Popen(words, **options)
    streams: list[int] = []
    for name in ("stdin", "stdout", "stderr"):
        given = options.get(name)
        streams.append(_number(given, len(streams), streams[-1:]))
    request = {
        "words": words[1:],
        "folder": str(Path(options.get("cwd") or ".").absolute()),
        "environment": environment,
        "session": bool(options.get("start_new_session")),
        "ignored": [number for number in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_IGN],
        "numbers": [0, 1, 2, *options.get("pass_fds", ())],
    }
    try:
        return _request(request, [*streams, *options.get("pass_fds", ())])
    finally:
        for number, name in zip(streams, ("stdin", "stdout", "stderr"), strict=True):
            if options.get(name) == subprocess.DEVNULL:
                os.close(number)


def command_of(pid: int) -> str:
    """The words with which a program was started, each with a zero byte behind it; nothing if it has ended."""
    with suppress(OSError, KeyError):
        if (written := Path(os.environ[_PLACE]) / f"{pid}.command").exists():
            return os.fsdecode(written.read_bytes())
    with suppress(OSError):
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes())
    return ""


def is_parent(pid: int) -> bool:
    """Tell whether this is the process that others are forked from."""
    return pid == _parent


def _can_be_forked(
    words: Sequence[str], environment: Mapping[str, str], options: Mapping[str, Any], fork_code: bool
) -> bool:
    if words[0] != sys.executable:
        return False
    given = words[3:] if words[1:3] == _QUIET else words[1:]
    is_module = given[:1] == ["-m"] and given[1].startswith("ipi_darkforces.")
    is_code = fork_code and given[:1] == ["-c"]
    is_script = given[:1] == [str(Path(sys.executable).parent / "i-pi")]
    same = all(os.environ.get(name) == environment.get(name) for name in _MATTER_TO_IMPORTS)
    open_streams = all(options.get(name) != subprocess.PIPE for name in ("stdin", "stdout", "stderr"))
    return (is_module or is_code or is_script) and same and open_streams and options.keys() <= _OPTIONS


def _number(given: Any, default: int, before: Sequence[int]) -> int:
    if given is None:
        return default
    if given == subprocess.DEVNULL:
        return os.open(os.devnull, os.O_RDWR)
    if given == subprocess.STDOUT:
        return before[0]
    return given if isinstance(given, int) else int(given.fileno())


_parent: int | None = None
_scratch: tempfile.TemporaryDirectory[str] | None = None
_lifeline: Any = None


def _place() -> Path:
    """Start the process to fork from, if there is none yet; it ends with the process that needed it first."""
    global _parent, _scratch, _lifeline
    if _PLACE not in os.environ:
        _scratch = tempfile.TemporaryDirectory(prefix="darkforces-forks-")
        ready, alive = os.pipe(), os.pipe()
        own = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, _scratch.name, str(ready[1]), str(alive[0])]
        _parent = subprocess.Popen(command, env=own, pass_fds=[ready[1], alive[0]], start_new_session=True).pid
        os.close(ready[1])
        os.close(alive[0])
        _lifeline = os.fdopen(alive[1], "wb")
        assert os.read(ready[0], 1), "the process to fork from does not start"
        os.close(ready[0])
        os.environ[_PLACE] = _scratch.name
    return Path(os.environ[_PLACE])


def _request(request: dict[str, Any], files: Sequence[int]) -> Forked:
    place = _place()
    request["environment"] = request["environment"] | {_PLACE: str(place)}
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(str(place / "socket"))
        text = json.dumps(request).encode()
        socket.send_fds(server, [len(text).to_bytes(8, "big")], list(files))
        server.sendall(text)
        pid = int.from_bytes(server.recv(8), "big")
    assert pid > 0, f"the process to fork from did not start {request['words']}"
    return Forked(pid, place / str(pid))


def main() -> None:
    """Fork a program for each connection, until who has started us is gone."""
    place, ready, alive = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in _MODULES:
            with suppress(ModuleNotFoundError):  # of an extra
                importlib.import_module(name)
    gc.freeze()  # collecting garbage would copy all of this into each program
    signal.signal(signal.SIGCHLD, lambda *_: _write_ends(place))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "socket"))
        server.listen(64)
        os.write(ready, b".")
        os.close(ready)
        while alive not in select.select([server, alive], [], [])[0]:
            connection, _ = server.accept()
            if program := _fork(connection, place):
                break
        else:
            return
    program()


def _fork(connection: socket.socket, place: Path) -> Callable[[], None] | None:
    """Fork; in the new process, return what it has to do."""
    head, files, _, _ = socket.recv_fds(connection, 8, 16)
    size = int.from_bytes(head, "big")
    request = json.loads(connection.recv(size, socket.MSG_WAITALL))
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    pid = os.fork()
    if pid == 0:
        return lambda: _become(request, files)
    (place / f"{pid}.command").write_bytes(b"".join(os.fsencode(word) + b"\0" for word in request["words"]))
    connection.sendall(pid.to_bytes(8, "big"))
    connection.close()
    for number in files:
        os.close(number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    return None


def _write_ends(place: Path) -> None:
    """Write down how programs have ended."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            written = place / f"{ended[0]}.new"
            written.write_text(str(os.waitstatus_to_exitcode(ended[1])))
            written.replace(place / str(ended[0]))


def _become(request: dict[str, Any], files: Sequence[int]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in request["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    if request["session"]:
        os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    _open(files, request["numbers"])
    patch()
    os._exit(_run(request["words"], request["folder"]))


def _run(words: list[str], folder: str) -> int:
    """Run a program as the interpreter does; its exit code.

    What is left out is the end of the interpreter, which takes all modules apart, and more than a second.
    """
    code = 0
    try:
        _run_as_main(words, folder)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        if code and not isinstance(leaving.code, int):
            print(leaving.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    for finish in (threading._shutdown, atexit._run_exitfuncs, sys.stdout.flush, sys.stderr.flush):
        with suppress(OSError):
            finish()
    return code


def _run_as_main(words: list[str], folder: str) -> None:
    if words[:2] == _QUIET:
        warnings.simplefilter("ignore")
        words = words[2:]
    sys.argv = words[1:] if words[0] == "-m" else words
    if words[0] == "-m":
        sys.path[0] = folder
        sys.modules.pop(words[1], None)  # or it would be imported a second time, with a warning
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv, sys.path[0] = ["-c", *words[2:]], ""
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), sys.modules["__main__"].__dict__)
    else:
        sys.path[0] = str(Path(words[0]).parent)
        runpy.run_path(words[0], run_name="__main__")


def _open(files: Sequence[int], numbers: Sequence[int]) -> None:
    """Give files the numbers that they have where they come from; close all others."""
    kept = [fcntl.fcntl(file, fcntl.F_DUPFD, _HIGH) for file in files]
    os.closerange(3, _HIGH)
    for file, number in zip(kept, numbers, strict=True):
        os.dup2(file, number)
        os.close(file)
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
    as_text: dict[str, Any] = {"encoding": encoding or None, "closefd": False}
    sys.stdin = os.fdopen(0, **as_text)
    sys.stdout = os.fdopen(1, "w", errors=errors or None, **as_text)
    sys.stdout.reconfigure(line_buffering=bool(os.environ.get("PYTHONUNBUFFERED")))
    sys.stderr = os.fdopen(2, "w", errors="backslashreplace", buffering=1, **as_text)


def patch() -> None:
    """Let the package start its programs in this way too."""
    from ipi_darkforces.simulate import processes
    from ipi_darkforces.training.recipes import stage

    processes.Popen = stage.Popen = popen


if __name__ == "__main__":
    main()
