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

from ..neighbors.verlet import VerletList
from .attention import NOWHERE, Packing
from .network import Graph, in_turn

_UNUSED = [[0], [0], [NOWHERE], [NOWHERE]]  # of a pair: first, second, and the places of both directions


@dataclass(frozen=True)
class Room:
    """Sizes of the arrays.

    :param pairs: of each structure
    :param width: atoms that see each other: one and its neighbours
    """

    pairs: tuple[int, ...]
    width: int

    @classmethod
    def enough_for(cls, lists: Sequence[VerletList], kinds: Sequence[bytes] | None = None) -> Room:
        """Enough for what they list, and some more for those that come after them.

        :param lists: of each structure
        :param kinds: those of one kind get the same room; default: all are of one
        """
        kinds = kinds or [b""] * len(lists)
        most = {kind: max(len(a) for a, b in zip(lists, kinds, strict=True) if b == kind) for kind in kinds}
        return cls(
            tuple(rounded_up(1.1 * most[kind] + 32, 64) for kind in kinds), rounded_up(1.2 * _width(lists) + 2, 8)
        )

    def holds(self, lists: Sequence[VerletList]) -> bool:
        """Tell whether it is enough for these."""
        enough = all(len(each) <= pairs for each, pairs in zip(lists, self.pairs, strict=True))
        return enough and _width(lists) <= self.width

    def merged(self, other: Room) -> Room:
        """Enough for what either has room for."""
        pairs = tuple(max(both) for both in zip(self.pairs, other.pairs, strict=True))
        return Room(pairs, max(self.width, other.width))


class PaddedGraph:
    """Structures of given elements, and their pairs.

    :param elements: of the atoms of each structure, numbers that the network knows
    :param kinds: of structures; only those of one kind may change places
    :param room: for how many pairs
    :param cutoff: Å
    :param heads: of the network
    :param conditions: see `Graph`

    `positions` on the device are those of the last `move`, Å, shape (n_atoms, 3).
    """

    def __init__(
        self,
        elements: Sequence[np.ndarray],
        kinds: Sequence[bytes],
        room: Room,
        cutoff: float,
        heads: int,
        device: torch.device,
        conditions: torch.Tensor | None = None,
    ):
        self.room = room
        self.elements = np.concatenate(elements)
        ends = np.cumsum([0, *map(len, elements)]).tolist()
        self._atoms = [slice(*both) for both in zip(ends[:-1], ends[1:], strict=True)]
        self._kinds = kinds
        self._blocks = list(range(len(elements)))  # in which each structure is
        self._cutoff = cutoff
        self._pair_ends = np.cumsum(room.pairs)
        self._lists: list[VerletList | None] = [None] * len(elements)
        n, n_pairs, n_cells = len(self.elements), int(self._pair_ends[-1]), len(elements) + 1
        self._sent = torch.zeros(3 * n + 9 * n_cells, dtype=torch.float64, pin_memory=device.type == "cuda")
        self._inputs = self._sent.to(device, copy=True)
        self.positions = self._inputs[: 3 * n].view(n, 3)
        self._cells = self._inputs[3 * n :].view(n_cells, 3, 3)
        self._pairs = torch.tensor(_UNUSED, device=device).repeat(1, n_pairs)
        self._shifts = torch.zeros((n_pairs, 3), dtype=torch.float64, device=device)
        self._cell_of_pair = torch.zeros(n_pairs, dtype=torch.int64, device=device)
        self._atom_places = torch.arange(n, device=device) * room.width
        self._heads = heads
        first, second = self._pairs[:2]
        numbers = torch.from_numpy(self.elements).to(device)
        self.graph = Graph(numbers, first, second, self._packing(), conditions)

    def fill(self, lists: Sequence[VerletList]) -> None:
        """Take the pairs from these lists, one for each structure; those that are there already stay where they are."""
        self._blocks = self._places_for(lists)
        changed = [(i, each) for i, each in zip(self._blocks, lists, strict=True) if self._lists[i] is not each]
        for i, each in changed:
            self._fill_block(i, each)
            self._lists[i] = each
        if changed:
            self.graph.packing.take_over(self._packing())

    def move(self, positions: Sequence[np.ndarray], cells: Sequence[np.ndarray]) -> None:
        """Take positions, which must be those that the lists are for, and cells, Å."""
        order = np.argsort(self._blocks)
        nowhere = 2.0 * self._cutoff * np.eye(3)
        arrays = [*(positions[i] for i in order), *(cells[i] for i in order), nowhere]
        np.concatenate([array.ravel() for array in arrays], out=self._sent.numpy())
        self._inputs.copy_(self._sent, non_blocking=True)

    @property
    def atoms(self) -> list[slice]:
        """Atoms of each structure."""
        return [self._atoms[i] for i in self._blocks]

    def vectors(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors from first to second, Å, double precision, shape (n_pairs, 3); and which are beyond the cutoff.

        :param positions: those that lists are for, as `positions` has them, Å, shape (n_atoms, 3)
        """
        first, second = self._pairs[:2]
        shifts = (self._shifts.unsqueeze(2) * self._cells[self._cell_of_pair]).sum(1)
        vectors = positions[second] - positions[first] + shifts
        return vectors, vectors.square().sum(1) > self._cutoff**2

    @property
    def places(self) -> torch.Tensor:
        """Places of both directions of each pair in the packing, shape (2, n_pairs)."""
        return self._pairs[2:]

    def _places_for(self, lists: Sequence[VerletList]) -> list[int]:
        """Blocks, of the right kind: simulations that come together do so in any order, and need not be sorted."""
        kinds = self._kinds
        passes: list[tuple[Sequence[object], Sequence[object]]] = [
            (list(zip(self._lists, kinds, strict=True)), list(zip(lists, kinds, strict=True))),
            (kinds, kinds),
        ]
        free, blocks = list(range(len(lists))), dict[int, int]()
        for there, wanted in passes:
            for number, each in enumerate(wanted):
                block = next((i for i in free if there[i] == each), None)
                if number not in blocks and block is not None:
                    blocks[number] = block
                    free.remove(block)
        return [blocks[number] for number in range(len(lists))]

    def _fill_block(self, i: int, verlet_list: VerletList) -> None:
        start, end = self._pair_ends[i] - self.room.pairs[i], self._pair_ends[i]
        n = len(verlet_list)
        pairs = np.repeat(_UNUSED, end - start, axis=1)
        ends = np.stack([verlet_list.first, verlet_list.second]) + self._atoms[i].start
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
        return Packing(
            torch.cat([self._atom_places, in_turn(*places)]), [(len(self.elements), self.room.width)], self._heads
        )


def by_atom(packing: Packing, tokens: torch.Tensor) -> torch.Tensor:
    """Sum (n_atoms, n_values) of what atoms and their neighbours contribute (n_tokens, n_values).

    Always in the same order: nothing differs in the last digits from one time to the next.

    :param packing: of one block
    """
    (block,) = packing.blocks
    spread = tokens.index_select(0, packing.tokens).masked_fill(packing.empty.unsqueeze(1), 0.0)
    return spread.view(*block, -1).sum(1)


def _width(lists: Sequence[VerletList]) -> int:
    """The atom that has most neighbours, and these."""
    return 1 + max(each.most for each in lists)


def rounded_up(number: float, multiple: int) -> int:
    """The next multiple."""
    return -int(-number // multiple) * multiple
