"""Runs of i-PI with a progress bar, a summary and a picture: what ``darkforces run`` does for one input."""

from __future__ import annotations

import base64
import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from ..errors import DarkforcesError, printable
from ..models.model import ForceModel
from ..models.registry.load import ModelChoice
from ..simulate.folder import FinishedError, RunFolder
from ..simulate.inputs import SimulationInput
from ..simulate.places import Place, places
from ..simulate.recipe import MOST_STEPS, check_steps
from ..simulate.run import Outcome, last_outcome
from ..simulate.run import run as run_simulation
from ..simulate.start import warn_of_periodicity
from ..split.monitor import TOO_FAR
from .io.setup import Constraints
from .overview import Overview, is_summarized, known_pace, summarize
from .simulation_bar import SimulationBar

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SummarizedRun:
    """A run that has ended, for now or for good. As a path, it is its folder: `analyze` and others take it.

    :param name: of the simulation
    :param outcome: how it ended
    :param overview: temperature and conserved quantity against time; None if it has done no step
    :param summary: what is in ``summary.json``: units in the names; None if it has done no step
    :param forces: ``conservative``, ``direct``, ``MTS-8``; empty if that is not so simple
    :param timestep: length of an i-PI step in fs; None if it is no dynamics
    :param stride: of multiple time stepping, steps of the fast forces in one of i-PI's
    """

    name: str
    outcome: Outcome
    overview: Overview | None
    summary: dict[str, object] | None
    forces: str = ""
    timestep: float | None = None
    stride: int = 1

    @property
    def folder(self) -> Path:
        """The folder with i-PI's outputs, RESTART, logs and the summary."""
        return self.outcome.folder

    def __fspath__(self) -> str:
        return str(self.folder)

    @property
    def remarks(self) -> list[str]:
        """Sentences on a run that has stopped before its end, or has exploded."""
        outcome, found = self.outcome, []
        if outcome.interrupted or outcome.told is not None:
            why = "" if outcome.told is None else f" ({outcome.told})"
            found.append(f"stopped after step {outcome.steps}{why}; the same command goes on from there")
        if outcome.explosion is not None:
            good = outcome.explosion.good
            kept = (
                f"i-PI's state after step {good}, before that, is in {RunFolder(self.folder).restart}"
                if good > 0
                else "there is no earlier state than its start"
            )
            found.append(
                f"{self.name} {outcome.explosion.text}; {kept}. A shorter time step or stride, or another start may "
                "help"
            )
        return found

    def __str__(self) -> str:
        overview, outcome = self.overview, self.outcome
        if overview is None:
            return f"{self.name}: 0 of {outcome.total_steps} steps"
        pace = "" if outcome.seconds_per_step is None else f", {1000.0 * outcome.seconds_per_step:.1f} ms per step"
        length = f", {overview.time[-1]:.3g} ps" if overview.moves else ""
        lines = [f"{self.name}: {outcome.steps} of {outcome.total_steps} steps{length}{pace}"]
        if outcome.finished is not None:
            lines.append(f"  finished             {outcome.finished}")
        if outcome.explosion is not None:
            lines.append(f"  exploded             {outcome.explosion.seen.temperature:.3g} K")
        elif overview.moves:
            lines.append(f"  temperature: mean    {overview.mean_temperature.text('K')}")
            if overview.conserved_slope is not None:
                lines.append(f"  conserved: drift     {overview.conserved_slope.text(overview.energy_unit + '/ps')}")
        elif overview.energy_change != 0.0:  # or else it is of one structure only, as phonons
            lines.append(f"  energy: change       {overview.energy_change:+.6g} {overview.energy_unit}")
        return "\n".join([*lines, f"  picture              {printable(self.folder / 'summary.png')}"])

    def _repr_html_(self) -> str:
        text = f"<pre>{escape(str(self))}</pre>"
        picture = self.folder / "summary.png"
        if not picture.is_file():
            return text
        return f'{text}<img src="data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode("ascii")}">'


