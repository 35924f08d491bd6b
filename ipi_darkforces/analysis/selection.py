"""What every question about runs is told besides the run."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from .trajectory import Notice, Progress


@dataclass(frozen=True)
class Selection:
    """Which part of a run counts, what it is compared with, and who is told about the reading.

    :param discard: ps at the beginning that do not count: equilibration
    :param target: K, what the temperature should be; None for that of the thermostat in the input
    :param progress: told how much of a large file has been read
    :param notice: told what is wrong with files of which a part can be used
    """

    discard: float = 0.0
    target: float | None = None
    progress: Progress | None = None
    notice: Notice = logging.getLogger(__name__).warning
