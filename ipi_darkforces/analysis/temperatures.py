"""Kinetic temperatures of all atoms and of each species, against a target.

The kinetic energy K_s of the N_s atoms of a species is turned into a temperature as i-PI does it,

    T_s = (2 K_s / k_B + f_s T) / (3 N_s),       f_s = 3 M_s / M

where f_s is the share of the species in the three degrees of freedom of the centre of mass, by its share M_s / M of
the total mass, if i-PI keeps the centre of mass at rest (``fixcom``); and T is the temperature of the ensemble in the
input. Without one, i-PI takes nothing into account, f_s = 0. Where nothing is known but velocities, and their centre of
mass is at rest, it is

    T_s = 2 K_s / (k_B (3 N_s - f_s)),

which is the same where T_s is T. That is also the temperature where f_s coordinates of the species do not move: i-PI
has these in its own temperatures as if they were at T, and ours are those of what moves.

Stretched bonds exchange energy with the rest of a liquid within picoseconds. A simulation whose thermostat, if it has
one, does not act on each atom does not know how far off the temperatures of its species are before that, however small
their scatter: in 1 to 4 ps of liquid water with SVR, errors from the series are two to four times too small.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DarkforcesError
from ..stats import estimates as statistics
from ..stats.estimates import Estimate
from .io.runs import Run
from .io.setup import Constraints
from .io.trajectory import Trajectory
from .io.units import BOLTZMANN
from .pictures import OTHER_COLORS, legend, new_figure, plain, tidy
from .selection import Selection

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALL = "all"
# Not those of single atoms, temperature(17), or of beads and normal modes, temperature(nm=0) and temperature(O;nm=0).
_OF_SPECIES = re.compile(r"temperature\((?!\d+\))([^;=]+)\)")
# ps, from which on species have exchanged energy often enough.
EXCHANGED = 20.0
# A centre of mass that carries less than this part of the kinetic energy is at rest: i-PI writes six digits.
_AT_REST = 1e-8


@dataclass(frozen=True)
class Temperatures:
    """Kinetic temperatures of a run.

    :param source: ``properties`` of i-PI or ``velocities``
    :param target: K, what they should be; None if nothing says it
    :param time: ps, shape (n,)
    :param series: K, for ``all`` atoms and for each species, shape (n,) each
    :param exchanged: whether errors of the temperatures of species can be known; see the docstring of the module
    :param timed: whether anything says how far apart frames are; without that, `time` counts them
    """

    name: str
    source: str
    target: float | None
    time: np.ndarray
    series: dict[str, np.ndarray]
    exchanged: bool = True
    timed: bool = True

    @property
    def duration(self) -> float | None:
        """Length in ps; None if nothing says it."""
        return float(self.time[-1] - self.time[0]) if self.timed else None

    @cached_property
    def means(self) -> dict[str, Estimate]:
        """Mean temperatures, K."""
        return {species: self._mean(species, series) for species, series in self.series.items()}

    @cached_property
    def above_all(self) -> dict[str, Estimate]:
        """Temperature of each species above that of all atoms, K.

        From the series of differences: in a closed system, what one species has the others lack.
        """
        all_atoms = self.series[ALL]
        return {name: self._mean(name, series - all_atoms) for name, series in self.series.items() if name != ALL}

    def _mean(self, species: str, series: np.ndarray) -> Estimate:
        found = statistics.mean(series)
        return found if self.exchanged or species == ALL else Estimate(found.value, None)

    @cached_property
    def deviations(self) -> dict[str, float | None]:
        """Deviations of the means from the target in standard errors; None where not known."""
        if self.target is None:
            return dict.fromkeys(self.means)
        return {species: estimate.errors_from(self.target) for species, estimate in self.means.items()}

    def as_json(self) -> dict[str, object]:
        """JSON values, units in the names."""
        return {
            "name": self.name,
            "source": self.source,
            "picoseconds": self.duration,
            "target_K": self.target,
            "temperature_K": {species: estimate.as_json() for species, estimate in self.means.items()},
            "standard_errors_above_target": self.deviations,
        }


def measure(run: Run, selection: Selection) -> Temperatures:
    """Temperatures of a run, from i-PI's own where its properties have those of all species, else from velocities.

    :raises DarkforcesError: if there is neither, or nothing is left of them
    """
    source, time, series = temperature_series(run, selection)
    length = float(selection.discard + time[-1] - time[0])
    exchanged = have_exchanged(run, length)
    if len(series) > 2 and not exchanged:
        selection.notice(
            f"{run.name}: errors of the temperatures of species are not known from {length:.3g} ps: without a "
            f"thermostat on each atom, it takes {EXCHANGED:g} ps until these have exchanged energy often enough"
        )
    target = run.target if selection.target is None else selection.target
    timed = source == "properties" or run.trajectory("velocities").interval is not None
    return Temperatures(run.name, source, target, time, series, exchanged, timed)


def have_exchanged(run: Run, length: float) -> bool:
    """Tell whether errors of the temperatures of species can be known; see the docstring of the module.

    :param length: ps, from the beginning of the run
    """
    return run.of_each_atom is not False or length > 0.99 * EXCHANGED  # the last step need not be in the outputs


def temperature_series(run: Run, selection: Selection) -> tuple[str, np.ndarray, dict[str, np.ndarray]]:
    """The source of temperatures, their times in ps (n,), and those of all atoms and each species in K, (n,) each."""
    wanted = [_column(species) for species in _groups(_species(run), run.constraints)]
    has_velocities = any(trajectory.quantity == "velocities" for trajectory in run.trajectories)
    if has_velocities and not any(set(wanted) <= set(table.columns) for table in run.tables):
        return "velocities", *from_velocities(run.trajectory("velocities"), run.constraints, selection)
    there = set(wanted) if any(set(wanted) <= set(table.columns) for table in run.tables) else {_column(ALL)}
    table = run.table(*there).after(selection.discard)
    species = {name: match[1] for name in table.columns if (match := _OF_SPECIES.fullmatch(name))}
    names = {_column(ALL): ALL} | species
    return "properties", table.time, {label: table.columns[name] for name, label in names.items()}


def from_velocities(
    trajectory: Trajectory, constraints: Constraints | None, selection: Selection
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Temperatures of all atoms and of each species.

    :param constraints: None to see from the velocities whether the centre of mass is at rest
    :return: times in ps, shape (n,), and temperatures in K, shape (n,) each
    :raises DarkforcesError: if nothing is left, or a mass or the times to discard are not known
    """
    unknown = trajectory.species[np.isnan(trajectory.masses)]
    if len(unknown):
        raise DarkforcesError(f"'{trajectory.path}' has atoms '{unknown[0]}', whose mass is not known")
    groups = _groups(trajectory.species, constraints)
    times, twice, centre = [], [], 0.0
    for block in selection.blocks(trajectory):
        each = (block.values**2).sum(axis=2) * trajectory.masses
        times.append(block.times)
        twice.append([each[:, atoms].sum(axis=1) for atoms in groups.values()])
        momentum = (block.values * trajectory.masses[:, None]).sum(axis=1)
        centre += (momentum**2).sum() / trajectory.masses.sum()
    energies = np.concatenate(twice, axis=1)
    at_rest = centre < _AT_REST * energies[0].sum()
    return np.concatenate(times), {
        name: _temperature(energy, atoms, trajectory.masses, constraints, at_rest)
        for (name, atoms), energy in zip(groups.items(), energies, strict=True)
    }


