"""Rounds of a distillation: labels by dynamics, then training on all labels so far.

The first round's dynamics is the teacher's alone, with twice the time step. Later ones are multiple time stepping with
the student so far: a label for every M steps, which costs M times fewer evaluations for the same way, and leads where
the student will be used. All starts are gone through in turn, and every branch goes on where the last one from the
same start ended, strained anew, with new velocities, and at another temperature.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import DarkforcesError
from ..models.model import ForceModel
from ..models.registry.load import load_model
from ..models.structure import Structure
from ..training.direct_pet import new_model, save, shape_for
from ..training.fit import Fit, Schedule, pairs_for
from ..training.labels import LabelledTrajectory
from .folder import DistillationSettings, DistillFolder
from .sample import System, follow

BRANCH = 100  # evaluations of the teacher
HOTTER = (1.0, 1.3, 1.0, 1.6)  # times the temperature, of branches in turn
STRIDE = 4  # of the student's multiple time stepping
_ALONE = 2  # time steps of the fast forces, that are one of the teacher's
_STRAIN = 0.01  # standard deviation of each element
_SAVED_EVERY = 250  # steps of the optimizer
_LATER = 0.5  # times the learning rate of the first round
_PERSISTENT = 3  # failures that are too many, if not half of all branches got through

Report = Callable[[str, int, int], None]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rounds:
    """Rounds of sampling and training of one distillation.

    :param teacher: provides conservative forces
    :param systems: to start from
    :param report: called with what is being done, how much of it is done, and all of it
    """

    teacher: ForceModel
    systems: Sequence[System]
    settings: DistillationSettings
    folder: DistillFolder
    report: Report

    def trained(self, planned: Sequence[dict[str, int]]) -> ForceModel:
        """The student after all rounds, which are made as far as they are missing.

        :param planned: see `DistillFolder.rounds`
        :raises DarkforcesError: if the teacher fails too often
        """
        for number, wanted in enumerate(planned):
            if not self.is_trained(number):
                student = load_model(self.folder.checkpoint) if number else None
                self.train(number, wanted["steps"], self.sample(wanted["labels"], student))
        return load_model(self.folder.checkpoint)

    def hold_out(self, evaluations: int, equilibration: int) -> LabelledTrajectory:
        """Dynamics of the teacher without a thermostat by which students are judged, from the first system.

        If the teacher fails on the way, it is begun anew with other velocities, as it has to be of one piece.

        :param evaluations: of the teacher
        :param equilibration: those before, with a thermostat
        :raises DarkforcesError: if the teacher fails again and again
        """
        for attempt in range(_PERSISTENT):
            error = self._hold_out(evaluations, equilibration, attempt)
            if error is None:
                return LabelledTrajectory.joined(self.folder.held_out())
            self.folder.forget_held_out()
            if attempt + 1 < _PERSISTENT:
                log.warning("the dynamics by which students are judged begins anew, with other velocities: %s", error)
        raise DarkforcesError(f"the dynamics by which students are judged cannot be run: {error}")

    def _hold_out(self, evaluations: int, equilibration: int, attempt: int) -> str | None:
        """Add what is missing of the held-out dynamics; the error that ended it, None if it is complete."""
        pieces = self.folder.held_out()
        done = sum(map(len, pieces))
        rng = np.random.default_rng([self.settings.seed, attempt])

        def count() -> None:
            nonlocal done
            done += 1
            self.report("held-out dynamics", min(done, evaluations), evaluations)

        while sum(map(len, pieces)) < evaluations:
            system, momenta = self.systems[0], None
            rest = min(BRANCH, evaluations - sum(map(len, pieces)))
            if not pieces:  # the equilibration comes first, and is made again if that is stopped
                before, momenta, error = self._run(system, equilibration, 0.1, None, rng, lambda: None)
            else:  # from the last geometry that is there, which comes once more
                before, error = pieces[-1], None
                momenta = before.momenta(-1)
                rest += 1
            if error is None:
                start = replace(system, structure=before.structure(-1))
                piece, _, error = self._run(start, rest, None, momenta, rng, count)
            if error is not None:
                return error
            piece = piece.without_first() if pieces else piece
            self.folder.add_held_out(len(pieces), piece)
            pieces.append(piece)
        return None

    def _run(
        self,
        system: System,
        frames: int,
        friction_time: float | None,
        momenta: np.ndarray | None,
        rng: np.random.Generator,
        count: Callable[[], None],
    ) -> tuple[LabelledTrajectory, np.ndarray, str | None]:
        return follow(
            self.teacher,
            system,
            frames,
            temperature=self.settings.temperature,
            timestep=self.settings.timestep,
            rng=rng,
            momenta=momenta,
            friction_time=friction_time,
            report=count,
        )

    def sample(self, labels: int, student: ForceModel | None) -> list[LabelledTrajectory]:
        """Go on with dynamics until there are so many labels.

        :param student: for the fast forces; None for the teacher alone
        :raises DarkforcesError: if the teacher fails too often
        """
        branches = self.folder.branches()
        done = sum(map(len, branches.values()))

        def count() -> None:
            nonlocal done
            done += 1
            self.report("labels", min(done, labels), labels)

        while done < labels:
            number = next(number for number in itertools.count() if number not in branches)
            branch, error = self._branch(number, branches, min(BRANCH, max(2, labels - done)), student, count)
            self.folder.add_branch(number, branch, error)
            branches[number] = branch
            failures = self.folder.failures()
            if len(failures) > max(_PERSISTENT, len(branches) / 2):
                raise DarkforcesError(
                    f"{len(failures)} of {len(branches)} dynamics for labels failed, the last one as: {failures[-1]}"
                )
        return [branch for branch in branches.values() if len(branch) > 1]

    def _branch(
        self,
        number: int,
        branches: Mapping[int, LabelledTrajectory],
        evaluations: int,
        student: ForceModel | None,
        count: Callable[[], None],
    ) -> tuple[LabelledTrajectory, str | None]:
        system = self.systems[number % len(self.systems)]
        earlier = number - len(self.systems)
        if earlier in branches and len(branches[earlier]) == BRANCH:  # others ended where something fails
            relaxed = np.linalg.inv(self._deformation(earlier, system.structure))
            positions = branches[earlier].positions[-1] @ relaxed
            system = replace(system, structure=replace(system.structure, positions=positions))
        branch, _, error = follow(
            self.teacher,
            system.deformed(self._deformation(number, system.structure)),
            evaluations,
            temperature=self.settings.temperature * HOTTER[number % len(HOTTER)],
            timestep=self.settings.timestep * (_ALONE if student is None else 1),
            rng=np.random.default_rng([self.settings.seed, 2, number]),
            fast=student,
            stride=STRIDE if student else 1,
            report=count,
        )
        return branch, error

    def _deformation(self, number: int, structure: Structure) -> np.ndarray:
        """A small random strain along what is periodic, and one, of each branch, shape (3, 3)."""
        elements = np.random.default_rng([self.settings.seed, 1, number]).normal(scale=_STRAIN, size=(3, 3))
        along = np.linalg.pinv(structure.cell) @ structure.cell
        return np.eye(3) + along.T @ (elements + elements.T) @ along / 2.0

    def train(self, number: int, steps: int, branches: Sequence[LabelledTrajectory]) -> None:
        """Train in one round, from wherever it was left, and write the student's checkpoint.

        :param number: of the round, from 0
        """
        elements = sorted({int(z) for system in self.systems for z in system.structure.species})
        structures = [system.structure for system in self.systems]
        rate = Schedule.learning_rate * (_LATER if number else 1.0)
        lag = STRIDE * self.settings.timestep
        seed = self.settings.seed + number
        fit = Fit(
            new_model(elements, shape_for(self.settings.size, structures), seed=self.settings.seed),
            Schedule(steps=steps, pairs=pairs_for(structures), learning_rate=rate, lag=lag, seed=seed),
        )
        state = self.folder.training(number)
        if state.exists():
            fit.restore(state)
        elif number:
            fit.start_from(self.folder.training(number - 1))
        while fit.step < steps:
            fit.run(branches, _SAVED_EVERY, lambda *_: self.report("training", fit.step, steps))
            fit.write(state)
        save(fit.finished(), self.folder.checkpoint)
        self.folder.add_student()

    def is_trained(self, number: int) -> bool:
        """Tell whether a round is over: there is a student, and the next round has begun."""
        return self.folder.checkpoint.exists() and self.folder.training(number + 1).exists()
