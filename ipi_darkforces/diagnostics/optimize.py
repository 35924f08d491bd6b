"""Geometry optimisations with conservative and with direct forces (paper, section 3.3, appendix E).

The algorithms are FIRE and L-BFGS of ase, with its default settings: both follow forces and do not ask for energies, so
that they can follow forces which have none. An optimisation has arrived when no force is larger than a threshold,
within so many steps (appendix E.2: 1e-5 eV/Å for molecules, 1e-4 eV/Å for bulk systems, 1000 steps).

Both kinds of forces are treated alike: without net force and, of structures that are not periodic, without net torque.
Direct forces have to be (section 3.2); those of a model that is not exactly invariant under rotations, as PET is not,
turn a free molecule for ever, although they are conservative. Optimisations advance together, one step at a time, so
that what they need goes through the model in batches.

Forces on fixed coordinates count as zero, after the net force was taken from all atoms: it is an error of the model,
and no property of what is fixed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import ase
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

from ..errors import DarkforcesError
from ..models.ase_calculator import CalculatorModel
from ..models.model import FORCE_KINDS, ForceModel, Need, of_kind, without_net_force
from ..models.result import Forces
from ..models.structure import Structure
from .evaluations import ATOMS, evaluate_each
from .known_range import check_starts
from .optimizations import ALGORITHMS, Optimization, OptimizationOutcome, Optimizations
from .optimize_ends import End, examine
from .optimize_records import Records
from .starts import OptimizationStart

MOST_STEPS = 1000
MOLECULAR, PERIODIC = 1e-5, 1e-4  # eV/Å, largest force of an optimised structure
_LAST = 0.2  # part of the steps in which it shows what becomes of an optimisation
_FALLING = 0.5
_STILL = 0.01  # Å
_BREAKING = 10.0  # eV/Å
_ROUNDED = 10.0  # forces that are not larger than so many rounding errors


def optimize(
    model: ForceModel,
    starts: Sequence[OptimizationStart],
    most_steps: int = MOST_STEPS,
    threshold: float | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
    records: Records | None = None,
) -> Optimizations:
    """Optimise from all starts, with both algorithms and all kinds of forces that the model has.

    The model should compute in double precision: in single precision, rounding errors of forces are near the thresholds
    of the paper or above (7e-6 eV/Å for the bundled model, 1e-3 eV/Å for the paper's PET, appendix E.1).

    :param model: with conservative forces, direct forces or both
    :param most_steps: after which an optimisation has failed
    :param threshold: eV/Å, for the largest force on an atom; None: the paper's, 1e-4 for periodic structures and 1e-5
        for others
    :param report: called with the number of steps that are done, or saved by convergence, and that of all steps
    :param records: of optimisations that were done before, which are not done again; new ones are added
    :raises DarkforcesError: if the model has no forces, does not know an element, or fails at the first structure
    """
    check_starts(model, starts)
    kinds = [kind for kind, need in FORCE_KINDS.items() if need in model.provides]
    begun = [
        _OngoingOptimization(start, algorithm, kind, most_steps, threshold)
        for start in starts
        for algorithm in ALGORITHMS
        for kind in kinds
    ]
    # L-BFGS needs fewer steps: more is done when this is stopped. So it is if calculators, which take one structure at
    # a time anyway, get one optimisation after another.
    waiting = deque(sorted(begun, key=lambda each: each.algorithm != "L-BFGS"))
    most_atoms = 0 if isinstance(model, CalculatorModel) else len(kinds) * ATOMS
    done: dict[_OngoingOptimization, Optimization] = {}
    going: list[_OngoingOptimization] = []
    while waiting or going:
        while waiting and (not going or sum(len(each.atoms) for each in [*going, waiting[0]]) <= most_atoms):
            going.append(waiting.popleft())
        _advance(model, going, records)
        for each in going:
            if each.ended:
                done[each] = each.result(model)
                if records is not None and not each.recorded:
                    records.add(done[each], most_steps)
        going = [each for each in going if not each.ended]
        left = sum(each.steps_left for each in begun)
        report(most_steps * len(begun) - left, most_steps * len(begun))
    return Optimizations(model.name, most_steps, tuple(done[each] for each in begun))


def _advance(model: ForceModel, going: Sequence[_OngoingOptimization], records: Records | None) -> None:
    """Advance each optimisation by one step, those with the same kind of forces in batches."""
    for kind, need in FORCE_KINDS.items():
        own = [each for each in going if each.kind == kind]
        results = evaluate_each(model, [each.structure() for each in own], need | Need.ENERGY)
        for each, result in zip(own, results, strict=True):
            each.advance(result, records)


class _OngoingOptimization:
    """An optimisation that has not ended, or just now."""

    def __init__(self, start: OptimizationStart, algorithm: str, kind: str, most_steps: int, threshold: float | None):
        structure = start.structure
        self._start, self.algorithm, self.kind = start, algorithm, kind
        self._most_steps = most_steps
        self._threshold = threshold or (PERIODIC if structure.periodic.any() else MOLECULAR)
        self.atoms = ase.Atoms(structure.species, structure.positions, cell=structure.cell, pbc=structure.periodic)
        self._optimizer = ALGORITHMS[algorithm](self.atoms, logfile=None)
        self._forces: list[float] = []
        self._energies: list[float] = []
        self._end = structure
        self._watched_from = most_steps - max(1, round(_LAST * most_steps))
        self._reference = structure.positions
        self._moved = 0.0  # Å, of any atom from the reference
        self._outcome: OptimizationOutcome | None = None
        self._record: Optimization | None = None
        self._failure: str | None = None

    @property
    def ended(self) -> bool:
        """True if it takes no more steps."""
        return self._outcome is not None

    @property
    def recorded(self) -> bool:
        """True if all of it was done before."""
        return self._record is not None

    @property
    def steps_left(self) -> int:
        """The number that may still be done."""
        return 0 if self.ended else self._most_steps - max(0, len(self._forces) - 1)

    def structure(self) -> Structure:
        """The atoms where they are now."""
        return replace(self._end, positions=self.atoms.positions.copy())

    def advance(self, result: Forces | DarkforcesError, records: Records | None = None) -> None:
        """Take a step with the forces that the model has for `structure`.

        :param result: of the model, or its error
        :param records: where it may be found that all of this was done before
        """
        if isinstance(result, DarkforcesError):
            self._outcome, self._failure = OptimizationOutcome.FAILED, str(result)
            return
        self._end = self.structure()
        forces = without_net_force(of_kind(FORCE_KINDS[self.kind], result), self._end) * self._start.moving
        self._forces.append(float(np.linalg.norm(forces, axis=1).max()))
        self._energies.append(result.energy)
        if records is not None and len(self._forces) == 1:
            self._record = records.find(self._so_far(), self._most_steps)
        if self._record is not None:
            self._outcome = self._record.outcome
            return
        self._watch()
        if self._forces[-1] < self._threshold:
            self._outcome = OptimizationOutcome.CONVERGED
        elif len(self._forces) > self._most_steps:
            self._outcome = self._unconverged_outcome()
        else:
            self.atoms.calc = SinglePointCalculator(self.atoms, forces=forces)
            with np.errstate(all="ignore"):  # what comes of it is found when it is evaluated
                self._optimizer.step()

    def _watch(self) -> None:
        """Note how far atoms go in the last part, apart from what they do all together."""
        step = len(self._forces) - 1
        if step == self._watched_from:
            self._reference = self._end.positions
        elif step > self._watched_from:
            moved = self._end.positions - self._reference
            if self._start.moving.all():
                moved = moved - moved.mean(axis=0)
            self._moved = max(self._moved, float(np.linalg.norm(moved, axis=1).max()))

    def _unconverged_outcome(self) -> OptimizationOutcome:
        first = self._watched_from + 1
        before, last = self._forces[:first], self._forces[first:]
        if min(last) > max(before[0], _BREAKING):
            return OptimizationOutcome.EXPLODED
        if min(last) < _FALLING * min(before):
            return OptimizationOutcome.UNFINISHED
        if self._moved < _STILL:
            return OptimizationOutcome.STAGNANT
        return (
            OptimizationOutcome.UNFINISHED
            if self._energies[-1] < min(self._energies[:first])
            else OptimizationOutcome.WANDERING
        )

    def result(self, model: ForceModel) -> Optimization:
        """The optimisation, when it has ended."""
        assert self._outcome is not None
        if self._record is not None:
            return self._record
        converged = self._outcome is OptimizationOutcome.CONVERGED
        state = examine(model, FORCE_KINDS[self.kind], self._end, converged, self._start.moving)
        if self._outcome not in (
            OptimizationOutcome.CONVERGED,
            OptimizationOutcome.EXPLODED,
            OptimizationOutcome.FAILED,
        ):
            if state.rounding is not None and min(self._forces) <= _ROUNDED * state.rounding:
                self._outcome = OptimizationOutcome.ROUNDING
            elif state.outside:
                self._outcome = OptimizationOutcome.OUTSIDE
        return replace(self._so_far(), outcome=self._outcome, state=state)

    def _so_far(self) -> Optimization:
        return Optimization(
            self._start,
            self.algorithm,
            self.kind,
            self._threshold,
            np.array(self._forces),
            np.array(self._energies),
            self._end,
            self._outcome or OptimizationOutcome.UNFINISHED,
            End(None, None, False, None),
            self._failure,
        )
