"""PET's network on packed pairs: the function that metatrain's PET computes, without what only training needs.

Every atom is a sequence of tokens, itself and its neighbours, that attend to each other (Pozdnyakov and Ceriotti,
NeurIPS 2023, arXiv:2305.19302; here as in metatrain's `metatrain.pet`, whose weights it takes). Three things make it
faster. Neighbours are packed: every dense layer sees the pairs that there are and no padding up to the largest number
of neighbours. Pairs come with their two directions one after the other, so that what they have in common is computed
once. And what depends on nothing but the weights is worked out once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import embedding

from ...errors import DarkforcesError
from .attention import Packing, attention
from .cutoffs import adaptive_cutoffs, bump, cosine
from .layers import Linear, RMSNorm, SwiGLU

# As metatrain has them.
_SMALLEST_FACTOR = 1e-15
_DISTANCE_MARGIN = 1e-15

_LAST_LAYER = ", features of the last layer"

_Layer = Callable[[torch.Tensor], torch.Tensor]
# Of atoms and of their neighbours, for each time that they are read out.
_Features = list[tuple[torch.Tensor, torch.Tensor]]


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
        self._residual = backend.featurizer_type == "residual"
        self._atoms = [embedder.weight.detach() for embedder in backend.node_embedders]
        self._messages = backend.edge_embedder.weight.detach()
        self._layers = [_MessagePassing(layer, self._messages) for layer in backend.gnn_layers]
        self._combinations = [
            _Combination(norm, mlp)
            for norm, mlp in zip(backend.combination_norms, backend.combination_mlps, strict=True)
        ]
        self._heads = {name: _Heads(backend, name, name in constant) for name in outputs}
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

        :param graph: the atoms and their pairs
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
        hidden = {name: self._heads[name].hidden(features) for name in dict.fromkeys(map(_head, outputs))}
        results = {}
        for name in outputs:
            heads = self._heads[_head(name)]
            atoms, pairs = (heads.values if name in self._heads else _side_by_side)(hidden[_head(name)])
            results[name] = atoms, pairs * both
        return results

    def _features(
        self, graph: Graph, neighbours: torch.Tensor, geometry: torch.Tensor, keys: torch.Tensor
    ) -> _Features:
        """Features of atoms and of their neighbours, for each time that they are read out."""
        atoms = embedding(graph.elements, self._atoms[0])
        messages = embedding(neighbours, self._messages)
        features = []
        for i, layer in enumerate(self._layers):
            if self._residual:
                atoms = embedding(graph.elements, self._atoms[i])
            atoms, pairs = layer(graph, neighbours, geometry, keys, atoms, messages)
            if graph.conditions is not None:
                atoms = atoms + graph.conditions
            if self._residual:
                features.append((atoms, pairs))
                messages = 0.5 * (messages + _reversed(pairs))
            else:
                messages = self._combinations[i](messages, pairs)
        return features if self._residual else [(atoms, messages)]


def last_layer(output: str) -> str:
    """The name of the features that the last layers of an output multiply, as an output.

    Of each time that features are read out, those of atoms, then the sums of those of their neighbours.
    """
    return output + _LAST_LAYER


def _head(name: str) -> str:
    return name.removesuffix(_LAST_LAYER)


def untrained(backend: Any, outputs: Sequence[str]) -> frozenset[str]:
    """Outputs whose last layers are zero, as that of the energy of a student of direct forces.

    :param backend: metatrain's `PETBackend`, on the CPU
    """

    def is_zero(name: str) -> bool:
        lasts = [
            block
            for last in (*backend.node_last_layers[name], *backend.edge_last_layers[name])
            for block in last.values()
        ]
        return not any(block.weight.any() or block.bias.any() for block in lasts)

    return frozenset(filter(is_zero, outputs))


class Conditioning:
    """Dependence on the total charge and the spin multiplicity: what is added to the features of all atoms.

    :param module: metatrain's `SystemConditioningEmbedding`
    """

    def __init__(self, module: Any):
        self._charges = module.charge_embedding.weight.detach()
        self._multiplicities = module.spin_multiplicity_embedding.weight.detach()
        self._project = module.project
        self._largest_charge = module.max_charge

    @torch.no_grad()
    def __call__(self, charge: float, multiplicity: float) -> torch.Tensor:
        """Compute the features of one structure, shape (n_features,).

        :param charge: of the structure, e
        :param multiplicity: 2 S + 1
        :raises DarkforcesError: if the model has not been made for them
        """
        for what, given, least, most in (
            ("charge", charge, -self._largest_charge, self._largest_charge),
            ("spin multiplicity", multiplicity, 1, len(self._multiplicities)),
        ):
            if given not in range(least, most + 1):
                raise DarkforcesError(
                    f"the {what} of the structure is {given:g}: expected an integer from {least} to {most}, for which "
                    "the model has been made"
                )
        rows = self._charges[int(charge) + self._largest_charge], self._multiplicities[int(multiplicity) - 1]
        features: torch.Tensor = self._project(torch.cat(rows))
        return features


class _MessagePassing:
    """Layer of the graph neural network: metatrain's `CartesianTransformer`.

    :param module: metatrain's
    :param messages: what the first layer gets as messages for each element, shape (n_elements, n_features)
    """

    def __init__(self, module: Any, messages: torch.Tensor):
        # The first matrix of `compress` multiplies what is linear in the geometry and what is the same for all
        # neighbours of one element: both products are worked out here.
        embed, (first, _, second) = module.edge_embedder, module.compress
        mix = first.weight.detach().split(embed.out_features, dim=1)
        constant = first.bias + embed.bias @ mix[0].t()
        elements = messages if module.is_first else module.neighbor_embedder.weight
        self._geometry = Linear(mix[0] @ embed.weight, torch.zeros_like(first.bias))
        self._elements = (elements @ mix[1].t() + constant).detach()
        self._messages = None if module.is_first else Linear(mix[2], torch.zeros_like(first.bias))
        self._compress = Linear.of(second)
        self._transformers = [_Transformer(layer) for layer in module.trans.layers]

    def __call__(
        self,
        graph: Graph,
        neighbours: torch.Tensor,
        geometry: torch.Tensor,
        keys: torch.Tensor,
        atoms: torch.Tensor,
        messages: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of atoms and of their neighbours after the layer."""
        pairs = self._geometry.plus(geometry, embedding(neighbours, self._elements))
        if self._messages is not None:
            pairs = self._messages.plus(messages, pairs)
        pairs = self._compress(torch.nn.functional.silu(pairs))
        for transformer in self._transformers:
            atoms, pairs = transformer(graph.packing, keys, atoms, pairs)
        return atoms, pairs


