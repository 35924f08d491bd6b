"""A record of the faults, a line of JSON each, so that a campaign that was stopped goes on."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any


class Records:
    """A file of records.

    :param path: of the file; what it holds already counts
    :param version: of the package, noted with each
    """

    def __init__(self, path: Path, version: str):
        self._path = path
        self._version = version
        self._lock = threading.Lock()
        self._closed = False
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        self.all: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def add(self, **record: Any) -> None:
        """Add one, at once on the disk."""
        record["version"] = self._version
        with self._lock:
            if self._closed:
                return
            self.all.append(record)
            with self._path.open("a") as stream:
                stream.write(json.dumps(record) + "\n")

    def close(self) -> None:
        """Add none from now on."""
        with self._lock:
            self._closed = True

    def of(self, part: str, **values: Any) -> list[dict[str, Any]]:
        """The records of one part of the campaign, with these values."""
        wanted = {"part": part, **values}
        return [record for record in list(self.all) if all(record[key] == value for key, value in wanted.items())]
