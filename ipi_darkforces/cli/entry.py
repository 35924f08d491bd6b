"""The end of every command: exit codes, and errors as one line."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from copy import copy

from ..errors import ERROR, DarkforcesError, of_system, printable
from ..signals import raise_interrupts

EXPLODED = 3
INTERRUPTED = 130
# Of these the program is to blame, and not a disk, a folder or a file.
_BUGS = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.ENOTTY)
log = logging.getLogger(__name__)


def run(command: Callable[[], int | None], verbose: bool = False) -> int:
    """Run a command; turn what a user can act on into one line on stderr and exit code 1.

    :param command: does the work; returns an exit code, or None for success
    :param verbose: log details too
    :return: the exit code of the process
    """
    _prepare(verbose)
    raise_interrupts()
    try:
        code = command() or 0
        if sys.stdout is not None:  # closed by whoever started us
            sys.stdout.flush()  # a full disk shall be noticed here
        return code
    except DarkforcesError as error:
        return _refused(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left, as in `darkforces models | head`
        _forget_output()
        return 1
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == __package__.partition(".")[0]:
            raise
        return _refused(f"the package '{error.name}' is not installed here: pip install {error.name}")
    except OSError as error:
        if error.errno is None or error.errno in _BUGS or isinstance(error, ConnectionError):
            raise
        log.debug("the system refused", exc_info=True)
        _forget_output()
        return _refused(of_system(error))


def _prepare(verbose: bool) -> None:
    for stream in (sys.stdout, sys.stderr):  # not every terminal knows Å, and not every name of a file is text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("darkforces: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("ipi_darkforces").setLevel(logging.DEBUG if verbose else logging.INFO)


class _OneLine(logging.Formatter):
    """Messages in which names of files cannot begin new lines, nor give orders to a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        shown = copy(record)
        shown.msg, shown.args = printable(record.getMessage()), ()
        return super().format(shown)


def _refused(why: str) -> int:
    with suppress(OSError):  # it may be the terminal that is gone
        print(f"{ERROR}{printable(why)}", file=sys.stderr)
    return 1


def _forget_output() -> None:
    """Leave what could not be written, or Python tries once more when it ends, and complains."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
