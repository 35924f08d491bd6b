"""Progress bars, for which tqdm is imported when there is one to be shown: help must not need it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..errors import printable

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(items: Iterable[Any] | None = None, *, desc: str, **options: Any) -> tqdm:
    """A bar of tqdm.

    :param desc: what is going on; names of files are made fit for a terminal
    :param options: others of tqdm's
    """
    from tqdm import tqdm

    return tqdm(items, desc=printable(desc), **options)
