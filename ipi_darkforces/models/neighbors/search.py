"""All pairs of atoms within a distance, each of them once: vesin's search, on the host or on a GPU."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
import torch
import vesin

CPU = torch.device("cpu")
# From how many atoms on a GPU is faster. A guess: of water, to 4 Å, a search takes the host 0.3 ms for 192 atoms and
# 8 ms for 5184.
LARGE = 1000


def search(
    positions: np.ndarray, cell: np.ndarray, periodic: np.ndarray, cutoff: float, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of atoms, and by how many cell vectors the second one is elsewhere.

    :param positions: Å, shape (n_atoms, 3)
    :param cell: Å, rows are cell vectors, shape (3, 3)
    :param periodic: along which of them, shape (3,)
    :param cutoff: Å
    :param device: what may be used; the host, if that cannot do it
    :return: shapes (n_pairs, 2) and (n_pairs, 3), integers
    """
    if device.type == "cuda" and len(positions) >= LARGE:
        try:
            return search_on(device, positions, cell, periodic, cutoff)
        except RuntimeError:
            pass  # without NVRTC, or in a cell that its kernels are not made for; vesin says which, and the host can
    pairs, shifts = vesin.NeighborList(cutoff=cutoff, full_list=False).compute(
        positions, cell, periodic, quantities="PS"
    )
    return pairs.astype(np.int64), shifts


def search_on(
    device: torch.device, positions: np.ndarray, cell: np.ndarray, periodic: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray]:
    """Search for neighbours on this device.

    GPUs find pairs in any order. They are sorted, so that sums over them are the same each time to the last digit.

    :raises RuntimeError: if the device cannot do it
    """
    if device.type == "cuda":
        load_nvrtc()
    there = [torch.tensor(array, device=device) for array in (positions, cell, periodic)]
    pairs, shifts = vesin.NeighborList(cutoff=cutoff, full_list=False).compute(*there, quantities="PS")
    found = torch.hstack([pairs.to(torch.int64), shifts.to(torch.int64)])
    for column in reversed(range(found.shape[1])):
        found = found[torch.argsort(found[:, column], stable=True)]
    array = found.cpu().numpy()
    return array[:, :2], array[:, 2:]


@cache
def load_nvrtc() -> None:
    """Load NVRTC, the compiler that vesin's CUDA kernels need, from beside PyTorch, if it is there.

    vesin asks the dynamic linker for it, which does not look among PyTorch's wheels, but finds what is loaded.
    Where there is none, as with a PyTorch from conda, it is left to the linker.
    """
    for path in Path(torch.__file__).parents[1].glob("nvidia/*/lib/libnvrtc.so.*"):
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