def _temperature(
    twice_kinetic: np.ndarray, atoms: np.ndarray, masses: np.ndarray, constraints: Constraints | None, at_rest: bool
) -> np.ndarray:
    """T_s of the module's docstring from 2 K_s in amu Å²/ps²."""
    share = 3.0 * masses[atoms].sum() / masses.sum()
    freedom = 3 * len(atoms)
    if constraints is None:
        return twice_kinetic / (BOLTZMANN * (freedom - share if at_rest and len(atoms) > 1 else freedom))
    if constraints.temperature is None or not constraints.fixcom:
        return twice_kinetic / (BOLTZMANN * (freedom - constraints.count_fixed(atoms)))
    return (twice_kinetic / BOLTZMANN + share * constraints.temperature) / freedom


def _species(run: Run) -> np.ndarray:
    return run.trajectories[0].species if run.trajectories else np.array([], str)


def _groups(species: np.ndarray, constraints: Constraints | None) -> dict[str, np.ndarray]:
    """Indices of all atoms, and of each species if there are several, as far as it moves."""
    labels = list(dict.fromkeys(species.tolist()))
    single = {label: np.flatnonzero(species == label) for label in labels} if len(labels) > 1 else {}
    moving = {
        label: atoms
        for label, atoms in single.items()
        if constraints is None or constraints.count_fixed(atoms) < 3 * len(atoms)
    }
    return {ALL: np.arange(len(species))} | moving


def _column(species: str) -> str:
    return "temperature" if species == ALL else f"temperature({species})"


def draw(results: Sequence[Temperatures], path: Path) -> None:
    """One picture of one or several runs: how far each species is from its target, with 95 % intervals.

    Without a target for all of them, temperatures are shown as they are.

    :param results: the runs, from top to bottom
    """
    if any(result.target is None for result in results):
        draw_means([(result.name, result.means) for result in results], False, path)
    else:
        draw_means([(result.name, _above(result.means, result.target or 0.0)) for result in results], True, path)


def _above(means: Mapping[str, Estimate], target: float) -> dict[str, Estimate]:
    return {species: replace(mean, value=mean.value - target) for species, mean in means.items()}


def draw_means(rows: Sequence[tuple[str, Mapping[str, Estimate]]], against_target: bool, path: Path) -> None:
    """Temperatures of all atoms and of species with 95 % intervals; those with open symbols are too short for one.

    :param rows: from top to bottom: a name, and temperatures in K
    :param against_target: whether these are above a target, which is zero then
    """
    species = list(dict.fromkeys(name for _, means in rows for name in means))
    figure = new_figure(6.4, 1.4 + 0.5 * len(rows))
    axis = figure.subplots()
    for i, name in enumerate(species):
        color = "black" if name == ALL else OTHER_COLORS[(i - 1) % len(OTHER_COLORS)]
        offset = 0.18 * (i - 0.5 * (len(species) - 1))
        for row, (_, means) in enumerate(rows):
            if name in means:
                _draw_mean(axis, means[name], row + offset, color)
        axis.plot([], [], "o", ms=5, color=color, label=plain(name))
    if any(mean.margin() is None for _, means in rows for mean in means.values()):
        axis.plot([], [], "o", ms=5, color="0.4", mfc="white", label="no error:\ntoo short")
    if against_target:
        axis.axvline(0.0, color="0.5", linewidth=0.8, zorder=0)
    axis.set_yticks(range(len(rows)), [legend(name) for name, _ in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlabel("mean temperature − target / K" if against_target else "mean temperature / K")
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    tidy(axis, "x")
    figure.savefig(path)


def _draw_mean(axis: Axes, mean: Estimate, height: float, color: str) -> None:
    margin = mean.margin()
    if margin is not None:
        axis.errorbar(mean.value, height, xerr=margin, color=color, linewidth=1.4, capsize=2.5)
    axis.plot(mean.value, height, "o", ms=5, color=color, mfc="white" if margin is None else color)
