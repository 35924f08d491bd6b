"""Neighbours of several structures in tensors that keep their shapes and places while structures move.

Every structure has a block of pairs, with room for more than it has, and every atom room for so many neighbours. The
blocks are filled from Verlet lists, and filled anew when a list is. Between two fillings, only positions and cells
change: what is a neighbour and what is but listed is decided where the vectors are computed, on the device, without
any shape that depends on it. Room that is not used holds pairs of the first atom with itself, in a cell so large that
they are beyond every cutoff.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .layers import NOWHERE, Packing
from .pet_network import Graph
from .verlet import VerletList

_UNUSED = [[0], [0], [NOWHERE], [NOWHERE]]  # of a pair: first, second, and the places of both directions


@dataclass(frozen=True)
class Room:
    """For how much there is room.

    :param pairs: of each structure
    :param width: atoms that see each other: one and its neighbours
    """

    pairs: tuple[int, ...]
    width: int

    @classmethod
    def for_(cls, lists: Sequence[VerletList]) -> Room:
        """Enough for what they list, and some more for those that come after them."""
        pairs = tuple(_up(1.1 * len(each) + 32, 64) for each in lists)
        return cls(pairs, _up(1.2 * _width(lists) + 2, 8))

    def holds(self, lists: Sequence[VerletList]) -> bool:
        """Whether it is enough for these."""
        enough = all(len(each) <= pairs for each, pairs in zip(lists, self.pairs, strict=True))
        return enough and _width(lists) <= self.width

    def or_more(self, other: Room) -> Room:
        """Enough for what either has room for."""
        pairs = tuple(max(both) for both in zip(self.pairs, other.pairs, strict=True))
        return Room(pairs, max(self.width, other.width))


class PaddedGraph:
    """Structures of given elements, and their pairs.

    :param elements: of the atoms of each structure, numbers that the network knows
    :param room: for how many pairs
    :param cutoff: Å
    :param heads: of the network
    :param device: where everything is
    """

    def __init__(self, elements: Sequence[np.ndarray], room: Room, cutoff: float, heads: int, device: torch.device):
        self.room = room
        self.elements = np.concatenate(elements)
        self.atom_ends = np.cumsum([len(each) for each in elements])
        self._cutoff = cutoff
        self._pair_ends = np.cumsum(room.pairs)
        self._lists: list[VerletList | None] = [None] * len(elements)
        n, n_pairs, n_cells = len(self.elements), int(self._pair_ends[-1]), len(elements) + 1
        self._sent = torch.zeros(3 * n + 9 * n_cells, dtype=torch.float64, pin_memory=device.type == "cuda")
        self._inputs = self._sent.to(device, copy=True)
        self._positions = self._inputs[: 3 * n].view(n, 3)
        self._cells = self._inputs[3 * n :].view(n_cells, 3, 3)
        self._pairs = torch.tensor(_UNUSED, device=device).repeat(1, n_pairs)
        self._shifts = torch.zeros((n_pairs, 3), dtype=torch.float64, device=device)
        self._cell_of_pair = torch.zeros(n_pairs, dtype=torch.int64, device=device)
        self._atom_places = torch.arange(n, device=device) * room.width
        self._heads = heads
        first, second = self._pairs[:2]
        self.graph = Graph(torch.from_numpy(self.elements).to(device), first, second, self._packing())

    def fill(self, lists: Sequence[VerletList]) -> None:
        """Take the pairs from these lists, one for each structure."""
        changed = [i for i, (new, old) in enumerate(zip(lists, self._lists, strict=True)) if new is not old]
        for i in changed:
            self._fill_block(i, lists[i])
        if changed:
            self.graph.packing.take_over(self._packing())
        self._lists = list(lists)

    def move(self, positions: Sequence[np.ndarray], cells: Sequence[np.ndarray]) -> None:
        """Take positions, which must be those that the lists are for, and cells, Å."""
        nowhere = 2.0 * self._cutoff * np.eye(3)
        np.concatenate([*map(np.ravel, (*positions, *cells, nowhere))], out=self._sent.numpy())
        self._inputs.copy_(self._sent, non_blocking=True)

    def vectors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """From first to second, Å, double precision, shape (n_pairs, 3); and whether they are beyond the cutoff."""
        first, second = self._pairs[:2]
        shifts = (self._shifts.unsqueeze(2) * self._cells[self._cell_of_pair]).sum(1)
        vectors = self._positions[second] - self._positions[first] + shifts
        return vectors, vectors.square().sum(1) > self._cutoff**2

    def by_atom(self, tokens: torch.Tensor) -> torch.Tensor:
        """What atoms and their neighbours contribute, (n_tokens, n_values), together, (n_atoms, n_values).

        Always in the same order: nothing differs in the last digits from one time to the next.
        """
        packing = self.graph.packing
        spread = tokens.index_select(0, packing.tokens).masked_fill(packing.empty.unsqueeze(1), 0.0)
        return spread.view(packing.sequences, packing.width, -1).sum(1)

    def _fill_block(self, i: int, verlet_list: VerletList) -> None:
        start, end = self._pair_ends[i] - self.room.pairs[i], self._pair_ends[i]
        first_atom = 0 if i == 0 else self.atom_ends[i - 1]
        n = len(verlet_list)
        pairs = np.repeat(_UNUSED, end - start, axis=1)
        ends = np.stack([verlet_list.first, verlet_list.second]) + first_atom
        pairs[:, :n] = *ends, *(ends * self.room.width + 1 + verlet_list.ranks.reshape(2, n))
        shifts = np.ones((end - start, 3))
        shifts[:n] = verlet_list.shifts
        cell_of_pair = np.full(end - start, len(self._lists))  # the last one, in which all is far apart
        cell_of_pair[:n] = i
        self._pairs[:, start:end] = torch.from_numpy(pairs)
        self._shifts[start:end] = torch.from_numpy(shifts)
        self._cell_of_pair[start:end] = torch.from_numpy(cell_of_pair)

    def _packing(self) -> Packing:
        _, _, *places = self._pairs
        return Packing(torch.cat([self._atom_places, *places]), len(self.elements), self.room.width, self._heads)


def _width(lists: Sequence[VerletList]) -> int:
    """The atom that has most neighbours, and these."""
    return 1 + max(each.most for each in lists)


def _up(number: float, multiple: int) -> int:
    return -int(-number // multiple) * multiple
