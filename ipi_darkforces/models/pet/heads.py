"""Heads of a PET model: from the features of atoms and of their neighbours to outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from .layers import Linear

_LAST_LAYER = ", features of the last layer"
# Of atoms and of their neighbours, for each time that they are read out.
Features = list[tuple[torch.Tensor, torch.Tensor]]


def last_layer(output: str) -> str:
    """The name of the features that the last layers of an output multiply, as an output.

    Of each time that features are read out, those of atoms, then the sums of those of their neighbours.
    """
    return output + _LAST_LAYER


def output_of(name: str) -> str:
    """The output of a name, or the one whose last layers multiply the features of that name."""
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


class Heads:
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

    def hidden(self, features: Features) -> Features:
        """Features that the last layers multiply, of atoms and of neighbours, each time that they are read out."""
        if self._is_zero:
            return features
        return [(a.hidden(atoms), p.hidden(pairs)) for (a, p), (atoms, pairs) in self._each(features)]

    def values(self, hidden: Features) -> tuple[torch.Tensor, torch.Tensor]:
        """The output."""
        if self._is_zero:
            atoms, pairs = hidden[0]
            return atoms.new_zeros((len(atoms), self.size)), pairs.new_zeros((len(pairs), self.size))
        values = [(a.last(atoms), p.last(pairs)) for (a, p), (atoms, pairs) in self._each(hidden)]
        atoms, pairs = (torch.stack(v).sum(0) if len(v) > 1 else v[0] for v in zip(*values, strict=True))
        return atoms, pairs

    def _each(self, features: Features) -> Iterator[tuple[tuple[_Head, _Head], tuple[torch.Tensor, torch.Tensor]]]:
        return zip(self._readouts, features, strict=True)


class _Head:
    def __init__(self, head: Any, last: Any):
        self._first, self._second = Linear.of(head[0]), Linear.of(head[2])
        (block,) = last.values()
        self.last = Linear.of(block)
        self.size, self.hidden_size = block.out_features, block.in_features

    def hidden(self, features: torch.Tensor) -> torch.Tensor:
        return self._second.silu(self._first.silu(features))


def side_by_side(hidden: Features) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of atoms and of neighbours in columns of their own, so that a sum over both keeps them apart."""
    of_atoms, of_pairs = list[torch.Tensor](), list[torch.Tensor]()
    for atoms, pairs in hidden:
        of_atoms += [atoms.detach(), atoms.new_zeros((len(atoms), pairs.shape[1]))]
        of_pairs += [pairs.new_zeros((len(pairs), atoms.shape[1])), pairs.detach()]
    return torch.cat(of_atoms, 1), torch.cat(of_pairs, 1)
