"""How atoms are arranged: partial radial distributions, and how neighbouring molecules are oriented.

Conventions. The radial distribution of species a and b is the number of ordered pairs at a distance over that of atoms
spread evenly,

    g_ab(r) = V / (N_a N_b) ⟨Σ_{i∈a} Σ_{j∈b, j≠i} δ(r - r_ij)⟩ / (4π r²),

each bin over the exact volume of its shell: what ase and LAMMPS compute. In an ideal gas g_ab is 1, and g_aa is
1 - 1/N_a, since an atom is no neighbour of itself.

The orientation u of a molecule like H2O, one atom with two equal partners, is the unit vector along the sum of both its
bonds, from the central atom: the bisector, and the direction of the dipole. The orientational correlation

    c_uu(r) = ⟨u_i · u_j⟩ of molecules whose central atoms are at distance r

(paper, appendix F.3) is 1 for aligned neighbours and 0 where one knows nothing of the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path

import ase
import numpy as np
from ase.data import atomic_numbers, covalent_radii
from ase.neighborlist import neighbor_list
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import DarkforcesError
from .batches import Batches, curve_errors, estimate, standard_errors
from .pictures import band, tidy
from .runs import Run
from .selection import Selection
from .statistics import Estimate
from .trajectory import Block

BIN = 0.05  # Å
# Å; the number of pairs grows with its third power.
FARTHEST = 12.0
# Two atoms are bonded that are closer than the sum of their covalent radii times this: 1.2 Å for O-H.
BONDED = 1.25
# A bond longer than the bonding distance times this is broken.
BROKEN = 1.5
# Å; in pictures of radial distributions, what is closer is a bond.
LONGEST_BOND = 1.7
ORIENTATION = "c_uu"


@dataclass(frozen=True)
class Function:
    """A function of distance.

    :param values: NaN where there were no pairs, shape (n,)
    :param errors: standard errors, two of which are the 95 % interval; NaN where not known, shape (n,)
    :param peak: position of the first peak in Å; None if there is none
    """

    values: np.ndarray
    errors: np.ndarray
    peak: Estimate | None


@dataclass(frozen=True)
class Correlations:
    """Structure of a run; conventions as in the docstring of the module.

    :param name: of the run
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

    def as_json(self) -> dict[str, object]:
        """For machines: values and standard errors, units in the names; the curves are in `columns`."""
        return {
            "name": self.name,
            "frames": self.n_frames,
            "first_peak_A": {
                key: None if function.peak is None else function.peak.as_json()
                for key, function in self.functions.items()
            },
            "remarks": list(self.remarks),
        }

    def height(self, key: str) -> Estimate | None:
        """What a function is at its first peak; None if it has none."""
        function = self.functions[key]
        if function.peak is None:
            return None
        at = int(np.argmin(np.abs(self.distances - function.peak.value)))
        return estimate(function.values[at], function.errors[at], np.inf)

    def columns(self) -> dict[str, np.ndarray]:
        """For CSV: arrays of one length by their names, with units."""
        columns = {"distance_A": self.distances}
        for key, function in self.functions.items():
            columns[key] = function.values
            columns[f"{key}_error"] = function.errors
        return columns


@dataclass(frozen=True)
class Molecules:
    """Molecules like H2O.

    :param centers: index of the central atom, shape (n,)
    :param ends: indices of its two partners, shape (n, 2)
    :param longest: bonding distance of each, Å, shape (n,)
    """

    centers: np.ndarray
    ends: np.ndarray
    longest: np.ndarray


