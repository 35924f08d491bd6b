"""How every command ends: exit codes, and errors as one line."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

from ..errors import ERROR, DarkforcesError

INTERRUPTED = 130


def run(command: Callable[[], int | None], verbose: bool = False) -> int:
    """Run a command; turn what a user can act on into one line on stderr and exit code 1.

    :param command: does the work; returns an exit code, or None for success
    :param verbose: log details too
    :return: the exit code of the process
    """
    logging.basicConfig(format="darkforces: %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("ipi_darkforces").setLevel(logging.DEBUG if verbose else logging.INFO)
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
