"""Pairs of atoms within a cutoff: searched for once, and used while none can be missing (Verlet, 1967).

Everything is done in double precision. Positions need not be wrapped: an atom counts as where it is nearest to where it
was when the list was made, so that jumps by whole cell vectors, as programs make when they wrap, change nothing. The
list follows a cell that changes, and simulations that take turns have one each: vesin's own lists with a skin, which
`neighbors` uses, would be searched anew in all three cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import vesin

from .structure import Structure

# Å beyond the cutoff. Larger: fewer searches, but more pairs to look at in each step; for water at 300 K and 0.5 fs a
# search every 30 steps or so.
SKIN = 0.5
# How much is kept: lists for as many simulations or replicas in turn, and pairs in all of them (about 100 MB).
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

    :param structure: the structure
    :param cutoff: Å
    """

    def __init__(self, structure: Structure, cutoff: float):
        self._cutoff = cutoff
        self._species = structure.species
        self._periodic = structure.periodic
        self._original_cell = structure.cell
        fractions = structure.positions @ np.linalg.pinv(structure.cell)
        self._original = structure.positions - np.where(structure.periodic, np.floor(fractions), 0.0) @ structure.cell
        search = vesin.NeighborList(cutoff=cutoff + SKIN, full_list=False)
        pairs, shifts = search.compute(self._original, structure.cell, structure.periodic, quantities="PS")
        self._first, self._second = np.ascontiguousarray(pairs.astype(np.int64).T)
        self._shifts = shifts.astype(np.float64)
        self._follow(structure.cell)

    def __len__(self) -> int:
        return len(self._first)

    def pairs(self, structure: Structure) -> Pairs | None:
        """The pairs of a structure, with its own vectors; None if some might be missing."""
        if not _same(structure.species, self._species):
            return None
        if not _same(structure.cell, self._cell):
            if not (self._periodic.all() and structure.periodic.all()):
                return None
            self._follow(structure.cell)
        moved = structure.positions - self._expected
        jumps = np.rint(moved @ self._inverse)
        if jumps.any():
            moved -= jumps @ self._cell
        if not np.einsum("ij,ij->i", moved, moved).max() <= self._farthest**2:
            return None
        positions = self._expected + moved
        vectors = positions[self._second] - positions[self._first] + self._offsets
        near = np.flatnonzero(np.einsum("ij,ij->i", vectors, vectors) <= self._cutoff**2)
        return Pairs(self._first[near], self._second[near], vectors[near])

    def _follow(self, cell: np.ndarray) -> None:
        """Take over a cell: what the list says of atoms that were deformed with it, and how far they may be from there.

        Two atoms that were r apart, deformed by F and moved, are at least σ r - 2 max |moved| apart, σ the smallest
        singular value of F.
        """
        self._cell = cell
        self._inverse = np.linalg.pinv(cell)
        self._offsets = self._shifts @ cell
        self._expected, stretch = self._original, 1.0
        if not np.array_equal(cell, self._original_cell):
            deformation = np.linalg.solve(self._original_cell, cell)
            self._expected = self._original @ deformation
            stretch = np.linalg.svd(deformation, compute_uv=False).min()
        self._farthest = max(0.0, 0.5 * (stretch * (self._cutoff + SKIN) - self._cutoff))


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one is other or np.array_equal(one, other)


class VerletLists:
    """The lists of several structures, each found again by where its atoms are.

    :param cutoff: Å
    """

    def __init__(self, cutoff: float):
        self._cutoff = cutoff
        self._lists: list[VerletList] = []  # the one that was used last comes first
        self._successors: dict[VerletList, VerletList] = {}  # which one was used after which

    def pairs(self, structure: Structure) -> Pairs:
        """The pairs of a structure, from a list that is there or from a new one."""
        for candidate in self._candidates():
            pairs = candidate.pairs(structure)
            if pairs is not None:
                self._use(candidate)
                return pairs
        fresh = VerletList(structure, self._cutoff)
        self._use(fresh)
        self._forget()
        pairs = fresh.pairs(structure)
        assert pairs is not None
        return pairs

    def _candidates(self) -> Iterator[VerletList]:
        """The likeliest first: simulations that take turns take them in the same order."""
        if not self._lists:
            return
        likeliest = self._successors.get(self._lists[0])
        if likeliest is not None:
            yield likeliest
        yield from (other for other in list(self._lists) if other is not likeliest)

    def _use(self, used: VerletList) -> None:
        if self._lists:
            self._successors[self._lists[0]] = used
        if used in self._lists:
            self._lists.remove(used)
        self._lists.insert(0, used)

    def _forget(self) -> None:
        """Let go of those that have not been used for the longest time, when there are too many."""
        while len(self._lists) > 1 and (len(self._lists) > MOST_LISTS or sum(map(len, self._lists)) > MOST_PAIRS):
            gone = self._lists.pop()
            self._successors = {a: b for a, b in self._successors.items() if gone not in (a, b)}
