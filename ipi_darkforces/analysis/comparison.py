"""Runs side by side: how fast each was, and whether its energy stays, as a table and one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..atomic import atomic_file
from ..stats.rows import Row
from .overview import Overview
from .pictures import colors_of, legend, new_figure, smoothed, tidy
from .summarized_run import SummarizedRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STEADY = 1.0  # K/ps: a drift that is known to be smaller counts as none
_NS_PER_DAY = 86400e-6  # for one fs per second
_LAST = 40  # a part of a run, at the end of its line, where its name is
_APART = 0.07  # of the height of a picture, between two names at the ends of lines


def rows(runs: Sequence[SummarizedRun]) -> list[Row]:
    """Forces, speed and drift of the conserved quantity of runs, with its meaning in words.

    :param runs: those that have done no step are left out
    """
    return [_row(run, run.overview) for run in runs if run.overview is not None]


def _row(run: SummarizedRun, overview: Overview) -> Row:
    speed = _femtoseconds_per_second(run)
    row: Row = {"run": run.name}
    if run.timestep is not None:
        fast = run.timestep / run.stride
        row[f"ms per {fast:g} fs"] = None if speed is None else _rounded(1000.0 * fast / speed)
        row["ns/day"] = None if speed is None else _rounded(_NS_PER_DAY * speed)
    if overview.moves:
        slope = overview.conserved_slope if run.outcome.explosion is None else None
        row[f"drift / ({overview.energy_unit}/ps)"] = slope
    row["energy"] = verdict(run)
    return row


def verdict(run: SummarizedRun) -> str:
    """Tell in words whether the conserved quantity stays, by the 95 % interval of its drift.

    A drift is given as one of the temperature; see `temperature_drift`.
    """
    overview = run.overview
    if run.outcome.explosion is not None:
        return "explodes"
    drift = overview.heating if overview is not None and overview.moves else None
    if drift is None:
        return ""
    margin = drift.margin()
    if margin is None or abs(drift.value) <= margin > _STEADY:
        return "too short to tell"
    largest = abs(drift.value) + margin
    if largest <= _STEADY:
        return f"steady within {max(largest, 0.1):.1f} K/ps"
    return f"{'heats' if drift.value > 0 else 'cools'} by {abs(drift.value):.2g} K/ps"


def _rounded(value: float) -> float:
    """Three digits: a clock knows no more."""
    return float(f"{value:.3g}")


def _femtoseconds_per_second(run: SummarizedRun) -> float | None:
    """Simulated fs in a second, of dynamics that has been watched for some steps."""
    seconds = run.outcome.seconds_per_step
    return None if seconds is None or run.timestep is None else run.timestep / seconds


def draw(runs: Sequence[SummarizedRun], path: Path) -> None:
    """Draw the conserved quantity of runs against time, each named at its end, and how fast they were.

    :param runs: those that are no dynamics, or have done no step, are left out
    """
    shown = [(run, run.overview) for run in runs if run.overview is not None and run.overview.moves]
    colors = colors_of([run.forces for run, _ in shown])
    figure = new_figure(8.4, 3.8)
    energy, speed = figure.subplots(1, 2, width_ratios=[3, 1])
    _draw_energies(energy, [overview for _, overview in shown], colors)
    _draw_speeds(speed, [run for run, _ in shown], colors)
    with atomic_file(path) as file:
        figure.savefig(file)


def _draw_energies(axis: Axes, overviews: Sequence[Overview], colors: Sequence[str]) -> None:
    ends = []
    for overview, color in zip(overviews, colors, strict=True):
        smoothed(axis, overview.time, overview.conserved, color)
        ends.append(float(overview.conserved[-(1 + len(overview.conserved) // _LAST) :].mean()))
    low, high = axis.get_ylim()
    for overview, color, at in zip(overviews, colors, _spread(ends, _APART * (high - low)), strict=True):
        axis.text(float(overview.time[-1]), at, f"  {legend(overview.name)}", color=color, va="center")
    axis.set_xlabel("time / ps")
    axis.set_ylabel(f"conserved quantity / ({overviews[0].energy_unit})")
    tidy(axis)


def _draw_speeds(axis: Axes, runs: Sequence[SummarizedRun], colors: Sequence[str]) -> None:
    speeds = [_NS_PER_DAY * (_femtoseconds_per_second(run) or 0.0) for run in runs]
    bars = axis.barh(range(len(runs)), speeds, color=colors, height=0.6)
    axis.bar_label(bars, [f"{speed:.2g}" if speed else "not known" for speed in speeds], padding=3)
    axis.set_yticks([])
    axis.invert_yaxis()  # the first run above
    axis.set_xlim(0.0, 1.25 * max(speeds, default=0.0) or 1.0)
    axis.set_xlabel("speed / (ns/day)")
    tidy(axis, "x")


def _spread(places: Sequence[float], apart: float) -> list[float]:
    """The places, moved up as far as it takes for each to be so far from the one below."""
    moved = np.array(places, float)
    order = np.argsort(moved)
    for below, above in zip(order[:-1], order[1:], strict=True):
        moved[above] = max(moved[above], moved[below] + apart)
    return [float(place) for place in moved]
