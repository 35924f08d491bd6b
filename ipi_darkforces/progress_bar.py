"""Progress bars, for which tqdm is imported when there is one to be shown: help must not need it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .errors import printable

if TYPE_CHECKING:
    from tqdm import tqdm

_LARGE = 2e7  # bytes of a file that takes long enough to show progress


def progress_bar(items: Iterable[Any] | None = None, *, desc: str, **options: Any) -> tqdm:
    """A bar of tqdm.

    :param desc: what is going on; names of files are made fit for a terminal
    :param options: others of tqdm's
    """
    from tqdm import tqdm

    return tqdm(items, desc=printable(desc), **options)


@contextmanager
def counting_bar(desc: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, as a function of what is done and all there is to do."""
    with progress_bar(desc=desc, disable=None, leave=False, unit=unit) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


class FileBar:
    """Progress through large files, one after another, on a terminal.

    :param name: in front of the bar
    """

    def __init__(self, name: str):
        self._name = name
        self._bar: tqdm | None = None

    def __enter__(self) -> FileBar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: int, total: int) -> None:
        """Show how many of how many bytes are read."""
        if total < _LARGE or not sys.stderr.isatty():
            return
        if self._bar is None:
            self._bar = progress_bar(total=total, desc=self._name, unit="B", unit_scale=True)
        if done < self._bar.n:  # the next file
            self._bar.reset(total)
        self._bar.update(done - self._bar.n)
