"""The reason why a program has ended, from what it said: i-PI leaves with exit code 0 whatever has happened."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ERROR

_SOFT_EXIT = re.compile(r"Soft exit has been requested with message: '(.*?)'\. Cleaning up", re.DOTALL)
_STATUS = re.compile(r"\s*(Restartable as is: YES|I-PI reports (?:success|a problem))\..*", re.DOTALL)
_CLEANLY = "Exiting cleanly"  # all steps are done, or one of the reasons below
# What i-PI was told before, and says in one of two ways.
_REASONS = {
    "EXIT file detected": "there was a file EXIT in its folder",
    "wallclock time elapsed": "its <total_time> is over",
    "Wall clock time expired": "its <total_time> is over",
}
_SIGNAL = "Kill signal received"
_EXCEPTION = re.compile(r"^(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:: .*)?$")
_TRACEBACK = "Traceback (most recent call last)"
_BESIDE = ("Exception in thread", "Exception ignored")


@dataclass(frozen=True)
class SoftExit:
    """The end of a simulation, as i-PI said it.

    :param message: its reason
    :param success: whether there is nothing left to do: an optimisation has converged, phonons are finished
    :param problem: whether it cannot go on
    :param told: why it was told to stop, in words; None if nobody did
    :param signalled: whether that was by a signal
    """

    message: str
    success: bool = False
    problem: bool = False
    told: str | None = None
    signalled: bool = False


def soft_exit(lines: Sequence[str]) -> SoftExit | None:
    """The last soft exit in i-PI's log; None if there is none.

    :param lines: lines of the log, from when i-PI was started
    """
    text = "\n".join(lines)
    found = _SOFT_EXIT.findall(text)
    if not found:
        return None
    status = _STATUS.search(found[-1])
    message = _STATUS.sub("", found[-1]).strip()
    told = next((reason for words, reason in _REASONS.items() if words in text), None)
    if _CLEANLY in message:
        return SoftExit(message, told=told)
    if status is not None and status[1].endswith("success"):
        return SoftExit(message, success=True)
    if status is not None and status[1].endswith("problem"):
        return SoftExit(message, problem=True)
    signalled = _SIGNAL in message
    return SoftExit(message, told="it was sent a signal" if signalled else told, signalled=signalled)


def complaint(lines: Sequence[str]) -> str | None:
    """The last complaint of a program in words meant for the user: ours begin all alike."""
    return next((line.removeprefix(ERROR) for line in reversed(lines) if line.startswith(ERROR)), None)


def cause(lines: Sequence[str]) -> str | None:
    """The exception that ended a Python program, of its main thread if there is one; None if there is none."""
    starts = [i for i, line in enumerate(lines) if _TRACEBACK in line]
    beside = [i for i in starts if i > 0 and lines[i - 1].startswith(_BESIDE)]
    found = [_exception(lines[i + 1 :]) for i in [*beside, *(i for i in starts if i not in beside)]]
    return next((line for line in reversed(found) if line is not None), None)


def _exception(lines: Sequence[str]) -> str | None:
    """The line in which a traceback ends."""
    line = next((line for line in lines if line and not line[0].isspace()), "")
    return line.strip() if _EXCEPTION.match(line) else None


def trouble_with(folder: Path, inode: int) -> str | None:
    """The reason why nothing more can be written to a folder; None if it can.

    :param inode: of the folder when it was chosen
    """
    try:
        if folder.stat().st_ino != inode:
            return f"the folder '{folder}' has been replaced by another one"
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(bytes(2**16))
            stream.flush()
            os.fsync(stream.fileno())
    except FileNotFoundError:
        return f"the folder '{folder}' has been removed or moved"
    except OSError as error:
        return f"the folder '{folder}' cannot be written: {error.strerror}"
    return None
