"""The outcomes of geometry optimisations, each and by sets.

Those that do not arrive where forces vanish are told apart by the last fifth of their steps, and by the structure at
which they end, in this order:

failed
    the model fails, or its energy or forces are NaN or infinite;
exploded
    the largest force stays above what it was in the beginning and above 10 eV/Å, with which bonds break;
rounding
    the largest force got as small as ten times the rounding errors of forces or less: it cannot get much smaller;
outside
    the model does not know the structure: both kinds of forces are more than 1 eV/Å apart, or atoms overlap;
unfinished
    the largest force still falls: it got below half of the lowest one before; or atoms move, and the energy of the
    model is lower in the end than it ever was before;
stagnant
    nothing of that, and all atoms stay within 0.01 Å of where they were: the forces do not vanish where they should;
wandering
    nothing of that, and atoms move on: there is no place where the forces want them to be.

Where forces vanish, the atoms need not be what they should: whether they have the bonds from before they were displaced
is said too, and whether it is a minimum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from ase.optimize import FIRE, LBFGS
from ase.optimize.optimize import Optimizer

from ..models.structure import Structure
from .optimize_ends import End
from .starts import OptimizationStart

ALGORITHMS: dict[str, type[Optimizer]] = {"FIRE": FIRE, "L-BFGS": LBFGS}


class OptimizationOutcome(Enum):
    """The ways in which an optimisation ends."""

    CONVERGED = "converged"
    UNFINISHED = "unfinished"
    ROUNDING = "rounding"
    STAGNANT = "stagnant"
    WANDERING = "wandering"
    OUTSIDE = "outside"
    EXPLODED = "exploded"
    FAILED = "failed"


@dataclass(frozen=True)
class Optimization:
    """An optimisation.

    :param algorithm: one of `ALGORITHMS`
    :param kind: of the forces, ``conservative`` or ``direct``
    :param threshold: eV/Å, largest force of an optimised structure
    :param forces: eV/Å, the largest force on an atom, in the beginning and after each step, shape (n_steps + 1,); empty
        if the model has no finite ones for the start
    :param energies: eV, of the model, at the same places
    :param end: where it ended, or where it was before the model failed
    :param outcome: what became of it
    :param state: what there is to know of the structure where it ended
    :param failure: the model's error, if it failed
    """

    start: OptimizationStart
    algorithm: str
    kind: str
    threshold: float
    forces: np.ndarray
    energies: np.ndarray
    end: Structure
    outcome: OptimizationOutcome
    state: End
    failure: str | None = None

    @property
    def steps(self) -> int:
        """The number that were done."""
        return max(0, len(self.forces) - 1)

    @property
    def intact(self) -> bool:
        """True if the atoms have the bonds in the end that they had before they were displaced."""
        return self.start.same_bonds(self.end)

    def as_json(self) -> dict[str, object]:
        """JSON values, units in the names."""
        return {
            "set": self.start.group,
            "start": self.start.name,
            "atoms": len(self.end.species),
            "fixed_coordinates": int(np.sum(~self.start.moving)),
            "displaced_angstrom": self.start.width,
            "displacement_limited_by": self.start.limit,
            "algorithm": self.algorithm,
            "forces": self.kind,
            "outcome": self.outcome.value,
            "failure": self.failure,
            "intact": self.intact,
            "minimum": self.state.minimum,
            "outside_of_range": self.state.outside,
            **self.state.as_json(),
            "steps": self.steps,
            "threshold_eV_per_angstrom": self.threshold,
            "largest_force_eV_per_angstrom": self.forces.tolist(),
            "energy_eV": self.energies.tolist(),
            "final_positions_angstrom": self.end.positions.tolist(),
        }

    @classmethod
    def from_json(cls, start: OptimizationStart, record: Mapping[str, Any]) -> Optimization:
        """Read `as_json`, unless the model failed."""
        return cls(
            start,
            record["algorithm"],
            record["forces"],
            record["threshold_eV_per_angstrom"],
            np.array(record["largest_force_eV_per_angstrom"]),
            np.array(record["energy_eV"]),
            replace(start.structure, positions=np.array(record["final_positions_angstrom"])),
            OptimizationOutcome(record["outcome"]),
            End.from_json(record),
        )


@dataclass(frozen=True)
class Rate:
    """Success of the optimisations of a set with one algorithm and one kind of forces.

    :param group: the set of starts
    :param algorithm: one of `ALGORITHMS`
    :param kind: of the forces, ``conservative`` or ``direct``
    :param outcomes: how often there was each outcome
    :param intact: how many converged, with the bonds that they had before they were displaced
    :param minima: how many converged to a minimum; None if that is not known of all that converged
    :param steps: of those that converged, the median; None if none did
    :param lowest: eV/Å, the lowest that the largest force got in those that did not converge, median; None if all did
    """

    group: str
    algorithm: str
    kind: str
    outcomes: Counter[OptimizationOutcome]
    intact: int
    minima: int | None
    steps: float | None
    lowest: float | None

    @property
    def starts(self) -> int:
        """The number of starts."""
        return self.outcomes.total()

    @property
    def success(self) -> float:
        """The part of them that converged."""
        return self.outcomes[OptimizationOutcome.CONVERGED] / self.starts

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the success rate of all such starts (Wilson's, of a binomial)."""
        from scipy.stats import binomtest  # half a second to import, for the end only

        found = binomtest(self.outcomes[OptimizationOutcome.CONVERGED], self.starts).proportion_ci(method="wilson")
        return float(found.low), float(found.high)

    def as_json(self) -> dict[str, object]:
        """JSON values, units in the names."""
        return {
            "set": self.group,
            "algorithm": self.algorithm,
            "forces": self.kind,
            "starts": self.starts,
            "success": self.success,
            "success_95_percent": list(self.interval),
            "outcomes": {outcome.value: self.outcomes[outcome] for outcome in OptimizationOutcome},
            "converged_with_bonds_intact": self.intact,
            "converged_to_minimum": self.minima,
            "median_steps_of_converged": self.steps,
            "median_lowest_force_of_others_eV_per_angstrom": self.lowest,
        }


@dataclass(frozen=True)
class Optimizations:
    """All optimisations with a model.

    :param most_steps: after which they were stopped
    """

    model: str
    most_steps: int
    runs: tuple[Optimization, ...]

    @property
    def groups(self) -> list[str]:
        """The sets of starts, in order."""
        return list(dict.fromkeys(run.start.group for run in self.runs))

    def of(self, group: str, algorithm: str) -> list[Optimization]:
        """Optimisations of one set with one algorithm."""
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
        """JSON values."""
        return {
            "model": self.model,
            "most_steps": self.most_steps,
            "rates": [rate.as_json() for rate in self.rates()],
            "optimizations": [run.as_json() for run in self.runs],
        }


def _kinds(runs: Sequence[Optimization]) -> list[str]:
    return list(dict.fromkeys(run.kind for run in runs))


def _rate(group: str, algorithm: str, kind: str, runs: Sequence[Optimization]) -> Rate:
    converged = [run for run in runs if run.outcome is OptimizationOutcome.CONVERGED]
    minima = [run.state.minimum for run in converged]
    lowest = [run.forces.min() for run in runs if run.outcome is not OptimizationOutcome.CONVERGED and len(run.forces)]
    return Rate(
        group,
        algorithm,
        kind,
        Counter(run.outcome for run in runs),
        sum(run.intact for run in converged),
        None if None in minima else sum(map(bool, minima)),
        float(np.median([run.steps for run in converged])) if converged else None,
        float(np.median(lowest)) if lowest else None,
    )
