"""The optimizer: what it does to matrices, what it leaves to Adam, and that it goes on where it was."""

from __future__ import annotations

import copy

import torch
from torch.optim.lr_scheduler import LambdaLR

from ipi_darkforces.training.muon import MuonAndAdam, orthogonalized


def network(seed: int = 0) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(20, 32), torch.nn.SiLU(), torch.nn.Linear(32, 1)).double()


def loss(model: torch.nn.Module) -> torch.Tensor:
    """Loss of a product of two inputs, on fixed points."""
    x = torch.randn(64, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return ((model(x) - x[:, :1] * x[:, 1:2]) ** 2).mean()


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model).backward()
        optimizer.step()


def test_singular_values_become_about_one() -> None:
    for shape in ((32, 20), (20, 32)):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        values = torch.linalg.svdvals(orthogonalized(matrix))
        assert values.min() > 0.5
        assert values.max() < 1.3


def test_same_directions_as_exact_orthogonalization() -> None:
    left, right = torch.linalg.qr(torch.randn(20, 20, dtype=torch.float64))[0], torch.eye(20, dtype=torch.float64)
    scaled = orthogonalized(left @ torch.diag(torch.linspace(0.5, 1.0, 20, dtype=torch.float64)) @ right)
    off_diagonal = left.T @ scaled - torch.diag(torch.diagonal(left.T @ scaled))
    assert off_diagonal.abs().max() < 1e-12


def test_small_ones_are_left_to_adam() -> None:
    """Biases and the output layer move as with Adam alone, the hidden matrix does not."""
    ours, theirs = network(), network()
    train(ours, MuonAndAdam(ours.parameters(), lr=1e-2), 1)
    train(theirs, torch.optim.Adam(theirs.parameters(), lr=1e-2), 1)
    same = [torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True)]
    assert same == [False, True, True, True]


def test_learns() -> None:
    model = network()
    before = loss(model).item()
    train(model, MuonAndAdam(model.parameters(), lr=1e-2), 200)
    assert loss(model).item() < 0.05 * before


def test_schedule_reaches_all() -> None:
    model = network()
    optimizer = MuonAndAdam(model.parameters(), lr=1e-2)
    LambdaLR(optimizer, lambda step: 0.0)
    before = copy.deepcopy(model.state_dict())
    train(model, optimizer, 2)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_goes_on_as_if_never_stopped() -> None:
    model = network()
    optimizer = MuonAndAdam(model.parameters(), lr=1e-2)
    train(model, optimizer, 5)
    other = copy.deepcopy(model)
    resumed = MuonAndAdam(other.parameters(), lr=1e-2)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(model, optimizer, 5)
    train(other, resumed, 5)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
