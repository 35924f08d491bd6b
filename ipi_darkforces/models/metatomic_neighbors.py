"""Pairs of neighbours for metatomic models, with distances that keep their digits.

i-PI's positions are double precision and unwrapped. Wrapping and differences are done in double precision and only the
result is cast to the model's precision, so that a float32 model loses no digits when a molecule has diffused twenty
cells away. vesin finds the pairs, on the CPU or on the GPU, and keeps them (a Verlet list) while no atom has moved by
more than half the skin.
"""

from __future__ import annotations

import metatomic.torch as mta
import torch
import vesin
from metatensor.torch import Labels, TensorBlock

from .neighbors.search import load_nvrtc
from .neighbors.verlet import SKIN

_SAMPLES = ["first_atom", "second_atom", "cell_shift_a", "cell_shift_b", "cell_shift_c"]


def wrap(positions: torch.Tensor, cell: torch.Tensor, periodic: torch.Tensor) -> torch.Tensor:
    """Positions (n, 3) moved by whole cell vectors, along periodic directions, to lie in the cell (3, 3)."""
    if not bool(periodic.any()):
        return positions
    fractional = positions @ torch.linalg.pinv(cell)
    return positions - torch.where(periodic, torch.floor(fractional), 0.0) @ cell


class NeighborList:
    """A neighbour list that a metatomic model asks for.

    :param options: what the model asks for: cutoff, full or half list
    :param device: where the distances are needed
    """

    def __init__(self, options: mta.NeighborListOptions, device: torch.device):
        if device.type == "cuda":
            load_nvrtc()
        self.options = options
        self._vesin = vesin.NeighborList(
            cutoff=options.engine_cutoff("angstrom"), full_list=options.full_list, skin=SKIN
        )
        self._components = Labels("xyz", torch.arange(3, device=device).reshape(3, 1))
        self._properties = Labels("distance", torch.zeros((1, 1), dtype=torch.int64, device=device))

    def attach(self, system: mta.System, positions: torch.Tensor, cell: torch.Tensor) -> None:
        """Compute the list and add it to `system`, differentiable with respect to its positions and cell.

        :param system: the model's view of the structure, in the model's precision
        :param positions: Å, wrapped, the same positions in double precision, shape (n_atoms, 3)
        :param cell: Å, likewise, shape (3, 3)
        """
        pairs, shifts, vectors = self._vesin.compute(
            points=positions, box=cell, periodic=system.pbc, quantities="PSD", copy=True
        )
        samples = torch.hstack([pairs.to(torch.int32), shifts.to(torch.int32)])
        block = TensorBlock(
            vectors.to(system.positions.dtype).reshape(-1, 3, 1),
            Labels(_SAMPLES, samples, assume_unique=True),
            [self._components],
            self._properties,
        )
        mta.register_autograd_neighbors(system, block, check_consistency=False)
        system.add_neighbor_list(self.options, block)