def run(
    input: str | os.PathLike[str],
    model: str | os.PathLike[str] | ForceModel | None = None,
    *,
    steps: int | None = None,
    time: float | None = None,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    in_process: bool = False,
    resident: bool | None = None,
    device: str | None = None,
    dtype: str | None = None,
    variant: str | None = None,
    backend: str | None = None,
    warn_above: float = TOO_FAR,
) -> SummarizedRun:
    """Run a simulation with i-PI, or go on with it: what ``darkforces run`` does.

    i-PI and the model run in other processes, with a progress bar, until all steps are done, the simulation has
    exploded, or i-PI was told to stop. The same call goes on with a run that was stopped, and returns one that is
    finished.

    :param input: an i-PI input, or the folder of a run that shall go on
    :param model: a name or path, see `load_model`, or a model that it has returned, which is loaded once more. Default:
        that with which the run in the folder `input` was begun
    :param steps: i-PI steps in all; default: what the input says
    :param time: simulated time in all, in ps, instead
    :param output: the folder for everything; default: named for the input, in the current folder
    :param overwrite: start anew even if the folder holds another run
    :param in_process: the model inside i-PI's process instead of one of its own
    :param resident: the model there, and fast steps in a loop beside it instead of i-PI's: the same trajectory.
        Default: at constant volume, on a CPU
    :param device: of the model, as `dtype`, `variant` and `backend`: see `load_model`. Default: as it was loaded
    :param warn_above: eV/Å; with multiple time stepping, warn when conservative and direct forces differ by more
    :return: the run; its folder can be analysed
    :raises DarkforcesError: if what is given cannot be used, or i-PI or the model fails
    :raises KeyboardInterrupt: if it was interrupted, after i-PI has written its state

    >>> import ipi_darkforces as dark
    >>> run = dark.run("inputs/nve-mts4.xml", "pet-m", steps=4, output=folder)
    >>> run.outcome.steps
    4
    >>> dark.analyze(run, only="drift").drift[0].n_atoms
    192
    """
    [place] = places([Path(input)], None if output is None else Path(output))
    options = {"device": device, "dtype": dtype, "variant": variant, "backend": backend}
    choice = model_of_run(place, options) if model is None else ModelChoice.of(model, **options)
    found = run_at(place, choice, steps, time, in_process, overwrite, resident, warn_above)
    for remark in found.remarks:
        logger.warning("%s", remark)
    if found.outcome.interrupted:
        raise KeyboardInterrupt(*found.remarks)
    return found


def model_of_run(place: Place, options: Mapping[str, str | None]) -> ModelChoice:
    """The model with which a run was begun.

    :param options: of `ModelChoice`, that are not as in the beginning; None counts as not given
    :raises DarkforcesError: if nothing says it
    """
    if not place.goes_on:
        raise DarkforcesError(f"'{place.input}' is to be run with which model? expected a name or a path")
    begun = RunFolder(place.folder).begun_with()
    kept = {key: options.get(key) or begun.get(key) for key in ("dtype", "variant")}
    return ModelChoice.of(begun["model"], **{**options, **kept})


def run_at(
    place: Place,
    choice: ModelChoice,
    steps: int | None = None,
    time: float | None = None,
    in_process: bool = False,
    overwrite: bool = False,
    resident: bool | None = None,
    warn_above: float = TOO_FAR,
    finished: bool = True,
) -> SummarizedRun:
    """Run a simulation in its folder; see `run`. The result may be of a run that was interrupted.

    :param finished: whether a run that was finished and summarized before is a result, and not a FinishedError
    """
    check_length(steps, time)
    simulation = SimulationInput.read(place.input)
    warn_of_periodicity(simulation)
    total = place.steps if steps is None and time is None else _steps(simulation, steps, time)
    try:
        with (
            logging_redirect_tqdm(),
            SimulationBar(place.name, simulation.n_atoms, Constraints.in_input(simulation)) as bar,
        ):
            outcome = run_simulation(
                simulation, choice, place.folder, total, in_process, overwrite, resident, bar.show, warn_above
            )
            bar.finish(outcome.steps)
    except FinishedError:
        outcome = last_outcome(place.folder)
        if not finished and is_summarized(outcome):
            raise
        # Of a series that was stopped later, or a run that was before it could be summed up.
        outcome = replace(outcome, seconds_per_step=known_pace(outcome))
    forces, timestep, stride = simulation.forces, simulation.timestep, simulation.stride
    if outcome.steps == 0:
        return SummarizedRun(place.name, outcome, None, None, forces, timestep, stride)
    overview = replace(Overview.of(outcome, simulation), name=place.name)
    return SummarizedRun(place.name, outcome, overview, summarize(overview, outcome), forces, timestep, stride)


def check_length(steps: int | None, time: float | None) -> None:
    """Raise a DarkforcesError for a length that cannot be; see `run`."""
    if steps is not None and not 1 <= steps <= MOST_STEPS:
        raise DarkforcesError(f"steps {steps} is not a number of steps: expected 1 to {MOST_STEPS:.0e}")
    if time is not None and not 0 < time < math.inf:
        raise DarkforcesError(f"time {time:g} is not a time: expected more than 0 ps")
    if steps is not None and time is not None:
        raise DarkforcesError("steps and time contradict each other: expected one of them")


def _steps(simulation: SimulationInput, steps: int | None, time: float | None) -> int | None:
    if time is None:
        return steps
    timestep = simulation.timestep
    if timestep is None:
        raise DarkforcesError(f"'{simulation.source}' has no time step, so --time means nothing; give --steps")
    check_steps(time, timestep, f"time {time:g} ps")
    return max(1, round(1000.0 * time / timestep))
