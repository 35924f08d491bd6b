"""The loss that holds direct forces to conservative ones: what it adds, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch
from metatensor.torch import Labels, TensorBlock, TensorMap

from ipi_darkforces.training.recipes.agreement import MSEWithAgreement

SCALES = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64)  # of the direct forces of three atoms
GRADIENT_SCALE = 7.0


def maps(conservative: torch.Tensor, direct: torch.Tensor, gradients: bool = True) -> dict[str, TensorMap]:
    """Forces (3, 3) as metatrain hands them to losses: gradients and direct forces, each over its scales."""
    key = Labels(["_"], torch.tensor([[0]]))
    xyz = Labels(["xyz"], torch.arange(3)[:, None])
    one = Labels(["energy"], torch.tensor([[0]]))
    energy = TensorBlock(torch.zeros(1, 1, dtype=torch.float64), Labels(["system"], torch.tensor([[0]])), [], one)
    if gradients:
        samples = Labels(["sample", "system", "atom"], torch.tensor([[0, 0, i] for i in range(3)]))
        values = (-conservative / GRADIENT_SCALE)[:, :, None]
        energy.add_gradient("positions", TensorBlock(values, samples, [xyz], one))
    atoms = Labels(["system", "atom"], torch.tensor([[0, i] for i in range(3)]))
    block = TensorBlock((direct / SCALES[:, None])[:, :, None], atoms, [xyz], Labels(["force"], torch.tensor([[0]])))
    return {"energy": TensorMap(key, [energy]), "direct": TensorMap(key, [block])}


def forces(seed: int) -> torch.Tensor:
    return torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss(agreement: float) -> MSEWithAgreement:
    return MSEWithAgreement("direct", None, 1.0, "mean", agreement=agreement)


def test_adds_the_difference_of_the_heads_in_the_direct_forces_scales() -> None:
    labels, conservative, direct = forces(0), forces(1), forces(2)
    targets, predictions = maps(labels, labels), maps(conservative, direct)
    error = ((direct - labels) / SCALES[:, None]).square().mean()
    difference = ((direct - conservative) / SCALES[:, None]).square().mean()
    assert loss(0.0).compute(predictions, targets) == pytest.approx(error.item(), rel=1e-12)
    assert loss(0.4).compute(predictions, targets) == pytest.approx((error + 0.4 * difference).item(), rel=1e-12)


def test_heads_that_agree_pay_for_their_error_only() -> None:
    labels, both = forces(0), forces(1)
    targets, predictions = maps(labels, labels), maps(both, both)
    assert loss(5.0).compute(predictions, targets) == pytest.approx(loss(0.0).compute(predictions, targets).item())


def test_both_heads_learn_from_it() -> None:
    labels = forces(0)
    conservative, direct = forces(1).requires_grad_(), labels.clone().requires_grad_()
    loss(1.0).compute(maps(conservative, direct), maps(labels, labels)).backward()
    assert conservative.grad is not None
    assert conservative.grad.abs().min() > 0.0
    assert direct.grad is not None
    assert direct.grad.abs().min() > 0.0


def test_structures_without_gradients_have_only_the_error() -> None:
    labels, direct = forces(0), forces(2)
    targets, predictions = maps(labels, labels, gradients=False), maps(labels, direct, gradients=False)
    assert loss(1.0).compute(predictions, targets) == loss(0.0).compute(predictions, targets)
