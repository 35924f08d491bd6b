"""The picture of a model's accuracy: predicted against reference, direct against conservative forces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from ..analysis.pictures import OTHER_COLORS, new_figure, plain
from .accuracy import Accuracy, ForceErrors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OTHERS = "0.55"  # of elements for which there are no colours left: the rarest
_PANEL = 3.3  # inches


@dataclass(frozen=True)
class _Panel:
    """A panel: what is along x and y, eV/Å, shape (n_atoms, 3), and how far it is from the diagonal."""

    title: str
    xlabel: str
    x: np.ndarray
    ylabel: str
    y: np.ndarray
    errors: ForceErrors


def draw_parity(accuracies: Accuracy | Sequence[Accuracy], path: Path) -> None:
    """Predicted against reference energies and forces, and direct forces against conservative ones.

    :param accuracies: of one model, or of several: one row of panels for each
    """
    rows = [accuracies] if isinstance(accuracies, Accuracy) else list(accuracies)
    n_columns = max(len(_panels(row)) for row in rows) + 1
    figure = new_figure(_PANEL * n_columns, 1.04 * _PANEL * len(rows))
    axes = figure.subplots(len(rows), n_columns, squeeze=False)
    for accuracy, row in zip(rows, axes, strict=True):
        for axis in row:
            axis.set_visible(False)
        _draw_energies(row[0], accuracy, accuracy.model if len(rows) > 1 else None)
        for axis, panel in zip(row[1:], _panels(accuracy), strict=False):
            _draw_forces(axis, panel, accuracy.species)
    figure.savefig(path)


def _panels(accuracy: Accuracy) -> list[_Panel]:
    """The panels for which there are forces."""
    reference, conservative, direct = accuracy.reference_forces, accuracy.conservative, accuracy.direct
    panels = []
    for title, predicted, errors in (
        ("conservative forces", conservative, accuracy.conservative_errors),
        ("direct forces", direct, accuracy.direct_errors),
    ):
        if predicted is not None and errors is not None:
            panels.append(_Panel(title, "reference", reference, "predicted", predicted, errors))
    if conservative is not None and direct is not None and accuracy.difference is not None:
        difference = accuracy.difference
        panels.append(_Panel("direct and conservative", "conservative", conservative, "direct", direct, difference))
    return panels


def _draw_energies(axis: Axes, accuracy: Accuracy, model: str | None) -> None:
    reference, predicted = (
        1000.0 * (energy / accuracy.counts - np.mean(energy / accuracy.counts))
        for energy in (accuracy.reference_energy, accuracy.energy)
    )
    alpha = float(np.clip(60.0 / len(reference), 0.1, 0.75))
    axis.scatter(reference, predicted, s=20, color="0.2", alpha=alpha, linewidths=0, zorder=2)
    axis.set_xlabel("reference / (meV/atom)")
    axis.set_ylabel("predicted / (meV/atom)")
    _finish(axis, reference, predicted, "energy relative to its mean" if model is None else f"{plain(model)}: energy")
    _write(axis, [(f"MAE {accuracy.energy_errors.shifted.mae:.2f} meV/atom", "black")])


def _draw_forces(axis: Axes, panel: _Panel, species: np.ndarray) -> None:
    colors = _colors(species)
    each = np.repeat([colors[z] for z in species], 3)
    # In random order, or the last element would hide the others; a fixed one, so that the picture is always the same.
    order = np.random.default_rng(0).permutation(panel.x.size)
    x, y = panel.x.ravel()[order], panel.y.ravel()[order]
    alpha = float(np.clip(4000.0 / x.size, 0.04, 0.6))
    axis.scatter(x, y, s=5, c=each[order].tolist(), alpha=alpha, linewidths=0, rasterized=True, zorder=2)
    axis.set_xlabel(f"{panel.xlabel} / (eV/Å)")
    axis.set_ylabel(f"{panel.ylabel} / (eV/Å)")
    _finish(axis, x, y, panel.title)
    lines = [(f"MAE {panel.errors.total.mae:.1f} meV/Å", "black")]
    for z, color in colors.items():
        if color != _OTHERS:
            symbol = chemical_symbols[z]
            lines.append((f"{symbol} {panel.errors.elements[symbol].mae:.1f}", color))
    if _OTHERS in colors.values():
        lines.append(("other elements", _OTHERS))
    _write(axis, lines)
    _draw_distribution(axis, 1000.0 * (panel.y - panel.x), species, colors)


def _colors(species: np.ndarray) -> dict[int, str]:
    """A colour for each element, the most abundant first; in the order of atomic numbers."""
    elements, counts = np.unique(species, return_counts=True)
    abundant = sorted(elements[np.argsort(-counts, kind="stable")][: len(OTHER_COLORS)])
    return {z: OTHER_COLORS[abundant.index(z)] if z in abundant else _OTHERS for z in elements.tolist()}


def _draw_distribution(axis: Axes, difference: np.ndarray, species: np.ndarray, colors: dict[int, str]) -> None:
    """Draw the distribution of differences, meV/Å, shape (n_atoms, 3), in the corner below the diagonal."""
    inset = axis.inset_axes((0.6, 0.17, 0.37, 0.25))
    widest = float(np.percentile(np.abs(difference), 99.5)) or 1.0
    bins = np.linspace(-widest, widest, 41).tolist()
    for z, color in colors.items():
        if color != _OTHERS:
            values = difference[species == z].ravel()
            inset.hist(values, bins, density=True, histtype="stepfilled", color=color, alpha=0.25)
            inset.hist(values, bins, density=True, histtype="step", color=color, linewidth=1.0)
    inset.patch.set_alpha(0.0)
    inset.set_yticks([])
    inset.locator_params(axis="x", nbins=2, symmetric=True)
    inset.tick_params(labelsize=7, length=2, pad=1.5)
    inset.set_xlabel("difference / (meV/Å)", fontsize=7, labelpad=1)
    inset.spines[["top", "right", "left"]].set_visible(False)


def _write(axis: Axes, lines: Sequence[tuple[str, str]]) -> None:
    """Texts in their colours, in the corner above the diagonal."""
    for i, (text, color) in enumerate(lines):
        axis.text(0.04, 0.92 - 0.065 * i, text, color=color, transform=axis.transAxes, fontsize=9)


def _finish(axis: Axes, x: np.ndarray, y: np.ndarray, title: str) -> None:
    """The diagonal, and the same range and ticks on both axes."""
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    margin = 0.06 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    axis.plot(limits, limits, color="0.55", linewidth=0.8, zorder=1)
    axis.set_xlim(limits)
    axis.set_ylim(limits)
    axis.locator_params(nbins=6, steps=[1, 2, 5, 10])
    axis.set_aspect("equal")
    axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.2)
    axis.set_visible(True)
