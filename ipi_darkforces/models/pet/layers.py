"""The layers that transformers are made of, for networks whose weights are fixed.

Gradients are with respect to the inputs alone, so that little need be remembered and matrices can be laid out in
advance. In single precision on CPUs, large products go through oneDNN, with the full precision of the inputs: PyTorch's
default there, MKL, does not use all that the processors of other makers than its own can do. Small ones do not, as each
call of oneDNN takes some 10 µs more.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch.autograd import Function

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
        return _Linear.apply(x, self) if has_gradient(x) else self.weight.times(x, self.bias)

    def plus(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """Apply it, with something added."""
        if has_gradient(x, residual):
            return _LinearPlus.apply(x, residual, self)
        return self.weight.times_and(x, self.bias, "add", residual)

    def silu(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it, with y / (1 + exp(-y)) for y."""
        return _SiLU.apply(x, self) if has_gradient(x) else self.weight.times(x, self.bias, then="swish")

    def products(self, x: torch.Tensor) -> torch.Tensor:
        """The result for x, which has no gradient."""
        return self.weight.times(x, self.bias)

    def transposed_products(self, grad: torch.Tensor) -> torch.Tensor:
        """The derivative of the result with respect to x, times grad, shape (n_rows, n_in)."""
        return self.transposed.times(grad)


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
        return _SwiGLU.apply(x, self) if has_gradient(x) else self.parts(x)[0]

    def parts(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The result, and its second factor."""
        gate = self.gate.weight.times(x, self.gate.bias, then="sigmoid")
        return self.value.weight.times_and(x, self.value.bias, "mul", gate), gate


class BothOrders:
    """The SiLU of one linear layer for [a, b] and for [b, a].

    Where A multiplies the first half and B the second, the sum of the two results comes from a + b and their difference
    from a - b alone, which takes half as many multiplications.

    :param weight: [A, B], shape (n_out, 2 × n_features)
    :param bias: shape (n_out,)
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor):
        a, b = weight.chunk(2, 1)
        self.same = Linear(0.5 * (a + b), bias)
        self.opposite = Linear(0.5 * (a - b), torch.zeros_like(bias))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The results for x, shape (n_rows, 2 × n_features), one beside the other, shape (n_rows, 2 × n_out)."""
        if has_gradient(x):
            return _SiLU.apply(x, self)
        return torch.nn.functional.silu(self.products(x), inplace=True)

    def products(self, x: torch.Tensor) -> torch.Tensor:
        """The results before SiLU."""
        return _both_orders(x, self.same.weight, self.opposite.weight, self.same.bias)

    def transposed_products(self, grad: torch.Tensor) -> torch.Tensor:
        """The derivative of these with respect to x, times grad, shape (n_rows, 2 × n_features)."""
        return _both_orders(grad, self.same.transposed, self.opposite.transposed)


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
        return _RMSNorm.apply(x, self) if has_gradient(x) else self.scaled(x, self.scale(x))

    def scale(self, x: torch.Tensor) -> torch.Tensor:
        """Factors of rows, shape (n_rows, 1)."""
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        return torch.addcmul(self._added, norm, norm, value=1.0 / x.shape[1]).rsqrt_()

    def scaled(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """The result for x with this scale."""
        return (x * scale).mul_(self.weight)


class _Matrix:
    """A matrix that never changes, laid out for products with it on CPUs; GPUs take it as it is, and need no copy."""

    def __init__(self, matrix: torch.Tensor):
        on_cpu = matrix.device.type == "cpu"
        self._matrix = matrix.contiguous() if on_cpu else matrix
        self._prepared, self._few = None, math.inf
        if on_cpu and matrix.dtype == torch.float32 and has_onednn():
            self._prepared = torch.ops.mkldnn._reorder_linear_weight(self._matrix, _TYPICAL_ROWS)
            self._few = _FEW / matrix.numel()

    def times(self, x: torch.Tensor, bias: torch.Tensor | None = None, then: str = "none") -> torch.Tensor:
        """The product x Mᵀ + bias, or a function of it: its ``sigmoid``, or ``swish``, which is SiLU."""
        if x.shape[0] > self._few:
            return torch.ops.mkldnn._linear_pointwise(x, self._prepared, bias, then, [], "")
        return _FUNCTIONS[then](torch.nn.functional.linear(x, self._matrix, bias))

    def times_and(self, x: torch.Tensor, bias: torch.Tensor | None, how: str, other: torch.Tensor) -> torch.Tensor:
        """The product x Mᵀ + bias, to which another matrix is added (``add``) or which it multiplies (``mul``)."""
        if x.shape[0] > self._few:
            return torch.ops.mkldnn._linear_pointwise.binary(x, other, self._prepared, bias, how)
        product = torch.nn.functional.linear(x, self._matrix, bias)
        return product.add_(other) if how == "add" else product.mul_(other)


def has_gradient(*tensors: torch.Tensor) -> bool:
    """Tell whether derivatives with respect to one of them may be asked for; else autograd need not know of it."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _both_orders(x: torch.Tensor, same: _Matrix, opposite: _Matrix, bias: torch.Tensor | None = None) -> torch.Tensor:
    """The products of [a, b] and [b, a], of the matrices for a + b and for a - b; the same again for derivatives."""
    a, b = x.chunk(2, 1)
    of_sum, of_difference = same.times(a + b, bias), opposite.times(a - b)
    width = of_sum.shape[1]
    y = x.new_empty((len(x), 2 * width))
    torch.add(of_sum, of_difference, out=y[:, :width])
    torch.sub(of_sum, of_difference, out=y[:, width:])
    return y


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
    def forward(ctx: Any, x: torch.Tensor, layer: Linear | BothOrders) -> torch.Tensor:
        y = layer.products(x)
        ctx.layer = layer
        ctx.save_for_backward(y)
        return torch.nn.functional.silu(y)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (y,) = ctx.saved_tensors
        return ctx.layer.transposed_products(torch.ops.aten.silu_backward(grads[0], y)), None


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
