"""Uncertainties of energies from the features that the last layer multiplies, as metatrain's LLPR adds them to a model.

With f the features of a structure, summed over its atoms, and C their covariance in the training set, the energy has a
standard deviation of α √(fᵀ C⁻¹ f) (Bigi et al., 2024, doi:10.1088/2632-2153/ad805f); with the features of one atom,
that is the one of its part (Chong et al., 2023, doi:10.1021/acs.jctc.3c00704). An ensemble is several last layers
beside the one of the model, with its energy as their mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import solve_triangular


class LastLayerUncertainty:
    """Uncertainty and ensemble of one energy.

    :param module: metatrain's `LLPRUncertaintyModel`
    :param energy: the name of that output
    :param uncertainty: the name of its uncertainty
    """

    def __init__(self, module: Any, energy: str, uncertainty: str):
        buffers = dict(module.named_buffers())
        self._cholesky = buffers[f"cholesky_{uncertainty}"].double().numpy()
        self._multiplier = float(buffers[f"multiplier_{uncertainty}"])
        layers = dict(module.llpr_ensemble_layers.items())
        self._members = layers[energy].weight.detach().double().numpy() if energy in layers else None

    def of_atoms(self, features: np.ndarray) -> np.ndarray:
        """Standard deviations, eV, shape (n_atoms,), from the features of atoms, shape (n_atoms, n_features)."""
        scaled = solve_triangular(self._cholesky, features.T, lower=True)
        return np.asarray(self._multiplier * np.sqrt((scaled**2).sum(axis=0)))

    def ensemble(self, features: np.ndarray, energy: float) -> np.ndarray:
        """Energies of the members, eV, shape (n_members,).

        :param features: of atoms, shape (n_atoms, n_features)
        :param energy: of the model, eV
        """
        assert self._members is not None
        energies = self._members @ features.sum(axis=0)
        return np.asarray(energies - energies.mean() + energy)
