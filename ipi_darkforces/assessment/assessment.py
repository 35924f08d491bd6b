"""The result of an assessment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from shlex import quote
from typing import Any

from ..analysis import drift
from ..errors import DarkforcesError, printable
from ..models.registry.options import Loading
from ..stats.rows import Row, aligned, html_table
from . import page, pictures
from .criteria import REASONS, Judged
from .plan import AssessmentPlan
from .procedure import SimulationResults
from .verdict import Verdict


@dataclass(frozen=True)
class Assessment:
    """The verdict on a model for a system, and the results behind it.

    :param plan: the simulations
    :param loading: options with which the model was loaded
    :param formula: of the structure
    :param folder: with everything
    :param verdict: what is advised, in words
    :param result: of the simulations; None if there was nothing to choose
    :param asymmetry, work, strides: as they are kept in their files; empty if there was nothing to choose
    """

    plan: AssessmentPlan
    loading: Loading
    formula: str
    folder: Path
    verdict: Verdict
    result: SimulationResults | None = None
    asymmetry: Mapping[str, Any] = field(default_factory=dict)
    work: Mapping[str, Any] = field(default_factory=dict)
    strides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def judged(self) -> tuple[Judged, ...]:
        """Ways to use the forces, and what the criteria say of them."""
        return () if self.result is None else self.result.judged

    def rows(self) -> list[Row]:
        """Lines of the table of ways to use the forces."""
        conservative = next((each.choice for each in self.judged if each.choice.forces == "conservative"), None)
        slowest = conservative.milliseconds if conservative else None
        return [_row(each, slowest) for each in self.judged]

    @property
    def command(self) -> str | None:
        """The command line that runs what is advised; None if nothing is."""
        choice = self.verdict.choice
        if choice is None:
            return None
        forces = f"--mts {choice.stride}" if choice.stride else f"--forces {choice.forces}"
        plan = self.plan
        how = "".join(f" --{key} {quote(value)}" for key, value in self.loading.changed.items())
        return (
            f"darkforces run --structure {quote(str(plan.structure))} --model {quote(plan.model)}{how} {forces} "
            f"--timestep {plan.timestep:g} --temperature {plan.temperature:g}"
        )

    def as_json(self) -> dict[str, object]:
        """Everything for machines: units in the names."""
        curves = ("parameter", "energy_eV", "cumulative_work_eV")
        return {
            "model": self.plan.model,
            **self.loading.as_json(),
            "structure": str(self.plan.structure),
            "formula": self.formula,
            "temperature_K": self.plan.temperature,
            "timestep_fs": self.plan.timestep,
            "verdict": {**self.verdict.as_json(), "command": self.command},
            "criteria": REASONS,
            "lambda": self.asymmetry,
            "work": {key: value for key, value in self.work.items() if key not in curves},
            "strides": self.strides.get("prediction"),
            "choices": [each.as_json() for each in self.judged],
            "machine": {} if self.result is None else self.result.machine,
        }

    def draw(self, folder: str | os.PathLike[str] | None = None) -> list[str]:
        """Draw what there is data for, as PNG and PDF.

        :param folder: for the pictures; default: that of the assessment
        :return: names of the files without their suffix
        """
        where = self.folder if folder is None else Path(folder)
        return [] if self.result is None else pictures.draw(self.result, self.plan.temperature, where)

    def write(self) -> Path:
        """Write the page, its pictures and the summary as JSON into the folder, as `darkforces assess` does.

        What an earlier call has written is replaced.

        :return: the page, an HTML file with the pictures in it
        :raises DarkforcesError: if the model has only one kind of forces, so that nothing was simulated
        """
        if self.result is None:
            raise DarkforcesError(f"there is no page to write: {self.verdict.headline}")
        return page.write(self, self.result)

    def __str__(self) -> str:
        lines = [self.verdict.headline]
        if self.judged:
            lines += ["", *self.verdict.text, *([self.command] if self.command else [])]
        table = ["", aligned(self.rows())] if self.judged else []
        return "\n".join([*map(printable, lines), *table])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        paragraphs = "".join(f"<p>{escape(printable(each))}</p>" for each in self.verdict.text)
        command = f"<p><code>{escape(printable(self.command))}</code></p>" if self.command else ""
        table = html_table(self.rows()) if self.judged else ""
        return f"<h3>{escape(printable(self.verdict.headline))}</h3>{paragraphs}{command}{table}"


def _row(judged: Judged, slowest: float | None) -> Row:
    choice = judged.choice
    pace = choice.milliseconds
    return {
        "forces": choice.forces,
        "judgement": judged.judgement.value,
        "NVE / ps": choice.nve,
        **({"explodes": choice.exploded} if choice.exploded else {}),
        **drift.columns(choice.temperature_drift, choice.drift, choice.heating, choice.relative_drift),
        "predicted heating / (K/ps)": choice.predicted,
        "SVR / ps": choice.svr,
        "heaviest − lightest / K": choice.inequality,
        "ms per step": pace,
        "time / conservative": pace / slowest if pace and slowest else None,
    }