def find_molecules(positions: np.ndarray, cell: np.ndarray, symbols: Sequence[str] | np.ndarray) -> Molecules:
    """Molecules of one atom with two partners of one other species, which have no other bonds.

    Two atoms are bonded if they are closer than 1.25 times the sum of their covalent radii.

    :param positions: Å, shape (n_atoms, 3)
    :param cell: Å, shape (3, 3)
    :param symbols: of the atoms
    :raises DarkforcesError: if there are none, or if they are straight, so that they have no such orientation
    """
    symbols = np.array([str(symbol) for symbol in symbols])
    unknown = sorted(set(symbols) - set(atomic_numbers))
    if unknown:
        raise DarkforcesError(f"no covalent radius is known for {', '.join(unknown)}: expected chemical symbols")
    atoms = ase.Atoms(numbers=[atomic_numbers[s] for s in symbols], positions=positions, cell=cell, pbc=True)
    radii = BONDED * covalent_radii[atoms.numbers]
    first, second, vectors = neighbor_list("ijD", atoms, radii)
    bonds = np.bincount(first, minlength=len(symbols))
    # With pairs sorted by the first atom, those of an atom with two bonds are next to each other.
    start = np.cumsum(bonds) - bonds
    candidates = np.flatnonzero(bonds == 2)
    pairs = start[candidates, None] + [0, 1]
    ends = second[pairs]
    good = (
        (bonds[ends] == 1).all(axis=1)
        & (symbols[ends[:, 0]] == symbols[ends[:, 1]])
        & (symbols[ends[:, 0]] != symbols[candidates])
    )
    if not good.any():
        raise DarkforcesError(
            f"no molecules like H2O in the first frame, with atoms {_formula(symbols)}: expected atoms with two "
            "partners of one other species, and no other bonds"
        )
    centers, ends, vectors = candidates[good], ends[good], vectors[pairs[good]]
    lengths = np.linalg.norm(vectors, axis=2).sum(axis=1)
    straight = np.linalg.norm(vectors.sum(axis=1), axis=1) < 0.2 * lengths
    if straight.any():
        i = int(np.flatnonzero(straight)[0])
        raise DarkforcesError(
            f"the molecule of atom {centers[i]} ({symbols[centers[i]]}) is straight: expected bent ones, whose "
            "bisector is their orientation"
        )
    return Molecules(centers, ends, radii[centers] + radii[ends[:, 0]])


def _formula(symbols: np.ndarray) -> str:
    return ase.Atoms(list(symbols)).get_chemical_formula()


