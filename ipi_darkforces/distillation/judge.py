"""Judging a student: the heating of its strides, predicted on dynamics of the teacher that training did not see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import units

from ..diagnostics.conservative_run import neighbours
from ..diagnostics.heating import Heating, Power, heating
from ..models.model import ForceModel, Need, of_kind
from ..training.labels import LabelledTrajectory

STRIDES = (2, 3, 4, 5, 6, 8, 10, 12, 16)
_SMALL = 0.3  # of the forces
_A_PS = 1.0 / (1000.0 * units.fs)  # of Å/ps, in ase's units


@dataclass(frozen=True)
class StudentJudgement:
    """A student along dynamics of its teacher.

    :param rms: meV/Å, of the difference of forces, per component
    :param relative: the same, in the rms of the teacher's forces
    :param strides: heating of each stride
    """

    rms: float
    relative: float
    strides: tuple[Heating, ...]

    @property
    def holds(self) -> bool:
        """Tell whether the difference is so small that the prediction, which is for small ones, can be trusted."""
        return self.relative < _SMALL

    def longest(self, allowed: float) -> Heating | None:
        """The longest stride up to which all heat by less, with 95 % certainty; None if none does, or nobody can tell.

        :param allowed: meV/atom/ps
        """
        longest = None
        for each in self.strides if self.holds else ():
            if each.total.value + (each.total.margin() or 0.0) > allowed:
                break
            longest = each
        return longest


def judge(
    student: ForceModel,
    held_out: LabelledTrajectory,
    strides: Sequence[int] = STRIDES,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> StudentJudgement:
    """Predict the heating of strides with the student as the fast forces.

    :param held_out: dynamics of the teacher without a thermostat, all steps
    :param report: called with the geometries that are done and all
    """
    powers = np.empty(held_out.positions.shape[:2])
    square = 0.0
    for frame in range(len(held_out)):
        direct = of_kind(Need.DIRECT, student.evaluate(held_out.structure(frame), Need.DIRECT))
        slow = held_out.forces[frame] - direct
        square += float(np.mean(slow**2))
        powers[frame] = (slow * held_out.velocities[frame]).sum(axis=1)
        report(frame + 1, len(held_out))
    moving = np.isfinite(held_out.masses)
    power = Power(
        powers,
        held_out.interval / 1000.0,
        temperature(held_out),
        held_out.species,
        neighbours(held_out.structure(len(held_out) // 2)),
        float(moving.mean()),
    )
    rms = (square / len(held_out)) ** 0.5
    relative = rms / float(np.sqrt(np.mean(held_out.forces**2)))
    return StudentJudgement(1000.0 * rms, relative, tuple(heating(power, strides)))


def temperature(trajectory: LabelledTrajectory) -> float:
    """Mean temperature, K."""
    moving = np.isfinite(trajectory.masses)
    masses = np.where(moving, trajectory.masses, 0.0)
    kinetic = 0.5 * (masses[:, None] * (trajectory.velocities * _A_PS) ** 2).sum(axis=(1, 2)).mean()
    freedom = 3 * int(moving.sum()) - (3 if moving.all() else 0)
    return float(2.0 * kinetic / (freedom * units.kB))
