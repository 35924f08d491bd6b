"""Reasons, in words, for geometry optimisations that do not converge, or not to the right minimum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from .optimizations import Optimization, OptimizationOutcome


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
