"""Do geometry optimisations arrive? With conservative forces, and with direct ones (paper, section 3.3, appendix E).

The algorithms are FIRE and L-BFGS of ase, with its default settings: both follow forces and do not ask for energies, so
that they can follow forces which have none. An optimisation has arrived when no force is larger than a threshold,
within so many steps (appendix E.2: 1e-5 eV/Å for molecules, 1e-4 eV/Å for bulk systems, 1000 steps). What becomes of
the others is seen in the last fifth of their steps:

exploded
    forces or positions are NaN or infinite, or the largest force stays above what it was in the beginning and above
    10 eV/Å, with which bonds break;
unfinished
    the largest force still falls: it got below half of the lowest one before; or atoms move, and the energy of the
    model is lower in the end than it ever was before;
stagnant
    nothing of that, and all atoms stay within 0.01 Å of where they were: the forces do not vanish where they should, or
    are too rough to tell, as they are in single precision;
wandering
    nothing of that, and atoms move on: there is no place where the forces want them to be.

Where forces vanish, the atoms need not be what they should: whether they have the bonds from before they were displaced
is said too. Optimisations advance together, one step at a time, so that what they need goes through the model in
batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import ase
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.optimize import FIRE, LBFGS
from ase.optimize.optimize import Optimizer
from scipy.stats import binomtest

from ..errors import DarkforcesError
from ..forces.model import ForceModel, Need, of_kind
from ..forces.result import Forces
from ..forces.structure import Structure
from .starts import Start
from .work import KINDS

ALGORITHMS: dict[str, type[Optimizer]] = {"FIRE": FIRE, "L-BFGS": LBFGS}
MOST_STEPS = 1000
MOLECULAR, PERIODIC = 1e-5, 1e-4  # eV/Å, largest force of an optimised structure
_LAST = 0.2  # part of the steps in which it shows what becomes of an optimisation
_FALLING = 0.5
_STILL = 0.01  # Å
_BREAKING = 10.0  # eV/Å
_BATCH = 400  # atoms


class Outcome(Enum):
    """What becomes of an optimisation."""

    CONVERGED = "converged"
    UNFINISHED = "unfinished"
    STAGNANT = "stagnant"
    WANDERING = "wandering"
    EXPLODED = "exploded"


@dataclass(frozen=True)
class Optimization:
    """One optimisation.

    :param start: where it started
    :param algorithm: one of `ALGORITHMS`
    :param kind: of the forces, ``conservative`` or ``direct``
    :param threshold: eV/Å, largest force of an optimised structure
    :param forces: eV/Å, the largest force on an atom, in the beginning and after each step, shape (n_steps + 1,); empty
        if the model has no finite ones for the start
    :param energies: eV, of the model, at the same places
    :param end: where it ended, or where it was before it exploded
    :param outcome: what became of it
    """

    start: Start
    algorithm: str
    kind: str
    threshold: float
    forces: np.ndarray
    energies: np.ndarray
    end: Structure
    outcome: Outcome

    @property
    def steps(self) -> int:
        """How many were done."""
        return max(0, len(self.forces) - 1)

    @property
    def intact(self) -> bool:
        """Whether the atoms have the bonds in the end that they had before they were displaced."""
        return self.start.same_bonds(self.end)

    def as_json(self) -> dict[str, object]:
        """For machines: units in the names."""
        return {
            "set": self.start.group,
            "start": self.start.name,
            "atoms": len(self.end.species),
            "algorithm": self.algorithm,
            "forces": self.kind,
            "outcome": self.outcome.value,
            "intact": self.intact,
            "steps": self.steps,
            "threshold_eV_per_angstrom": self.threshold,
            "largest_force_eV_per_angstrom": self.forces.tolist(),
            "energy_eV": self.energies.tolist(),
            "final_positions_angstrom": self.end.positions.tolist(),
        }


@dataclass(frozen=True)
class Rate:
    """How many optimisations of a set arrive with one algorithm and one kind of forces.

    :param group: the set of starts
    :param algorithm: one of `ALGORITHMS`
    :param kind: of the forces, ``conservative`` or ``direct``
    :param outcomes: how often there was each outcome
    :param intact: how many converged, with the bonds that they had before they were displaced
    :param steps: of those that converged, the median; None if none did
    :param lowest: eV/Å, the lowest that the largest force got in those that did not converge, median; None if all did
    """

    group: str
    algorithm: str
    kind: str
    outcomes: Counter[Outcome]
    intact: int
    steps: float | None
    lowest: float | None

    @property
    def starts(self) -> int:
        """How many there are."""
        return self.outcomes.total()

    @property
    def success(self) -> float:
        """Part of the optimisations that converged."""
        return self.outcomes[Outcome.CONVERGED] / self.starts

    @property
    def interval(self) -> tuple[float, float]:
        """Where the success rate of all such starts is, with 95 % probability (Wilson's interval of a binomial)."""
        found = binomtest(self.outcomes[Outcome.CONVERGED], self.starts).proportion_ci(method="wilson")
        return float(found.low), float(found.high)

    def as_json(self) -> dict[str, object]:
        """For machines: units in the names."""
        return {
            "set": self.group,
            "algorithm": self.algorithm,
            "forces": self.kind,
            "starts": self.starts,
            "success": self.success,
            "success_95_percent": list(self.interval),
            "outcomes": {outcome.value: self.outcomes[outcome] for outcome in Outcome},
            "converged_with_bonds_intact": self.intact,
            "median_steps_of_converged": self.steps,
            "median_lowest_force_of_others_eV_per_angstrom": self.lowest,
        }


@dataclass(frozen=True)
class Optimizations:
    """What became of all optimisations with a model.

    :param model: its name
    :param most_steps: after which they were stopped
    :param runs: each of them
    """

    model: str
    most_steps: int
    runs: tuple[Optimization, ...]

    @property
    def groups(self) -> list[str]:
        """The sets of starts, in order."""
        return list(dict.fromkeys(run.start.group for run in self.runs))

    def of(self, group: str, algorithm: str) -> list[Optimization]:
        """Those of one set with one algorithm."""
        return [run for run in self.runs if (run.start.group, run.algorithm) == (group, algorithm)]

    def rates(self) -> list[Rate]:
        """Success, by set, algorithm and kind of forces."""
        found = []
        for group in self.groups:
            for algorithm in ALGORITHMS:
                runs = self.of(group, algorithm)
                found += [_rate(group, algorithm, kind, [r for r in runs if r.kind == kind]) for kind in _kinds(runs)]
        return found

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return {
            "model": self.model,
            "most_steps": self.most_steps,
            "rates": [rate.as_json() for rate in self.rates()],
            "optimizations": [run.as_json() for run in self.runs],
        }


def _kinds(runs: Sequence[Optimization]) -> list[str]:
    return list(dict.fromkeys(run.kind for run in runs))


def _rate(group: str, algorithm: str, kind: str, runs: Sequence[Optimization]) -> Rate:
    steps = [run.steps for run in runs if run.outcome is Outcome.CONVERGED]
    lowest = [run.forces.min() for run in runs if run.outcome is not Outcome.CONVERGED and len(run.forces)]
    return Rate(
        group,
        algorithm,
        kind,
        Counter(run.outcome for run in runs),
        sum(run.outcome is Outcome.CONVERGED and run.intact for run in runs),
        float(np.median(steps)) if steps else None,
        float(np.median(lowest)) if lowest else None,
    )


def optimize(
    model: ForceModel,
    starts: Sequence[Start],
    most_steps: int = MOST_STEPS,
    threshold: float | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Optimizations:
    """Optimise from all starts, with both algorithms and all kinds of forces that the model has.

    The model should compute in double precision: in single precision, rounding errors of forces are near the thresholds
    of the paper or above (7e-6 eV/Å for the bundled model, 1e-3 eV/Å for the paper's PET, appendix E.1).

    :param model: with conservative forces, direct forces or both
    :param starts: where to start
    :param most_steps: after which an optimisation has failed
    :param threshold: eV/Å, for the largest force on an atom; None: the paper's, 1e-4 for periodic structures and 1e-5
        for others
    :param report: called with the number of steps that are done, or saved by convergence, and that of all steps
    :raises DarkforcesError: if the model has no forces, or does not know an element
    """
    kinds = [kind for kind, need in KINDS.items() if need in model.provides]
    if not kinds:
        raise DarkforcesError(f"model '{model.name}' provides no forces to follow; it provides {model.provides}")
    for start in starts:
        try:
            model.check_request([start.structure], KINDS[kinds[0]])
        except DarkforcesError as error:
            raise DarkforcesError(f"{start.name}: {error}") from error
    walks = [
        _Walk(start, algorithm, kind, most_steps, threshold)
        for start in starts
        for algorithm in ALGORITHMS
        for kind in kinds
    ]
    total = most_steps * len(walks)
    while any(walk.going for walk in walks):
        for kind in kinds:
            for batch in _batches(walk for walk in walks if walk.going and walk.kind == kind):
                for walk, forces in zip(batch, _evaluate(model, batch, KINDS[kind]), strict=True):
                    walk.advance(forces)
                report(total - sum(walk.steps_left for walk in walks), total)
    return Optimizations(model.name, most_steps, tuple(walk.result() for walk in walks))


def _batches(walks: Iterable[_Walk]) -> Iterator[list[_Walk]]:
    batch: list[_Walk] = []
    for walk in walks:
        if batch and sum(len(w.atoms) for w in batch) + len(walk.atoms) > _BATCH:
            yield batch
            batch = []
        batch.append(walk)
    if batch:
        yield batch


def _evaluate(model: ForceModel, walks: Sequence[_Walk], need: Need) -> list[Forces | None]:
    """What the model says, for each; None where that is nothing finite."""
    try:
        return list(model.evaluate([walk.structure() for walk in walks], need | Need.ENERGY))
    except DarkforcesError:
        if len(walks) == 1:
            return [None]
        return [_evaluate(model, [walk], need)[0] for walk in walks]


class _Walk:
    """An optimisation that is going on."""

    def __init__(self, start: Start, algorithm: str, kind: str, most_steps: int, threshold: float | None):
        structure = start.structure
        self._start, self._algorithm, self.kind = start, algorithm, kind
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
        self._outcome: Outcome | None = None

    @property
    def going(self) -> bool:
        """Whether it wants to go on."""
        return self._outcome is None

    @property
    def steps_left(self) -> int:
        """That may still be done."""
        return self._most_steps - max(0, len(self._forces) - 1) if self.going else 0

    def structure(self) -> Structure:
        """Where it is."""
        return Structure(self._end.species, self.atoms.positions.copy(), self._end.cell)

    def advance(self, result: Forces | None) -> None:
        """Take notice of what the model says of where it is, and go on; None: nothing finite."""
        if result is None:
            self._outcome = Outcome.EXPLODED
            return
        forces = of_kind(KINDS[self.kind], result)
        self._end = self.structure()
        self._forces.append(float(np.linalg.norm(forces, axis=1).max()))
        self._energies.append(result.energy)
        self._watch()
        if self._forces[-1] < self._threshold:
            self._outcome = Outcome.CONVERGED
        elif len(self._forces) > self._most_steps:
            self._outcome = self._what_became_of_it()
        else:
            self.atoms.calc = SinglePointCalculator(self.atoms, forces=forces)
            with np.errstate(all="ignore"):  # what comes of it is found when it is evaluated
                self._optimizer.step()

    def _watch(self) -> None:
        """How far atoms go in the last part, apart from what they do all together."""
        step = len(self._forces) - 1
        if step == self._watched_from:
            self._reference = self._end.positions
        elif step > self._watched_from:
            moved = self._end.positions - self._reference
            self._moved = max(self._moved, float(np.linalg.norm(moved - moved.mean(axis=0), axis=1).max()))

    def _what_became_of_it(self) -> Outcome:
        first = self._watched_from + 1
        before, last = self._forces[:first], self._forces[first:]
        if min(last) > max(before[0], _BREAKING):
            return Outcome.EXPLODED
        if min(last) < _FALLING * min(before):
            return Outcome.UNFINISHED
        if self._moved < _STILL:
            return Outcome.STAGNANT
        return Outcome.UNFINISHED if self._energies[-1] < min(self._energies[:first]) else Outcome.WANDERING

    def result(self) -> Optimization:
        """When it has come to its end."""
        assert self._outcome is not None
        forces, energies = np.array(self._forces), np.array(self._energies)
        return Optimization(
            self._start, self._algorithm, self.kind, self._threshold, forces, energies, self._end, self._outcome
        )
