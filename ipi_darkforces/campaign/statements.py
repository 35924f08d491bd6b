"""Statements of the paper about our simulations: each is computed, with its error, and judged.

A difference is there if zero is outside of the 95 % interval. That there is none is only said if the interval excludes
one of the size that matters; else the simulations are too short to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from ..analysis.temperatures import ALL
from ..stats.estimates import Estimate
from . import paper
from .findings import Finding, Findings

Judgement = Literal["above", "below", "none"]

AS_IN_PAPER = "as in the paper"
UNLIKE_PAPER = "unlike the paper"
TOO_SHORT = "too short to tell"

# K/ps; a drift that the paper's pictures could not show.
_STEADY = 0.1 * paper.HEATING
# K; off by this much is what the paper calls about 1 %.
_OFF = 3.0
# Å; of the first peak of a radial distribution, a change in height that is worth mentioning.
_CHANGED = 0.1


@dataclass(frozen=True)
class PaperStatement:
    """A statement of the paper, and the same of our simulations.

    :param claim: what the paper says
    :param ours: in numbers
    :param paper: in numbers, as far as it has any
    :param verdict: whether the claim holds here
    """

    claim: str
    ours: str
    paper: str
    verdict: str


def statements(findings: Findings) -> list[PaperStatement]:
    """The statements for which there are simulations."""
    parts: tuple[Callable[[Findings], Iterator[PaperStatement]], ...] = (
        _heating,
        _langevin_temperatures,
        _langevin_diffusion,
        _equipartition,
        _coloured_noise,
        _structure,
    )
    return [statement for part in parts for statement in part(findings)]


def as_json(findings: Findings) -> dict[str, object]:
    """The findings for a model, and the statements that hold, for machines."""
    return {
        "model": findings.model,
        "statements": [asdict(statement) for statement in statements(findings)],
        "findings": [finding.as_json() for finding in findings.all],
    }


def judge(difference: Estimate | None, matters: float, tolerance: float = 0.0) -> Judgement | None:
    """Tell whether a difference from zero is there; None if that cannot be told.

    :param difference: None if it is not known at all
    :param matters: the smallest size that matters, by absolute value
    :param tolerance: a size that is as good as nothing, even if it is there
    """
    margin = None if difference is None else difference.margin()
    if difference is None or margin is None or not np.isfinite(difference.value):
        return None
    if abs(difference.value) - margin > tolerance:
        return "above" if difference.value > 0 else "below"
    return "none" if abs(difference.value) + margin < max(matters, tolerance) else None


def minus(one: Estimate | None, other: Estimate | None) -> Estimate | None:
    """Difference of independent estimates; errors add in squares."""
    if one is None or other is None:
        return None
    if one.error is None or other.error is None:
        return Estimate(one.value - other.value, None)
    return Estimate(one.value - other.value, float(np.hypot(one.error, other.error)), min(one.freedom, other.freedom))


def ratio(one: Estimate | None, other: Estimate | None) -> Estimate | None:
    """Quotient of independent estimates; relative errors add in squares."""
    if one is None or other is None or other.value == 0.0:
        return None
    value = one.value / other.value
    if one.error is None or other.error is None:
        return Estimate(value, None)
    error = float(np.hypot(one.error / other.value, value * other.error / other.value))
    return Estimate(value, error, min(one.freedom, other.freedom))


def shown(estimate: Estimate | None, unit: str) -> str:
    """Text for sentences."""
    return "not known" if estimate is None else estimate.text(unit).replace("-", "−")


def in_paper(estimate: Estimate | None) -> str:
    """Text with the digits that the paper has."""
    return "–" if estimate is None else estimate.fixed(1).replace("-", "−")


def explosion(finding: Finding) -> str:
    """The explosion of the simulations of a finding, if any did."""
    times = sorted(finding.exploded)
    if not times:
        return ""
    after = f"{times[0]:.2g}" if len(times) == 1 else f"{times[0]:.2g} to {times[-1]:.2g}"
    count = "" if len(times) == len(finding.measured) else f" ({len(times)} of {len(finding.measured)})"
    return f"unstable after {after} ps{count}"


def _forces(finding: Finding) -> str:
    """Name in sentences."""
    stride = finding.condition.stride
    return f"{finding.condition.forces} forces" if stride is None else f"MTS with M = {stride}"


def _verdict(judged: Judgement | None, expected: Sequence[Judgement]) -> str:
    if judged is None:
        return TOO_SHORT
    return AS_IN_PAPER if judged in expected else UNLIKE_PAPER


def _compared(ours: Estimate | None, theirs: Estimate, matters: float) -> str:
    """Our number beside the paper's."""
    judged = judge(minus(ours, theirs), matters)
    if judged is None:
        return TOO_SHORT
    return (
        AS_IN_PAPER if judged == "none" else "more than in the paper" if judged == "above" else "less than in the paper"
    )


def _heating(findings: Findings) -> Iterator[PaperStatement]:
    """State how much NVE simulations heat with each kind of forces."""
    for finding in findings.with_ensemble("nve"):
        forces, stride = finding.condition.forces, finding.condition.stride
        heats = forces == "direct"
        resonates = stride is not None and stride > paper.LARGEST_STABLE_STRIDE
        if finding.exploded:
            ours = explosion(finding)
            verdict = AS_IN_PAPER if heats or resonates else UNLIKE_PAPER
        else:
            slope, ours = finding.temperature_slope, f"temperature {shown(finding.temperature_slope, 'K/ps')}"
            if finding.heating is not None:
                slope = finding.heating
                ours += f"; conserved quantity, over 3 k_B, {shown(slope, 'K/ps')}"
            # What does not heat as the paper's direct forces do may still heat too much to be called steady.
            matters = paper.HEATING / 2.0 if heats else 2.0 * _STEADY
            judged = judge(slope, matters, tolerance=_STEADY)
            verdict = _verdict(judged, ["above"] if heats else ["above", "below"] if resonates else ["none"])
        claim = "heats" if heats else "is unstable" if resonates else "no drift of the temperature"
        yield PaperStatement(
            f"NVE, {_forces(finding)}: {claim}",
            ours,
            f"{paper.HEATING:g} K/ps" if heats else "large drift" if resonates else "none",
            verdict,
        )


