"""How every command ends: exit codes, and errors as one line."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress

from ..errors import ERROR, DarkforcesError
from ..signals import raise_interrupts

EXPLODED = 3
INTERRUPTED = 130
# Disks that are full or cannot be written, files of others, terminals that are gone: no fault of the program.
_NOT_OURS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ESTALE,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENAMETOOLONG,
)


def run(command: Callable[[], int | None], verbose: bool = False) -> int:
    """Run a command; turn what a user can act on into one line on stderr and exit code 1.

    :param command: does the work; returns an exit code, or None for success
    :param verbose: log details too
    :return: the exit code of the process
    """
    logging.basicConfig(format="darkforces: %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("ipi_darkforces").setLevel(logging.DEBUG if verbose else logging.INFO)
    raise_interrupts()
    try:
        return command() or 0
    except DarkforcesError as error:
        print(f"{ERROR}{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left, as in `darkforces models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        with suppress(OSError):  # it may be the terminal that is gone
            where = f"'{error.filename}': " if error.filename is not None else ""
            print(f"{ERROR}{where}{error.strerror}", file=sys.stderr)
        return 1
