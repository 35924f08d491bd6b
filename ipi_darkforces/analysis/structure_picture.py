"""The picture of the structure of runs: functions of distance, and their differences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .pictures import band, colors_of, legend, legend_columns, new_figure, plain, tidy
from .structure import ORIENTATION, Correlations, Function, difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Å; in pictures of radial distributions, what is closer is a bond.
LONGEST_BOND = 1.7


def draw(results: Sequence[Correlations], path: Path) -> None:
    """One picture of one or several runs: the functions on the left, differences to the first run on the right."""
    keys = drawn_functions(results)
    columns = 2 if len(results) > 1 else 1
    figure = new_figure(4.6 * columns, 0.8 + 1.9 * len(keys))
    axes = figure.subplots(len(keys), columns, sharex=True, squeeze=False)
    for row, key in zip(axes, keys, strict=True):
        _draw_curves(row[0], results, key, [result.functions.get(key) for result in results])
        row[0].set_ylabel(_label(key))
        if columns == 2:
            _draw_curves(row[1], results, key, _changes(results, key))
            row[1].axhline(0.0, color=colors_of([result.name for result in results])[0], linewidth=0.8)
            row[1].set_ylabel(f"Δ{_label(key)}")
    for axis in axes[-1]:
        axis.set_xlabel("$r$ / Å")
        axis.set_xlim(0.0, max(result.distances[-1] for result in results))
    lines, names = axes[0, 0].get_legend_handles_labels()
    wide = legend_columns([result.name for result in results], 4.6 * columns)
    figure.legend(lines, names, loc="outside upper center", ncols=wide, frameon=False)
    figure.align_ylabels()
    figure.savefig(path)


def drawn_functions(results: Sequence[Correlations]) -> tuple[str, ...]:
    """The functions that have values to be drawn; if there are none, all."""
    keys = tuple(dict.fromkeys(key for result in results for key in result.functions))
    found = {key: [result.functions[key] for result in results if key in result.functions] for key in keys}
    return tuple(key for key in keys if any(_shown(each).any() for each in found[key])) or keys


def _shown(curve: Function) -> np.ndarray:
    """The distances at which a function is drawn, as flags.

    Not those, the smallest, of so few pairs that errors are unknown: their values would hide the rest.
    """
    return np.isfinite(curve.values) & (np.isfinite(curve.errors) | np.isnan(curve.errors).all())


def _changes(results: Sequence[Correlations], key: str) -> list[Function | None]:
    """Differences to the first run, of the others that have the function."""
    reference = results[0]
    both = [key in result.functions and key in reference.functions for result in results[1:]]
    return [
        None,
        *(difference(result, reference, key) if yes else None for yes, result in zip(both, results[1:], strict=True)),
    ]


def _draw_curves(axis: Axes, results: Sequence[Correlations], key: str, curves: Sequence[Function | None]) -> None:
    """The curves of one panel; the peaks of bonds, many times as high as all else, go beyond its edge."""
    low, high = 0.0, 0.0
    colors = colors_of([result.name for result in results])
    for result, curve, color in zip(results, curves, colors, strict=True):
        if curve is None:
            continue
        distances = result.distances[: len(curve.values)]
        shown = _shown(curve)
        band(axis, distances[shown], curve.values[shown], curve.errors[shown], label=legend(result.name), color=color)
        counts = shown & ((distances > LONGEST_BOND) | (key == ORIENTATION))
        values, errors = curve.values[counts], 2.0 * np.nan_to_num(curve.errors[counts])
        low, high = min(low, (values - errors).min(initial=low)), max(high, (values + errors).max(initial=high))
    margin = 0.05 * (high - low) or 1.0
    nothing_below = all(curve is None or not (curve.values < 0).any() for curve in curves)
    axis.set_ylim(0.0 if nothing_below else low - margin, high + margin)
    tidy(axis)


def _label(key: str) -> str:
    name, index = key.split("_", 1)
    if not index.isalnum():  # labels of atoms may be anything, and mathematics is particular
        return f"${name}(r)$, {plain(index)}"
    return rf"${name}_{{\mathrm{{{index}}}}}(r)$"
