"""The pictures of an assessment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..analysis.pictures import colors_of, new_figure, save_both, tidy
from ..analysis.temperatures import draw_means
from ..campaign.pictures import picture_of_nve
from .criteria import HEATING, Judged
from .procedure import SimulationResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(result: SimulationResults, temperature: float, folder: Path) -> list[str]:
    """Draw what there is data for, as PNG and PDF.

    :param temperature: K, of the simulations
    :return: names of the files without their suffix
    """
    names = []
    for name, picture in _pictures(result, temperature):
        save_both(picture, folder / name)
        names.append(name)
    return names


def _pictures(result: SimulationResults, temperature: float) -> Iterator[tuple[str, Callable[[Path], None]]]:
    yield "choices", lambda path: _draw_choices(result.judged, HEATING * temperature, path)
    yield from picture_of_nve(result.findings)
    rows = [(each.choice.forces, each.choice.excess) for each in result.judged if each.choice.excess]
    if rows:
        yield "temperatures", lambda path: draw_means(rows, True, path)


def _draw_choices(judged: Sequence[Judged], limit: float, path: Path) -> None:
    """Heating and time of each way to use the forces, with the judgement in words.

    :param limit: K/ps
    """
    ordered = sorted(judged, key=lambda each: (each.choice.forces == "direct", each.choice.stride or 0))
    figure = new_figure(6.4, 5.6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    colors = colors_of([each.choice.forces for each in ordered])
    for place, (each, color) in enumerate(zip(ordered, colors, strict=True)):
        if each.choice.exploded:
            upper.annotate(
                "explodes", (place, 0.97), xycoords=("data", "axes fraction"), ha="center", va="top", color=color
            )
        elif each.choice.heating is not None:
            margin = each.choice.heating.margin()
            upper.errorbar(
                place, each.choice.heating.value, yerr=margin, fmt="o", ms=6, color=color, capsize=3, linewidth=1.4,
                mfc="white" if margin is None else color,
            )  # fmt: skip
        if each.choice.milliseconds is not None:
            lower.bar(place, each.choice.milliseconds, width=0.55, color=color)
            lower.annotate(
                f"{each.choice.milliseconds:.3g}",
                (place, each.choice.milliseconds),
                ha="center",
                va="bottom",
                fontsize=9,
            )
    _show_limit(upper, limit)
    names = [_title(each) for each in ordered]
    lower.set_xticks(range(len(names)), names)
    lower.set_xlim(-0.6, len(names) - 0.4)
    lower.set_ylabel("time of a step / ms")
    for axis in (upper, lower):
        tidy(axis, "y")
    figure.align_ylabels()
    figure.savefig(path)


def _show_limit(axis: Axes, limit: float) -> None:
    """Linear within the limits, logarithmic beyond: direct forces can heat by hundreds of times as much."""
    axis.axhspan(-limit, limit, color="0.5", alpha=0.15, linewidth=0)
    axis.set_yscale("symlog", linthresh=limit)
    low, high = axis.get_ylim()
    axis.set_ylim(min(low, -2.0 * limit), max(high, 2.0 * limit))
    powers = [10.0**k for k in range(-9, 10) if 10.0**k > 1.5 * limit]
    ticks = [-each for each in powers] + [-limit, 0.0, limit] + powers
    axis.set_yticks([each for each in ticks if axis.get_ylim()[0] <= each <= axis.get_ylim()[1]])
    axis.yaxis.set_major_formatter(lambda value, position: f"{value:g}".replace("-", "−"))
    axis.minorticks_off()
    axis.axhline(0.0, color="0.5", linewidth=0.8, zorder=0)
    axis.set_ylabel("heating in NVE / (K/ps)")


def _title(judged: Judged) -> str:
    stride = judged.choice.stride
    forces = judged.choice.forces if stride is None else f"M = {stride}"
    return f"{forces}\n{judged.judgement.value}"
