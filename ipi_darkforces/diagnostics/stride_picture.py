"""The picture of a prediction of strides: heating against the stride, and the spectrum that it comes from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..analysis.pictures import KIND_COLORS, new_figure, plain, tidy
from .heating import WAVENUMBER
from .stride_prediction import StridePrediction

_COLOR = KIND_COLORS["MTS"]
_ROOM_OF_LABEL = 0.045  # of the axis of wavenumbers
_DECADES = 1e-4  # of the largest value, what is shown of the spectrum


def draw_strides(prediction: StridePrediction, path: Path) -> None:
    """Heating of every stride with its 95 % interval, and β S/N with the impulse frequencies."""
    figure = new_figure(9.6, 3.8)
    left, right = figure.subplots(1, 2)
    shown = prediction.strides[1:]
    strides = [each.stride for each in shown]
    values = np.array([each.total.value for each in shown])
    margins = np.array([each.total.margin() for each in shown])
    bars = np.array([np.minimum(margins, 0.9 * values), margins])  # on a logarithmic axis
    left.errorbar(strides, values, bars, fmt="o-", color=_COLOR, linewidth=1.2, markersize=4, capsize=2)
    left.set_yscale("log")
    left.set_xticks(strides[:: max(1, len(strides) // 8)])
    left.set_xlabel("stride M")
    left.set_ylabel("heating without a thermostat / (meV/atom/ps)")
    left.set_title(plain(prediction.model), loc="left", fontsize=10, fontweight="bold")
    factor = shown[0].rate.value / shown[0].total.value if shown[0].total.value else 1.0
    kelvin = left.secondary_yaxis("right", functions=(lambda x: x * factor, lambda x: x / factor))
    kelvin.set_ylabel("K/ps")
    wavenumbers, spectrum = prediction.spectrum
    right.plot(wavenumbers, spectrum, color=_COLOR, linewidth=1.2)
    right.set_yscale("log")
    right.locator_params(axis="x", nbins=6)
    right.set_ylim(_DECADES * spectrum.max(), 3.0 * spectrum.max())
    right.set_xlabel("wavenumber / cm⁻¹")
    right.set_ylabel(r"$\beta S(\omega)/N$ / (meV/atom/ps)")
    labelled = np.inf
    for stride in strides:
        impulses = WAVENUMBER * 1000.0 / (stride * prediction.timestep)
        if impulses < wavenumbers[-1]:
            right.axvline(impulses, color="0.6", linewidth=0.7, linestyle=":")
            if labelled - impulses > _ROOM_OF_LABEL * wavenumbers[-1]:
                right.annotate(f"{stride}", (impulses, 2.0 * spectrum.max()), fontsize=7, ha="center", color="0.3")
                labelled = impulses
    right.set_title("frequency of the impulses of each M: dotted", loc="right", fontsize=9)
    for axis in (left, right):
        tidy(axis)
    figure.savefig(path)
