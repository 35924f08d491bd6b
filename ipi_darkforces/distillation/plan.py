"""The cost of a distillation, measured before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from ..diagnostics.heating import fewest_steps
from ..errors import DarkforcesError
from ..models.model import ForceModel, Need
from ..training.direct_pet import new_model, shape_for
from ..training.fit import Fit, Schedule, pairs_for
from ..training.labels import LabelledTrajectory
from .sample import System

_EQUILIBRATION = 100.0  # fs, before the held-out dynamics
_SEGMENTS = 1.2  # of the fewest steps for which errors of the heating are known
_TIMED = 3
_FEWEST = 100  # labels that are worth proposing


@dataclass(frozen=True)
class DistillationPlan:
    """Numbers of evaluations and steps, and what each costs.

    :param atoms: of the first structure
    :param held_out: evaluations of the teacher for the dynamics by which the student is judged, but for those before
    :param equilibration: evaluations of the teacher before that
    :param labels: evaluations of the teacher for labels, in all rounds
    :param steps: of the optimizer, in all rounds
    :param teacher: s, of one evaluation of the first structure
    :param step: s, of one step of the optimizer
    """

    atoms: int
    held_out: int
    equilibration: int
    labels: int
    steps: int
    teacher: float
    step: float

    @property
    def asked(self) -> int:
        """Evaluations of the teacher in all."""
        return self.equilibration + self.held_out + self.labels

    @property
    def hours(self) -> float:
        """Estimated hours of sampling, labels and training."""
        return (self.teacher * self.asked + self.step * self.steps) / 3600.0

    def left(self, *, held_out: int, labels: int, steps: int) -> DistillationPlan:
        """Subtract what is done: evaluations of the teacher for both kinds of dynamics, and steps of the optimizer."""
        return replace(
            self,
            equilibration=0 if held_out else self.equilibration,
            held_out=max(0, self.held_out - held_out),
            labels=max(0, self.labels - labels),
            steps=max(0, self.steps - steps),
        )

    def __str__(self) -> str:
        return (
            f"{self.asked} evaluations of the teacher, {self.labels} for labels and the rest for judging, "
            f"{1000.0 * self.teacher:.3g} ms each for {self.atoms} atoms: "
            f"{duration(self.teacher * self.asked)}; {self.steps} steps of training of {1000.0 * self.step:.3g} ms: "
            f"{duration(self.step * self.steps)}; {duration(3600.0 * self.hours)} in all"
        )


def measure(
    teacher: ForceModel, systems: Sequence[System], size: str, timestep: float, labels: int, steps: int
) -> DistillationPlan:
    """DistillationPlan, with the time of an evaluation and of a step measured on this machine.

    :param timestep: fs
    :param labels: evaluations of the teacher for labels, in all rounds
    :param steps: of the optimizer, in all rounds
    """
    structure = systems[0].structure
    rng = np.random.default_rng(0)
    moved = [
        replace(structure, positions=structure.positions + rng.normal(scale=0.01, size=structure.positions.shape))
        for _ in range(_TIMED)
    ]
    forces, times = [], []
    for each in moved:
        began = perf_counter()
        forces.append(teacher.evaluate(each, Need.CONSERVATIVE).conservative)
        times.append(perf_counter() - began)
    positions = np.array([each.positions for each in moved])
    labelled = LabelledTrajectory(
        structure.species, structure.cell, systems[0].masses, positions, 0.0 * positions, np.array(forces), timestep
    )
    elements = sorted({int(z) for system in systems for z in system.structure.species})
    structures = [system.structure for system in systems]
    schedule = Schedule(steps=1000, pairs=pairs_for(structures))
    fit = Fit(new_model(elements, shape_for(size, structures)), schedule)
    fit.run([labelled], 1)  # what is done for the first time takes longer
    began = perf_counter()
    fit.run([labelled], _TIMED)
    step = (perf_counter() - began) / _TIMED
    held_out = round(_SEGMENTS * fewest_steps(timestep / 1000.0))
    before = max(2, round(_EQUILIBRATION / timestep))
    return DistillationPlan(len(structure.species), held_out, before, labels, steps, min(times), step)


def check_time(plan: DistillationPlan, hours: float) -> None:
    """Raise a DarkforcesError if labels take longer than is allowed, with what would do."""
    needed = plan.teacher * plan.asked / 3600.0
    if needed <= hours:
        return
    fits = int(plan.atoms * hours / needed)
    left = int(3600.0 * hours / plan.teacher) - (plan.asked - plan.labels)
    fewer = f"--evaluations {left} instead of {plan.labels}, or " if left >= _FEWEST else ""
    others = f"{fewer}--hours {np.ceil(needed):.0f}"
    cell = f"a smaller cell of the same material (one of about {fits} atoms would do), " if fits >= 8 else ""
    raise DarkforcesError(
        f"labels take {duration(3600.0 * needed)}: {plan}; expected at most {hours:g} h. Give {cell}{others}: a "
        "student of a smaller cell can be used in a larger one"
    )


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds < 90.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 5400.0 else f"{seconds / 3600.0:.1f} h"
