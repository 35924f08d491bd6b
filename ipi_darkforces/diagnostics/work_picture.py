"""The picture of the work along a closed path (the paper's figure 4)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.pictures import KIND_COLORS, new_figure, plain, tidy
from .work import Loop

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LAST = 0.9  # where the second panel begins


def draw_work(loop: Loop, path: Path) -> None:
    """Cumulative work of both kinds of forces, along all of the path and its last part."""
    figure = new_figure(9.6, 3.8)
    whole, last = figure.subplots(1, 2, width_ratios=(3, 2))
    end = loop.parameters >= _LAST
    _draw(whole, loop, np.ones_like(end))
    _draw(last, loop, end)
    whole.set_ylabel("cumulative work / eV")
    whole.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 0.98))
    whole.set_title(plain(loop.model), loc="left", fontsize=10, fontweight="bold")
    last.set_title("the last tenth", loc="left", fontsize=10)
    last.set_ylabel("cumulative work / meV")
    for kind, work in loop.works.items():
        last.plot(1.0, 1000.0 * work.total, "o", color=KIND_COLORS[kind], markersize=5, clip_on=False)
        last.annotate(
            f"{round(1000.0 * work.total, 1) + 0.0:.1f} meV".replace("-", "−"),  # no sign for zero
            (1.0, 1000.0 * work.total),
            xytext=(8, 0),
            textcoords="offset points",
            color=KIND_COLORS[kind],
            fontsize=9,
            verticalalignment="center",
            annotation_clip=False,
        )
    for axis in (whole, last):
        axis.set_xlabel("part of the path")
        axis.axhline(0.0, color="0.55", linewidth=0.8, zorder=1)
        tidy(axis)
    last.set_xlim(right=1.0)
    figure.savefig(path)


def _draw(axis: Axes, loop: Loop, shown: np.ndarray) -> None:
    """Draw the work in eV, or in meV where only a part is shown."""
    scale = 1.0 if shown.all() else 1000.0
    for kind, work in loop.works.items():
        values = scale * work.cumulative[shown]
        style = "--" if kind == "conservative" else "-"
        axis.plot(loop.parameters[shown], values, style, color=KIND_COLORS[kind], linewidth=1.5, label=f"{kind} forces")
