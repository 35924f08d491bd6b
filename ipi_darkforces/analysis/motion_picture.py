"""The picture of the motion of atoms: spectra, autocorrelation, displacements, diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..stats.estimates import Estimate
from .displacements import Displacements
from .motion import Motion
from .pictures import band, colors_of, legend, new_figure, plain, tidy
from .spectra import Spectra
from .temperatures import ALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HIGHEST = 4500.0  # cm⁻¹, beyond all vibrations
_LONGEST = 0.5  # ps of the autocorrelation; what comes later is seen in the spectrum


def draw(results: Sequence[Motion], path: Path) -> None:
    """One picture of one or several runs, with a row of panels for all atoms and for each species.

    Spectra are on the left, c_vv(t) / c_vv(0) in the middle. Where there are positions, mean squared displacements are
    on the right, dashed where their slope was taken; above them are the diffusion coefficients from there (squares) and
    from the spectrum at ω → 0 (circles), with 95 % intervals. Open symbols have no error bar: the run is too short.
    """
    colors = colors_of([result.spectra.name for result in results])
    rows = tuple(dict.fromkeys(row for result in results for row in result.spectra.rows))
    moved = any(result.displacements is not None for result in results)
    widths = [2.0, 1.0, 1.2] if moved else [2.0, 1.0]
    figure = new_figure(3.0 * sum(widths), 0.8 + 1.9 * len(rows))
    axes = figure.subplots(len(rows), len(widths), squeeze=False, width_ratios=widths)
    for row, panels in zip(rows, axes, strict=True):
        for result, color in zip(results, colors, strict=True):
            if row in result.spectra.rows:
                _draw_spectrum(panels[0], panels[1], result.spectra, row, color)
        _label_spectrum(panels[0], panels[1], [result.spectra for result in results], row)
        if moved and row != ALL:
            _draw_displacements(panels[2], [result.displacements for result in results], colors, row)
    if moved:
        _draw_diffusion(axes[0, 2], results, colors, rows[1:])
    for panels in axes[:-1]:
        for axis in (*panels[:2], *(panels[2:] if panels[0] is not axes[0, 0] else ())):
            axis.tick_params(labelbottom=False)
    for axis, label in zip(axes[-1], ("wavenumber / cm⁻¹", "time / ps", "time / ps"), strict=False):
        axis.set_xlabel(label)
    axes[0, 0].legend(frameon=False)
    figure.align_ylabels()
    figure.savefig(path)


def _draw_spectrum(left: Axes, right: Axes, result: Spectra, species: str, color: str) -> None:
    row = result.rows.index(species)
    band(
        left,
        result.wavenumbers,
        result.spectrum[row],
        result.spectrum_errors[row],
        label=legend(result.name),
        color=color,
    )
    scale = result.correlation[row, 0]
    shown = result.lags <= _LONGEST
    values, errors = result.correlation[row, shown] / scale, result.correlation_errors[row, shown] / scale
    band(right, result.lags[shown], values, errors, color=color)


def _label_spectrum(left: Axes, right: Axes, results: Sequence[Spectra], row: str) -> None:
    left.set_ylabel(f"$\\hat{{c}}_{{vv}}$ / (K cm), {plain(row)}")
    left.set_ylim(bottom=0.0)
    left.set_xlim(0.0, max(_highest(result) for result in results))
    right.set_ylabel("$c_{vv}(t)$ / $c_{vv}(0)$")
    right.set_xlim(0.0, max(min(_LONGEST, result.lags[-1]) for result in results))
    right.axhline(0.0, color="0.4", linewidth=0.8)
    tidy(left)
    tidy(right)


def _highest(result: Spectra) -> float:
    """The wavenumber up to which there is anything to see, and a bit."""
    seen = (result.spectrum > 0.01 * result.spectrum.max(axis=1, keepdims=True)).any(axis=0)
    return float(min(1.15 * result.wavenumbers[np.flatnonzero(seen)[-1]], result.wavenumbers[-1], _HIGHEST))


def _draw_displacements(axis: Axes, results: Sequence[Displacements | None], colors: Sequence[str], row: str) -> None:
    for result, color in zip(results, colors, strict=True):
        if result is None or row not in result.rows:
            continue
        k = result.rows.index(row)
        band(axis, result.lags, result.squares[k], result.errors[k], color=color)
        fitted = result.lags >= result.window[0]
        line = 6.0 * result.diffusion[row].value * result.lags[fitted]
        line += (result.squares[k, fitted] - line).mean()
        axis.plot(result.lags[fitted], line, "--", color="black", linewidth=0.9)
    axis.set_xlim(left=0.0)
    axis.set_ylim(bottom=0.0)
    axis.set_ylabel(f"$\\langle|\\Delta r|^2\\rangle$ / Å$^2$, {plain(row)}")
    tidy(axis)


def _draw_diffusion(axis: Axes, results: Sequence[Motion], colors: Sequence[str], species: Sequence[str]) -> None:
    """Both routes side by side, for each species and run."""
    apart = 0.6 / (2 * len(results))
    for i, result in enumerate(results):
        moved = {} if result.displacements is None else result.displacements.diffusion
        for j, found in enumerate((result.spectra.diffusion, moved)):
            for k, row in enumerate(species):
                if row in found:
                    _draw_value(axis, k + apart * (2 * i + j - len(results) + 0.5), found[row], "os"[j], colors[i])
    for marker, label in (("o", "from spectrum"), ("s", "from displacements")):
        axis.plot([], [], marker, color="0.4", markersize=5, label=label)
    axis.set_xticks(range(len(species)), [plain(each) for each in species])
    axis.set_xlim(-0.6, len(species) - 0.4)
    axis.margins(y=0.1)
    axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]))
    axis.set_ylabel("$D$ / (Å$^2$/ps)")
    axis.legend(frameon=False, fontsize="small")
    tidy(axis, "y")


def _draw_value(axis: Axes, x: float, value: Estimate, marker: str, color: str) -> None:
    margin = value.margin()
    if margin is not None:
        axis.errorbar(x, value.value, yerr=margin, color=color, linewidth=1.4, capsize=2.5)
    axis.plot(x, value.value, marker, markersize=5, color=color, mfc="white" if margin is None else color)