def orientations(block: Block, molecules: Molecules) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors along the bisectors (n, n_molecules, 3), and the lengths of the bonds (n, n_molecules, 2) in Å.

    Bonds are taken to the nearest image of the partner: positions may be wrapped.
    """
    bonds = block.values[:, molecules.ends] - block.values[:, molecules.centers, None]
    cells = block.cells[:, None]
    # For what is shorter than half the cell's smallest width the nearest image has all fractions below a half.
    bonds -= np.rint(bonds @ np.linalg.pinv(cells)) @ cells
    bisectors = bonds.sum(axis=2)
    return bisectors / np.linalg.norm(bisectors, axis=2, keepdims=True), np.linalg.norm(bonds, axis=3)


def widths(cell: np.ndarray) -> np.ndarray:
    """Distances between opposite faces of a cell (3, 3)."""
    return 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)


def correlations(
    name: str,
    blocks: Iterable[Block],
    symbols: Sequence[str] | np.ndarray,
    pairs: Sequence[tuple[str, str]] | None = None,
    farthest: float = FARTHEST,
    oriented: bool | None = None,
) -> Correlations:
    """Radial distributions of pairs of species, and the orientational correlation of molecules.

    :param name: of the run
    :param blocks: positions in Å, wrapped or not, in a cell that is periodic in three directions
    :param symbols: chemical symbol of each atom, shape (n_atoms,)
    :param pairs: of species; by default all
    :param farthest: largest distance in Å; never more than half the smallest width of the first cell
    :param oriented: whether c_uu is wanted; by default it is given if there are molecules like H2O
    :raises DarkforcesError: if there is no cell, a species is not there, or molecules are wanted and there are none
    """
    counter: _Counter | None = None
    for block in blocks:
        for i in np.flatnonzero(~np.isfinite(block.values).all(axis=(1, 2)))[:1]:
            raise DarkforcesError(f"positions are NaN or infinite in the frame at {block.times[i]:.6g} ps")
        if counter is None and len(block.times):
            counter = _Counter(block, symbols, pairs, farthest, oriented)
        if counter is not None:
            counter.add(block)
    if counter is None:
        raise DarkforcesError("the trajectory has no frames: expected at least one")
    return counter.result(name)


def measure(run: Run, selection: Selection, farthest: float = FARTHEST) -> Correlations:
    """Structure of a run from its positions: all pairs of species, and molecules if there are any.

    :param farthest: see `correlations`
    :raises DarkforcesError: if there are no positions or no cell
    """
    trajectory = run.trajectory("positions")
    found = correlations(run.name, selection.blocks(trajectory), trajectory.species, farthest=farthest)
    for remark in found.remarks:
        selection.notice(f"{run.name}: {remark}")
    return found


class _Counter:
    """Counts pairs by distance, frame after frame.

    :param block: the first one, for the size of the cell and the molecules
    :param symbols: as `correlations` was given them, and so on
    """

    def __init__(
        self,
        block: Block,
        symbols: Sequence[str] | np.ndarray,
        pairs: Sequence[tuple[str, str]] | None,
        farthest: float,
        oriented: bool | None,
    ):
        symbols = np.array([str(symbol) for symbol in symbols])
        if len(symbols) != block.values.shape[1]:
            raise DarkforcesError(f"{len(symbols)} symbols were given for {block.values.shape[1]} atoms")
        present = list(dict.fromkeys(symbols.tolist()))
        self.pairs = list(pairs) if pairs is not None else list(combinations_with_replacement(present, 2))
        for species in (s for pair in self.pairs for s in pair if s not in present):
            raise DarkforcesError(f"there is no {species} in the trajectory: expected some of {', '.join(present)}")
        if abs(np.linalg.det(block.cells[0])) < 1e-6:
            raise DarkforcesError("there is no cell, so no density: expected one that is periodic in three directions")
        self.n_bins = int(min(farthest, widths(block.cells[0]).min() / 2.0) / BIN + 1e-9)
        if self.n_bins < 1:
            raise DarkforcesError(f"distances up to {farthest:.3g} Å were asked for: expected at least {BIN} Å")
        edges = BIN * np.arange(self.n_bins + 1)
        self.shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
        self.counts = {species: int((symbols == species).sum()) for species in present}
        self.molecules = _wanted_molecules(block, symbols, oriented)
        self._species = np.searchsorted(np.unique(symbols), symbols)
        self._index = {species: i for i, species in enumerate(np.unique(symbols).tolist())}
        self._molecule_of = np.full(len(symbols), -1)
        if self.molecules is not None:
            self._molecule_of[self.molecules.centers] = np.arange(len(self.molecules.centers))
        import vesin  # takes a second, since it imports torch: for those who count pairs

        self._neighbors = vesin.NeighborList(cutoff=float(edges[-1]), full_list=False)
        self._radial, self._numbers, self._oriented = Batches(), Batches(), Batches()
        self._broken = 0

    def add(self, block: Block) -> None:
        """Count the pairs of all frames."""
        for frame, cell, directions in zip(block.values, block.cells, self._directions(block), strict=True):
            first, second, distances = self._neighbors.compute(
                points=np.ascontiguousarray(frame), box=np.ascontiguousarray(cell), periodic=True, quantities="ijd"
            )
            first, second = first.astype(np.int64), second.astype(np.int64)
            bins = (distances / BIN).astype(np.int64)
            inside = bins < self.n_bins
            first, second, bins = first[inside], second[inside], bins[inside]
            numbers = self._numbers_of_pairs(first, second, bins)
            self._numbers.add(numbers)
            self._radial.add(numbers * abs(np.linalg.det(cell)) / self.shells)
            if directions is not None:
                self._oriented.add(self._products(first, second, bins, directions))

    def _directions(self, block: Block) -> Iterable[np.ndarray | None]:
        if self.molecules is None:
            return [None] * len(block.times)
        directions, bonds = orientations(block, self.molecules)
        self._broken += int((bonds > BROKEN * self.molecules.longest[:, None]).any(axis=(1, 2)).sum())
        return directions

    def _numbers_of_pairs(self, first: np.ndarray, second: np.ndarray, bins: np.ndarray) -> np.ndarray:
        """Neighbours of species b around one atom of species a in each bin, over all N_b, shape (n_pairs, n_bins)."""
        n = len(self._index)
        kinds = n * self._species[first] + self._species[second]
        half = np.bincount(kinds * self.n_bins + bins, minlength=n * n * self.n_bins).reshape(n, n, self.n_bins)
        ordered = half + half.transpose(1, 0, 2)
        return np.array(
            [ordered[self._index[a], self._index[b]] / (self.counts[a] * self.counts[b]) for a, b in self.pairs]
        )

    def _products(self, first: np.ndarray, second: np.ndarray, bins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Sum of the scalar products, and number of pairs of molecules in each bin, shape (2, n_bins)."""
        one, other = self._molecule_of[first], self._molecule_of[second]
        both = (one >= 0) & (other >= 0)
        products = np.einsum("ix,ix->i", directions[one[both]], directions[other[both]])
        return np.array(
            [
                np.bincount(bins[both], products, minlength=self.n_bins),
                np.bincount(bins[both], minlength=self.n_bins),
            ]
        )

    def result(self, name: str) -> Correlations:
        """All functions with their errors."""
        distances = BIN * (np.arange(self.n_bins) + 0.5)
        functions = {}
        numbers = np.cumsum(self._numbers.mean, axis=1)
        coordination = {}
        for i, (a, b) in enumerate(self.pairs):
            means = self._radial.means[:, i]
            values = self._radial.mean[i]
            functions[f"g_{a}{b}"] = Function(values, curve_errors(means), _first_peak(distances, values, means))
            coordination[a, b] = numbers[i] * self.counts[b]
            coordination[b, a] = numbers[i] * self.counts[a]
        if self.molecules is not None:
            functions[ORIENTATION] = _ratio(self._oriented)
        return Correlations(
            name, distances, functions, coordination, self._radial.count, tuple(self._remarks(functions))
        )

    def _remarks(self, functions: dict[str, Function]) -> Iterator[str]:
        if self._broken:
            yield f"molecules of the first frame are broken in {self._broken} of {self._radial.count} frames"
        if any(np.isnan(function.errors).all() for function in functions.values()):
            yield "too short for error bars"


