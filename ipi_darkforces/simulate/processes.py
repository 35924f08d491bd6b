"""The processes of a run: i-PI and the driver, each in a session of its own, and the folder where their sockets are."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired

from ..errors import DarkforcesError
from ..lock import locked

_PREFIX = "darkforces-"
_INTERRUPTED = 130  # exit code of our commands


@dataclass(frozen=True)
class Scratch:
    """A folder for unix sockets that nobody else uses: several runs can go on at the same time.

    :param lock: file descriptor of what tells it from one that is left of a run that was killed
    """

    folder: Path
    lock: int

    @property
    def prefix(self) -> str:
        """Prefix of the names of unix sockets."""
        return f"{self.folder}/"


@contextmanager
def scratch_folder() -> Iterator[Scratch]:
    """Make a folder for sockets, and remove it and what is left of others.

    Not in the run's folder: the path of a unix socket must be shorter than about 100 characters.
    """
    root = Path("/tmp") if os.path.isdir("/tmp") else Path(tempfile.gettempdir())
    _remove_abandoned(root)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
    try:
        with locked(folder / ".lock", f"'{folder}' is in use") as lock:
            yield Scratch(folder, lock)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(root: Path) -> None:
    """Remove folders of ours that no process holds: those of runs of which everything was killed."""
    for file in root.glob(f"{_PREFIX}*/.lock"):
        with suppress(OSError, DarkforcesError):  # somebody removes it just now; it is in use
            if file.parent.lstat().st_uid == os.getuid() and not file.is_symlink():
                with locked(file, "in use"):
                    shutil.rmtree(file.parent)


class Process:
    """A Python program that works for us, in a session of its own, so that Ctrl-C in the terminal reaches us alone.

    It does not outlive us, see `child`.

    :param command: file or ``-m MODULE``, and arguments
    :param folder: where it works
    :param log: file there to which what it says is added
    :param kept: file descriptors that it inherits
    :param grace: seconds in which it may leave by itself when we are gone, before it is interrupted
    :param scratch: folder that it removes when it leaves after us
    :param ahead: a module that takes long to import, and what its `prepare` is called with, if anything: that is done
        at once, and then the program waits for `begin`
    :param ahead_log: where what it says until then is added, before it becomes the beginning of `log`; None for nowhere
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        log: Path,
        kept: Sequence[int] = (),
        grace: float = 0.0,
        scratch: Path | None = None,
        ahead: Sequence[str] = (),
        ahead_log: Path | None = None,
    ):
        self.name = name
        self._final_log, self.log = log, ahead_log or log
        reader, self._writer = os.pipe()
        told = [str(reader), str(grace), str(scratch or ""), json.dumps(ahead), str(log.absolute())]
        child = [sys.executable, "-m", "ipi_darkforces.simulate.child", *told]
        try:
            with open(os.devnull if ahead and ahead_log is None else self.log, "ab") as stream:
                self.log_start = stream.tell()  # what an earlier run said is kept, but is not news
                self._process = Popen(
                    [*child, *command],
                    cwd=folder,
                    stdin=DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    start_new_session=True,
                    pass_fds=[reader, *kept],
                )
        except BaseException:
            os.close(self._writer)
            raise
        finally:
            os.close(reader)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def begin(self) -> None:
        """Let it begin, if it was started ahead."""
        lines = []
        if self.log != self._final_log:
            lines = self.log_lines()
            self.take_back()
            self.log = self._final_log
        self.log_start = self.log.stat().st_size if self.log.exists() else 0
        if lines:
            with self.log.open("a") as stream:
                stream.writelines(f"{line}\n" for line in lines)
        with suppress(BrokenPipeError):  # it has ended already, which is seen
            os.write(self._writer, b"\n")

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def failed(self) -> bool:
        return bool(self._process.poll())

    def interrupt(self, everyone: bool = False) -> None:
        """Ask it to stop, as Ctrl-C does.

        :param everyone: also what it has started, as in a terminal
        """
        with suppress(ProcessLookupError):
            if everyone and self.running:
                os.killpg(self._process.pid, signal.SIGINT)
            elif self.running:
                self._process.send_signal(signal.SIGINT)

    def wait(self, seconds: float) -> bool:
        """Wait for it to leave; whether it has."""
        try:
            self._process.wait(seconds)
        except TimeoutExpired:
            return False
        return True

    def end(self) -> None:
        """Make it leave, with all that it has started."""
        with suppress(ProcessLookupError, PermissionError):  # the latter is what macOS says of what has ended
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1

    @property
    def how_it_ended(self) -> str:
        """Name of the signal that ended it; nothing if none did."""
        code = self._process.poll()
        if code is not None and code < 0:
            return f"ended by {signal.Signals(-code).name}"
        return "it was interrupted" if code == _INTERRUPTED else ""

    def move_log(self, path: Path) -> None:
        """Give its log another name, under which it goes on."""
        self.log = self.log.rename(path)

    def take_back(self) -> None:
        """Remove from its log what it has said."""
        with suppress(OSError):
            os.truncate(self.log, self.log_start)
            if self.log_start == 0:
                self.log.unlink()

    def log_lines(self) -> list[str]:
        """The lines that it has written; none if its log is gone."""
        try:
            with self.log.open("rb") as stream:
                stream.seek(self.log_start)
                return stream.read().decode(errors="replace").splitlines()
        except OSError:
            return []


def ipi_script() -> str:
    """The program ``i-pi`` that belongs to this Python."""
    beside = Path(sys.executable).with_name("i-pi")
    found = str(beside) if beside.exists() else shutil.which("i-pi")
    if found is None:
        raise DarkforcesError("the program 'i-pi' is not there: pip install ipi")
    return found
