"""Attention within sequences of different lengths: how they are laid side by side, and the products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd import Function

from .layers import has_gradient

NOWHERE = -1


class Packing:
    """Sequences of tokens, which are packed without gaps, whatever the lengths of their sequences and in any order.

    Spread out, sequences lie side by side in blocks, each with as much room for each of its sequences.

    :param places: where each token belongs: in the sequences of all blocks one after the other, shape (n_tokens,);
        `NOWHERE` for tokens of no sequence, which nobody sees and which mean nothing
    :param blocks: numbers of sequences, and room for so many tokens in each
    :param heads: the features of a token are so many independent pieces
    :param gradients: also prepare what only derivatives need
    """

    def __init__(self, places: torch.Tensor, blocks: Sequence[tuple[int, int]], heads: int, gradients: bool = True):
        self.blocks = tuple(blocks)
        self.heads = heads
        n = sum(sequences * width for sequences, width in blocks)
        self._n_tokens = places.shape[0]
        there = torch.where(places == NOWHERE, n, places)  # one more place, for tokens of no sequence
        tokens = torch.full((n + 1,), self._n_tokens, dtype=torch.int64, device=places.device)  # and one more token
        tokens = tokens.scatter_(0, there, torch.arange(self._n_tokens, device=places.device))[:n]
        self.empty = tokens == self._n_tokens
        self.tokens = tokens.masked_fill(self.empty, 0)
        # Queries, keys and values are spread, and what comes out of attention is packed: derivatives go the other way.
        self._spreading = {kinds: self._pieces(self.tokens, kinds) for kinds in (3, 1)[: 1 + gradients]}
        self._packing = {kinds: self._opposite(self._pieces(tokens, kinds), kinds) for kinds in (1, 3)[: 1 + gradients]}

    def spread(self, packed: torch.Tensor, kinds: int) -> list[torch.Tensor]:
        """Sequences side by side and split into heads, with the features of some token where there is none.

        :param packed: shape (n_tokens, kinds × heads × n_features)
        :return: of each block, shape (kinds, sequences × heads, width, n_features)
        """
        pieces = packed.contiguous().view(self._n_tokens * kinds * self.heads, -1)
        return self.split(pieces.index_select(0, self._spreading[kinds]), kinds)

    def split(self, pieces: torch.Tensor, kinds: int) -> list[torch.Tensor]:
        """The blocks of what is spread, as `spread` returns them; they share its memory."""
        sizes = [sequences * width * kinds * self.heads for sequences, width in self.blocks]
        return [
            each.view(kinds, sequences * self.heads, width, -1)
            for each, (sequences, width) in zip(pieces.split_with_sizes(sizes), self.blocks, strict=True)
        ]

    def pack(self, pieces: torch.Tensor, kinds: int) -> torch.Tensor:
        """The opposite of `spread`, of all blocks one after the other."""
        return pieces.index_select(0, self._packing[kinds]).view(self._n_tokens, -1)

    def keys(self, bias: torch.Tensor) -> torch.Tensor:
        """The bias of each place as a key: that of its token, and -∞, which is no weight, where there is none.

        :param bias: shape (n_tokens,)
        :return: of all blocks one after the other, shape (n_places,)
        """
        return bias.index_select(0, self.tokens).masked_fill(self.empty, -torch.inf)

    def by_sequence(self, places: torch.Tensor) -> list[torch.Tensor]:
        """Values of places, of each block, shape (sequences, 1, 1, width)."""
        sizes = [sequences * width for sequences, width in self.blocks]
        return [
            each.view(sequences, 1, 1, width)
            for each, (sequences, width) in zip(places.split_with_sizes(sizes), self.blocks, strict=True)
        ]

    def take_over(self, other: Packing) -> None:
        """Become equal to another one of the same shape, in the memory that this one has."""
        for mine, its in zip(self._tensors(), other._tensors(), strict=True):
            mine.copy_(its)

    def _tensors(self) -> list[torch.Tensor]:
        return [self.tokens, self.empty, *self._spreading.values(), *self._packing.values()]

    def _pieces(self, tokens: torch.Tensor, kinds: int) -> torch.Tensor:
        """Numbers of the pieces of features: for each block, kind, sequence, head and place within the sequence."""
        n = kinds * self.heads
        pieces = torch.arange(n, device=tokens.device).view(kinds, 1, self.heads, 1)
        parts = [(pieces + each.view(-1, 1, each.shape[-1])).view(-1) for each in self.by_sequence(tokens * n)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _opposite(self, pieces: torch.Tensor, kinds: int) -> torch.Tensor:
        """Places of pieces; for those of tokens of no sequence, the first place."""
        n = kinds * self.heads
        where = pieces.new_zeros((self._n_tokens + 1) * n)
        return where.scatter_(0, pieces, torch.arange(pieces.shape[0], device=pieces.device))[: self._n_tokens * n]


def attention(qkv: torch.Tensor, keys: torch.Tensor, packing: Packing) -> torch.Tensor:
    """Self-attention among the tokens of each sequence: softmax(Q Kᵀ + bias) V.

    :param qkv: queries (scaled already), keys and values, shape (n_tokens, 3 × n_features)
    :param keys: from `Packing.keys`
    :param packing: which tokens belong together
    :return: shape (n_tokens, n_features)
    """
    return _Attention.apply(qkv, keys, packing) if has_gradient(qkv, keys) else _attend(qkv, keys, packing)[0]


class _Attention(Function):
    @staticmethod
    def forward(ctx: Any, qkv: torch.Tensor, keys: torch.Tensor, packing: Packing) -> torch.Tensor:
        result, split, weights = _attend(qkv, keys, packing)
        ctx.packing = packing
        ctx.save_for_backward(*split, *weights)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        packing: Packing = ctx.packing
        n = len(packing.blocks)
        split, weights = ctx.saved_tensors[:n], ctx.saved_tensors[n:]
        mixed = packing.spread(grads[0], 1)
        by_qkv = grads[0].new_empty((3 * len(packing.tokens) * packing.heads, mixed[0].shape[-1]))
        by_keys = grads[0].new_empty(len(packing.tokens))
        for grad, empty, qkv, weight, result, by_key in zip(
            mixed, packing.by_sequence(packing.empty), split, weights, packing.split(by_qkv, 3),
            packing.by_sequence(by_keys), strict=True,
        ):  # fmt: skip
            _by_head(grad[0], packing).masked_fill_(empty.transpose(2, 3), 0.0)
            q, k, v = qkv
            by_weights = torch.bmm(grad[0], v.transpose(1, 2))
            by_scores = torch.ops.aten._softmax_backward_data(by_weights, weight, -1, weight.dtype)
            torch.sum(_by_head(by_scores, packing), (1, 2), keepdim=True, out=by_key)
            torch.bmm(by_scores, k, out=result[0])
            torch.bmm(by_scores.transpose(1, 2), q, out=result[1])
            torch.bmm(weight.transpose(1, 2), grad[0], out=result[2])
        return packing.pack(by_qkv, 3), by_keys, None


def _attend(
    qkv: torch.Tensor, keys: torch.Tensor, packing: Packing
) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """The result of `attention`; and of each block queries, keys and values, and weights."""
    split, weights = packing.spread(qkv, 3), []
    mixed = qkv.new_empty((len(packing.tokens) * packing.heads, split[0].shape[-1]))
    for (q, k, v), bias, (result,) in zip(split, packing.by_sequence(keys), packing.split(mixed, 1), strict=True):
        scores = torch.bmm(q, k.transpose(1, 2))
        _by_head(scores, packing).add_(bias)
        weights.append(torch.softmax(scores, -1))  # in place it takes twice as long
        torch.bmm(weights[-1], v, out=result)
    return packing.pack(mixed, 1), split, weights


def _by_head(of_sequences: torch.Tensor, packing: Packing) -> torch.Tensor:
    return of_sequences.view(-1, packing.heads, *of_sequences.shape[1:])
