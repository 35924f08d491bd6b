"""The job of one simulation, started by Snakemake: run it, or go on with it, and say how it ended."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ..analysis.overview import Overview, summarize
from ..errors import ERROR, DarkforcesError, printable
from ..machine import processor, version_of
from ..signals import raise_interrupts
from ..simulate.folder import FinishedError, OtherRunError
from ..simulate.inputs import SimulationInput
from ..simulate.run import Outcome, Progress, last_outcome, run
from .folder import CampaignFolder, Ended

# A simulation that is so many times too hot has exploded, or is not worth going on with.
TOO_HOT = 10.0
# What the driver says of positions and forces when a simulation has exploded between two looks at its temperature.
_NOT_FINITE = "NaN or infinite"
_INTERRUPTED = 130


class ExplodedError(DarkforcesError):
    """A simulation is too hot to go on."""


def simulate(
    folder: CampaignFolder, name: str, report: Callable[[Progress, int], None] = lambda progress, total: None
) -> Ended | None:
    """Run a simulation to its end, which an explosion is too; None if it was interrupted.

    :param report: called with how far it is, and the number of steps in all
    :raises DarkforcesError: if it could not be run
    """
    job = folder.job(name)
    simulation = SimulationInput.read(folder.input(name))
    step = 0
    started = time.monotonic()

    def watch(progress: Progress, total: int) -> None:
        nonlocal step
        step = progress.step
        report(progress, total)
        if not progress.temperature < TOO_HOT * job.temperature:
            raise ExplodedError(f"{progress.temperature:.3g} K at {1e-3 * progress.time:.4g} ps")

    unstable = None
    try:
        outcome = run(simulation, job.model, folder.run(name), watch=watch)
    except FinishedError:  # killed before it could say so
        outcome = last_outcome(folder.run(name))
    except OtherRunError as error:
        raise DarkforcesError(f"{error}; remove that folder to have it simulated anew") from error
    except DarkforcesError as error:
        if not isinstance(error, ExplodedError) and not (_NOT_FINITE in str(error) and step > 0):
            raise
        unstable = str(error).partition(";")[0]
        outcome = Outcome(folder.run(name), simulation.prefix, step, simulation.total_steps, None, False)
    if outcome.interrupted or outcome.told is not None:
        return None
    if outcome.explosion is not None:
        unstable = outcome.explosion.text
    overview = Overview.of(outcome, simulation)
    summarize(overview, outcome)
    picoseconds = 1e-3 * outcome.steps * (simulation.timestep or 0.0)
    pace = outcome.seconds_per_step
    seconds = time.monotonic() - started if pace is None else pace * outcome.steps
    ended = Ended(picoseconds, unstable, seconds, pace, _machine(job.model.loading.device))
    folder.record_end(name, ended)
    return ended


def _machine(device: str) -> dict[str, str]:
    """The machine that this runs on."""
    machine = {
        "cpu": processor(),
        "torch": version_of("torch") or "none",
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
    }
    if device.startswith("cuda"):
        import torch  # takes seconds

        machine["gpu"] = torch.cuda.get_device_name(device)
    return machine


def main(folder: str, name: str) -> int:
    """Entry point of the job."""
    raise_interrupts()
    try:
        return 0 if simulate(CampaignFolder(Path(folder)), name) else _INTERRUPTED
    except DarkforcesError as error:
        print(f"{ERROR}{printable(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
