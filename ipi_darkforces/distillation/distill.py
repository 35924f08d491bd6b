"""`dark.distill`: a small direct model as the fast forces of any conservative one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import ase
import numpy as np

from ..diagnostics.structures import as_structure
from ..errors import DarkforcesError, check_positive
from ..lock import locked
from ..models.model import ForceModel, Need
from ..models.registry.fingerprint import weights_of
from ..models.registry.load import ModelChoice, ModelLike, as_model
from ..models.registry.zoo import check_name, install, user_directory
from ..models.structure import Structure
from ..simulate.recipe import MOST_STEPS
from ..training.direct_pet import SIZES, shape_for
from ..training.fit import steps_done
from .folder import DistillationSettings, DistillFolder, digest_of
from .judge import judge
from .plan import DistillationPlan, check_time, measure
from .result import Distillation
from .rounds import Report, Rounds
from .sample import System
from .student_card import student_card

LABELS = 3000  # evaluations of the teacher, but for the held-out dynamics
STEPS = 24000  # of the optimizer
HOURS = 12.0
_FIRST = 0.25  # part of the steps that are the first round's; of the labels it has half
_TIMINGS = 5


def distill(
    teacher: ModelLike,
    structures: ase.Atoms | Sequence[ase.Atoms],
    name: str,
    *,
    size: str = "s",
    temperature: float = 300.0,
    timestep: float = 0.5,
    evaluations: int = LABELS,
    steps: int = STEPS,
    more: bool = False,
    hours: float = HOURS,
    folder: Path | None = None,
    seed: int = 1,
    announce: Callable[[DistillationPlan], None] = lambda plan: None,
    report: Report = lambda what, done, total: None,
) -> Distillation:
    """Train a small direct model that serves as the fast forces of a slow one, judge it and give it a name.

    Labels come from dynamics of the teacher; the student is judged by the heating of strides that is predicted along
    dynamics that training has not seen. Stopped at any moment, the same call goes on. Multiple time stepping with the
    student follows the teacher's dynamics whatever the student is worth; that decides the stride.

    :param teacher: provides conservative forces; loaded, or as `load_model` takes it, but no calculator itself
    :param structures: to start from: the system that will be simulated, or a smaller cell of the same material; fixed
        atoms stay fixed. The first one is the one for which the student is judged
    :param name: of the student, as a model for `load_model`
    :param size: ``xs``, ``s`` or ``m``: larger ones cost more for each step and allow longer strides
    :param temperature: K, at which it will be used; labels come from higher ones too
    :param timestep: fs, of the fast forces
    :param evaluations: of the teacher for labels, in all; some more are for the held-out dynamics
    :param steps: of the optimizer, in all
    :param more: add a round to a finished distillation, of half the evaluations and three quarters of the steps
    :param hours: that evaluations of the teacher may take; if they would take longer, nothing is begun
    :param folder: of labels and states, kept so that they need not be made again. Default: NAME-distill
    :param seed: of all random numbers
    :param announce: called with what is left to do, before anything is done
    :param report: called with what is being done, how much of it is done, and all of it
    :return: the judgement of the student, and what it costs
    :raises DarkforcesError: if the teacher has no conservative forces or does not know an element, the name is taken,
        labels would take too long, the folder was begun with other settings, or the teacher fails too often

    >>> import ase.build, ipi_darkforces as dark
    >>> atoms = ase.build.bulk("Cu", cubic=True).repeat(2)
    >>> emt = dark.load_model("ase:ase.calculators.emt:EMT")
    >>> dark.distill(emt, atoms, "cu-fast", timestep=2.0)  # doctest: +SKIP
    """
    _check(size, temperature, timestep, evaluations, steps, hours)
    teacher = as_model(teacher)
    frames = [structures] if isinstance(structures, ase.Atoms) else list(structures)
    systems = _systems(teacher, frames)
    identity = ModelChoice.of(teacher).identity()
    place = DistillFolder(Path(f"{name}-distill") if folder is None else folder, name)
    _check_free(name, place)
    weights = weights_of(identity["fingerprint"], identity.get("variant"))
    settings = DistillationSettings(weights, digest_of(systems), size, temperature, timestep, seed)
    place.check(settings)
    planned = _rounds(place, evaluations, steps, more)
    plan = measure(teacher, systems, size, timestep, planned[-1]["labels"], sum(each["steps"] for each in planned))
    left = _left(plan, place, len(planned))
    announce(left)
    check_time(left, hours)
    place.begin(settings)
    with locked(place.lock, f"folder '{place.path}' is being worked in"):
        place.plan_rounds(planned)
        rounds = Rounds(teacher, systems, settings, place, report)
        held_out = rounds.hold_out(plan.held_out, plan.equilibration)
        student = rounds.trained(planned)
        judgement = judge(student, held_out, report=lambda done, total: report("judging", done, total))
        slow, fast = _times(teacher, student, systems[0].structure)
        found = Distillation(
            name=name,
            teacher=identity["model"],
            variant=identity.get("variant"),
            title=teacher.name,
            plan=plan,
            timestep=timestep,
            judgement=judgement,
            slow=slow,
            fast=fast,
            failures=tuple(place.failures()),
            labels=sum(map(len, place.branches().values())),
            steps=sum(each["steps"] for each in planned),
        )
        shape = shape_for(size, [system.structure for system in systems])
        install(place.checkpoint, student_card(found, student, identity, shape, temperature), name, overwrite=True)
    return found


def plan_of(
    teacher: ForceModel,
    structures: Sequence[ase.Atoms],
    *,
    size: str = "s",
    timestep: float = 0.5,
    evaluations: int = LABELS,
    steps: int = STEPS,
    hours: float = HOURS,
) -> DistillationPlan:
    """Measure the cost of a distillation, with the arguments and errors of `distill`."""
    _check(size, 1.0, timestep, evaluations, steps, hours)
    plan = measure(teacher, _systems(teacher, structures), size, timestep, evaluations, steps)
    check_time(plan, hours)
    return plan


def _check(size: str, temperature: float, timestep: float, evaluations: int, steps: int, hours: float) -> None:
    if size not in SIZES:
        raise DarkforcesError(f"size '{size}' is not known: expected {', '.join(SIZES)}")
    check_positive("temperature", temperature, "K")
    check_positive("timestep", timestep, "fs")
    check_positive("hours", hours, "h")
    for name, number in {"evaluations": evaluations, "steps": steps}.items():
        if number < 8:
            raise DarkforcesError(f"{number} {name} are too few: expected at least 8")
        if number > MOST_STEPS:
            raise DarkforcesError(f"{number} {name} are too many: expected at most {MOST_STEPS:.0e}")


def _systems(teacher: ForceModel, frames: Sequence[ase.Atoms]) -> list[System]:
    if not frames:
        raise DarkforcesError("there is no structure to start from: expected at least one")
    teacher.check_need(Need.CONSERVATIVE)
    for number, atoms in enumerate(frames):
        teacher.check_species(as_structure(atoms, f"structure {number}").species)
    return [System.of(atoms) for atoms in frames]


def _check_free(name: str, place: DistillFolder) -> None:
    """Raise a DarkforcesError, before hours are spent, if the name is no name or that of another model."""
    check_name(name)
    installed = user_directory() / f"{name}.ckpt"
    if installed.exists() and not place.has_made(installed):
        raise DarkforcesError(f"model '{name}' is there already: '{installed}'; choose another name")


def _rounds(place: DistillFolder, evaluations: int, steps: int, more: bool) -> list[dict[str, int]]:
    """Rounds that were planned before, or two, and another one if there shall be more."""
    first = max(4, round(_FIRST * steps))
    planned = place.rounds()
    if not planned:
        return [{"labels": evaluations // 2, "steps": first}, {"labels": evaluations, "steps": steps - first}]
    if more:
        planned.append({"labels": planned[-1]["labels"] + evaluations // 2, "steps": steps - first})
    return planned


def _left(plan: DistillationPlan, place: DistillFolder, rounds: int) -> DistillationPlan:
    return plan.left(
        held_out=sum(map(len, place.held_out())),
        labels=sum(map(len, place.branches().values())),
        steps=sum(steps_done(place.training(number)) for number in range(rounds)),
    )


def _times(teacher: ForceModel, student: ForceModel, structure: Structure) -> tuple[float, float]:
    """Seconds of an evaluation of each, measured in turn, the shortest of several."""
    times, n = np.empty((_TIMINGS, 2)), len(structure.species)
    rng = np.random.default_rng(0)
    for row in times:
        moved = replace(structure, positions=structure.positions + rng.normal(scale=0.003, size=(n, 3)))
        for i, (model, need) in enumerate(((teacher, Need.CONSERVATIVE), (student, Need.DIRECT))):
            began = perf_counter()
            model.evaluate(moved, need)
            row[i] = perf_counter() - began
    slow, fast = times.min(axis=0).tolist()
    return slow, fast
