"""The picture of geometry optimisations: the largest force against the step (the paper's figure 5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.pictures import KIND_COLORS, new_figure, plain, tidy
from .optimizations import ALGORITHMS, Optimization, OptimizationOutcome, Optimizations

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_ENDS = {OptimizationOutcome.CONVERGED: "o", OptimizationOutcome.EXPLODED: "x", OptimizationOutcome.FAILED: "+"}


def draw_optimizations(optimizations: Optimizations, path: Path) -> None:
    """A row for each set of starts, a column for each algorithm."""
    groups = optimizations.groups
    figure = new_figure(9.6, 1.1 + 2.7 * len(groups))
    panels = figure.subplots(len(groups), len(ALGORITHMS), sharex="col", sharey="row", squeeze=False)
    for row, group in zip(panels, groups, strict=True):
        for axis, algorithm in zip(row, ALGORITHMS, strict=True):
            _draw(axis, optimizations.of(group, algorithm))
            axis.set_title(_summary(optimizations, group, algorithm), loc="right", fontsize=9)
            axis.set_title(algorithm, loc="left", fontsize=10)
            axis.set_yscale("log")
            axis.locator_params(axis="y", numticks=10)
            tidy(axis)
        row[0].set_ylabel(f"{group}\nlargest force / (eV/Å)")
    for axis in panels[-1]:
        axis.set_xlabel("step")
    figure.suptitle(plain(optimizations.model), x=0.01, ha="left", fontsize=10, fontweight="bold")
    figure.legend(handles=_legend(optimizations.runs), loc="outside upper right", ncols=6, frameon=False, fontsize=9)
    figure.savefig(path)


def _draw(axis: Axes, runs: Sequence[Optimization]) -> None:
    alpha = float(np.clip(3.0 / len(runs), 0.2, 0.9))
    for run in runs:
        if not len(run.forces):
            continue
        color = KIND_COLORS[run.kind]
        axis.plot(run.forces, color=color, linewidth=0.9, alpha=alpha)
        if run.outcome in _ENDS:
            axis.plot(run.steps, run.forces[-1], _ENDS[run.outcome], color=color, markersize=4)
    for threshold in {run.threshold for run in runs}:
        axis.axhline(threshold, color="0.35", linewidth=0.9, linestyle="--", zorder=1)


def _summary(optimizations: Optimizations, group: str, algorithm: str) -> str:
    rates = [r for r in optimizations.rates() if (r.group, r.algorithm) == (group, algorithm)]
    return "   ".join(f"{r.kind}: {r.outcomes[OptimizationOutcome.CONVERGED]} of {r.starts}" for r in rates)


def _legend(runs: Sequence[Optimization]) -> list[Line2D]:
    from matplotlib.lines import Line2D  # not before something is drawn, see `new_figure`

    kinds = [kind for kind in KIND_COLORS if any(run.kind == kind for run in runs)]
    lines = [Line2D([], [], color=KIND_COLORS[kind], label=f"{kind} forces") for kind in kinds]
    ends = [outcome for outcome in _ENDS if any(run.outcome is outcome for run in runs)]
    marks = [
        Line2D([], [], color="0.35", linestyle="", marker=_ENDS[end], markersize=4, label=end.value) for end in ends
    ]
    return [*lines, *marks, Line2D([], [], color="0.35", linewidth=0.9, linestyle="--", label="threshold")]
