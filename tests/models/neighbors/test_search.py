"""Neighbours found on a device: those found on the host, in an order that does not depend on the device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from disorder import CELLS, atoms

from ipi_darkforces import Structure
from ipi_darkforces.models.neighbors import search as search_module
from ipi_darkforces.models.neighbors.search import CPU, LARGE, search, search_on

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CUTOFF = 3.5
ROTATION, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
SMALL = {kind: atoms(cell) for kind, cell in CELLS.items()}
LIQUIDS = {
    "triclinic": np.array([[24.0, 0.0, 0.0], [7.0, 23.0, 0.0], [-6.0, 9.0, 25.0]]),
    "rotated": 24.0 * ROTATION,
    "slab, rotated": np.diag([25.0, 20.0, 0.0]) @ ROTATION,
    "vacuum": np.zeros((3, 3)),
}


def liquid(cell: np.ndarray) -> Structure:
    """Atoms without order, in more than one cell, as they come from a long simulation."""
    box = np.where(cell.any(axis=1, keepdims=True), cell, 20.0 * ROTATION)
    n = 2 * LARGE
    return Structure(np.ones(n, np.int32), np.random.default_rng(4).uniform(-0.5, 1.5, (n, 3)) @ box, cell)


LARGE_ONES = {f"liquid, {kind}": liquid(cell) for kind, cell in LIQUIDS.items()}
# Small ones are searched for on the host, and need not be possible on others.
CASES = [pytest.param(structure, "cpu", id=kind) for kind, structure in (SMALL | LARGE_ONES).items()]
CASES += [pytest.param(s, "cuda", id=f"{kind} on_a_device", marks=needs_cuda) for kind, s in LARGE_ONES.items()]


def found(structure: Structure, device: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    asked = structure.positions, structure.cell, structure.periodic, CUTOFF
    return search(*asked, CPU) if device is None else search_on(torch.device(device), *asked)


def both_ways(pairs: np.ndarray, shifts: np.ndarray) -> list[tuple[int, ...]]:
    there, back = np.hstack([pairs, shifts]), np.hstack([pairs[:, ::-1], -shifts])
    return sorted(map(tuple, np.vstack([there, back]).tolist()))


@pytest.mark.parametrize(("structure", "device"), CASES)
def test_as_on_the_host(structure: Structure, device: str) -> None:
    ours, theirs = found(structure, device), found(structure)
    assert len(ours[0]) > 0
    assert both_ways(*ours) == both_ways(*theirs)
    rows = np.hstack(ours).tolist()
    assert rows == sorted(rows)


def test_no_pairs() -> None:
    structure = Structure(np.ones(2, np.int32), np.array([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]]), np.zeros((3, 3)))
    for device in (None, "cpu"):
        pairs, shifts = found(structure, device)
        assert (pairs.shape, shifts.shape) == ((0, 2), (0, 3))


def test_the_host_where_the_device_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same without NVRTC, which cannot be shown on a machine without such a device."""
    asked = []

    def refuse(device: torch.device, *_: object) -> None:
        asked.append(device)
        raise RuntimeError("NVRTC library not loaded")

    monkeypatch.setattr(search_module, "search_on", refuse)
    structure, device = LARGE_ONES["liquid, triclinic"], torch.device("cuda")
    pairs, shifts = search(structure.positions, structure.cell, structure.periodic, CUTOFF, device)
    assert asked == [device]
    assert both_ways(pairs, shifts) == both_ways(*found(structure))
