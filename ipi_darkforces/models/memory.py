"""Reuse of memory from one evaluation to the next.

The C library gives large pieces back to the system as soon as they are free, and gets them again, filled with zeros
page by page, at the next step: with thousands of atoms, more than half of the time of an evaluation.
"""

from __future__ import annotations

import ctypes
from functools import cache

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


@cache
def keep_freed_memory() -> None:
    """Keep freed memory from now on, in this process; where the C library is not glibc, nothing changes."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_MMAP_MAX, 0)  # no pieces of their own for what is large
    mallopt(_TRIM_THRESHOLD, -1)  # never give back
