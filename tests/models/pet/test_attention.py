"""Attention is its formula, however the sequences are laid out, and so are its derivatives."""

from __future__ import annotations

import pytest
import torch

from ipi_darkforces.models.pet.attention import NOWHERE, Packing, attention


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(1)


class TestAttention:
    """Five sequences in two blocks; the last token is in none."""

    HEADS, FEATURES = 2, 3
    LENGTHS = (2, 4, 1, 3, 2)
    BLOCKS = ((3, 2), (2, 4))  # the sequences of up to two tokens, and the others
    FIRST = (0, 6, 2, 10, 4)  # places of their first tokens

    def places(self) -> torch.Tensor:
        both = zip(self.FIRST, self.LENGTHS, strict=True)
        return torch.tensor([first + i for first, length in both for i in range(length)] + [NOWHERE])

    def formula(self, qkv: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        results = []
        for own, keys in zip(qkv[:-1].split(self.LENGTHS), bias[:-1].split(self.LENGTHS), strict=True):
            q, k, v = own.view(len(own), 3, self.HEADS, -1).permute(1, 2, 0, 3)
            weights = torch.softmax(q @ k.transpose(1, 2) + keys, -1)
            results.append((weights @ v).transpose(0, 1).reshape(len(own), -1))
        return torch.cat(results)

    def test_values_and_derivatives(self) -> None:
        n = sum(self.LENGTHS) + 1
        qkv = torch.randn(n, 3 * self.HEADS * self.FEATURES, dtype=torch.float64, requires_grad=True)
        bias = torch.randn(n, dtype=torch.float64, requires_grad=True)
        weights = torch.randn(n - 1, self.HEADS * self.FEATURES, dtype=torch.float64)
        packing = Packing(self.places(), self.BLOCKS, self.HEADS)
        y, expected = attention(qkv, packing.keys(bias), packing)[:-1], self.formula(qkv, bias)
        torch.testing.assert_close(y, expected, rtol=1e-13, atol=1e-13)
        found = torch.autograd.grad((weights * y).sum(), (qkv, bias))
        wanted = torch.autograd.grad((weights * expected).sum(), (qkv, bias))
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one[:-1], other[:-1], rtol=1e-12, atol=1e-12)

    def test_without_derivatives(self) -> None:
        n = sum(self.LENGTHS) + 1
        qkv, bias = torch.randn(n, 3 * self.HEADS * self.FEATURES), torch.randn(n)
        packing = Packing(self.places(), self.BLOCKS, self.HEADS, gradients=False)
        torch.testing.assert_close(attention(qkv, packing.keys(bias), packing)[:-1], self.formula(qkv, bias))
