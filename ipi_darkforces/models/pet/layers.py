"""The layers that transformers are made of, for networks whose weights are fixed.

Gradients are with respect to the inputs alone, so that little need be remembered and matrices can be laid out in
advance. In single precision on CPUs, products go through oneDNN, with the full precision of the inputs: PyTorch's
default there, MKL, does not use all that the processors of other makers than its own can do.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch.autograd import Function

NOWHERE = -1
_TYPICAL_ROWS = 1000  # for which oneDNN lays out a matrix; any other number will do
_FEW = 4_000_000  # multiplications, for fewer of which oneDNN takes longer to be called than it saves
# Of products, which nobody else has.
_FUNCTIONS = {
    "none": lambda y: y,
    "swish": lambda y: torch.nn.functional.silu(y, inplace=True),
    "sigmoid": lambda y: y.sigmoid_(),
}


class Linear:
    """y = x Wᵀ + b, with or without something after it.

    :param weight: W, shape (n_out, n_in)
    :param bias: b, shape (n_out,)
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor):
        self.bias = bias.detach().contiguous()
        self.weight = _Matrix(weight.detach())
        self.transposed = _Matrix(weight.detach().t())

    @classmethod
    def of(cls, module: torch.nn.Linear) -> Linear:
        """Make a layer with the weights of a module."""
        return cls(module.weight, module.bias)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The result for x."""
        return _Linear.apply(x, self) if _has_gradient(x) else self.weight.times(x, self.bias)

    def plus(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """Apply it, with something added."""
        if _has_gradient(x, residual):
            return _LinearPlus.apply(x, residual, self)
        return self.weight.times_and(x, self.bias, "add", residual)

    def silu(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it, with y / (1 + exp(-y)) for y."""
        return _SiLU.apply(x, self) if _has_gradient(x) else self.weight.times(x, self.bias, then="swish")


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
        return _SwiGLU.apply(x, self) if _has_gradient(x) else self.parts(x)[0]

    def parts(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The result, and its second factor."""
        gate = self.gate.weight.times(x, self.gate.bias, then="sigmoid")
        return self.value.weight.times_and(x, self.value.bias, "mul", gate), gate


class RMSNorm:
    """x w / √(mean of x² + ε). On CPUs PyTorch takes twice as long, and longer still for gradients.

    :param module: what has w and ε
    """

    def __init__(self, module: torch.nn.RMSNorm):
        self.weight = module.weight.detach()
        self._epsilon = torch.finfo(self.weight.dtype).eps if module.eps is None else module.eps
        self._added = self.weight.new_tensor(self._epsilon)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The result for x, shape (n_rows, n_features)."""
        if x.device.type != "cpu":
            return torch.nn.functional.rms_norm(x, [len(self.weight)], self.weight, self._epsilon)
        return _RMSNorm.apply(x, self) if _has_gradient(x) else self.scaled(x, self.scale(x))

    def scale(self, x: torch.Tensor) -> torch.Tensor:
        """Factors of rows, shape (n_rows, 1)."""
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        return torch.addcmul(self._added, norm, norm, value=1.0 / x.shape[1]).rsqrt_()

    def scaled(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """The result for x with this scale."""
        return (x * scale).mul_(self.weight)


class Packing:
    """Sequences of tokens, which are packed without gaps, whatever the lengths of their sequences and in any order.

    :param places: where each token belongs: number of its sequence × width + number within it, shape (n_tokens,);
        `NOWHERE` for tokens of no sequence, which nobody sees and which mean nothing
    :param sequences: how many sequences there are
    :param width: at least the length of the longest one
    :param heads: the features of a token are so many independent pieces
    :param gradients: also prepare what only derivatives need
    """

    def __init__(self, places: torch.Tensor, sequences: int, width: int, heads: int, gradients: bool = True):
        self.sequences = sequences
        self.width = width
        self.heads = heads
        n = sequences * width
        there = torch.where(places == NOWHERE, n, places)  # one more place, for tokens of no sequence
        numbers = torch.arange(places.shape[0], device=places.device)
        tokens = torch.full_like(numbers[:1], NOWHERE).repeat(n + 1).scatter_(0, there, numbers)[:n]
        self.empty = tokens == NOWHERE
        self.tokens = tokens.clamp_min_(0)
        self.places = places.clamp_min(0)  # what is at the first place comes back for tokens of no sequence too
        # Queries, keys and values are spread, and what comes out of attention is packed: derivatives go the other way.
        self._spreading = {kinds: self._rows_to_spread(kinds) for kinds in (3, 1)[: 1 + gradients]}
        self._packing = {kinds: self._rows_to_pack(kinds) for kinds in (1, 3)[: 1 + gradients]}

    def spread(self, packed: torch.Tensor, kinds: int) -> torch.Tensor:
        """Sequences side by side and split into heads, with the features of some token where there is none.

        :param packed: shape (n_tokens, kinds × heads × n_features)
        :return: shape (kinds, sequences × heads, width, n_features)
        """
        pieces = packed.contiguous().view(packed.shape[0] * kinds * self.heads, -1)
        rows = self._spreading[kinds]
        return pieces.index_select(0, rows).view(kinds, self.sequences * self.heads, self.width, -1)

    def pack(self, split: torch.Tensor, kinds: int) -> torch.Tensor:
        """The opposite of `spread`."""
        pieces = split.view(-1, split.shape[-1])
        return pieces.index_select(0, self._packing[kinds]).view(self.places.shape[0], -1)

    def clear(self, split: torch.Tensor) -> torch.Tensor:
        """Zeros, in place, where there are no tokens, in what has one kind of features."""
        empty = self.empty.view(self.sequences, 1, self.width, 1)
        split.view(self.sequences, self.heads, self.width, -1).masked_fill_(empty, 0.0)
        return split

    def take_over(self, other: Packing) -> None:
        """Become equal to another one of the same shape, in the memory that this one has."""
        for mine, its in zip(self._tensors(), other._tensors(), strict=True):
            mine.copy_(its)

    def _tensors(self) -> list[torch.Tensor]:
        return [self.tokens, self.empty, self.places, *self._spreading.values(), *self._packing.values()]

    def _rows_to_spread(self, kinds: int) -> torch.Tensor:
        """The piece that comes to each place: for each kind, sequence, head and number within the sequence."""
        pieces = torch.arange(kinds * self.heads, device=self.tokens.device).view(kinds, 1, self.heads, 1)
        return (pieces + (self.tokens * (kinds * self.heads)).view(-1, 1, self.width)).view(-1)

    def _rows_to_pack(self, kinds: int) -> torch.Tensor:
        """The place of each piece: for each token, kind and head."""
        sequence = torch.div(self.places, self.width, rounding_mode="floor")
        first = self.places + sequence.mul_((self.heads - 1) * self.width)
        steps = torch.arange(self.heads, device=first.device) * self.width
        steps = steps + torch.arange(kinds, device=first.device).view(-1, 1) * (self.tokens.shape[0] * self.heads)
        return (first.unsqueeze(1) + steps.view(-1)).view(-1)


def attention(qkv: torch.Tensor, bias: torch.Tensor, packing: Packing) -> torch.Tensor:
    """Self-attention among the tokens of each sequence: softmax(Q Kᵀ + bias) V.

    :param qkv: queries (scaled already), keys and values, shape (n_tokens, 3 × n_features)
    :param bias: of each token as a key, shape (n_tokens,)
    :param packing: which tokens belong together
    :return: shape (n_tokens, n_features)
    """
    return _Attention.apply(qkv, bias, packing) if _has_gradient(qkv, bias) else _attend(qkv, bias, packing)[0]


class _Matrix:
    """A matrix that never changes, laid out for products with it on CPUs; GPUs take it as it is, and need no copy."""

    def __init__(self, matrix: torch.Tensor):
        on_cpu = matrix.device.type == "cpu"
        self._matrix = matrix.contiguous() if on_cpu else matrix
        self._prepared = None
        if on_cpu and matrix.dtype == torch.float32 and has_onednn():
            self._prepared = torch.ops.mkldnn._reorder_linear_weight(self._matrix, _TYPICAL_ROWS)

    def times(self, x: torch.Tensor, bias: torch.Tensor | None = None, then: str = "none") -> torch.Tensor:
        """The product x Mᵀ + bias, or a function of it: its ``sigmoid``, or ``swish``, which is SiLU."""
        if self._by_onednn(x):
            return torch.ops.mkldnn._linear_pointwise(x, self._prepared, bias, then, [], "")
        return _FUNCTIONS[then](torch.nn.functional.linear(x, self._matrix, bias))

    def times_and(self, x: torch.Tensor, bias: torch.Tensor | None, how: str, other: torch.Tensor) -> torch.Tensor:
        """The product x Mᵀ + bias, to which another matrix is added (``add``) or which it multiplies (``mul``)."""
        if self._by_onednn(x):
            return torch.ops.mkldnn._linear_pointwise.binary(x, other, self._prepared, bias, how)
        product = torch.nn.functional.linear(x, self._matrix, bias)
        return product.add_(other) if how == "add" else product.mul_(other)

    def _by_onednn(self, x: torch.Tensor) -> bool:
        return self._prepared is not None and x.shape[0] * self._matrix.numel() > _FEW


def _has_gradient(*tensors: torch.Tensor) -> bool:
    """Tell whether derivatives with respect to one of them may be asked for; else autograd need not know of it."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: Linear) -> torch.Tensor:
        ctx.layer = layer
        return layer.weight.times(x, layer.bias)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return ctx.layer.transposed.times(grads[0]), None


class _LinearPlus(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, residual: torch.Tensor, layer: Linear) -> torch.Tensor:
        ctx.layer = layer
        return layer.weight.times_and(x, layer.bias, "add", residual)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad,) = grads
        return ctx.layer.transposed.times(grad), grad if ctx.needs_input_grad[1] else None, None


class _SiLU(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: Linear) -> torch.Tensor:
        y = layer.weight.times(x, layer.bias)
        ctx.layer = layer
        ctx.save_for_backward(y)
        return torch.nn.functional.silu(y)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (y,) = ctx.saved_tensors
        return ctx.layer.transposed.times(torch.ops.aten.silu_backward(grads[0], y)), None


class _SwiGLU(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: SwiGLU) -> torch.Tensor:
        y, gate = layer.parts(x)
        ctx.layer = layer
        ctx.save_for_backward(y, gate)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        y, gate = ctx.saved_tensors
        by_value = ctx.layer.value.transposed.times(grads[0] * gate)
        by_gate = grads[0] * y
        by_gate.addcmul_(by_gate, gate, value=-1.0)  # σ' = σ (1 - σ)
        return ctx.layer.gate.transposed.times_and(by_gate, None, "add", by_value), None


class _RMSNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: RMSNorm) -> torch.Tensor:
        scale = layer.scale(x)
        ctx.layer = layer
        ctx.save_for_backward(x, scale)
        return layer.scaled(x, scale)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, scale = ctx.saved_tensors
        grad = grads[0] * ctx.layer.weight
        along = (grad * x).sum(1, keepdim=True).mul_(scale).mul_(scale).div_(x.shape[1])
        return grad.addcmul_(x, along, value=-1.0).mul_(scale), None


class _Attention(Function):
    @staticmethod
    def forward(ctx: Any, qkv: torch.Tensor, bias: torch.Tensor, packing: Packing) -> torch.Tensor:
        result, *kept = _attend(qkv, bias, packing)
        ctx.packing = packing
        ctx.save_for_backward(*kept)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, weights = ctx.saved_tensors
        packing: Packing = ctx.packing
        (grad,) = packing.clear(packing.spread(grads[0], 1))
        by_weights = torch.bmm(grad, v.transpose(1, 2))
        by_scores = torch.ops.aten._softmax_backward_data(by_weights, weights, -1, weights.dtype)
        by_bias = _by_head(by_scores, packing).sum((1, 2)).view(-1).index_select(0, packing.places)
        by_qkv = torch.empty((3, *q.shape), dtype=q.dtype, device=q.device)
        torch.bmm(by_scores, k, out=by_qkv[0])
        torch.bmm(by_scores.transpose(1, 2), q, out=by_qkv[1])
        torch.bmm(weights.transpose(1, 2), grad, out=by_qkv[2])
        return packing.pack(by_qkv, 3), by_bias, None


def _attend(
    qkv: torch.Tensor, bias: torch.Tensor, packing: Packing
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The result of `attention`, with queries, keys, values and weights of the sequences side by side."""
    q, k, v = packing.spread(qkv, 3)
    scores = torch.bmm(q, k.transpose(1, 2))
    # Empty places get no weight.
    keys = bias.index_select(0, packing.tokens).masked_fill_(packing.empty, -torch.inf)
    _by_head(scores, packing).add_(keys.view(packing.sequences, 1, 1, packing.width))
    weights = torch.softmax(scores, -1)  # in place it takes twice as long
    return packing.pack(torch.bmm(weights, v), 1), q, k, v, weights


def _by_head(scores: torch.Tensor, packing: Packing) -> torch.Tensor:
    return scores.view(packing.sequences, -1, packing.width, packing.width)


@cache
def has_onednn() -> bool:
    """Tell whether this PyTorch has what its own compiler uses of oneDNN."""
    try:
        x = torch.ones((2, 2))
        prepared = torch.ops.mkldnn._reorder_linear_weight(x, _TYPICAL_ROWS)
        both = torch.ops.mkldnn._linear_pointwise(x, prepared, x[0], "none", [], "")
        return torch.ops.mkldnn._linear_pointwise.binary(x, both, prepared, None, "mul").tolist() == [[6.0, 6.0]] * 2
    except (AttributeError, RuntimeError):
        return False
