"""Averages at constant pressure and of quantum nuclei: density, volume, pressure, quantum kinetic energy.

The kinetic energy of N quantum nuclei is not that of their classical momenta, 3/2 N k_B T. i-PI's ``kinetic_cv`` is the
centroid virial estimator of a path integral of P beads (M. F. Herman, E. J. Bruskin and B. J. Berne, J. Chem. Phys. 76,
5150 (1982))

    K = 3/2 N k_B T - 1/(2P) Σ_b (q_b - q̄)·f_b,

where q̄ are the centroids, and f_b the forces on bead b, contracted or not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import DarkforcesError
from ..stats import estimates as statistics
from ..stats.estimates import Estimate
from .io.runs import Run
from .io.units import BOLTZMANN_EV
from .pictures import colors_of, legend, legend_columns, new_figure, smoothed, tidy
from .selection import Selection

_UNITS = {"density": "g/cm³", "volume": "Å³", "pressure_md": "bar", "pressure_cv": "bar"}
_NAMES = {"pressure_md": "pressure", "pressure_cv": "pressure"}
_KINETIC = re.compile(r"kinetic_cv(?:\((?!\d+\))([^;=]+)\))?")  # of all atoms or of a species


@dataclass(frozen=True)
class Averages:
    """Averages of a run.

    :param time: ps, shape (n,)
    :param series: by their titles: ``density``, ``volume``, ``pressure``, and quantum kinetic energies for each atom:
        ``K`` of all atoms, and ``K(H)`` of species; shape (n,) each
    :param units: by the same titles
    :param classical: meV/atom, the kinetic energy of classical atoms at the temperature of the ensemble; None if
        nothing says that
    """

    name: str
    time: np.ndarray
    series: dict[str, np.ndarray]
    units: dict[str, str]
    classical: float | None

    @property
    def duration(self) -> float:
        """Length in ps."""
        return float(self.time[-1] - self.time[0])

    @cached_property
    def means(self) -> dict[str, Estimate]:
        """Means of the series, in their units."""
        return {title: statistics.mean(values) for title, values in self.series.items()}

    def columns(self) -> dict[str, np.ndarray]:
        """The series, with their time."""
        series = {_with_unit(title, self.units[title]): values for title, values in self.series.items()}
        return {"time_ps": self.time} | series

    def as_json(self) -> dict[str, object]:
        """JSON values, units in the names."""
        means = {_with_unit(title, self.units[title]): mean.as_json() for title, mean in self.means.items()}
        return {
            "name": self.name,
            "picoseconds": self.duration,
            "means": means,
            "classical_kinetic_energy_meV_per_atom": self.classical,
        }


def _with_unit(title: str, unit: str) -> str:
    """A name for machines: ``density_g_per_cm3``."""
    return f"{title}_{unit.replace('/', '_per_').replace('³', '3').replace('Å', 'A')}"


def has_some(run: Run) -> bool:
    """Tell whether a run has anything that is averaged here."""
    return any(_is_averaged(column) for table in run.tables for column in table.columns)


def measure(run: Run, selection: Selection) -> Averages:
    """Averages of what a run has of these properties.

    :raises DarkforcesError: if it has none
    """
    if not has_some(run):
        raise DarkforcesError(
            f"'{run.path}' has none of {', '.join(_UNITS)} and kinetic_cv: add them to the <properties> of the input"
        )
    table = max(run.tables, key=lambda each: sum(map(_is_averaged, each.columns)))
    table = table.after(selection.discard)
    series, units = {}, {}
    for column, values in table.columns.items():
        kinetic = _KINETIC.fullmatch(column)
        if kinetic:
            n_atoms = _count(run, kinetic[1])
            title = f"K({kinetic[1]})" if kinetic[1] else "K"
            series[title], units[title] = 1000.0 * values / (n_atoms or 1), "meV/atom" if n_atoms else "meV"
        elif column in _UNITS:
            title = _NAMES.get(column, column)
            series[title], units[title] = values, _UNITS[column]
    temperature = run.constraints.temperature if run.constraints else None
    classical = None if temperature is None else 1500.0 * BOLTZMANN_EV * temperature
    return Averages(run.name, table.time, series, units, classical)


def _is_averaged(column: str) -> bool:
    return column in _UNITS or _KINETIC.fullmatch(column) is not None


def _count(run: Run, species: str | None) -> int | None:
    """Number of atoms of a species, or of all; None if nothing says it."""
    if species is None:
        return run.n_atoms
    return int((run.trajectories[0].species == species).sum()) if run.trajectories else None


def draw(results: Sequence[Averages], path: Path) -> None:
    """One picture of one or several runs: each quantity against time, with its mean."""
    titles = list(dict.fromkeys(title for result in results for title in result.series))
    colors = colors_of([result.name for result in results])
    figure = new_figure(6.4, 1.2 + 1.8 * len(titles))
    axes = figure.subplots(len(titles), 1, sharex=True, squeeze=False)[:, 0]
    for axis, title in zip(axes, titles, strict=True):
        for result, color in zip(results, colors, strict=True):
            if title in result.series:
                smoothed(axis, result.time, result.series[title], color)
                mean = result.means[title].value
                axis.plot(result.time[[0, -1]], [mean, mean], "--", color=color, linewidth=1.0)
        unit = next(result.units[title] for result in results if title in result.units)
        axis.set_ylabel(f"{title} / {f'({unit})' if '/' in unit else unit}")
        tidy(axis)
    for result, color in zip(results, colors, strict=True):
        axes[0].plot([], [], color=color, label=legend(result.name))
    columns = legend_columns([result.name for result in results], 6.4)
    axes[0].legend(frameon=False, ncols=columns, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axes[-1].set_xlabel("time / ps")
    figure.align_ylabels()
    figure.savefig(path)
