"""Motion of the atoms of a run, from its velocities and positions."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, replace

import numpy as np

from ..errors import DarkforcesError
from ..stats.estimates import Estimate
from .displacements import Displacements, displacements
from .io.runs import Run
from .io.trajectory import Block
from .selection import Selection
from .spectra import Spectra, spectra
from .temperatures import ALL, have_exchanged

# ps, of a simulation. Molecules of a liquid leave their cages within picoseconds; what is shorter does not know how far
# off its diffusion coefficient is, however small its scatter.
DIFFUSIVE = 10.0


@dataclass(frozen=True)
class Motion:
    """Motion of the atoms of a run.

    :param spectra: from velocities
    :param displacements: None if the run has no positions from which they could be known
    """

    spectra: Spectra
    displacements: Displacements | None

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.spectra.name

    def as_json(self) -> dict[str, object]:
        """JSON values with standard errors, units in the names; the curves are in `columns`."""
        moved = self.displacements
        return {**self.spectra.as_json(), "displacements": None if moved is None else moved.as_json()}

    def columns(self) -> dict[str, np.ndarray]:
        """Spectrum, autocorrelation and displacements, for CSV: arrays by their names, with units."""
        moved = {} if self.displacements is None else self.displacements.columns()
        return {**self.spectra.columns(), **self.spectra.correlation_columns(), **moved}

    def without_caged(self) -> Motion:
        """Drop errors of diffusion coefficients of species whose displacements do not grow as t yet.

        Few molecules have left their cages then, and the spectrum at ω → 0 knows no better how many will: from 1.5 ps
        of liquid water, it finds five times as many.
        """
        moved = {} if self.displacements is None else self.displacements.diffusion
        return self.without_errors({species for species, each in moved.items() if each.error is None})

    def without_temperatures_of_species(self) -> Motion:
        """Drop errors of the temperatures of species, which have not exchanged energy yet; see `temperatures`."""
        known = self.spectra.temperatures
        return replace(self, spectra=replace(self.spectra, temperatures=_without_errors(known, set(known) - {ALL})))

    def without_errors(self, species: Set[str]) -> Motion:
        """Drop errors of the diffusion coefficients of these species."""
        moved = self.displacements
        return Motion(
            replace(self.spectra, diffusion=_without_errors(self.spectra.diffusion, species)),
            None if moved is None else replace(moved, diffusion=_without_errors(moved.diffusion, species)),
        )


def _without_errors(estimates: dict[str, Estimate], species: Set[str]) -> dict[str, Estimate]:
    return {name: Estimate(each.value, None) if name in species else each for name, each in estimates.items()}


def measure(run: Run, selection: Selection) -> Motion:
    """Spectra of a run from its velocities, and displacements if it has positions that are good for it.

    :raises DarkforcesError: if there are no velocities, too few of them, or nothing says the time between frames
    """
    trajectory = run.trajectory("velocities")
    if trajectory.interval is None:
        raise DarkforcesError(
            f"'{trajectory.path}' does not say how far apart its frames are, so there is no spectrum; give --interval"
        )
    freedom = _freedom(run, len(trajectory.species))
    moving = freedom > 0
    found = Motion(
        spectra(
            run.name,
            _of_atoms(selection.blocks(trajectory, regular=True), moving),
            trajectory.species[moving],
            trajectory.masses[moving],
            moving=None if (freedom == 3).all() else freedom[moving],
        ),
        _moved(run, selection),
    )
    for part in (found.spectra, found.displacements):
        for remark in () if part is None else part.remarks:
            selection.notice(f"{run.name}: {remark}")
    believed = found.without_caged()
    length = selection.discard + found.spectra.duration
    if not have_exchanged(run, length):
        believed = believed.without_temperatures_of_species()
    # The last step need not be in the outputs.
    if length < 0.99 * DIFFUSIVE and any(each.error for each in believed.spectra.diffusion.values()):
        selection.notice(
            f"{run.name}: in {length:.3g} ps, less than {DIFFUSIVE:g} ps, molecules of a liquid may not have left "
            "their cages yet: diffusion coefficients can be several times too large, whatever their errors"
        )
    return believed


def _freedom(run: Run, n_atoms: int) -> np.ndarray:
    """The number of coordinates of each atom that are not fixed, shape (n_atoms,)."""
    free = np.ones(3 * n_atoms, int)
    if run.constraints:
        free[list(run.constraints.fixed)] = 0
    return free.reshape(-1, 3).sum(axis=1)


def _of_atoms(blocks: Iterator[Block], some: np.ndarray) -> Iterator[Block]:
    """Select some of the atoms of each block."""
    for block in blocks:
        yield block if some.all() else Block(block.times, block.values[:, some], block.cells)


def _moved(run: Run, selection: Selection) -> Displacements | None:
    if not any(trajectory.quantity == "positions" for trajectory in run.trajectories):
        return None
    trajectory = run.trajectory("positions")
    if trajectory.interval is None:
        selection.notice(f"'{trajectory.path}' does not say how far apart its frames are: no displacements")
        return None
    freedom = _freedom(run, len(trajectory.species))
    moving = freedom > 0
    blocks = _of_atoms(selection.blocks(trajectory, regular=True), moving)
    species, masses = trajectory.species[moving], trajectory.masses[moving]
    try:
        return displacements(run.name, blocks, species, masses, held=bool((freedom < 3).any()))
    except DarkforcesError as error:
        selection.notice(f"{run.name}: no displacements from positions: {error}")
        return None
