"""Small PET models of direct forces, as metatrain makes, saves and loads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..atomic import atomic_file
from ..models.registry.export import quiet

DIRECT = "non_conservative_force"
# Widths of all layers, numbers of layers and cutoffs, Å: what decides the cost of an evaluation.
SIZES: dict[str, dict[str, Any]] = {
    "xs": {"width": 32, "layers": 1, "cutoff": 3.0},
    "s": {"width": 32, "layers": 2, "cutoff": 3.0},
    "m": {"width": 48, "layers": 2, "cutoff": 3.5},
}


def new_model(elements: Sequence[int], width: int, layers: int, cutoff: float, seed: int = 0) -> Any:
    """An untrained PET of metatrain with direct forces; its energy is 0, and costs nothing where `PetModel` runs it.

    :param elements: atomic numbers
    :param width: of the features of atoms and pairs, and of all hidden layers
    :param layers: rounds of messages
    :param cutoff: Å
    :param seed: of the random weights
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
            "cutoff": cutoff,
            **dict.fromkeys(("d_pet", "d_node", "d_head", "d_feedforward"), width),
            "num_heads": 2,
            "num_attention_layers": 1,
            "num_gnn_layers": layers,
        }
        torch.manual_seed(seed)
        model = PET(settings, DatasetInfo("angstrom", sorted(map(int, elements)), targets))
    for part in (model.backend.node_last_layers, model.backend.edge_last_layers):
        for parameter in part["energy"].parameters():
            torch.nn.init.zeros_(parameter)
    return model


def save(model: Any, path: Path) -> None:
    """Write a metatrain checkpoint: a whole file or none.

    :param model: from `new_model`
    """
    checkpoint = {**model.get_checkpoint(), "epoch": 0, "best_epoch": 0}
    with atomic_file(path) as fresh:
        torch.save(checkpoint, fresh)
