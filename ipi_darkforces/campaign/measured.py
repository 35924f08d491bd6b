"""Results of the simulations of a campaign, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TypeVar

from ..analysis import drift, force_difference, motion, structure, temperatures
from ..analysis.drift import Drift
from ..analysis.io.compressed import existing
from ..analysis.io.runs import Run
from ..analysis.motion import DIFFUSIVE, Motion
from ..analysis.selection import Selection
from ..analysis.structure import Correlations
from ..analysis.temperatures import Temperatures
from ..errors import DarkforcesError
from ..simulate.folder import RunFolder
from ..stats.estimates import Estimate
from .folder import CampaignFolder, Ended
from .matrix import Simulation

T = TypeVar("T")
# ps in all, from which on it takes longer to look at simulations than to start processes for it.
_LONG = 20.0


@dataclass(frozen=True)
class Measured:
    """The results of one simulation; None for what it is too short for.

    :param course: temperature and conserved quantity from its beginning on; all else is without the first part
    :param rms_difference: of the components of conservative less direct forces, meV/Å, where both are known
    :param notes: what a reader must know
    """

    simulation: Simulation
    ended: Ended
    course: Drift | None
    drift: Drift | None
    temperatures: Temperatures | None
    motion: Motion | None
    structure: Correlations | None
    rms_difference: Estimate | None
    notes: tuple[str, ...]


def measure_all(
    folder: CampaignFolder, ended: Sequence[tuple[Simulation, Ended]], discard: float, workers: int
) -> Iterator[Measured]:
    """Look at simulations that have ended, several at a time if they are long; see `measure`.

    :param workers: processes for it
    """
    if workers == 1 or sum(each.picoseconds for _, each in ended) < _LONG:
        yield from (measure(folder, simulation, each, discard) for simulation, each in ended)
        return
    # Not by a fork: the threads of torch, which we have, do not survive it.
    with ProcessPoolExecutor(min(workers, len(ended)), get_context("spawn")) as pool:
        for future in [pool.submit(measure, folder, simulation, each, discard) for simulation, each in ended]:
            yield future.result()


def measure(folder: CampaignFolder, simulation: Simulation, ended: Ended, discard: float) -> Measured:
    """Look at a simulation that has ended; of one that exploded only at how.

    :param discard: ps at the beginning that do not count
    """
    name = simulation.name
    notes: list[str] = []

    def notice(text: str) -> None:
        notes.append(text.removeprefix(f"{name}: "))

    def ask(measure: Callable[[Run, Selection], T], selection: Selection) -> T | None:
        try:
            return measure(Run.read(folder.run(name), lambda text: None), selection)
        except DarkforcesError as error:
            notice(str(error).replace(f"{folder.run(name)}/", "").replace(str(folder.run(name)), name))
            return None

    apart = existing(RunFolder(folder.run(name)).disagreement(name))
    rms_difference = None if apart is None else force_difference.measure(apart)
    whole, counting = Selection(0.0, notice=lambda text: None), Selection(discard, notice=notice)
    course = ask(drift.measure, whole)
    if ended.unstable:
        return Measured(simulation, ended, course, None, None, None, None, rms_difference, tuple(notes))
    return Measured(
        simulation,
        ended,
        course,
        ask(drift.measure, counting),
        ask(temperatures.measure, counting),
        with_known_errors(ask(motion.measure, counting), ended.picoseconds),
        ask(structure.measure, counting),
        rms_difference,
        tuple(notes),
    )


def with_known_errors(found: Motion | None, picoseconds: float) -> Motion | None:
    """Drop error bars of diffusion coefficients that the simulation is too short for.

    That is all of them if it is shorter than cages last, and those of species that are still in them.

    :param picoseconds: length of the simulation
    """
    if found is None or picoseconds >= DIFFUSIVE:
        return found and found.without_caged()
    return found.without_errors(set(found.spectra.diffusion))
