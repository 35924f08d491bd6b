"""The layers that transformers are made of, for networks whose weights are fixed.

Gradients are with respect to the inputs alone, and what comes after a matrix product is done while its result is still
in the cache. In single precision on CPUs, products go through oneDNN with the full precision of the inputs: PyTorch's
default there, MKL, does not use all that the processors of other makers than its own can do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.autograd import Function


class Linear:
    """y = x Wᵀ + b, with or without something after it.

    :param weight: W, shape (n_out, n_in)
    :param bias: b, shape (n_out,)
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor):
        self.weight = weight.detach().contiguous()
        self.transposed = weight.detach().t().contiguous()
        self.bias = bias.detach().contiguous()

    @classmethod
    def of(cls, module: torch.nn.Linear) -> Linear:
        """With the weights of a module."""
        return cls(module.weight, module.bias)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The result for x."""
        return _Linear.apply(x, None, self)

    def plus(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """With something added."""
        return _Linear.apply(x, residual, self)

    def silu(self, x: torch.Tensor) -> torch.Tensor:
        """With y / (1 + exp(-y)) for y."""
        return _SiLU.apply(x, self)


class SwiGLU:
    """(x Wᵥᵀ + bᵥ) / (1 + exp(-x W_gᵀ - b_g)).

    :param module: what has Wᵥ above W_g as its weight, and likewise its bias
    """

    def __init__(self, module: torch.nn.Linear):
        values, gates = module.weight.chunk(2)
        value_bias, gate_bias = module.bias.chunk(2)
        self.value = Linear(values, value_bias)
        self.gate = Linear(gates, gate_bias)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The result for x."""
        return _SwiGLU.apply(x, self)


@dataclass(frozen=True)
class Packing:
    """Sequences of tokens, which are packed without gaps, whatever the lengths of their sequences and in any order.

    :param places: where each token belongs: number of its sequence × width + number within it, shape (n_tokens,)
    :param sequences: how many sequences there are
    :param width: at least the length of the longest one
    """

    places: torch.Tensor
    sequences: int
    width: int

    def spread(self, packed: torch.Tensor, kinds: int, heads: int) -> torch.Tensor:
        """Sequences side by side, and split into heads, with zeros where there are no tokens.

        :param packed: shape (n_tokens, kinds × heads × n_features)
        :return: shape (kinds, sequences × heads, width, n_features)
        """
        grid = packed.new_zeros((self.sequences * self.width, packed.shape[1]))
        grid.index_copy_(0, self.places, packed)
        split = grid.view(self.sequences, self.width, kinds, heads, -1).permute(2, 0, 3, 1, 4)
        return split.reshape(kinds, self.sequences * heads, self.width, -1)

    def pack(self, split: torch.Tensor, heads: int) -> torch.Tensor:
        """The opposite of `spread`."""
        grid = split.view(-1, self.sequences, heads, self.width, split.shape[-1]).permute(1, 3, 0, 2, 4)
        return grid.reshape(self.sequences * self.width, -1).index_select(0, self.places)


def attention(qkv: torch.Tensor, bias: torch.Tensor, packing: Packing, heads: int) -> torch.Tensor:
    """Self-attention among the tokens of each sequence: softmax(Q Kᵀ + bias) V.

    :param qkv: queries (scaled already), keys and values, shape (n_tokens, 3 × n_features)
    :param bias: of each token as a key, shape (n_tokens,)
    :param packing: which tokens belong together
    :param heads: the features are so many independent pieces
    :return: shape (n_tokens, n_features)
    """
    return _Attention.apply(qkv, bias, packing, heads)


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, residual: torch.Tensor | None, layer: Linear) -> torch.Tensor:
        ctx.layer = layer
        return _product(x, layer.weight, layer.bias, add=residual)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad,) = grads
        return _product(grad, ctx.layer.transposed), grad if ctx.needs_input_grad[1] else None, None


