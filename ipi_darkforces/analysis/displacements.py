"""Mean squared displacements from positions, and diffusion from their slope.

⟨|Δr(t)|²⟩ = 6 D t (D. Frenkel and B. Smit, Understanding Molecular Simulation, eq. 4.4.9), relative to the centre of
mass of all atoms, or to fixed ones, and not corrected for the size of the cell, as D in `spectra`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DarkforcesError
from ..stats.batches import curve_errors, estimate, standard_errors
from ..stats.estimates import Estimate
from .frames import CM2_PER_S, MEMORY, check_atoms, relative, species_in, with_errors, with_interval
from .io.trajectory import Block

# A power of t that is off from 1 by more than this is no diffusion; one that is less is no motion at all.
AS_TIME = 0.25


@dataclass(frozen=True)
class Displacements:
    """Mean squared displacements of a run, relative to the centre of mass.

    :param rows: the species, which the rows of the arrays are
    :param lags: ps, shape (n,)
    :param squares: mean squared displacement in Å², shape (n_rows, n)
    :param errors: standard errors (see `curve_errors`), NaN if not known, shape (n_rows, n)
    :param window: lags, from and to, whose slope gives the diffusion coefficient, ps
    :param diffusion: Å²/ps, for each species
    :param duration: of the trajectory, ps
    :param remarks: what a reader must know
    """

    name: str
    rows: tuple[str, ...]
    lags: np.ndarray
    squares: np.ndarray
    errors: np.ndarray
    window: tuple[float, float]
    diffusion: dict[str, Estimate]
    duration: float
    remarks: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """JSON values with standard errors, units in the names; the curves are in `columns`."""
        return {
            "name": self.name,
            "picoseconds": self.duration,
            "window_ps": list(self.window),
            "diffusion_A2_per_ps": {row: value.as_json() for row, value in self.diffusion.items()},
            "diffusion_cm2_per_s": {row: value.times(CM2_PER_S).as_json() for row, value in self.diffusion.items()},
            "remarks": list(self.remarks),
        }

    def columns(self) -> dict[str, np.ndarray]:
        """Columns for CSV: arrays of one length by their names, with units."""
        return {"moved_for_ps": self.lags, **with_errors(self.rows, self.squares, self.errors, "A2")}


def displacements(
    name: str,
    blocks: Iterable[Block],
    symbols: Sequence[str] | np.ndarray,
    masses: np.ndarray,
    longest: float = 10.0,
    held: bool = False,
) -> Displacements:
    """Mean squared displacements, and diffusion coefficients from their slope by least squares.

    The slope is taken between t/2 and t, where t is a twelfth of the trajectory but not more than `longest`. For its
    error bar it is computed from each time origin, and the series of these is averaged in batches.

    :param blocks: positions in Å at even intervals, wrapped into the cell or not
    :param symbols: chemical symbol of each atom, shape (n_atoms,)
    :param masses: amu, shape (n_atoms,)
    :param longest: ps
    :param held: whether there are fixed atoms besides these
    :raises DarkforcesError: for less than 48 frames, uneven intervals, NaN, or lists of atoms that do not match
    """
    interval, blocks = with_interval(blocks)
    jumps: list[int] = []
    positions, stride, n_frames = _thinned(unwrapped(blocks, jumps), symbols, masses, held)
    last = min(len(positions) // 12, round(longest / (stride * interval)))
    if last < 4:
        raise DarkforcesError(f"the trajectory has {n_frames} frames: expected at least 48 for displacements")
    species = species_in(symbols)
    fitted = np.unique(np.linspace(last // 2, last, 12).round().astype(int))
    shown = np.unique(np.geomspace(1, last, 40).round().astype(int))
    lags = np.union1d(fitted, shown)
    squares = _squares(positions, lags, species, symbols)
    times = lags * stride * interval
    mean = squares.mean(axis=1)
    weights = np.where(np.isin(lags, fitted), times - times[np.isin(lags, fitted)].mean(), 0.0)
    # ⟨|Δr|²⟩ = 6 D t
    slopes = squares @ weights / np.square(weights).sum() / 6.0
    errors = np.array([curve_errors(_batched(row)) for row in squares])
    powers = _powers(times, mean)
    remarks = _displacement_remarks(sum(jumps), times, powers, species, errors)
    return Displacements(
        name=name,
        rows=species,
        lags=times,
        squares=mean,
        errors=errors,
        window=(float(times[lags == fitted[0]][0]), float(times[-1])),
        diffusion=dict(zip(species, map(_diffusion, slopes, powers), strict=True)),
        duration=interval * (n_frames - 1),
        remarks=remarks,
    )


def unwrapped(blocks: Iterable[Block], jumps: list[int] | None = None) -> Iterator[Block]:
    """Positions that were wrapped into the cell, made continuous: no atom moves by half a cell from frame to frame.

    :param blocks: positions, of which those that were not wrapped stay as they are, to the last bit
    :param jumps: appended to: the number of jumps that were taken back in each block
    """
    last: np.ndarray | None = None
    shifts: np.ndarray | float = 0.0
    for block in blocks:
        # Without a cell vector (zeros) there is nothing to wrap along it: the pseudo-inverse leaves zeros.
        fractional = block.values @ np.linalg.pinv(block.cells)
        before = fractional[:1] if last is None else last[None]
        steps = np.rint(np.diff(fractional, axis=0, prepend=before))
        last = fractional[-1] if len(fractional) else last
        total = np.cumsum(steps, axis=0) + shifts
        shifts = total[-1] if len(total) else shifts
        if jumps is not None:
            jumps.append(int(np.count_nonzero(steps)))
        yield Block(block.times, block.values - total @ block.cells, block.cells) if np.any(total) else block


def _thinned(
    blocks: Iterable[Block], symbols: Sequence[str] | np.ndarray, masses: np.ndarray, held: bool
) -> tuple[np.ndarray, int, int]:
    """Positions relative to the centre of mass (n, n_atoms, 3), every how many-th frame these are, frames in all.

    As many frames as memory allows: long lags need few of them.
    """
    kept: list[np.ndarray] = []
    stride, n_frames = 1, 0
    for block in blocks:
        if not n_frames:
            check_atoms(block.values.shape[1], symbols, masses)
        first = -n_frames % stride
        kept.extend(relative(block.values[first::stride], masses, held).copy())
        n_frames += len(block.times)
        while len(kept) * 3 * len(masses) > MEMORY and len(kept) > 1000:
            kept = kept[::2]
            stride *= 2
    return np.array(kept), stride, n_frames


def _squares(
    positions: np.ndarray, lags: np.ndarray, species: Sequence[str], symbols: Sequence[str] | np.ndarray
) -> np.ndarray:
    """Squared displacements averaged over the atoms of each species, shape (n_species, n_origins, n_lags).

    :param positions: unwrapped, shape (n, n_atoms, 3)
    :param lags: in frames, increasing
    """
    # Origins that are much closer than the longest lag tell nothing new.
    origins = np.arange(0, len(positions) - lags[-1], max(1, lags[-1] // 50))
    of_species = np.array([np.asarray(symbols) == s for s in species], dtype=float)
    of_species /= of_species.sum(axis=1, keepdims=True)
    squares = np.empty((len(species), len(origins), len(lags)))
    for i, origin in enumerate(origins):
        moved = positions[origin + lags] - positions[origin]
        squares[:, i] = of_species @ np.square(moved).sum(axis=2).T
    return squares


def _batched(series: np.ndarray) -> np.ndarray:
    """Means of up to 64 successive stretches, of equal length, of a series (n, ...)."""
    size = max(1, -(-len(series) // 64))
    n = len(series) // size
    return series[: n * size].reshape(n, size, *series.shape[1:]).mean(axis=1)


def _diffusion(slopes: np.ndarray, power: float) -> Estimate:
    """Estimate the diffusion coefficient in Å²/ps, from the slopes of all time origins (n,).

    Without an error where atoms move, but not as t: then the slope is no diffusion coefficient, however well known.
    """
    errors, freedom = standard_errors(_batched(slopes))
    return estimate(slopes.mean(), np.nan if power > AS_TIME and _is_not_diffusive(power) else float(errors), freedom)


def _powers(times: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Exponents of t with which squared displacements (n_rows, n) grow over the second half, shape (n_rows,)."""
    half = np.searchsorted(times, 0.5 * times[-1])
    moving = squares[:, half] > 0.0
    ratios = np.divide(squares[:, -1], squares[:, half], out=np.ones(len(squares)), where=moving)
    return np.log(ratios) / np.log(times[-1] / times[half])


def _is_not_diffusive(power: float) -> bool:
    return abs(power - 1.0) > AS_TIME


def _displacement_remarks(
    jumps: int, times: np.ndarray, powers: np.ndarray, species: Sequence[str], errors: np.ndarray
) -> tuple[str, ...]:
    remarks = []
    if jumps:
        remarks.append(f"{jumps} jumps of half a cell or more were taken back as wrapping")
    for row, power in zip(species, powers, strict=True):
        if _is_not_diffusive(power):
            remarks.append(
                f"{row}: the squared displacement grows as t^{power:.2f} up to {times[-1]:.3g} ps, not yet as t"
            )
    if np.isnan(errors).any():
        remarks.append("too short for error bars")
    return tuple(remarks)
