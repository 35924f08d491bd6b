"""Neighbours within adaptive cutoffs, chosen from those that are listed, in tensors of fixed shapes.

Listed is what is within the largest cutoff, often ten times as many pairs as there are neighbours. Which of them are
neighbours changes from step to step, and is known on the device alone. They are moved to the front of arrays with room
for some more than there were before; how much room was needed comes back with the results, and if it was not there, the
host makes more and asks again. Where a number of neighbours would decide on a shape, running sums decide on places.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .attention import NOWHERE, Packing
from .cutoffs import AdaptiveCutoffs
from .network import Graph, in_turn
from .padded_neighbors import rounded_up

SIZES = 2  # numbers in `SelectedPairs.needed`


@dataclass(frozen=True)
class SelectionRoom:
    """Sizes of the arrays.

    :param pairs: of all structures
    :param width: atoms that see each other: one and its neighbours
    """

    pairs: int = 64
    width: int = 8

    def holds(self, pairs: float, width: float) -> bool:
        """Tell whether it is enough."""
        return pairs <= self.pairs and width <= self.width

    def grown(self, pairs: float, width: float) -> SelectionRoom:
        """Enough for so much, and some more for what comes next."""
        return SelectionRoom(
            max(self.pairs, rounded_up(1.1 * pairs + 32, 64)),
            max(self.width, rounded_up(1.2 * width + 2, 8)),
        )


@dataclass(frozen=True)
class SelectedPairs:
    """Chosen pairs.

    :param graph: as the network takes them
    :param vectors: Å, shape (n_pairs, 3); they depend on those that were chosen from
    :param cutoffs: Å, shape (n_pairs,); likewise
    :param beyond: which are no pairs but room, shape (n_pairs,)
    :param needed: how many pairs there are, and how many atoms see each other; shape (2,)
    """

    graph: Graph
    vectors: torch.Tensor
    cutoffs: torch.Tensor
    beyond: torch.Tensor
    needed: torch.Tensor


def select(
    listed: Graph, places: torch.Tensor, vectors: torch.Tensor, adaptive: AdaptiveCutoffs, room: SelectionRoom
) -> SelectedPairs:
    """Choose the pairs that are within their cutoffs.

    :param listed: all that are listed; its packing is one block
    :param places: of both directions of each pair in that packing, shape (2, n_listed)
    :param vectors: Å, from first to second, shape (n_listed, 3), far beyond all cutoffs where there is no pair
    :param adaptive: cutoffs of atoms, in fixed shapes
    :param room: for what is chosen
    """
    (block,) = listed.packing.blocks
    n_atoms, n_listed = block[0], len(vectors)
    distances = torch.linalg.vector_norm(vectors, dim=1)
    atoms = adaptive(distances, listed.first, listed.second, n_atoms)
    within = 0.5 * (atoms.index_select(0, listed.first) + atoms.index_select(0, listed.second))
    chosen = distances <= within

    ranks, most = _ranks(chosen, places, block)
    width = room.width
    fits = chosen & (ranks < width)
    ends = torch.stack([listed.first, listed.second])
    new_places = torch.where(fits, ends * width + ranks, NOWHERE)

    number = chosen.cumsum(0) - 1
    target = torch.where(chosen & (number < room.pairs), number, room.pairs)
    numbers = torch.arange(n_listed, device=vectors.device)
    slots = torch.full((room.pairs + 1,), n_listed, device=vectors.device).scatter_(0, target, numbers)[: room.pairs]

    def moved(values: torch.Tensor, else_: float) -> torch.Tensor:
        """Values of pairs, along the last dimension, with another one where there is none."""
        more = values.new_full((*values.shape[:-1], 1), else_)
        return torch.cat([values, more], -1).index_select(-1, slots)

    first, second = moved(ends, 0)
    centres = torch.arange(n_atoms, device=vectors.device) * width
    tokens = torch.cat([centres, in_turn(*moved(new_places, NOWHERE))])
    packing = Packing(tokens, [(n_atoms, width)], listed.packing.heads)
    return SelectedPairs(
        Graph(listed.elements, first, second, packing, listed.conditions),
        moved(vectors.t(), 2.0 * adaptive.largest).t(),
        moved(within, adaptive.largest),
        slots == n_listed,
        torch.stack([chosen.sum(), most]).double(),
    )


def _ranks(chosen: torch.Tensor, places: torch.Tensor, block: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Number of each chosen neighbour among those of its atom, from one, shape (2, n_listed); the largest, plus one."""
    n = block[0] * block[1]
    there = torch.where(places == NOWHERE, n, places).view(-1)
    flags = torch.zeros(n + 1, dtype=torch.int64, device=chosen.device)
    flags = flags.scatter_(0, there, chosen.long().repeat(2))[:n].view(block)
    ranks = flags.cumsum(1)
    return ranks.view(-1).index_select(0, places.clamp_min(0).view(-1)).view(places.shape), ranks.max() + 1
