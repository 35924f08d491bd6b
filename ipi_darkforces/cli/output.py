"""Standard output, kept for the results of a command.

Calculators, and the libraries below them, print what they like, from Python or from C. While a command works, that goes
to standard error; what `print_result` is given goes to standard output, where a program can read it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TextIO

from ..atomic import writing
from ..errors import printable

_results: TextIO | None = None  # as long as standard output is kept


def print_result(text: object = "", end: str = "\n") -> None:
    """Print something that the command was asked for, at once."""
    print(text, end=end, file=_results, flush=True)


def show(text: str, picture: Path | None, draw: Callable[[Path], None], for_machines: bool) -> None:
    """Print what was found out, and then draw it: a picture that cannot be drawn hides nothing.

    :param picture: where it goes; None for none
    :param for_machines: print nothing about the picture
    :raises DarkforcesError: if the picture cannot be written
    """
    print_result(text)
    if picture is None:
        return
    with writing(picture) as file:
        draw(file)
    if not for_machines:
        print_result(f"\nwritten: {printable(picture)}")


@contextmanager
def kept_for_results() -> Iterator[None]:
    """Send everything else that is printed to standard error, from this process and from those that it starts."""
    global _results
    if sys.stdout is None or sys.stderr is None:  # closed by whoever started us
        yield
        return
    with _descriptor_kept(sys.stdout) as _results, redirect_stdout(sys.stderr):
        try:
            yield
        finally:
            _results = None


@contextmanager
def _descriptor_kept(stdout: TextIO) -> Iterator[TextIO]:
    """Duplicate standard output, whose own descriptor leads to standard error meanwhile."""
    if _descriptor(stdout) != 1 or _descriptor(sys.stderr) != 2:  # caught by a notebook or a test, not a process's own
        yield stdout
        return
    stdout.flush()
    aside = os.dup(1)
    os.dup2(2, 1)
    try:
        with open(os.dup(aside), "w", encoding=stdout.encoding, errors=stdout.errors) as stream:
            yield stream
    finally:
        os.dup2(aside, 1)
        os.close(aside)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None
