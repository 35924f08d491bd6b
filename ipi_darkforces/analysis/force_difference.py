"""Differences of conservative and direct forces along a simulation with multiple time stepping."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..split.disagreement import by_quantity
from ..stats import estimates as statistics
from ..stats.estimates import Estimate
from .io.compressed import open_text

# A step and its numbers: whole lines, without the piece of one that an i-PI that was killed left before the next.
_ROW = re.compile(r".*Step:\s+(\d+).*\n([^#\n]*)\n")


def measure(path: Path) -> Estimate | None:
    """Root mean square of the components of f_C - f_NC, meV/Å, averaged over time, and over replicas.

    Of steps that are there twice, the later ones count.

    :param path: what i-PI wrote of the extras of the slow forces
    :return: None if there is not one whole step
    """
    with open_text(path) as stream:
        text = stream.read()
    rows = [numbers.split() for numbers in dict(_ROW.findall(text)).values()]
    whole = [row for row in rows if row and len(row) == max(map(len, rows))]
    if not whole:
        return None
    rms = by_quantity(np.array(whole, float))[:, 0]
    return statistics.mean(1000.0 * rms.mean(axis=1))
