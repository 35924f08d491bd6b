"""A lock on a file, so that one process works at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import DarkforcesError


@contextmanager
def locked(file: Path, taken: str) -> Iterator[int]:
    """Hold a lock, so that no other process works there.

    Yields the lock as a file descriptor; a process that inherits it holds the lock too, should we be killed.

    :param file: made if it does not exist
    :param taken: what to say if somebody else has the lock
    :raises DarkforcesError: if so
    """
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DarkforcesError(taken) from error
        yield lock.fileno()