def _wanted_molecules(block: Block, symbols: np.ndarray, oriented: bool | None) -> Molecules | None:
    if oriented is False:
        return None
    try:
        return find_molecules(block.values[0], block.cells[0], symbols)
    except DarkforcesError:
        if oriented:
            raise
        return None


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


def _first_peak(distances: np.ndarray, values: np.ndarray, means: np.ndarray) -> Estimate | None:
    """Where a radial distribution first has a maximum that rises above 1 by more than its error.

    The error is that of the jackknife over the batches: the position from all batches but one.

    :param means: of batches, shape (n_batches, n)
    """
    errors, freedom = standard_errors(means)
    above = values > 1.0 + 5.0 * np.nan_to_num(errors)
    if not above.any():
        return None
    start = int(np.argmax(above))
    # The peak ends where the function has come down to 1 again.
    below = np.flatnonzero(values[start:] <= 1.0)
    window = slice(start, start + int(below[0]) if len(below) else len(values))
    position = _top(distances, values, window)
    n = len(means)
    if n < 4 or np.isnan(errors).all():
        return Estimate(position, None)
    without = [_top(distances, (n * means.mean(axis=0) - batch) / (n - 1), window) for batch in means]
    # As many values as batches, that deviate from their mean by 1/(n - 1) of what the batches would.
    jackknife, freedom = standard_errors((n - 1) * np.array(without))
    return estimate(position, float(jackknife), freedom)


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


def draw(results: Sequence[Correlations], path: Path) -> None:
    """One picture of one or several runs: the functions on the left, differences to the first run on the right.

    :param results: the runs
    :param path: PNG or PDF to write
    """
    keys = tuple(dict.fromkeys(key for result in results for key in result.functions))
    columns = 2 if len(results) > 1 else 1
    figure = Figure(figsize=(4.6 * columns, 0.8 + 1.9 * len(keys)), layout="constrained")
    axes = figure.subplots(len(keys), columns, sharex=True, squeeze=False)
    for row, key in zip(axes, keys, strict=True):
        _draw_curves(row[0], results, key, [result.functions.get(key) for result in results])
        row[0].set_ylabel(_label(key))
        if columns == 2:
            _draw_curves(row[1], results, key, _changes(results, key))
            row[1].axhline(0.0, color="C0", linewidth=0.8)
            row[1].set_ylabel(f"Δ{_label(key)}")
    for axis in axes[-1]:
        axis.set_xlabel("$r$ / Å")
        axis.set_xlim(0.0, max(result.distances[-1] for result in results))
    axes[0, 0].legend(frameon=False)
    figure.savefig(path, dpi=160)


def _changes(results: Sequence[Correlations], key: str) -> list[Function | None]:
    """Differences to the first run, of the others that have the function."""
    reference = results[0]
    both = [key in result.functions and key in reference.functions for result in results[1:]]
    return [
        None,
        *(difference(result, reference, key) if yes else None for yes, result in zip(both, results[1:], strict=True)),
    ]


def _draw_curves(axis: Axes, results: Sequence[Correlations], key: str, curves: Sequence[Function | None]) -> None:
    """The curves of one panel; the peaks of bonds, many times as high as all else, go beyond its edge."""
    low, high = 0.0, 0.0
    for i, (result, curve) in enumerate(zip(results, curves, strict=True)):
        if curve is None:
            continue
        distances = result.distances[: len(curve.values)]
        # A few pairs at the smallest distances, without errors, would hide the rest.
        shown = np.isfinite(curve.values) & (np.isfinite(curve.errors) | np.isnan(curve.errors).all())
        band(axis, distances[shown], curve.values[shown], curve.errors[shown], label=result.name, color=f"C{i}")
        counts = shown & ((distances > LONGEST_BOND) | (key == ORIENTATION))
        values, errors = curve.values[counts], 2.0 * np.nan_to_num(curve.errors[counts])
        low, high = min(low, (values - errors).min(initial=low)), max(high, (values + errors).max(initial=high))
    margin = 0.05 * (high - low) or 1.0
    nothing_below = all(curve is None or not (curve.values < 0).any() for curve in curves)
    axis.set_ylim(0.0 if nothing_below else low - margin, high + margin)
    tidy(axis)


def _label(key: str) -> str:
    name, index = key.split("_", 1)
    return rf"${name}_{{\mathrm{{{index}}}}}(r)$"
