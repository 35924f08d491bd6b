"""Pairs of atoms within a cutoff: searched for once, and used while none can be missing (Verlet, 1967).

Everything is done in double precision. Positions need not be wrapped: an atom counts as where it is nearest to where it
was when the list was made, so that jumps by whole cell vectors, as programs make when they wrap, change nothing. The
list follows a cell that changes, and simulations that take turns have one each: vesin's own lists with a skin, which
`neighbors` uses, would be searched anew in all three cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from ..structure import Structure
from .search import CPU, search

# Å beyond the cutoff. Larger: fewer searches, but more pairs to look at in each step; for water at 300 K and 0.5 fs a
# search every 8 to 10 steps.
SKIN = 0.5
# How much is kept: lists for as many simulations or replicas in turn, and pairs in all of them (about 100 MB). What has
# not been used for twice as many turns is of geometries that are past.
MOST_LISTS = 64
MOST_PAIRS = 2_000_000


@dataclass(frozen=True)
class Pairs:
    """Pairs of neighbours, each of them once.

    :param first: atoms, shape (n_pairs,)
    :param second: atoms, shape (n_pairs,)
    :param vectors: Å, from the first atom to the nearest or another image of the second, shape (n_pairs, 3)
    """

    first: np.ndarray
    second: np.ndarray
    vectors: np.ndarray


class VerletList:
    """Pairs of one structure, and of others that differ but little from it.

    What it lists, each pair once and with some that are beyond the cutoff, is in `first` and `second`, shape
    (n_pairs,), and `shifts`, by how many cell vectors the second atom is elsewhere, shape (n_pairs, 3). None can be
    missing while no atom is more than `farthest` from where it is `expected`, Å, shape (n_atoms, 3).

    :param cutoff: Å
    :param device: what may search
    :param skin: Å beyond the cutoff
    """

    def __init__(self, structure: Structure, cutoff: float, device: torch.device, skin: float = SKIN):
        self._cutoff = cutoff
        self._skin = skin
        self._species = structure.species
        self._periodic = structure.periodic
        self._original_cell = structure.cell
        fractions = structure.positions @ np.linalg.pinv(structure.cell)
        self._original = structure.positions - np.where(structure.periodic, np.floor(fractions), 0.0) @ structure.cell
        pairs, shifts = search(self._original, structure.cell, structure.periodic, cutoff + skin, device)
        self.first, self.second = np.ascontiguousarray(pairs.T)
        self.shifts = shifts.astype(np.float64)
        self._follow(structure.cell)

    def __len__(self) -> int:
        return len(self.first)

    @cached_property
    def ranks(self) -> np.ndarray:
        """Number of each pair among those of its first atom, and then among those of its second, (2 × n_pairs,)."""
        return number_within(np.concatenate([self.first, self.second]), len(self._species))

    @cached_property
    def most(self) -> int:
        """The largest number of pairs that an atom is in."""
        return int(self.ranks.max(initial=-1)) + 1

    def positions(self, structure: Structure) -> np.ndarray | None:
        """Images of a structure's atoms that are meant by `shifts`, Å; None if pairs might be missing."""
        if not _same(structure.species, self._species):
            return None
        if not _same(structure.cell, self._cell):
            if not (self._periodic.all() and structure.periodic.all()):
                return None
            self._follow(structure.cell)
        moved = structure.positions - self.expected
        jumps = np.rint(moved @ self._inverse)
        if jumps.any():
            moved -= jumps @ self._cell
        if not np.einsum("ij,ij->i", moved, moved).max() <= self.farthest**2:
            return None
        return self.expected + moved

    def pairs(self, positions: np.ndarray) -> Pairs:
        """The pairs of a structure, of which these are the `positions`, with its own vectors."""
        vectors = positions[self.second] - positions[self.first] + self._offsets
        near = np.flatnonzero(np.einsum("ij,ij->i", vectors, vectors) <= self._cutoff**2)
        return Pairs(self.first[near], self.second[near], vectors[near])

    def _follow(self, cell: np.ndarray) -> None:
        """Take over a cell: what the list says of atoms that were deformed with it, and how far they may be from there.

        Two atoms that were r apart, deformed by F and moved, are at least σ r - 2 max |moved| apart, σ the smallest
        singular value of F.
        """
        self._cell = cell
        self._inverse = np.linalg.pinv(cell)
        self._offsets = self.shifts @ cell
        self.expected, stretch = self._original, 1.0
        if not np.array_equal(cell, self._original_cell):
            deformation = np.linalg.solve(self._original_cell, cell)
            self.expected = self._original @ deformation
            stretch = np.linalg.svd(deformation, compute_uv=False).min()
        self.farthest = max(0.0, 0.5 * (stretch * (self._cutoff + self._skin) - self._cutoff))


def number_within(groups: np.ndarray, n_groups: int) -> np.ndarray:
    """Number of each member among those of its group, in their order."""
    counts = np.bincount(groups, minlength=n_groups)
    # NumPy sorts numbers of 16 bits or less by their digits, many times as fast.
    order = np.argsort(groups.astype(np.min_scalar_type(n_groups)), kind="stable")
    numbers = np.empty_like(groups)
    numbers[order] = np.arange(len(groups)) - np.repeat(np.cumsum(counts) - counts, counts)
    return numbers


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one is other or np.array_equal(one, other)


class VerletLists:
    """The lists of several structures, each found again by where its atoms are.

    :param cutoff: Å
    :param device: what may search for pairs

    `skin`, in Å, is that of lists to come.
    """

    def __init__(self, cutoff: float, device: torch.device = CPU):
        self.skin = SKIN
        self._cutoff = cutoff
        self._device = device
        self._turn = 0
        # When each was used, and where the first atom was then; the one that was used last comes last.
        self._used: dict[VerletList, tuple[int, list[float]]] = {}

    def pairs(self, structure: Structure) -> Pairs:
        """The pairs of a structure, from a list that is there or from a new one."""
        verlet_list, positions = self.find(structure)
        return verlet_list.pairs(positions)

    def find(self, structure: Structure, ahead: Structure | None = None) -> tuple[VerletList, np.ndarray]:
        """A list of a structure's pairs, one that is there or a new one, and the positions that it is for.

        :param ahead: where its atoms will soon be: a list that is there has to be good for that too
        """
        for candidate in self._likeliest_first(structure):
            positions = candidate.positions(structure)
            if positions is not None and (ahead is None or candidate.positions(ahead) is not None):
                self._use(candidate, structure)
                return candidate, positions
        fresh = VerletList(structure, self._cutoff, self._device, self.skin)
        self._use(fresh, structure)
        while len(self._used) > 1 and self._too_many():
            del self._used[next(iter(self._used))]
        positions = fresh.positions(structure)
        assert positions is not None
        return fresh, positions

    def _likeliest_first(self, structure: Structure) -> list[VerletList]:
        """Sort lists by the distance of the first atom: of those of many simulations, few are tried."""
        x, y, z = structure.positions[0].tolist()

        def square(candidate: VerletList) -> float:
            _, (a, b, c) = self._used[candidate]
            return (a - x) ** 2 + (b - y) ** 2 + (c - z) ** 2

        return sorted(self._used, key=square)

    def _use(self, used: VerletList, structure: Structure) -> None:
        self._turn += 1
        self._used.pop(used, None)
        self._used[used] = self._turn, structure.positions[0].tolist()

    def _too_many(self) -> bool:
        oldest, _ = next(iter(self._used.values()))
        many = len(self._used) > MOST_LISTS or sum(map(len, self._used)) > MOST_PAIRS
        return many or self._turn - oldest > 2 * MOST_LISTS