class _SiLU(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: Linear) -> torch.Tensor:
        if not ctx.needs_input_grad[0]:
            return _product(x, layer.weight, layer.bias, then="swish")
        y = _product(x, layer.weight, layer.bias)
        ctx.layer = layer
        ctx.save_for_backward(y)
        return torch.nn.functional.silu(y)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (y,) = ctx.saved_tensors
        return _product(torch.ops.aten.silu_backward(grads[0], y), ctx.layer.transposed), None


class _SwiGLU(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: SwiGLU) -> torch.Tensor:
        gate = _product(x, layer.gate.weight, layer.gate.bias, then="sigmoid")
        y = _product(x, layer.value.weight, layer.value.bias, times=gate)
        ctx.layer = layer
        ctx.save_for_backward(y, gate)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        y, gate = ctx.saved_tensors
        by_value = _product(grads[0] * gate, ctx.layer.value.transposed)
        by_gate = (grads[0] * y).addcmul_(grads[0] * y, gate, value=-1)  # y (1 - gate)
        return _product(by_gate, ctx.layer.gate.transposed, add=by_value), None


class _Attention(Function):
    @staticmethod
    def forward(ctx: Any, qkv: torch.Tensor, bias: torch.Tensor, packing: Packing, heads: int) -> torch.Tensor:
        q, k, v = packing.spread(qkv, 3, heads)
        weights = torch.bmm(q, k.transpose(1, 2))
        # Places that stay empty get no weight.
        keys = bias.new_full((packing.sequences * packing.width,), -torch.inf).index_copy_(0, packing.places, bias)
        _by_head(weights, packing).add_(keys.view(packing.sequences, 1, 1, packing.width))
        torch.softmax(weights, -1, out=weights)
        ctx.packing, ctx.heads = packing, heads
        ctx.save_for_backward(q, k, v, weights)
        return packing.pack(torch.bmm(weights, v), heads)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, weights = ctx.saved_tensors
        packing: Packing = ctx.packing
        (grad,) = packing.spread(grads[0], 1, ctx.heads)
        by_weights = torch.bmm(grad, v.transpose(1, 2))
        by_scores = torch.ops.aten._softmax_backward_data(by_weights, weights, -1, weights.dtype)
        by_bias = _by_head(by_scores, packing).sum((1, 2)).view(-1).index_select(0, packing.places)
        by_qkv = torch.empty((3, *q.shape), dtype=q.dtype, device=q.device)
        torch.bmm(by_scores, k, out=by_qkv[0])
        torch.bmm(by_scores.transpose(1, 2), q, out=by_qkv[1])
        torch.bmm(weights.transpose(1, 2), grad, out=by_qkv[2])
        return packing.pack(by_qkv, ctx.heads), by_bias, None, None


def _by_head(scores: torch.Tensor, packing: Packing) -> torch.Tensor:
    return scores.view(packing.sequences, -1, packing.width, packing.width)


def _product(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    then: str = "none",
    add: torch.Tensor | None = None,
    times: torch.Tensor | None = None,
) -> torch.Tensor:
    """The product x Wᵀ + b, then at most one of: a function of it, a sum with something, a product by something."""
    if x.dtype == torch.float32 and x.device.type == "cpu" and len(x) and _has_onednn():
        multiply = torch.ops.mkldnn._linear_pointwise
        if add is not None:
            return multiply.binary(x, add, weight, bias, "add")
        if times is not None:
            return multiply.binary(x, times, weight, bias, "mul")
        return multiply(x, weight, bias, then, [], "")
    y = torch.nn.functional.linear(x, weight, bias)
    if add is not None:
        return y + add
    if times is not None:
        return y * times
    return {"none": lambda y: y, "swish": torch.nn.functional.silu, "sigmoid": torch.sigmoid}[then](y)


@cache
def _has_onednn() -> bool:
    """Whether this PyTorch has what its own compiler uses of oneDNN."""
    try:
        x = torch.ones((1, 1))
        y = torch.ops.mkldnn._linear_pointwise.binary(
            x, x, x, torch.ops.mkldnn._linear_pointwise(x, x, x[0], "swish", [], "")[0], "mul"
        )
        return bool(torch.isfinite(y).all())
    except (AttributeError, RuntimeError):
        return False
