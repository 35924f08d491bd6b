"""Reading files that may be compressed, by gzip, bzip2 or xz.

What a file is, its first bytes say; what it is called decides where it is looked for.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path
from typing import Any

SUFFIXES = (".gz", ".bz2", ".xz")
_KINDS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_BUFFER = 2**20  # bytes


class DecompressedStream(io.BufferedReader):
    """The bytes of a file, as they were before it was compressed; of a damaged one, those before the damage."""

    def __init__(self, path: Path):
        self._file = io.FileIO(path)
        begins = self._file.read(8)
        self._file.seek(0)
        opened = next((each for magic, each in _KINDS.items() if begins.startswith(magic)), None)
        self._plain = None if opened is None else _Plain(opened(self._file))
        super().__init__(self._plain or self._file, _BUFFER)

    @property
    def damage(self) -> str | None:
        """The damage of the compressed file, as far as it has been met; None if there is none."""
        return None if self._plain is None else self._plain.damage

    @property
    def done(self) -> int:
        """The number of bytes of the compressed file that have been used."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file too."""
        super().close()
        self._file.close()


class _Plain(io.RawIOBase):
    """Decompressed bytes of a file; damage is its end."""

    def __init__(self, compressed: Any):
        self._compressed = compressed
        self.damage: str | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            piece = b"" if self.damage else self._compressed.read1(len(buffer))
        except (EOFError, zlib.error, lzma.LZMAError) as error:
            self.damage = str(error)
            return 0
        except OSError as error:
            if error.errno is not None:  # the disk is damaged, and not the file
                raise
            self.damage = str(error)
            return 0
        buffer[: len(piece)] = piece
        return len(piece)


def open_bytes(path: Path) -> DecompressedStream:
    """Read a file, compressed or not.

    :raises OSError: if it cannot be opened
    """
    return DecompressedStream(path)


def open_text(path: Path) -> io.TextIOWrapper:
    """Read a text, compressed or not; what is not UTF-8 in it is replaced.

    :raises OSError: if it cannot be opened
    """
    return io.TextIOWrapper(DecompressedStream(path), encoding="utf-8", errors="replace")


def plain_name(path: Path) -> Path:
    """The name of a file before it was compressed."""
    return path.with_suffix("") if path.suffix in SUFFIXES else path


def existing(path: Path) -> Path | None:
    """A file, or what it has become by compression; None if there is neither."""
    candidates = [path, *(path.with_name(path.name + suffix) for suffix in SUFFIXES)]
    return next((each for each in candidates if each.is_file()), None)
