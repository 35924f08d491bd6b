"""Histograms of pairs of atoms over their distance, and of the relative orientation of pairs of molecules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations_with_replacement

import numpy as np

from ..errors import DarkforcesError
from ..stats.batches import Batches
from .io.trajectory import Block
from .molecules import find_molecules, orientations

BIN = 0.05  # Å
# A bond longer than the bonding distance times this is broken.
BROKEN = 1.5


def widths(cell: np.ndarray) -> np.ndarray:
    """Distances between opposite faces of a cell (3, 3)."""
    return 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)


class PairCounter:
    """Counts pairs of atoms, and compares directions of pairs of molecules, by distance, frame after frame.

    `radial` averages the radial distributions and `numbers` the neighbours that an atom has, over their number in all,
    shape (n_pairs, n_bins) both; `oriented` sums of the scalar products of directions, and the number of pairs of
    molecules, shape (2, n_bins). `broken` is the number of frames in which a molecule has a bond that is too long.

    :param block: the first one, for the size of the cell and the molecules
    :param symbols: chemical symbol of each atom, shape (n_atoms,)
    :param farthest: largest distance in Å; never more than half the smallest width of the first cell
    :raises DarkforcesError: if there is no cell
    """

    def __init__(self, block: Block, symbols: Sequence[str] | np.ndarray, farthest: float):
        symbols = np.array([str(symbol) for symbol in symbols])
        if len(symbols) != block.values.shape[1]:
            raise DarkforcesError(f"{len(symbols)} symbols were given for {block.values.shape[1]} atoms")
        present = list(dict.fromkeys(symbols.tolist()))
        self.pairs = list(combinations_with_replacement(present, 2))
        if abs(np.linalg.det(block.cells[0])) < 1e-6:
            raise DarkforcesError("there is no cell, so no density: expected one that is periodic in three directions")
        self.n_bins = int(min(farthest, widths(block.cells[0]).min() / 2.0) / BIN + 1e-9)
        if self.n_bins < 1:
            raise DarkforcesError(f"distances up to {farthest:.3g} Å were asked for: expected at least {BIN} Å")
        edges = BIN * np.arange(self.n_bins + 1)
        self.shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
        self.counts = {species: int((symbols == species).sum()) for species in present}
        self.molecules = find_molecules(block.values[0], block.cells[0], symbols)
        self._species = np.searchsorted(np.unique(symbols), symbols)
        self._index = {species: i for i, species in enumerate(np.unique(symbols).tolist())}
        self._molecule_of = np.full(len(symbols), -1)
        if self.molecules is not None:
            self._molecule_of[self.molecules.centers] = np.arange(len(self.molecules.centers))
        import vesin  # takes a second, since it imports torch: for those who count pairs

        self._neighbors = vesin.NeighborList(cutoff=float(edges[-1]), full_list=False)
        self.radial, self.numbers, self.oriented = Batches(), Batches(), Batches()
        self.broken = 0

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
            self.numbers.add(numbers)
            self.radial.add(numbers * abs(np.linalg.det(cell)) / self.shells)
            if directions is not None:
                self.oriented.add(self._products(first, second, bins, directions))

    def _directions(self, block: Block) -> Iterable[np.ndarray | None]:
        if self.molecules is None:
            return [None] * len(block.times)
        directions, bonds = orientations(block, self.molecules)
        self.broken += int((bonds > BROKEN * self.molecules.longest[:, None]).any(axis=(1, 2)).sum())
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