class _Transformer:
    """Attention among each atom and its neighbours: metatrain's `TransformerLayer`."""

    def __init__(self, module: Any):
        self._post_norm = module.transformer_type == "PostLN"
        block = module.attention
        # Queries are scaled by their matrix.
        scale = torch.ones_like(block.input_linear.bias)
        scale[: len(scale) // 3] = 1.0 / (block.head_dim**0.5 * block.temperature)
        self._qkv = Linear(block.input_linear.weight * scale[:, None], block.input_linear.bias * scale)
        self._output = Linear.of(block.output_linear)
        self._norm_attention = _norm(module.norm_attention)
        self._norm_mlp = _norm(module.norm_mlp)
        self._mlp = _FeedForward(module.mlp)
        self._wide = _WideAtoms(module) if module.expanded_node_features else None

    def __call__(
        self, packing: Packing, keys: torch.Tensor, atoms: torch.Tensor, pairs: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """New features of atoms and neighbours."""
        n = len(atoms)
        tokens = torch.cat([atoms if self._wide is None else self._wide.narrow(atoms), pairs])
        if self._post_norm:
            mixed = attention(self._qkv(tokens), keys, packing)
            tokens = self._norm_attention(self._output.plus(mixed, tokens))
            tokens = self._norm_mlp(self._mlp.plus(tokens, tokens))
            new_atoms, pairs = tokens[:n], tokens[n:]
        else:
            mixed = attention(self._qkv(self._norm_attention(tokens)), keys, packing)
            new_atoms = self._output(mixed[:n])
            pairs = self._output.plus(mixed[n:], pairs)
            pairs = self._mlp.plus(self._norm_mlp(pairs), pairs)
        return new_atoms if self._wide is None else self._wide.update(atoms, new_atoms), pairs


class _WideAtoms:
    """Atoms with more features than their neighbours."""

    def __init__(self, module: Any):
        self.narrow = Linear.of(module.center_contraction)
        self._widen = Linear.of(module.center_expansion)
        self._norm = _norm(module.norm_center_features)
        self._mlp = _FeedForward(module.center_mlp)

    def update(self, atoms: torch.Tensor, narrow: torch.Tensor) -> torch.Tensor:
        """The wide features with what came out of attention."""
        atoms = self._widen.plus(narrow, atoms)
        return self._mlp.plus(self._norm(atoms), atoms)


class _FeedForward:
    def __init__(self, module: Any):
        self._out = Linear.of(module.w_out)
        self._in: _Layer = SwiGLU(module.w_in) if module.is_swiglu else Linear.of(module.w_in).silu

    def plus(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        return self._out.plus(self._in(x), residual)


class _Combination:
    """Combination of messages and reversed messages into those to the next layer.

    Both directions of a pair are normalised together. What the opposite direction has is the same with its halves
    exchanged: those of the matrix are exchanged instead, with the weights of the norm in it.
    """

    def __init__(self, norm: torch.nn.LayerNorm, mlp: Any):
        first, _, last = mlp
        weight, bias = first.weight * norm.weight, first.bias + first.weight @ norm.bias
        exchanged = torch.cat(weight.chunk(2, 1)[::-1], 1)
        self._in, self._out = Linear(torch.cat([weight, exchanged]), torch.cat([bias, bias])), Linear.of(last)
        self._epsilon = norm.eps

    def __call__(self, messages: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
        n, width = pairs.shape
        both = pairs.reshape(n // 2, 2 * width)
        hidden = self._in.silu(torch.nn.functional.layer_norm(both, (2 * width,), eps=self._epsilon))
        return self._out.plus(hidden.view(n, 2 * width), messages + pairs)


class _Heads:
    """Head and last layer of one output, for each time that features are read out."""

    def __init__(self, backend: Any, name: str, is_zero: bool):
        self._is_zero = is_zero
        parts = (backend.node_heads, backend.node_last_layers, backend.edge_heads, backend.edge_last_layers)
        self._readouts = [
            (_Head(*atoms), _Head(*pairs))
            for *atoms, pair_head, pair_last in zip(*(part[name] for part in parts), strict=True)
            for pairs in [(pair_head, pair_last)]
        ]
        self.size = self._readouts[0][0].size
        self.hidden_size = sum(head.hidden_size for both in self._readouts for head in both)

    def hidden(self, features: _Features) -> _Features:
        """What the last layers are applied to, for atoms and for neighbours, each time that features are read out."""
        if self._is_zero:
            return features
        return [(a.hidden(atoms), p.hidden(pairs)) for (a, p), (atoms, pairs) in self._each(features)]

    def values(self, hidden: _Features) -> tuple[torch.Tensor, torch.Tensor]:
        """The output."""
        if self._is_zero:
            atoms, pairs = hidden[0]
            return atoms.new_zeros((len(atoms), self.size)), pairs.new_zeros((len(pairs), self.size))
        values = [(a.last(atoms), p.last(pairs)) for (a, p), (atoms, pairs) in self._each(hidden)]
        atoms, pairs = (torch.stack(v).sum(0) if len(v) > 1 else v[0] for v in zip(*values, strict=True))
        return atoms, pairs

    def _each(self, features: _Features) -> Iterator[tuple[tuple[_Head, _Head], tuple[torch.Tensor, torch.Tensor]]]:
        return zip(self._readouts, features, strict=True)


class _Head:
    def __init__(self, head: Any, last: Any):
        self._first, self._second = Linear.of(head[0]), Linear.of(head[2])
        (block,) = last.values()
        self.last = Linear.of(block)
        self.size, self.hidden_size = block.out_features, block.in_features

    def hidden(self, features: torch.Tensor) -> torch.Tensor:
        return self._second.silu(self._first.silu(features))


def _side_by_side(hidden: _Features) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of atoms and of neighbours in columns of their own, so that a sum over both keeps them apart."""
    of_atoms, of_pairs = list[torch.Tensor](), list[torch.Tensor]()
    for atoms, pairs in hidden:
        of_atoms += [atoms.detach(), atoms.new_zeros((len(atoms), pairs.shape[1]))]
        of_pairs += [pairs.new_zeros((len(pairs), atoms.shape[1])), pairs.detach()]
    return torch.cat(of_atoms, 1), torch.cat(of_pairs, 1)


def _norm(module: Any) -> _Layer:
    if isinstance(module, torch.nn.RMSNorm):
        return RMSNorm(module)
    weight, bias = module.weight.detach(), module.bias.detach()
    return lambda x: torch.nn.functional.layer_norm(x, weight.shape, weight, bias, module.eps)


def in_turn(there: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
    """Values of both directions of each pair, one after the other, from those of one and of the other."""
    return torch.stack([there, back], 1).flatten(0, 1)


def _reversed(pairs: torch.Tensor) -> torch.Tensor:
    """Values of the opposite direction of each pair."""
    return pairs.view(len(pairs) // 2, 2, pairs.shape[1]).flip(1).view(pairs.shape)
