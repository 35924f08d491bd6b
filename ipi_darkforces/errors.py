"""The error class for mistakes that a user can correct.

Whatever is wrong with what a user gave (a name, a file, an option, a structure) is raised as a
`DarkforcesError` where it is noticed, with a message that says what was given and what was expected, in one line.
The commands print that line and exit with code 1; anything else that is raised is a bug and keeps its traceback.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf


class DarkforcesError(Exception):
    """Something the user gave cannot be used; the message is one line that they can act on.

    >>> import ipi_darkforces as dark
    >>> try:
    ...     dark.load_model("pet-m", dtype="half")
    ... except dark.DarkforcesError as error:
    ...     print(error)
    dtype 'half' is not known: expected float32 or float64
    """


def check_positive(name: str, value: float | None, unit: str) -> None:
    """Raise a DarkforcesError for a number that is not above zero, or not finite; None was not given."""
    if value is not None and not 0.0 < value < inf:
        raise DarkforcesError(f"{name} {value:g} cannot be used: expected {unit}, more than zero")


@contextmanager
def about(what: str) -> Iterator[None]:
    """Begin the message of a `DarkforcesError` with what it is about."""
    try:
        yield
    except DarkforcesError as error:
        raise DarkforcesError(f"{what}: {error}") from error


def one_line(error: Exception) -> str:
    """The message of an error of another library, fit for a `DarkforcesError`."""
    return " ".join(str(error).split()) or type(error).__name__


def printable(text: object) -> str:
    r"""A name of a file or an atom, say, fit for a line, a table or a page: what cannot be shown is escaped.

    That is what a terminal obeys, what ends a line, and bytes that are no text: ``\n``, ``\x1b``, ``\xff``.
    """
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in str(text))


def _escaped(letter: str) -> str:
    code = ord(letter)
    # Bytes of a file name that are not UTF-8 are kept by Python as lone surrogates.
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else letter.encode("unicode_escape").decode("ascii")


def of_system(error: OSError) -> str:
    """The message of an error of the system, about a file or about all of them, in a line."""
    reason = error.strerror or one_line(error)
    if error.filename is not None:
        name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else str(error.filename)
        return f"'{name}' cannot be used: {reason}"
    try:
        os.getcwd()
    except FileNotFoundError:
        return "the current folder does not exist any more: change to another one"
    return f"the system refuses: {reason}"


# What an error line begins with, wherever it is printed; whoever watches a log looks for it.
ERROR = "darkforces: error: "
