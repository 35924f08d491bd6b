"""The result of a distillation: a table of strides, and the command that uses the student."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics.heating import Heating
from .judge import StudentJudgement
from .plan import DistillationPlan

ALLOWED = 0.1  # meV/atom/ps


@dataclass(frozen=True)
class Distillation:
    """A student and what is known of it.

    :param name: of the student
    :param teacher: as it is given to commands
    :param variant: of the teacher
    :param title: the teacher as people call it
    :param plan: what was to be done
    :param timestep: fs, of the fast forces
    :param judgement: heating of its strides
    :param slow: s, of an evaluation of the teacher
    :param fast: s, of an evaluation of the student
    :param failures: why dynamics for labels ended early
    :param labels: geometries that were labelled
    :param steps: of the optimizer
    """

    name: str
    teacher: str
    variant: str | None
    title: str
    plan: DistillationPlan
    timestep: float
    judgement: StudentJudgement
    slow: float
    fast: float
    failures: tuple[str, ...]
    labels: int
    steps: int

    @property
    def advised(self) -> Heating | None:
        """The longest stride that is certain to heat by less than 0.1 meV/atom/ps; None if none is."""
        return self.judgement.longest(ALLOWED)

    @property
    def command(self) -> str:
        """The command line to type next, with the stride that is advised, or the shortest."""
        stride = self.advised.stride if self.advised else self.judgement.strides[0].stride
        step = f" --timestep {self.timestep:g}" if self.timestep != 0.5 else ""
        variant = "" if self.variant is None else f" --variant slow.{self.variant}"
        models = f"--fast {self.name} --slow {_quoted(self.teacher)}{variant}"
        return f"darkforces run --structure STRUCTURE --mts {stride} {models}{step}"

    def seconds(self, stride: int) -> float:
        """Time of the evaluations of a step of the fast forces, s: M of the student and one of the teacher in M."""
        return self.fast + self.slow / stride

    def __str__(self) -> str:
        lines = [
            f"{self.name}: {1000.0 * self.fast:.3g} ms per evaluation of {self.plan.atoms} atoms, where {self.title} "
            f"takes {1000.0 * self.slow:.3g} ms; {self.judgement.rms:.0f} meV/Å (rms) from its forces",
            f"trained for {self.steps} steps on {self.labels} geometries, judged along dynamics that it has not seen",
            "",
            "     corrections  predicted heating               ms per    times as fast",
            "  M  every, fs    meV/atom/ps            K/ps     step      as the teacher",
        ]
        for each in self.judgement.strides:
            cost = self.seconds(each.stride)
            lines.append(
                f"{each.stride:>3}  {each.stride * self.timestep:>9g}    {each.total.fixed(3, width=8)} "
                f"{each.rate.value:>7.2f}   {1000.0 * cost:>8.3g}   {self.slow / cost:>8.1f}"
            )
        return "\n".join([*lines, "", *self._failed(), self._advice(), "", self.command])

    def _failed(self) -> list[str]:
        if not self.failures:
            return []
        return [f"{len(self.failures)} dynamics for labels ended early, the last one as: {self.failures[-1]}"]

    def _advice(self) -> str:
        if not self.judgement.holds:
            return (
                f"its forces are still {self.judgement.relative:.0%} off, for which predictions do not hold: go on "
                "with --more. To try it,"
            )
        if self.advised is None:
            return (
                f"no stride is certain to heat by less than {ALLOWED:g} meV/atom/ps: go on with --more, or take a "
                "larger --size; the shortest stride is"
            )
        return (
            f"M = {self.advised.stride} is the longest stride that is certain to heat by less than {ALLOWED:g} "
            f"meV/atom/ps, {self.slow / self.seconds(self.advised.stride):.1f} times as fast as the teacher:"
        )

    def as_json(self) -> dict[str, object]:
        """JSON values, units in the names."""
        return {
            "student": self.name,
            "teacher": self.teacher,
            "atoms": self.plan.atoms,
            "timestep_fs": self.timestep,
            "labels": self.labels,
            "steps": self.steps,
            "failures": list(self.failures),
            "teacher_milliseconds": 1000.0 * self.slow,
            "student_milliseconds": 1000.0 * self.fast,
            "rms_meV_per_A": self.judgement.rms,
            "strides": [
                {
                    "stride": each.stride,
                    "heating_meV_per_atom_per_ps": each.total.as_json(),
                    "heating_K_per_ps": each.rate.as_json(),
                    "milliseconds_per_step": 1000.0 * self.seconds(each.stride),
                    "times_as_fast": self.slow / self.seconds(each.stride),
                }
                for each in self.judgement.strides
            ],
            "advised_stride": self.advised.stride if self.advised else None,
            "command": self.command,
        }


def _quoted(model: str) -> str:
    return f"'{model}'" if set(model) & set(" ?;&") else model
