"""Partial radial distributions, and the orientation of neighbouring molecules.

Conventions. The radial distribution of species a and b is the number of ordered pairs at a distance over that of atoms
spread evenly,

    g_ab(r) = V / (N_a N_b) ⟨Σ_{i∈a} Σ_{j∈b, j≠i} δ(r - r_ij)⟩ / (4π r²),

each bin over the exact volume of its shell: what ase and LAMMPS compute. In an ideal gas g_ab is 1, and g_aa is
1 - 1/N_a, since an atom is no neighbour of itself.

With the orientation u of molecules like H2O (see `molecules`), the orientational correlation

    c_uu(r) = ⟨u_i · u_j⟩ of molecules whose central atoms are at distance r

(paper, appendix F.3) is 1 for aligned neighbours and 0 where one knows nothing of the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import DarkforcesError
from ..stats import estimates as statistics
from ..stats.batches import Batches, curve_errors, standard_errors
from ..stats.estimates import Estimate, json_of
from .io.runs import Run
from .io.trajectory import Block
from .pairs import BIN, PairCounter
from .selection import FARTHEST, Selection

ORIENTATION = "c_uu"
# ps. Neighbours in a liquid last for a ps or more, and the noise of counting hides how slowly they change: what is
# shorter does not know how far off its peaks are, however small their scatter.
RELAXED = 10.0


@dataclass(frozen=True)
class Peak:
    """A maximum of a function of distance.

    :param position: Å
    :param height: what the function is there
    """

    position: Estimate
    height: Estimate

    def without_errors(self) -> Peak:
        """The same, of a run that is too short to know errors."""
        return Peak(Estimate(self.position.value, None), Estimate(self.height.value, None))


@dataclass(frozen=True)
class Function:
    """A function of distance.

    :param values: NaN where there were no pairs, shape (n,)
    :param errors: standard errors, two of which are the 95 % interval; NaN where not known, shape (n,)
    :param peak: the first one; None if there is none
    """

    values: np.ndarray
    errors: np.ndarray
    peak: Peak | None


@dataclass(frozen=True)
class Correlations:
    """Structure of a run; conventions as in the docstring of the module.

    :param distances: Å, middle of each bin, shape (n,)
    :param functions: ``g_OO``, ``g_OH``, ... and ``c_uu`` if there are molecules
    :param coordination: for a pair of species (a, b), the running average number of b around an a up to the outer edge
        of each bin, shape (n,)
    :param n_frames: how many there were
    :param remarks: what a reader must know
    """

    name: str
    distances: np.ndarray
    functions: dict[str, Function]
    coordination: dict[tuple[str, str], np.ndarray]
    n_frames: int
    remarks: tuple[str, ...]

    def without_errors_of_peaks(self) -> Correlations:
        """Drop errors of positions and heights of peaks."""
        functions = {
            key: each if each.peak is None else replace(each, peak=each.peak.without_errors())
            for key, each in self.functions.items()
        }
        return replace(self, functions=functions)

    def as_json(self) -> dict[str, object]:
        """JSON values with standard errors, units in the names; the curves are in `columns`."""
        return {
            "name": self.name,
            "frames": self.n_frames,
            "first_peak_A": {
                key: json_of(each.peak.position if each.peak else None) for key, each in self.functions.items()
            },
            "first_peak_height": {
                key: json_of(each.peak.height if each.peak else None) for key, each in self.functions.items()
            },
            "remarks": list(self.remarks),
        }

    def columns(self) -> dict[str, np.ndarray]:
        """Columns for CSV: arrays of one length by their names, with units."""
        columns = {"distance_A": self.distances}
        for key, function in self.functions.items():
            columns[key] = function.values
            columns[f"{key}_error"] = function.errors
        return columns


def correlations(
    name: str,
    blocks: Iterable[Block],
    symbols: Sequence[str] | np.ndarray,
    farthest: float = FARTHEST,
) -> Correlations:
    """Radial distributions of all pairs of species, and the orientational correlation of molecules like H2O, if any.

    :param blocks: positions in Å, wrapped or not, in a cell that is periodic in three directions
    :param symbols: chemical symbol of each atom, shape (n_atoms,)
    :param farthest: largest distance in Å; never more than half the smallest width of the first cell
    :raises DarkforcesError: if there is no cell, or no finite positions
    """
    counter: PairCounter | None = None
    for block in blocks:
        for i in np.flatnonzero(~np.isfinite(block.values).all(axis=(1, 2)))[:1]:
            raise DarkforcesError(f"positions are NaN or infinite in the frame at {block.times[i]:.6g} ps")
        if counter is None and len(block.times):
            counter = PairCounter(block, symbols, farthest)
        if counter is not None:
            counter.add(block)
    if counter is None:
        raise DarkforcesError("the trajectory has no frames: expected at least one")
    return _result(name, counter)


def measure(run: Run, selection: Selection) -> Correlations:
    """Structure of a run from its positions: all pairs of species, and molecules if there are any.

    :raises DarkforcesError: if there are no positions or no cell
    """
    trajectory = run.trajectory("positions")
    found = correlations(run.name, selection.blocks(trajectory), trajectory.species, farthest=selection.farthest)
    for remark in found.remarks:
        selection.notice(f"{run.name}: {remark}")
    if trajectory.interval is None:
        return found
    length = selection.discard + (found.n_frames - 1) * trajectory.interval
    if length > 0.99 * RELAXED:  # the last step need not be in the outputs
        return found
    selection.notice(
        f"{run.name}: errors of peaks are not known from {length:.3g} ps: it takes {RELAXED:g} ps until the structure "
        "of a liquid has changed often enough"
    )
    return found.without_errors_of_peaks()


def _result(name: str, counter: PairCounter) -> Correlations:
    distances = BIN * (np.arange(counter.n_bins) + 0.5)
    functions = {}
    numbers = np.cumsum(counter.numbers.mean, axis=1)
    coordination = {}
    for i, (a, b) in enumerate(counter.pairs):
        means, values = counter.radial.means[:, i], counter.radial.mean[i]
        functions[f"g_{a}{b}"] = Function(values, curve_errors(means), _first_peak(distances, values, means))
        coordination[a, b] = numbers[i] * counter.counts[b]
        coordination[b, a] = numbers[i] * counter.counts[a]
    if counter.molecules is not None:
        functions[ORIENTATION] = _ratio(counter.oriented)
    remarks = tuple(_remarks(counter, functions))
    return Correlations(name, distances, functions, coordination, counter.radial.count, remarks)


def _remarks(counter: PairCounter, functions: dict[str, Function]) -> Iterator[str]:
    if counter.broken:
        yield f"molecules of the first frame are broken in {counter.broken} of {counter.radial.count} frames"
    if any(np.isnan(function.errors).all() for function in functions.values()):
        yield "too short for error bars"


def _ratio(batches: Batches) -> Function:
    """Average of what is summed in each bin, with the error of a ratio of averages (to first order).

    Without an error where less than half of the batches have any pairs.
    """
    total, number = batches.mean
    totals, numbers = batches.means[:, 0], batches.means[:, 1]
    values = np.divide(total, number, out=np.full(len(total), np.nan), where=number > 0)
    found = (numbers > 0).mean(axis=0) > 0.5
    errors = np.full(len(total), np.nan)
    errors[found] = curve_errors((totals[:, found] - values[found] * numbers[:, found]) / number[found])
    return Function(values, errors, None)


def _first_peak(distances: np.ndarray, values: np.ndarray, means: np.ndarray) -> Peak | None:
    """The first maximum of a radial distribution that rises above 1 by more than its error.

    The error of its position is that of the jackknife over the batches: the position from all batches but one. A single
    number, it knows less of its correlation in time than a whole curve does, so that `statistics` decides whether the
    run is long enough.

    :param means: of batches, shape (n_batches, n)
    """
    errors, _ = standard_errors(means)
    above = values > 1.0 + 5.0 * np.nan_to_num(errors)
    if not above.any():
        return None
    start = int(np.argmax(above))
    # The peak ends where the function has come down to 1 again.
    below = np.flatnonzero(values[start:] <= 1.0)
    window = slice(start, start + int(below[0]) if len(below) else len(values))
    top = start + int(np.argmax(values[window]))
    position = _top(distances, values, window)
    n = len(means)
    if n < 2:
        return Peak(Estimate(position, None), Estimate(float(values[top]), None))
    without = [_top(distances, (n * means.mean(axis=0) - batch) / (n - 1), window) for batch in means]
    # As many values as batches, that deviate from their mean by 1/(n - 1) of what the batches would.
    jackknife = statistics.mean((n - 1) * np.array(without))
    return Peak(replace(jackknife, value=position), replace(statistics.mean(means[:, top]), value=float(values[top])))


def _top(distances: np.ndarray, values: np.ndarray, window: slice) -> float:
    """Position of the largest value in the window, by the parabola through it and its neighbours."""
    top = window.start + int(np.argmax(values[window]))
    if not 0 < top < len(values) - 1:
        return float(distances[top])
    left, middle, right = values[top - 1 : top + 2]
    curvature = left - 2.0 * middle + right
    shift = 0.5 * (left - right) / curvature if curvature < 0 else 0.0
    return float(distances[top] + np.clip(shift, -0.5, 0.5) * BIN)


def difference(one: Correlations, reference: Correlations, key: str) -> Function:
    """A function of one run less that of an independent one, over the distances that both have; errors add in squares.

    :raises DarkforcesError: if one of them does not have it
    """
    for run in (one, reference):
        if key not in run.functions:
            raise DarkforcesError(f"{run.name} has no {key}: it has {', '.join(run.functions)}")
    n = min(len(one.distances), len(reference.distances))
    mine, other = one.functions[key], reference.functions[key]
    return Function(mine.values[:n] - other.values[:n], np.hypot(mine.errors[:n], other.errors[:n]), None)
