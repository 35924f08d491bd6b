"""Small PET models with random weights, as metatrain makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from metatrain.pet import PET
from metatrain.utils.architectures import get_default_hypers
from metatrain.utils.data import DatasetInfo
from metatrain.utils.data.target_info import get_energy_target_info, get_generic_target_info

SIZES = {"cutoff": 3.0, "d_pet": 16, "d_node": 24, "d_head": 8, "d_feedforward": 16, "num_heads": 2}


def random_pet(folder: Path, variant: str = "", elements: tuple[int, ...] = (1, 8), **hypers: Any) -> tuple[Path, PET]:
    """A model with an energy, direct forces and a direct stress, all of a variant; and its checkpoint."""
    torch.manual_seed(3)
    cartesian = {"quantity": "", "sample_kind": "atom", "num_subtargets": 1, "description": ""}
    force = cartesian | {"unit": "eV/Angstrom", "type": {"cartesian": {"rank": 1}}}
    stress = cartesian | {"unit": "eV/Angstrom^3", "type": {"cartesian": {"rank": 2}}, "sample_kind": "system"}
    suffix = f"/{variant}" if variant else ""
    names = [each + suffix for each in ("energy", "non_conservative_force", "non_conservative_stress")]
    targets = {
        names[0]: get_energy_target_info(names[0], {"quantity": "energy", "unit": "eV"}),
        names[1]: get_generic_target_info(names[1], force),
        names[2]: get_generic_target_info(names[2], stress),
    }
    info = DatasetInfo(length_unit="angstrom", atomic_types=list(elements), targets=targets)
    model = PET(get_default_hypers("pet")["model"] | SIZES | hypers, info)
    if model.system_conditioning is not None:  # whose last layer begins with zeros
        torch.nn.init.normal_(model.system_conditioning.project[2].weight, std=0.1)
    path = folder / "random.ckpt"
    torch.save(model.get_checkpoint() | {"epoch": 1, "best_epoch": 1}, path)
    return path, model
