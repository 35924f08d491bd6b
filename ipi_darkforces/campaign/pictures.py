"""The pictures of a campaign: those of the analysis, with one curve for each condition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..analysis import drift, motion_picture, structure_picture
from ..analysis.drift import Drift
from ..analysis.pictures import colors_of, new_figure, save_both, tidy
from ..analysis.temperatures import draw_means
from ..atomic import atomic_file
from ..stats.estimates import Estimate
from .findings import Finding, Findings

T = TypeVar("T")
# Times the target: what is hotter than this is not shown, so that the rest can be seen.
_HOTTEST = 3.0
_SMALL = 0.1  # meV/atom/ps; smaller drifts, of either sign, are drawn on a linear scale


def draw(findings: Findings, folder: Path) -> dict[str, str]:
    """Draw whatever there is data for, as PNG and PDF.

    :return: names of the PNG files, by what they show: ``nve``, ``temperatures``, ``motion-direct``, ...
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    for what, picture in _pictures(findings):
        drawn[what] = f"{findings.model}-{what}.png"
        save_both(picture, (folder / drawn[what]).with_suffix(""))
    return drawn


def _pictures(findings: Findings) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Pictures for which there is data, and what draws each."""
    yield from picture_of_nve(findings)
    excesses = [(_name(finding), _excesses(finding)) for finding in findings.thermostatted]
    known = [row for row in excesses if row[1]]
    if known:
        yield "temperatures", lambda path: draw_means(known, True, path)
    for kind in ("conservative", "direct", "mts"):
        chosen = [finding for finding in findings.thermostatted if finding.condition.forces.startswith(kind)]
        motions = _with_reference(findings, chosen, lambda finding, name: finding.motion(name))
        if chosen and motions:
            yield f"motion-{kind}", partial(motion_picture.draw, motions)
        structures = _with_reference(findings, chosen, lambda finding, name: finding.structure(name))
        if chosen and structures:
            yield f"structure-{kind}", partial(structure_picture.draw, structures)


def _name(finding: Finding) -> str:
    return f"{finding.condition.thermostat} {finding.condition.forces}"


def picture_of_nve(findings: Findings) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """The course of NVE simulations, if there are any, and what draws it."""
    courses = [_course(finding) for finding in findings.with_ensemble("nve")]
    known = [course for course in courses if course is not None]
    if known:
        yield "nve", lambda path: drift.draw(known, path)


def _course(finding: Finding) -> Drift | None:
    """Course of the first seed, until it is too hot."""
    course = finding.measured[0].course
    if course is None:
        return None
    hot = np.flatnonzero(course.temperature > _HOTTEST * finding.target)
    until = course.time[hot[0]] if len(hot) else np.inf
    kept = course.time <= until
    cut = replace(course, name=finding.condition.forces, time=course.time[kept], temperature=course.temperature[kept])
    if course.conserved is None or course.conserved_time is None:
        return cut
    before = course.conserved_time <= until
    return replace(cut, conserved=course.conserved[before], conserved_time=course.conserved_time[before])


def _with_reference(findings: Findings, chosen: Sequence[Finding], made: Callable[[Finding, str], T | None]) -> list[T]:
    """Results for some findings; that of the reference first, if there is one."""
    reference = findings.reference
    ordered = [*([reference] if reference else []), *(finding for finding in chosen if finding is not reference)]
    return [each for each in (made(finding, _name(finding)) for finding in ordered) if each is not None]


def _excesses(finding: Finding) -> dict[str, Estimate]:
    """Excess temperatures of all atoms and each species, as far as they are known."""
    return {name: excess for name, excess in finding.excesses().items() if excess is not None}


def draw_strides(findings: Sequence[Finding], strides: Sequence[int], path: Path) -> None:
    """Drift against the difference between both kinds of forces, a line for each stride.

    Between two kicks of the slow forces f_C - f_NC (paper, appendix H) a simulation follows the direct ones alone. How
    much energy that leaves behind depends on how long they are alone, and on how large the kicks are.
    """
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    for stride, color in zip(strides, colors_of([f"MTS-{stride}" for stride in strides]), strict=True):
        known = [
            (finding.rms_difference.value, finding.conserved_slope)
            for finding in findings
            if finding.condition.stride == stride and finding.rms_difference and finding.conserved_slope
        ]
        known.sort(key=lambda point: point[0])
        margins = [slope.margin() for _, slope in known]
        axes.errorbar(
            [difference for difference, _ in known],
            [slope.value for _, slope in known],
            [np.nan if margin is None else margin for margin in margins],
            color=color,
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
