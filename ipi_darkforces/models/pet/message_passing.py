"""Layers of PET's graph neural network: attention among atoms and their neighbours, and messages between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import embedding

from .attention import Packing, attention
from .layers import BothOrders, Linear, RMSNorm, SwiGLU

_Layer = Callable[[torch.Tensor], torch.Tensor]


class MessagePassing:
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
        packing: Packing,
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
            atoms, pairs = transformer(packing, keys, atoms, pairs)
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


class Combination:
    """Combination of messages and reversed messages into those to the next layer.

    Both directions of a pair are normalised together: what the opposite direction has is the same with its halves
    exchanged. The weights of the norm are in the matrix.
    """

    def __init__(self, norm: torch.nn.LayerNorm, mlp: Any):
        first, _, last = mlp
        self._in = BothOrders(first.weight * norm.weight, first.bias + first.weight @ norm.bias)
        self._out = Linear.of(last)
        self._epsilon = norm.eps

    def __call__(self, messages: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
        n, width = pairs.shape
        both = pairs.reshape(n // 2, 2 * width)
        hidden = self._in(torch.nn.functional.layer_norm(both, (2 * width,), eps=self._epsilon))
        return self._out.plus(hidden.view(n, 2 * width), messages + pairs)


def _norm(module: Any) -> _Layer:
    if isinstance(module, torch.nn.RMSNorm):
        return RMSNorm(module)
    weight, bias = module.weight.detach(), module.bias.detach()
    return lambda x: torch.nn.functional.layer_norm(x, weight.shape, weight, bias, module.eps)
