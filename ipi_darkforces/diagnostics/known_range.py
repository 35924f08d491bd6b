"""The range of structures that a model knows, and how far atoms can be displaced within it.

A model that learned from a liquid, or from crystals, need not know what becomes of a molecule whose atoms are displaced
by half an Å, and forces of a model outside of its range lead anywhere. Two signs show where the range ends, without the
model's training data:

- Both kinds of forces are two predictions of the same quantity by the same model. Where they differ by more than
  1 eV/Å on an atom, at least one of them is wrong by as much as forces at room temperature are large.
- Forces pull displaced atoms back, along the way on which they were displaced. A structure that is left alone although
  its bonds are bent and stretched is beyond the basin of the one that it was made from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import DarkforcesError, about
from ..models.model import FORCE_KINDS, ForceModel, of_kind
from ..models.result import Forces
from ..models.structure import Structure
from ..split.monitor import TOO_FAR
from .evaluations import evaluate_each
from .starts import OptimizationStart

FRACTIONS = 2.0 ** (-0.5 * np.arange(10, -1, -1))  # of a displacement: 1/32, ..., 1/2, 1/√2, 1
UNKNOWN = "the model fails or gives nothing finite"
APART = f"its two kinds of forces are more than {TOO_FAR:g} eV/Å apart"
NOT_BACK = "forces do not pull atoms back"


@dataclass(frozen=True)
class Reach:
    """The part of a displacement that stays within the range.

    :param fraction: the largest of `FRACTIONS` up to which it does; zero if the structure itself is outside
    :param limit: what is seen beyond, `UNKNOWN`, `APART` or `NOT_BACK`; None if all of it is within the range
    """

    fraction: float
    limit: str | None


def reach(model: ForceModel, structure: Structure, displacement: np.ndarray) -> Reach:
    """The part of a displacement within which a model knows the structure.

    :param displacement: Å, where all of it leads, shape (n_atoms, 3)
    """
    fractions = [0.0, *FRACTIONS]
    way = [replace(structure, positions=structure.positions + f * displacement) for f in fractions]
    results = evaluate_each(model, way, model.forces)
    known, pulled = 0.0, False
    for fraction, result in zip(fractions, results, strict=True):
        if isinstance(result, DarkforcesError):
            return Reach(known, UNKNOWN)
        if too_far_apart(result):
            return Reach(known, APART)
        back = all(
            float(np.sum(of_kind(need, result) * displacement)) < 0.0
            for need in FORCE_KINDS.values()
            if need in model.provides
        )
        if pulled and not back:  # before, it may lead to where a structure that is not at rest wants to go
            return Reach(known, NOT_BACK)
        known, pulled = fraction, pulled or back
    return Reach(known, None)


def apart(forces: Forces) -> float | None:
    """Largest difference of both kinds of forces on an atom, eV/Å; None if there is but one kind."""
    if forces.conservative is None or forces.direct is None:
        return None
    return float(np.linalg.norm(forces.conservative - forces.direct, axis=1).max())


def too_far_apart(forces: Forces) -> bool:
    """True if both kinds of forces contradict each other."""
    difference = apart(forces)
    return difference is not None and difference > TOO_FAR


def check_starts(model: ForceModel, starts: Sequence[OptimizationStart]) -> None:
    """Find out if a model can be asked for starts at all; what it fails at later is a result.

    :raises DarkforcesError: if it has no forces, does not know an element, or fails at the first structure
    """
    if not model.forces:
        raise DarkforcesError(f"model '{model.name}' provides no forces to follow; it provides {model.provides}")
    for start in starts:
        with about(start.name):
            model.check_request([start.structure], model.forces)
            if start is starts[0]:
                model.evaluate(start.original, model.forces)


def within_range(
    model: ForceModel,
    starts: Sequence[OptimizationStart],
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[OptimizationStart]:
    """Starts as far from where they were displaced as the model's range allows, each on its own way.

    :param starts: those that were not displaced are left as they are
    :param report: called with the number of starts that are done, and that of all
    :raises DarkforcesError: see `check_starts`
    """
    check_starts(model, starts)
    found = []
    for done, start in enumerate(starts, 1):
        found.append(_pulled_in(model, start) if start.width else start)
        report(done, len(starts))
    return found


def _pulled_in(model: ForceModel, start: OptimizationStart) -> OptimizationStart:
    displacement = start.structure.positions - start.original.positions
    farthest = reach(model, start.original, displacement)
    if farthest.limit is None:
        return start
    nearer = replace(start.original, positions=start.original.positions + farthest.fraction * displacement)
    return replace(start, structure=nearer, width=farthest.fraction * start.width, limit=farthest.limit)
