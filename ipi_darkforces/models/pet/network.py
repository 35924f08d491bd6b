"""PET's network on packed pairs: the function that metatrain's PET computes, without what only training needs.

Every atom is a sequence of tokens, itself and its neighbours, that attend to each other (Pozdnyakov and Ceriotti,
NeurIPS 2023, arXiv:2305.19302; here as in metatrain's `metatrain.pet`, whose weights it takes). Three things make it
faster. Neighbours are packed: every dense layer sees the pairs that there are and no padding up to the largest number
of neighbours. Pairs come with their two directions one after the other, so that what they have in common is computed
once. And what depends on nothing but the weights is worked out once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import embedding

from .attention import Packing
from .conditioning import Conditioning
from .cutoffs import adaptive_cutoffs, bump, cosine, faded
from .heads import Features, Heads, last_layer, output_of, side_by_side
from .message_passing import Combination, MessagePassing

# As metatrain has them.
_SMALLEST_FACTOR = 1e-15
_DISTANCE_MARGIN = 1e-15


@dataclass(frozen=True)
class Graph:
    """Atoms and their pairs.

    :param elements: the number of each atom's element among those the network knows, shape (n_atoms,)
    :param first: of each pair, shape (n_pairs,); every pair is there once
    :param second: of each pair, shape (n_pairs,)
    :param packing: of the tokens: atoms, then of each pair the neighbour `second` of `first`, and `first` of `second`
    :param conditions: see `Conditioning`, shape (n_atoms, n_features); None for networks without
    """

    elements: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor
    packing: Packing
    conditions: torch.Tensor | None = None


class PetNetwork:
    """The network of a PET model.

    :param backend: metatrain's `PETBackend`, in the precision in which it is to be evaluated
    :param outputs: names of the outputs that may be asked for
    :param adaptive_width: of the shell in which neighbours fade when they are counted for adaptive cutoffs, Å
    :param fixed_shapes: see `adaptive_cutoffs`
    :param constant: outputs that are zero whatever the structure, see `untrained`; they cost nothing
    """

    def __init__(
        self,
        backend: Any,
        outputs: Sequence[str],
        adaptive_width: float,
        constant: frozenset[str] = frozenset(),
        fixed_shapes: bool = False,
    ):
        self.cutoff = backend.cutoff
        self.adaptive = (
            adaptive_cutoffs(
                backend.adaptive_cutoff_method,
                backend.num_neighbors_adaptive,
                backend.cutoff,
                adaptive_width,
                backend.edge_embedder.weight.device,
                fixed_shapes,
            )
            if backend.num_neighbors_adaptive is not None
            else None
        )
        self.conditioning = Conditioning(backend.system_conditioning) if backend.system_conditioning else None
        self.heads = backend.num_heads
        self._width = backend.cutoff_width
        self._switch = {"bump": bump, "cosine": cosine}[backend.cutoff_function.lower()]
        self.faded = faded(self._switch, self._width, backend.edge_embedder.weight.dtype)
        self._residual = backend.featurizer_type == "residual"
        self._atoms = [embedder.weight.detach() for embedder in backend.node_embedders]
        self._messages = backend.edge_embedder.weight.detach()
        self._layers = [MessagePassing(layer, self._messages) for layer in backend.gnn_layers]
        self._combinations = [
            Combination(norm, mlp)
            for norm, mlp in zip(backend.combination_norms, backend.combination_mlps, strict=True)
        ]
        self._heads = {name: Heads(backend, name, name in constant) for name in outputs}
        self.sizes = {name: heads.size for name, heads in self._heads.items()}
        self.sizes |= {last_layer(name): heads.hidden_size for name, heads in self._heads.items()}
        self.constant = constant

    def __call__(
        self,
        graph: Graph,
        vectors: torch.Tensor,
        outputs: Sequence[str],
        beyond: torch.Tensor | None = None,
        cutoffs: torch.Tensor | None = None,
    ) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Outputs that are asked for, in the units of the network.

        :param vectors: Å, from first to second, shape (n_pairs, 3)
        :param outputs: names of outputs, or of what their last layers are applied to, see `last_layer`
        :param beyond: which pairs are in the graph but no neighbours, shape (n_pairs,); none if None
        :param cutoffs: of pairs, Å, shape (n_pairs,), where they are adaptive
        :return: for each of them the contributions of the atoms, shape (n_atoms, n_values), and of the neighbours, in
            both directions of each pair and weighted by their distance, shape (2 × n_pairs, n_values)
        """
        lengths = torch.linalg.vector_norm(vectors, dim=1)
        factors = self._switch(lengths + _DISTANCE_MARGIN, self.cutoff if cutoffs is None else cutoffs, self._width)
        distances = torch.sqrt(vectors.square().sum(1, keepdim=True) + _DISTANCE_MARGIN)
        geometry = torch.cat([vectors, distances, -vectors, distances], 1).view(-1, 4)
        weights = torch.log(factors.clamp_min(_SMALLEST_FACTOR))
        if beyond is not None:
            weights = weights.masked_fill(beyond, -torch.inf)
        keys = graph.packing.keys(torch.cat([weights.new_zeros(len(graph.elements)), in_turn(weights, weights)]))
        neighbours = graph.elements.index_select(0, in_turn(graph.second, graph.first))

        features = self._features(graph, neighbours, geometry, keys)
        both = in_turn(factors, factors).unsqueeze(1)
        hidden = {name: self._heads[name].hidden(features) for name in dict.fromkeys(map(output_of, outputs))}
        results = {}
        for name in outputs:
            heads = self._heads[output_of(name)]
            atoms, pairs = (heads.values if name in self._heads else side_by_side)(hidden[output_of(name)])
            results[name] = atoms, pairs * both
        return results

    def _features(self, graph: Graph, neighbours: torch.Tensor, geometry: torch.Tensor, keys: torch.Tensor) -> Features:
        """Features of atoms and of their neighbours, for each time that they are read out."""
        atoms = embedding(graph.elements, self._atoms[0])
        messages = embedding(neighbours, self._messages)
        features = []
        for i, layer in enumerate(self._layers):
            if self._residual:
                atoms = embedding(graph.elements, self._atoms[i])
            atoms, pairs = layer(graph.packing, neighbours, geometry, keys, atoms, messages)
            if graph.conditions is not None:
                atoms = atoms + graph.conditions
            if self._residual:
                features.append((atoms, pairs))
                messages = 0.5 * (messages + _reversed(pairs))
            else:
                messages = self._combinations[i](messages, pairs)
        return features if self._residual else [(atoms, messages)]


def in_turn(there: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
    """Values of both directions of each pair, one after the other, from those of one and of the other."""
    return torch.stack([there, back], 1).flatten(0, 1)


def _reversed(pairs: torch.Tensor) -> torch.Tensor:
    """Values of the opposite direction of each pair."""
    return pairs.view(len(pairs) // 2, 2, pairs.shape[1]).flip(1).view(pairs.shape)
