"""The SHA-256 of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

_PIECE = 1 << 20  # bytes that are held at a time


def digest(path: Path) -> str:
    """The SHA-256 of a file, in 64 hexadecimal digits.

    :raises OSError: if it cannot be read
    """
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            sha.update(piece)
    return sha.hexdigest()
