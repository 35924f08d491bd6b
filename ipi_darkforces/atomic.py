"""Atomic file writes: whoever reads a file finds all of the old or of the new one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import DarkforcesError, one_line

# How the folders are called in which files are written before they are put in place. Who is killed leaves one.
UNFINISHED = ".unfinished-"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Put a file in place in one step: whoever reads it, at any time, finds a whole one, the old or the new.

    Yields where to write it: a file of the same name in a folder beside it, which is gone afterwards whatever happens.

    :param path: the file; one that exists is replaced, if the new one is written without an error
    :raises OSError: if it cannot be written, with its name
    """
    try:
        scratch = tempfile.TemporaryDirectory(dir=path.parent, prefix=UNFINISHED)
    except OSError as error:
        raise _about(path, error) from error
    with scratch as folder:
        fresh = Path(folder) / path.name
        try:
            yield fresh
            os.replace(fresh, path)
        except OSError as error:  # a full disk has no name
            ours = error.filename is None or os.path.dirname(str(error.filename)) == folder
            if not ours:
                raise
            raise _about(path, error) from error


def _about(path: Path, error: OSError) -> OSError:
    return OSError(error.errno, error.strerror, str(path)) if error.errno is not None else error


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Put a file that a user asked for in place in one step, as `atomic_file` does.

    :raises DarkforcesError: if it cannot be written
    """
    try:
        with atomic_file(path) as fresh:
            yield fresh
    except OSError as error:
        raise DarkforcesError(f"'{path}' cannot be written: {error.strerror or one_line(error)}") from error


def write_atomically(path: Path, text: str) -> None:
    """Put a text file (UTF-8) in place in one step, as `atomic_file` does.

    :raises OSError: if its folder cannot be written
    """
    with atomic_file(path) as fresh:
        fresh.write_text(text, encoding="utf-8")
