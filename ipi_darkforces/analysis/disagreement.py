"""How far were conservative and direct forces apart, along a simulation with multiple time stepping?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..forces.disagreement import by_quantity
from . import statistics
from .statistics import Estimate


def measure(path: Path) -> Estimate:
    """Root mean square of the components of f_C - f_NC, meV/Å, averaged over time, and over replicas.

    :param path: what i-PI wrote of the extras of the slow forces
    """
    whole = path.read_text().rpartition("\n")[0]  # of a simulation that was killed, the last line need not be
    rms = by_quantity(np.loadtxt(whole.splitlines(), ndmin=2))[:, 0]
    return statistics.mean(1000.0 * rms.mean(axis=1))
