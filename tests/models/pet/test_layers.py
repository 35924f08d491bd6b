"""Each layer is the function that it says, and so are its derivatives, whether they are asked for or not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import linear, rms_norm, silu

from ipi_darkforces.models.pet import layers as pet_layers_module
from ipi_darkforces.models.pet.layers import BothOrders, Linear, RMSNorm, SwiGLU

N, WIDTH, HIDDEN = 7, 8, 12
Function = Callable[[torch.Tensor], torch.Tensor]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(1)


def with_epsilon(epsilon: float | None) -> torch.nn.RMSNorm:
    norm = torch.nn.RMSNorm(WIDTH, eps=epsilon, dtype=torch.float64)
    torch.nn.init.normal_(norm.weight)
    return norm


def layers() -> dict[str, tuple[Function, Function]]:
    """Ours, and the formulas."""
    single = torch.nn.Linear(WIDTH, HIDDEN, dtype=torch.float64)
    double = torch.nn.Linear(WIDTH, 2 * HIDDEN, dtype=torch.float64)
    norm, rounding = with_epsilon(0.01), with_epsilon(None)
    ours, glu = Linear.of(single), SwiGLU(double)
    residual = torch.randn(N, HIDDEN, dtype=torch.float64)

    def gated(x: torch.Tensor) -> torch.Tensor:
        values, gates = linear(x, double.weight, double.bias).chunk(2, dim=1)
        return values * torch.sigmoid(gates)

    def both_orders(x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, dim=1)
        return torch.cat([silu(single(x)), silu(single(torch.cat([b, a], 1)))], 1)

    return {
        "linear": (ours, single),
        "plus": (lambda x: ours.plus(x, residual), lambda x: single(x) + residual),
        "plus, of both": (
            lambda x: ours.plus(x, torch.cat([x, x[:, :4]], 1)),
            lambda x: single(x) + torch.cat([x, x[:, :4]], 1),
        ),
        "silu": (ours.silu, lambda x: silu(single(x))),
        "SwiGLU": (glu, gated),
        "both orders": (BothOrders(single.weight.detach(), single.bias.detach()), both_orders),
        "RMSNorm": (RMSNorm(norm), lambda x: rms_norm(x, (WIDTH,), norm.weight, 0.01)),
        "RMSNorm, smallest ε": (RMSNorm(rounding), rounding),
    }


@pytest.mark.parametrize("name", layers())
def test_values_and_derivatives(name: str) -> None:
    ours, formula = layers()[name]
    x = torch.randn(N, WIDTH, dtype=torch.float64, requires_grad=True)
    y, expected = ours(x), formula(x)
    torch.testing.assert_close(y, expected, rtol=1e-13, atol=1e-13)
    weights = torch.randn_like(expected)
    (found,) = torch.autograd.grad((weights * y).sum(), x)
    (wanted,) = torch.autograd.grad((weights * expected).sum(), x)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", layers())
def test_nothing_is_kept_where_no_derivatives_are_asked_for(name: str) -> None:
    ours, formula = layers()[name]
    x = torch.randn(N, WIDTH, dtype=torch.float64)
    before = x.clone()
    assert ours(x).grad_fn is None
    with torch.no_grad():
        y = ours(x.requires_grad_())
        torch.testing.assert_close(y, formula(x), rtol=1e-13, atol=1e-13)
    assert y.grad_fn is None
    assert torch.equal(x, before)


@pytest.mark.parametrize("few", [0, 10**9])
def test_single_precision(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products with oneDNN, and without it, which is for few rows."""
    monkeypatch.setattr(pet_layers_module, "_FEW", few)
    module, double = torch.nn.Linear(WIDTH, HIDDEN), torch.nn.Linear(WIDTH, 2 * HIDDEN)
    layer, x = Linear.of(module), torch.randn(N, WIDTH)
    residual = torch.randn(N, HIDDEN)
    kept, expected = residual.clone(), module(x).detach()
    values, gates = double(x).detach().chunk(2, dim=1)
    torch.testing.assert_close(layer.plus(x, residual), expected + kept)
    torch.testing.assert_close(layer.silu(x), silu(expected))
    torch.testing.assert_close(SwiGLU(double)(x), values * torch.sigmoid(gates))
    assert torch.equal(residual, kept)
    assert layer.silu(x[:0]).shape == (0, HIDDEN)
