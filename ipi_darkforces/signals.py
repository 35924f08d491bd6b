"""Signals that ask a program to stop: Ctrl-C, SIGTERM of batch systems, SIGHUP of a terminal that is closed.

A shell that runs a script starts what it puts into the background with SIGINT ignored, and what we start would inherit
that; we hear it all the same, as i-PI does. An ignored SIGHUP stays ignored: that is what nohup is for.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TOGETHER = 1.0  # seconds within which several interrupts are one
INSISTING = 10.0  # seconds after which another interrupt means that the user has no more patience


class Interrupts:
    """Interrupts that have come, for who looks now and then."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._last = 0.0

    def note(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self._last = time.monotonic()
        if self._first is None:
            self._first = self._last

    @property
    def came(self) -> bool:
        """Tell whether there was one."""
        return self._first is not None

    @property
    def insistent(self) -> bool:
        """Tell whether another one came when there had been time to stop."""
        return self._first is not None and self._last - self._first > INSISTING


class _Raising:
    """Raises KeyboardInterrupt, once for several that come together: the second would interrupt what cleans up."""

    def __init__(self) -> None:
        self._last = -TOGETHER

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        together = now - self._last < TOGETHER
        self._last = now
        if not together:
            raise KeyboardInterrupt


def raise_interrupts() -> None:
    """Let all of these signals raise KeyboardInterrupt from now on, in the main thread, which alone gets them."""
    if threading.current_thread() is not threading.main_thread():
        return
    raising = _Raising()
    for signum in _heard():
        signal.signal(signum, raising)


@contextmanager
def noted_interrupts() -> Iterator[Interrupts]:
    """Note these signals instead of being interrupted by them, at a place where processes and files would be left.

    What is started meanwhile does not inherit that SIGINT or SIGTERM is ignored. In another thread than the main one,
    which gets no signals, none are noted.
    """
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before = {signum: signal.signal(signum, interrupts.note) for signum in _heard()}
    try:
        yield interrupts
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _heard() -> list[signal.Signals]:
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP])]
