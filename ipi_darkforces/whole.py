"""Files that are there as a whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Put a file in place in one step: whoever reads it, at any time, finds a whole one, the old or the new.

    Yields where to write it: a file of the same name in a folder beside it, which is gone afterwards whatever happens.

    :param path: the file; one that exists is replaced, if the new one is written without an error
    :raises OSError: if its folder cannot be written
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as scratch:
        fresh = Path(scratch) / path.name
        yield fresh
        os.replace(fresh, path)


def write_whole(path: Path, text: str) -> None:
    """Put a text file (UTF-8) in place in one step, as `whole_file` does.

    :raises OSError: if its folder cannot be written
    """
    with whole_file(path) as fresh:
        fresh.write_text(text, encoding="utf-8")