def _langevin_temperatures(findings: Findings) -> Iterator[PaperStatement]:
    """State how hot direct forces are with Langevin thermostats, which have to be strong."""
    for finding in findings.with_ensemble("langevin"):
        theirs = paper.EXCESS.get((finding.condition.thermostat, finding.condition.forces))
        if finding.condition.forces != "direct" or theirs is None:
            continue
        ours = finding.if_steady(finding.excess(ALL))
        yield PaperStatement(
            f"Langevin, τ = {finding.condition.tau:g} fs, direct forces: too hot by",
            explosion(finding) or shown(ours, "K"),
            f"{in_paper(theirs[ALL])} K",
            UNLIKE_PAPER if finding.exploded else _compared(ours, theirs[ALL], max(_OFF, theirs[ALL].value / 2)),
        )


def _langevin_diffusion(findings: Findings) -> Iterator[PaperStatement]:
    """State how much Langevin thermostats slow diffusion down."""
    reference = findings.reference
    for finding in findings.with_ensemble("langevin"):
        theirs = paper.SLOWED.get(finding.condition.thermostat)
        if reference is None or theirs is None or finding.exploded:
            continue
        slowed = ratio(reference.diffusion, finding.diffusion)
        yield PaperStatement(
            f"Langevin, τ = {finding.condition.tau:g} fs, {_forces(finding)}: diffusion slowed by a factor",
            shown(slowed, ""),
            f"about {theirs:g}",
            _compared(slowed, Estimate(theirs, 0.1 * theirs), (theirs - 1.0) / 2.0),
        )


def _equipartition(findings: Findings) -> Iterator[PaperStatement]:
    """State whether species have one temperature under a global thermostat, which cannot cure differences."""
    violated = paper.EXCESS["svr10", "direct"]
    matters = (violated["O"].value - violated["H"].value) / 2.0
    for finding in findings.with_ensemble("svr"):
        if finding.heavy == finding.light:
            continue
        forces, stride = finding.condition.forces, finding.condition.stride
        theirs = paper.EXCESS.get((finding.condition.thermostat, forces))
        resonates = stride is not None and stride > paper.LARGEST_STABLE_STRIDE
        expected: list[Judgement] = ["above", "below"] if forces == "direct" or resonates else ["none"]
        claim = "violates equipartition" if "none" not in expected else "equipartition"
        difference = finding.if_exchanged(finding.inequality)
        judged = judge(difference, matters)
        yield PaperStatement(
            f"SVR, τ = {finding.condition.tau:g} fs, {_forces(finding)}: {claim}; "
            f"T({finding.heavy}) − T({finding.light})",
            explosion(finding) or shown(difference, "K"),
            f"{in_paper(minus(theirs['O'], theirs['H']))} K" if theirs else "not equal" if resonates else "–",
            (AS_IN_PAPER if resonates else UNLIKE_PAPER) if finding.exploded else _verdict(judged, expected),
        )


def _coloured_noise(findings: Findings) -> Iterator[PaperStatement]:
    """State how hot a GLE thermostat leaves slow motions, on which it hardly acts."""
    reference = findings.reference
    for finding in findings.with_ensemble("gle"):
        if finding.condition.forces != "direct":
            continue
        slowed = ratio(reference.diffusion, finding.diffusion) if reference else None
        excess, inequality = (finding.if_steady(each) for each in (finding.excess(ALL), finding.inequality))
        judged = [
            judge(excess, _OFF),
            judge(inequality, _OFF),
            judge(minus(slowed, Estimate(1.0, 0.0)), 0.25),
        ]
        wrong = finding.exploded or any(each in ("above", "below") for each in judged)
        effects = [f"too hot by {shown(excess, 'K')}"]
        if finding.heavy != finding.light:
            effects.append(f"T({finding.heavy}) − T({finding.light}) {shown(inequality, 'K')}")
        if reference is not None:
            effects.append(f"diffusion slowed by a factor {shown(slowed, '')}")
        yield PaperStatement(
            f"GLE, τ = {finding.condition.tau:g} fs, direct forces: no cure",
            explosion(finding) or "; ".join(effects),
            "none with ORB: 1181 K",
            AS_IN_PAPER if wrong else TOO_SHORT if None in judged else UNLIKE_PAPER,
        )


def _structure(findings: Findings) -> Iterator[PaperStatement]:
    """State whether the structure is that with conservative forces."""
    reference = findings.reference
    for finding in findings.with_ensemble("svr"):
        stride = finding.condition.stride
        if reference is None or finding is reference or finding.exploded:
            continue
        changed = minus(finding.peak_height, reference.peak_height)
        same = stride is not None and stride <= paper.LARGEST_STABLE_STRIDE
        claim = "the structure stays" if same else "the structure changes"
        peak = f"height of the first peak of g({finding.heavy}{finding.heavy}) less that with conservative forces"
        yield PaperStatement(
            f"SVR, τ = {finding.condition.tau:g} fs, {_forces(finding)}: {claim}; {peak}",
            shown(changed, ""),
            "no change" if same else "significant",
            _verdict(judge(changed, _CHANGED), ["none"] if same else ["above", "below"]),
        )
