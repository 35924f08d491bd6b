"""The table of geometry optimisations: how many arrive, what becomes of the others, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from ..diagnostics.optimizations import Optimization, OptimizationOutcome, Optimizations, Rate
from ..diagnostics.starts import OptimizationStart
from ..errors import printable

# Table 6, success with L-BFGS in %: water molecules in the gas phase, liquid water, molecules of QM9, and MPtrj.
_PAPER = {
    "molecules": (
        "water molecules",
        "PET-C 83, SOAP-BPNN-C 91, SevenNet 81, MACE 94",
        "PET-NC 75, SOAP-BPNN-NC 79, ORB 69",
    ),
    "structures": (
        "liquid water",
        "PET-C 58, SOAP-BPNN-C 59, SevenNet 88, MACE 83",
        "PET-NC 52, SOAP-BPNN-NC 0, ORB 9",
    ),
    "g2": ("molecules of QM9", "SevenNet 92, MACE 94", "ORB 1"),
    "crystals": ("MPtrj", "SevenNet 97, MACE 99", "ORB 76"),
}


def table(optimizations: Optimizations) -> str:
    """The whole table, set by set."""
    lines = [
        f"{printable(optimizations.model)}: geometry optimisations, at most {optimizations.most_steps} steps",
        "all forces without net force and, where nothing is periodic, without net torque",
    ]
    for group in optimizations.groups:
        lines += ["", *_of_a_set(optimizations, group)]
    return "\n".join(lines)


def _of_a_set(optimizations: Optimizations, group: str) -> Iterator[str]:
    runs = [run for run in optimizations.runs if run.start.group == group]
    starts = list({id(run.start): run.start for run in runs}.values())
    thresholds = sorted({run.threshold for run in runs})
    counted = f"{len(starts)} {group if len(starts) > 1 else group.removesuffix('s')}"
    yield f"{counted}, converged below {' or '.join(f'{t:g}' for t in thresholds)} eV/Å"
    yield from _displacements(starts)
    yield ""
    others = [
        outcome
        for outcome in OptimizationOutcome
        if outcome in {run.outcome for run in runs} - {OptimizationOutcome.CONVERGED}
    ]
    yield (
        f"  {'':20} {'converged, %':>17} {'intact':>7} {'minima':>7} {'steps':>6}  "
        + "".join(f"{outcome.value:>10} " for outcome in others)
        + (f" {'lowest, eV/Å':>12}" if others else "")
    ).rstrip()
    why = []
    for rate in optimizations.rates():
        if rate.group == group:
            yield _row(rate, others)
            own = [run for run in optimizations.of(group, rate.algorithm) if run.kind == rate.kind]
            why += [f"  {rate.algorithm:<6} {rate.kind:<13} {reason}" for reason in reasons(own)]
    if why:
        yield from ("", *why)
    if group in _PAPER:
        what, conservative, direct = _PAPER[group]
        yield from ("", f"  the paper, {what}, L-BFGS, %: conservative {conservative}; direct {direct}")


def _displacements(starts: list[OptimizationStart]) -> Iterator[str]:
    widths = np.array([start.width for start in starts if start.width or start.limit])
    if not len(widths):
        return
    limits = Counter(start.limit for start in starts if start.limit is not None)
    far = f"{widths.max():.2g}" if np.ptp(widths) < 1e-9 else f"{widths.min():.2g} to {widths.max():.2g}"
    yield f"  displaced by {far} Å (each coordinate, standard deviation; median {np.median(widths):.2g} Å)"
    for limit, count in limits.most_common():
        yield f"  {count} of {len(widths)} not further, as there {limit}"


def _row(rate: Rate, others: list[OptimizationOutcome]) -> str:
    low, high = rate.interval
    converged = f"{100 * rate.success:.0f} ({100 * low:.0f} to {100 * high:.0f})"
    steps = "" if rate.steps is None else f"{rate.steps:.0f}"
    minima = "" if rate.minima is None else f"{rate.minima}"
    lowest = "" if rate.lowest is None else f"{rate.lowest:.1g}"
    counts = "".join(f"{rate.outcomes[outcome] or '':>10} " for outcome in others)
    return (
        f"  {rate.algorithm:<6} {rate.kind:<13} {converged:>17} {rate.intact:>7} {minima:>7} {steps:>6}  {counts} "
        f"{lowest:>12}"
    ).rstrip()


def reasons(runs: Sequence[Optimization]) -> Iterator[str]:
    """A sentence for each that applies, with how many it applies to.

    :param runs: of one set, one algorithm and one kind of forces
    """
    for outcome in OptimizationOutcome:
        own = [run for run in runs if run.outcome is outcome]
        if own:
            yield from _sentences(outcome, own)


def _sentences(outcome: OptimizationOutcome, runs: Sequence[Optimization]) -> Iterator[str]:
    n = len(runs)
    if outcome is OptimizationOutcome.CONVERGED:
        yield from _where_they_converged(runs)
    elif outcome is OptimizationOutcome.UNFINISHED:
        yield f"{n} unfinished: the forces or the energy still fell after {runs[0].steps} steps"
    elif outcome is OptimizationOutcome.ROUNDING:
        yield (
            f"{n} by rounding: forces got down to {_lowest(runs):.1g} eV/Å, where their rounding errors are "
            f"{_rounding(runs):.1g}; the threshold of {runs[0].threshold:g} asks for more digits than they have"
        )
    elif outcome is OptimizationOutcome.STAGNANT:
        yield (
            f"{n} stagnant: atoms stand still with {_lowest(runs):.1g} eV/Å at the least, {_above_rounding(runs)}: "
            "forces do not vanish where they should, or change too abruptly"
        )
    elif outcome is OptimizationOutcome.WANDERING:
        yield f"{n} wandering: atoms move on, with {_lowest(runs):.1g} eV/Å at the least; {_why_wandering(runs[0])}"
    elif outcome is OptimizationOutcome.OUTSIDE:
        yield f"{n} outside of the model's range: {_outside(runs)}"
    elif outcome is OptimizationOutcome.EXPLODED:
        yield f"{n} exploded: forces above all that bonds bear"
    else:
        for failure, count in Counter(run.failure for run in runs).most_common():
            yield f"{count} failed: {failure}"


def _where_they_converged(runs: Sequence[Optimization]) -> Iterator[str]:
    broken = sum(not run.intact for run in runs)
    saddles = [run.state.curvature for run in runs if run.state.minimum is False and run.state.curvature is not None]
    outside = [run for run in runs if run.state.outside]
    if broken:
        yield f"{broken} converged with other bonds than before"
    if saddles:
        yield (
            f"{len(saddles)} converged, but not to a minimum: the lowest curvature is {np.median(saddles):.1g} eV/Å², "
            "as on a saddle"
        )
    if outside:
        yield f"{len(outside)} converged outside of the model's range: {_outside(outside)}"


def _why_wandering(run: Optimization) -> str:
    if run.kind == "direct":
        return "direct forces may lead in circles, and to no minimum of anything"
    if run.algorithm == "L-BFGS":
        return "these are conservative, but L-BFGS of ase searches no lines, and its steps may lead up as well as down"
    return "these are conservative: the energy must be rough, or have no minimum here"


def _outside(runs: Sequence[Optimization]) -> str:
    overlapping = sum(run.state.overlapping for run in runs)
    found = [run.state.apart for run in runs if run.state.apart is not None and not run.state.overlapping]
    reasons = [f"both kinds of forces are {np.median(found):.2g} eV/Å apart there"] if found else []
    if overlapping:
        reasons.append(f"atoms overlap ({overlapping})")
    return ", ".join(reasons)


def _above_rounding(runs: Sequence[Optimization]) -> str:
    rounding = _rounding(runs)
    return f"{_lowest(runs) / rounding:.0e} times their rounding errors" if rounding else "which is not rounding"


def _lowest(runs: Sequence[Optimization]) -> float:
    return float(np.median([run.forces.min() for run in runs]))


def _rounding(runs: Sequence[Optimization]) -> float:
    errors = [run.state.rounding for run in runs if run.state.rounding is not None]
    return float(np.median(errors)) if errors else 0.0
