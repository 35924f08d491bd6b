"""Small PET models of direct forces, as metatrain makes, saves and loads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..atomic import atomic_file
from ..models.neighbors.search import CPU, search
from ..models.registry.export import quiet
from ..models.structure import Structure

DIRECT = "non_conservative_force"
_FARTHEST = 8.0  # Å, within which nearest neighbours are looked for


@dataclass(frozen=True)
class Shape:
    """Size of a network, which decides the cost of an evaluation.

    :param width: of the features of atoms and pairs, and of all hidden layers
    :param layers: rounds of messages
    :param cutoff: Å
    """

    width: int
    layers: int
    cutoff: float


SIZES = {"xs": Shape(32, 1, 3.0), "s": Shape(32, 2, 3.0), "m": Shape(48, 2, 3.5)}
_SHELLS = 1.6  # cutoffs are at least so many distances of nearest neighbours: two shells of a metal


def shape_for(size: str, structures: Sequence[Structure]) -> Shape:
    """The shape of a size, with a cutoff that sees more than the nearest neighbours.

    :param size: one of `SIZES`
    :param structures: that the model is for
    """
    shape = SIZES[size]
    nearest = np.concatenate([_nearest(structure) for structure in structures])
    typical = float(np.median(nearest)) if len(nearest) else 0.0
    return replace(shape, cutoff=max(shape.cutoff, round(_SHELLS * typical, 1)))


def _nearest(structure: Structure) -> np.ndarray:
    """Distances from atoms to their nearest neighbours, of those that have any, Å."""
    pairs, images = search(structure.positions, structure.cell, structure.periodic, _FARTHEST, CPU)
    vectors = structure.positions[pairs[:, 1]] - structure.positions[pairs[:, 0]] + images @ structure.cell
    nearest = np.full(len(structure.species), np.inf)
    for end in range(2):
        np.minimum.at(nearest, pairs[:, end], np.linalg.norm(vectors, axis=1))
    return nearest[np.isfinite(nearest)]


def new_model(elements: Sequence[int], shape: Shape, seed: int = 0) -> Any:
    """An untrained PET of metatrain with direct forces; its energy is 0, and costs nothing where `PetModel` runs it.

    :param elements: atomic numbers
    """
    with quiet():
        from metatrain.pet import PET
        from metatrain.utils.architectures import get_default_hypers
        from metatrain.utils.data import DatasetInfo
        from metatrain.utils.data.target_info import get_energy_target_info, get_generic_target_info

        forces = {
            "quantity": "force",
            "unit": "eV/Angstrom",
            "type": {"cartesian": {"rank": 1}},
            "num_subtargets": 1,
            "sample_kind": "atom",
            "description": "",
        }
        targets = {
            "energy": get_energy_target_info("energy", {"quantity": "energy", "unit": "eV"}),
            DIRECT: get_generic_target_info(DIRECT, forces),
        }
        settings = {
            **get_default_hypers("pet")["model"],
            "cutoff": shape.cutoff,
            **dict.fromkeys(("d_pet", "d_node", "d_head", "d_feedforward"), shape.width),
            "num_heads": 2,
            "num_attention_layers": 1,
            "num_gnn_layers": shape.layers,
        }
        torch.manual_seed(seed)
        model = PET(settings, DatasetInfo("angstrom", sorted(map(int, elements)), targets))
    for part in (model.backend.node_last_layers, model.backend.edge_last_layers):
        for parameter in part["energy"].parameters():
            torch.nn.init.zeros_(parameter)
    return model


def save(model: Any, path: Path) -> None:
    """Write a metatrain checkpoint atomically.

    :param model: from `new_model`
    """
    checkpoint = {**model.get_checkpoint(), "epoch": 0, "best_epoch": 0}
    with atomic_file(path) as fresh:
        torch.save(checkpoint, fresh)
