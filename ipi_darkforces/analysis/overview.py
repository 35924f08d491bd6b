"""Summary of a run: temperature, conserved quantity and their drifts, in a file and a picture."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..atomic import atomic_file, write_atomically
from ..errors import DarkforcesError, one_line
from ..simulate.folder import RunFolder
from ..simulate.inputs import SimulationInput
from ..simulate.run import Outcome
from ..stats import estimates as statistics
from ..stats.estimates import Estimate, json_of
from .drift import Drift
from .io.setup import FREE, Constraints
from .io.table import read_table
from .pictures import colors_of, legend, new_figure, smoothed, tidy

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Overview(Drift):
    """Temperature and conserved quantity of a run, which may be an optimisation: then time stands still.

    :param step: of i-PI, shape (n,), at the times of the temperature, which are those of the conserved quantity
    """

    step: np.ndarray
    conserved: np.ndarray

    @classmethod
    def read(cls, path: Path, name: str, n_atoms: int | None, constraints: Constraints = FREE) -> Overview:
        """Read a file of i-PI's properties that has step, time, temperature and conserved quantity.

        :param constraints: of the simulation: the temperature is that of what moves
        :raises DarkforcesError: if it lacks one of them, or cannot be read
        """
        table = read_table(path, logger.warning)
        missing = [column for column in ("temperature", "conserved") if column not in table.columns]
        if missing:
            raise DarkforcesError(f"'{path}' has no column '{missing[0]}'; it has {', '.join(table.columns)}")
        conserved = 1000.0 * (table.columns["conserved"] - table.columns["conserved"][0]) / (n_atoms or 1)
        temperature, moving = table.columns["temperature"], 1.0
        if n_atoms is not None:
            temperature = constraints.of_moving(temperature, np.arange(n_atoms))
            moving = constraints.moving(n_atoms)
        return cls(
            name=name,
            n_atoms=n_atoms,
            time=table.time,
            temperature=temperature,
            conserved_time=table.time,
            conserved=conserved,
            kinetic_deviation=None,
            moving=moving,
            step=table.step,
        )

    @classmethod
    def of(cls, outcome: Outcome, simulation: SimulationInput) -> Overview:
        """Make the overview of a run that has ended, under the name of its input."""
        progress = RunFolder(outcome.folder).progress(outcome.prefix)
        return cls.read(progress, simulation.source.stem, simulation.n_atoms, Constraints.in_input(simulation))

    @property
    def moves(self) -> bool:
        """Tell whether this is a course in time."""
        return bool(self.time[-1] > self.time[0]) or len(self.time) == 1

    @property
    def energy_change(self) -> float:
        """Change of the conserved quantity from the first to the last step, in `energy_unit`."""
        return float(self.conserved[-1])

    @property
    def mean_temperature(self) -> Estimate:
        """Mean temperature, K."""
        return statistics.mean(self.temperature)

    def as_json(self) -> dict[str, object]:
        """JSON values with standard errors, units in the names."""
        unit = self.energy_unit.replace("/", "_per_")
        if not self.moves:
            return {"name": self.name, f"energy_change_{unit}": self.energy_change}
        return {
            "name": self.name,
            "picoseconds": float(self.time[-1]),
            "temperature_K": self.mean_temperature.as_json(),
            "temperature_drift_K_per_ps": self.temperature_slope.as_json(),
            f"conserved_drift_{unit}_per_ps": json_of(self.conserved_slope),
        }


def draw(overviews: Sequence[Overview], path: Path) -> None:
    """One picture of one or several runs: temperature and conserved quantity against time."""
    figure = new_figure(6.4, 5.6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    dynamic = all(overview.moves for overview in overviews)
    colors = colors_of([overview.name for overview in overviews])
    for overview, color in zip(overviews, colors, strict=True):
        along = overview.time if dynamic else overview.step
        smoothed(upper, along, overview.temperature, color, legend(overview.name))
        smoothed(lower, along, overview.conserved, color)
    upper.set_ylabel("temperature / K")
    lower.set_ylabel(f"conserved quantity / ({overviews[0].energy_unit})")
    lower.set_xlabel("time / ps" if dynamic else "step")
    upper.legend(frameon=False)
    for axis in (upper, lower):
        tidy(axis)
    figure.align_ylabels()
    with atomic_file(path) as file:
        figure.savefig(file)


def summarize(overview: Overview, outcome: Outcome) -> dict[str, object]:
    """Leave a summary for machines and a picture in the run's folder, and return the summary.

    :raises DarkforcesError: if the folder cannot be written
    """
    picture = outcome.folder / "summary.png"
    pace = outcome.seconds_per_step
    # Averages over an explosion mean nothing.
    found = overview.as_json() if outcome.explosion is None else {"name": overview.name}
    summary = {
        **found,
        "steps": outcome.steps,
        "total_steps": outcome.total_steps,
        "ended": _ended(outcome),
        "explosion": None if outcome.explosion is None else outcome.explosion.as_json(),
        "milliseconds_per_step": None if pace is None else 1000.0 * pace,
        "folder": str(outcome.folder),
        "picture": str(picture),
    }
    try:
        draw([overview], picture)
        write_atomically(_summary(outcome), json.dumps(summary, indent=2) + "\n")  # last: where it is, all is there
    except OSError as error:
        raise DarkforcesError(
            f"'{error.filename or picture}' cannot be written: {error.strerror or one_line(error)}; all steps until "
            f"{outcome.steps} of {outcome.total_steps} are there, and the same command goes on from them"
        ) from error
    return summary


def is_summarized(outcome: Outcome) -> bool:
    """Tell whether there is a summary of all that was done in a run."""
    try:
        return bool(json.loads(_summary(outcome).read_text())["steps"] == outcome.steps)
    except (OSError, ValueError, KeyError):
        return False


def known_pace(outcome: Outcome) -> float | None:
    """Seconds for a step of a run that is summarized already, as it was measured then; None if it is not known."""
    try:
        found = json.loads(_summary(outcome).read_text())["milliseconds_per_step"]
        return None if found is None else 1e-3 * float(found)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _summary(outcome: Outcome) -> Path:
    return outcome.folder / "summary.json"


def _ended(outcome: Outcome) -> str:
    """The way in which a run ended, in a word for machines."""
    if outcome.explosion is not None:
        return "exploded"
    if outcome.interrupted or outcome.told is not None:
        return "stopped"
    return "finished"
