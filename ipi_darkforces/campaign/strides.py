"""Drift against stride, and against the difference of both kinds of forces, for several models.

Between two kicks of the slow forces f_C - f_NC (paper, appendix H) a simulation follows the direct ones alone. How much
energy that leaves behind depends on how long they are alone, and on how large the kicks are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..analysis.pictures import colors_of, new_figure, tidy
from ..atomic import atomic_file
from .findings import Finding, Findings

# meV/atom/ps; smaller drifts, of either sign, are drawn on a linear scale.
_SMALL = 0.1


def with_strides(found: Sequence[Findings]) -> dict[str, tuple[Finding, ...]]:
    """NVE simulations with multiple time stepping, by model."""
    chosen = {
        findings.model: tuple(each for each in findings.with_ensemble("nve") if each.condition.stride is not None)
        for findings in found
    }
    return {model: of_model for model, of_model in chosen.items() if of_model}


def all_strides(chosen: dict[str, tuple[Finding, ...]]) -> list[int]:
    """M of all of them, see `with_strides`, each once."""
    every = [finding.condition.stride for of_model in chosen.values() for finding in of_model]
    return sorted({stride for stride in every if stride is not None})


def draw(chosen: dict[str, tuple[Finding, ...]], path: Path) -> None:
    """Drift against the difference between both kinds of forces, a line for each stride.

    :param chosen: see `with_strides`
    """
    every = [finding for of_model in chosen.values() for finding in of_model]
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    colors = colors_of([f"MTS-{stride}" for stride in all_strides(chosen)])
    for i, stride in enumerate(all_strides(chosen)):
        known = [
            (finding.rms_difference.value, finding.conserved_slope)
            for finding in every
            if finding.condition.stride == stride and finding.rms_difference and finding.conserved_slope
        ]
        known.sort(key=lambda point: point[0])
        margins = [slope.margin() for _, slope in known]
        axes.errorbar(
            [difference for difference, _ in known],
            [slope.value for _, slope in known],
            [np.nan if margin is None else margin for margin in margins],
            color=colors[i],
            marker="o",
            linewidth=1.2,
            capsize=3,
            label=f"M = {stride}",
        )
    axes.set_yscale("symlog", linthresh=_SMALL)
    axes.set_xlabel("f$_\\mathrm{C}$ − f$_\\mathrm{NC}$ / (meV/Å), rms")
    axes.set_ylabel("drift of the conserved quantity / (meV/atom/ps)")
    axes.legend(frameon=False)
    tidy(axes)
    with atomic_file(path) as file:
        figure.savefig(file)
