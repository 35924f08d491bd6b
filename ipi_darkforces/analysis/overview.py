"""The first look at a run: does the temperature, does the conserved quantity drift?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ipi.scripting import read_output
from matplotlib.figure import Figure

from . import statistics
from .statistics import Estimate


@dataclass(frozen=True)
class Overview:
    """Temperature and conserved quantity of a run.

    :param name: of the run
    :param n_atoms: None if not known; then energies are for the whole system
    :param time: ps, shape (n,)
    :param temperature: K, shape (n,)
    :param conserved: eV, i-PI's conserved quantity, relative to its first value, shape (n,)
    """

    name: str
    n_atoms: int | None
    time: np.ndarray
    temperature: np.ndarray
    conserved: np.ndarray

    @classmethod
    def read(cls, path: Path, name: str, n_atoms: int | None) -> Overview:
        """From a file of i-PI's properties that has step, time, temperature and conserved quantity."""
        values, _ = read_output(str(path))
        # A run that was killed and continued has some steps twice: the later ones count.
        steps, last = np.unique(np.atleast_1d(values["step"])[::-1], return_index=True)
        time, temperature, conserved = (
            np.atleast_1d(values[key])[::-1][last] for key in ("time", "temperature", "conserved")
        )
        return cls(name, n_atoms, time / 1000.0, temperature, conserved - conserved[0])

    @property
    def mean_temperature(self) -> Estimate:
        """K."""
        return statistics.mean(self.temperature)

    @property
    def temperature_drift(self) -> Estimate:
        """Slope of the temperature in K/ps."""
        return statistics.slope(self.time, self.temperature)

    @property
    def energy_drift(self) -> Estimate:
        """Slope of the conserved quantity in meV/atom/ps (meV/ps if the number of atoms is not known)."""
        return statistics.slope(self.time, 1000.0 * self.conserved / (self.n_atoms or 1))

    @property
    def energy_unit(self) -> str:
        """Of the conserved quantity in tables and pictures."""
        return "meV/atom" if self.n_atoms else "meV"

    def as_json(self) -> dict[str, object]:
        """For machines: values and standard errors, units in the names."""
        unit = self.energy_unit.replace("/", "_per_")
        return {
            "name": self.name,
            "picoseconds": float(self.time[-1]),
            "temperature_K": vars(self.mean_temperature),
            "temperature_drift_K_per_ps": vars(self.temperature_drift),
            f"conserved_drift_{unit}_per_ps": vars(self.energy_drift),
        }


def draw(overviews: Sequence[Overview], path: Path) -> None:
    """One picture of one or several runs: temperature and conserved quantity against time.

    :param overviews: the runs
    :param path: PNG to write
    """
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for overview in overviews:
        upper.plot(overview.time, overview.temperature, linewidth=1.2, label=overview.name)
        lower.plot(overview.time, 1000.0 * overview.conserved / (overview.n_atoms or 1), linewidth=1.2)
    upper.set_ylabel("temperature / K")
    lower.set_ylabel(f"conserved quantity / ({overviews[0].energy_unit})")
    lower.set_xlabel("time / ps")
    upper.legend(frameon=False)
    for axis in (upper, lower):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=160)
