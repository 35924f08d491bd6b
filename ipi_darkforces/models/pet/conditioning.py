"""Dependence of a PET model on the total charge and the spin multiplicity."""

from __future__ import annotations

from typing import Any

import torch

from ...errors import DarkforcesError


class Conditioning:
    """Dependence on the total charge and the spin multiplicity: what is added to the features of all atoms.

    :param module: metatrain's `SystemConditioningEmbedding`
    """

    def __init__(self, module: Any):
        self._charges = module.charge_embedding.weight.detach()
        self._multiplicities = module.spin_multiplicity_embedding.weight.detach()
        self._project = module.project
        self._largest_charge = module.max_charge

    @torch.no_grad()
    def __call__(self, charge: float, multiplicity: float) -> torch.Tensor:
        """Compute the features of one structure, shape (n_features,).

        :param charge: of the structure, e
        :param multiplicity: 2 S + 1
        :raises DarkforcesError: if the model has not been made for them
        """
        for what, given, least, most in (
            ("charge", charge, -self._largest_charge, self._largest_charge),
            ("spin multiplicity", multiplicity, 1, len(self._multiplicities)),
        ):
            if given not in range(least, most + 1):
                raise DarkforcesError(
                    f"the {what} of the structure is {given:g}: expected an integer from {least} to {most}, for which "
                    "the model has been made"
                )
        rows = self._charges[int(charge) + self._largest_charge], self._multiplicities[int(multiplicity) - 1]
        features: torch.Tensor = self._project(torch.cat(rows))
        return features
