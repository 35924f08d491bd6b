"""metatrain's uncertainties around PET models, with random covariances, as if they had been calibrated."""

from __future__ import annotations

from pathlib import Path

import torch
from metatrain.llpr import LLPRUncertaintyModel
from metatrain.pet import PET

MEMBERS = 5


def random_llpr(pet: PET, folder: Path, variant: str = "") -> tuple[Path, LLPRUncertaintyModel]:
    """A model with uncertainties and an ensemble of the energy; and its checkpoint."""
    torch.manual_seed(4)
    energy = f"energy/{variant}" if variant else "energy"
    model = LLPRUncertaintyModel({"num_ensemble_members": {energy: MEMBERS}}, pet.dataset_info)
    model.set_wrapped_model(pet)
    n = pet.last_layer_feature_size
    for name in model.outputs_list:
        uncertainty = "energy_uncertainty" if name == "energy" else f"mtt::aux::{name}_uncertainty"
        root = torch.randn(n, n) / n**0.5
        model._get_cholesky(uncertainty)[:] = 100.0 * torch.linalg.cholesky(root @ root.T + torch.eye(n))
        model._get_multiplier(uncertainty)[:] = 0.7
    model.generate_ensemble()
    path = folder / "llpr.ckpt"
    torch.save(model.get_checkpoint(), path)
    return path, model.eval()
