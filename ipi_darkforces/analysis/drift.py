"""Does the run heat? Slopes of the temperature and of the conserved quantity.

The conserved quantity of i-PI includes what thermostats took out, so that its slope is the power that wrong forces (or
a time step that is too long) feed in, whatever the ensemble. It is given for each atom, and divided by the standard
deviation of the kinetic energy over the run, for each atom too: 1/ps, how many of its own thermal fluctuations the
system gains in a ps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DarkforcesError
from ..stats.estimates import Estimate, json_of
from ..stats.slopes import slope
from .io.runs import Run
from .io.units import BOLTZMANN_EV
from .pictures import colors_of, legend, legend_columns, new_figure, smoothed, tidy
from .selection import Selection
from .temperatures import ALL, temperature_series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MEV_PER_KELVIN = 3000.0 * BOLTZMANN_EV  # for each atom that moves, see `temperature_drift`
_SEVERAL = 3  # runs of which each gets its line of the fit, without the picture becoming a tangle


@dataclass(frozen=True)
class Drift:
    """Temperature and conserved quantity of a run.

    :param n_atoms: None if not known; then energies are for the whole system
    :param time: of the temperature, ps, shape (n,)
    :param temperature: K, shape (n,)
    :param conserved_time: of the conserved quantity, ps, shape (m,); None if there is none
    :param conserved: meV/atom, relative to its first value, shape (m,); None if there is none
    :param moving: part of the coordinates that are not fixed
    :param kinetic_deviation: standard deviation of the kinetic energy of the whole system over the run, meV/atom; None
        if not known
    """

    name: str
    n_atoms: int | None
    time: np.ndarray
    temperature: np.ndarray
    conserved_time: np.ndarray | None
    conserved: np.ndarray | None
    kinetic_deviation: float | None
    moving: float = 1.0

    @cached_property
    def temperature_slope(self) -> Estimate:
        """Slope of the temperature, K/ps."""
        return slope(self.time, self.temperature)

    @cached_property
    def conserved_slope(self) -> Estimate | None:
        """meV/atom/ps; None without a conserved quantity."""
        if self.conserved is None or self.conserved_time is None:
            return None
        return conserved_slope(self.conserved_time, self.conserved, self.n_atoms, float(self.temperature.mean()))

    @property
    def heating(self) -> Estimate | None:
        """`temperature_drift` of the conserved quantity, K/ps; None without that or a number of atoms."""
        found = self.conserved_slope
        return temperature_drift(found, self.moving) if found and self.n_atoms else None

    @property
    def relative_slope(self) -> Estimate | None:
        """Drift of the conserved quantity over the standard deviation of the kinetic energy, 1/ps."""
        found = self.conserved_slope
        return found.times(1.0 / self.kinetic_deviation) if found and self.kinetic_deviation else None

    @property
    def energy_unit(self) -> str:
        """Unit of energies here."""
        return "meV/atom" if self.n_atoms else "meV"

    def as_json(self) -> dict[str, object]:
        """JSON values, units in the names."""
        unit = self.energy_unit.replace("/", "_per_")
        return {
            "name": self.name,
            "picoseconds": float(self.time[-1] - self.time[0]),
            "temperature_drift_K_per_ps": self.temperature_slope.as_json(),
            f"conserved_drift_{unit}_per_ps": json_of(self.conserved_slope),
            "conserved_drift_over_kinetic_deviation_per_ps": json_of(self.relative_slope),
            f"kinetic_deviation_{unit}": self.kinetic_deviation,
        }


def temperature_drift(power: Estimate, moving: float = 1.0) -> Estimate:
    """The drift of the temperature that a drift of the energy is, K/ps.

    By the heat capacity of classical vibrations, 3 k_B for each atom that moves (Dulong and Petit), half of it kinetic.
    A conserved quantity fluctuates much less than the temperature: this is known much earlier than the latter's slope.

    :param power: meV/atom/ps, of all atoms
    :param moving: part of the coordinates that are not fixed
    """
    return power.times(1.0 / (_MEV_PER_KELVIN * moving))


def conserved_slope(time: np.ndarray, conserved: np.ndarray, n_atoms: int | None, temperature: float) -> Estimate:
    """Slope of the conserved quantity, meV/atom/ps.

    What heats at random with the mean power P per atom lets the energy of N atoms walk by √(2 k_B T P t/N) in a time t
    (fluctuation and dissipation): no error is smaller than that over t, however straight the line.

    :param time: ps, shape (n,)
    :param conserved: meV/atom, shape (n,)
    :param n_atoms: None if not known
    :param temperature: K, the mean
    """
    found = slope(time, conserved)
    if not n_atoms or not np.isfinite(found.value):
        return found
    power = abs(found.value) / float(np.ptp(time))
    return found.at_least(float(np.sqrt(2000.0 * BOLTZMANN_EV * temperature * power / n_atoms)))


def columns(
    temperature: Estimate | None,
    conserved: Estimate | None,
    heating: Estimate | None,
    relative: Estimate | None,
    energy_unit: str = "meV/atom",
) -> dict[str, Estimate | None]:
    """The columns of a drift, alike in all tables.

    :param temperature: slope of the temperature, K/ps
    :param conserved: that of the conserved quantity, `energy_unit` per ps
    :param heating: the same as a drift of the temperature, K/ps
    :param relative: the same over the standard deviation of the kinetic energy, 1/ps
    """
    return {
        "temperature drift / (K/ps)": temperature,
        f"conserved drift / ({energy_unit}/ps)": conserved,
        "that as heating / (K/ps)": heating,
        "over std of kinetic energy / (1/ps)": relative,
    }


def measure(run: Run, selection: Selection) -> Drift:
    """Drifts of a run, as far as its outputs have them.

    :raises DarkforcesError: if there is neither temperature nor velocities, or just once, or nothing says the time
        between frames
    """
    if not run.tables and run.trajectory("velocities").interval is None:
        raise DarkforcesError(
            f"'{run.path}' does not say how far apart its frames are, so there is no drift; give --interval"
        )
    if any("temperature" in table.columns for table in run.tables):
        table = run.table("temperature").after(selection.discard)
        time, temperature = table.time, table.columns["temperature"]
    else:
        _, time, series = temperature_series(run, selection)
        temperature = series[ALL]
    if len(time) < 2:
        raise DarkforcesError(f"'{run.path}' has the temperature at one time only: expected two or more for a drift")
    conserved_time, conserved = _conserved(run, selection)
    moving = run.constraints.moving(run.n_atoms) if run.constraints and run.n_atoms else 1.0
    deviation = _kinetic_deviation(run, selection, temperature, moving)
    return Drift(run.name, run.n_atoms, time, temperature, conserved_time, conserved, deviation, moving)


def _conserved(run: Run, selection: Selection) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """Times in ps and meV/atom, shape (n,) both."""
    if not any("conserved" in table.columns for table in run.tables):
        return None, None
    table = run.table("conserved").after(selection.discard)
    values = table.columns["conserved"]
    return table.time, 1000.0 * (values - values[0]) / (run.n_atoms or 1)


def _kinetic_deviation(run: Run, selection: Selection, temperature: np.ndarray, moving: float) -> float | None:
    """Standard deviation of the kinetic energy in meV/atom, from itself or from the temperature.

    Of several beads the former is an average, as the conserved quantity is, but the latter the sum over all of them.
    """
    if run.n_atoms:
        return float(1500.0 * BOLTZMANN_EV * moving * temperature.std())
    if any("kinetic_md" in table.columns for table in run.tables):
        return float(1000.0 * run.table("kinetic_md").after(selection.discard).columns["kinetic_md"].std())
    return None


def draw(results: Sequence[Drift], path: Path) -> None:
    """One picture of one or several runs: temperature and conserved quantity against time, with their slopes."""
    with_energy = [result for result in results if result.conserved is not None]
    figure = new_figure(6.4, 5.6 if with_energy else 3.2)
    axes = figure.subplots(2 if with_energy else 1, 1, sharex=True, squeeze=False)[:, 0]
    for result, color in zip(results, colors_of([result.name for result in results]), strict=True):
        smoothed(axes[0], result.time, result.temperature, color, legend(result.name))
        if len(results) <= _SEVERAL:
            _draw_line(axes[0], result.time, result.temperature, result.temperature_slope, color)
        if result.conserved is not None and result.conserved_time is not None and result.conserved_slope is not None:
            smoothed(axes[1], result.conserved_time, result.conserved, color)
            if len(results) <= _SEVERAL:
                _draw_line(axes[1], result.conserved_time, result.conserved, result.conserved_slope, color)
    axes[0].set_ylabel("temperature / K")
    if with_energy:
        units = " or ".join(sorted({result.energy_unit for result in with_energy}))
        axes[1].set_ylabel(f"conserved quantity / ({units})")
    axes[-1].set_xlabel("time / ps")
    columns = legend_columns([result.name for result in results], 6.4)
    axes[0].legend(frameon=False, ncols=columns, loc="lower center", bbox_to_anchor=(0.5, 1.0))  # curves fill the rest
    for axis in axes:
        tidy(axis)
    figure.align_ylabels()
    figure.savefig(path)


def _draw_line(axis: Axes, time: np.ndarray, values: np.ndarray, found: Estimate, color: str) -> None:
    if found.error is not None:
        line = values.mean() + found.value * (time - time.mean())
        axis.plot(time, line, "--", color=color, linewidth=1.0)
