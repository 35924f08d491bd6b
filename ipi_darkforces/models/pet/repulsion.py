"""Repulsion of nuclei at short distances, screened by their electrons, which some PET models add to their energies.

The universal potential of Ziegler, Biersack and Littmark ("The Stopping and Range of Ions in Solids", 1985),

    V(r) = (e² / 4πε₀) Z₁ Z₂ / r Σ cₖ exp(-dₖ r / a),   a = 0.4685 Å / (Z₁^0.23 + Z₂^0.23),

and, as LAMMPS has it (docs.lammps.org/pair_zbl.html, with an inner cutoff of zero), a polynomial of r that brings it,
its first and its second derivative to zero at the sum of both covalent radii.
"""

from __future__ import annotations

from typing import Any

import torch

_COULOMB = 14.399645478425668  # e² / 4πε₀, eV Å; this and the others as metatrain has them
_LENGTH, _POWER = 0.46850, 0.23
_AMPLITUDES = (0.02817, 0.28022, 0.50986, 0.18175)
_DECAYS = (0.20162, 0.40290, 0.94229, 3.19980)


class Repulsion:
    """Repulsion between nuclei, for all elements of a model.

    :param module: metatrain's `ZBL`
    :param device: where the pairs are
    """

    def __init__(self, module: Any, device: torch.device):
        self.cutoff = float(module.cutoff_radius)
        self.outputs = frozenset(module.outputs)
        # In metatrain, these are of single precision in any case, and so they are what models are fitted beside.
        numbers = torch.tensor(module.atomic_types, dtype=torch.float32, device=device)
        radii = module.covalent_radii.to(device, torch.float64)
        powers = numbers**_POWER
        self._charges = (_COULOMB * numbers.unsqueeze(1) * numbers).double()
        self._lengths = (_LENGTH / (powers.unsqueeze(1) + powers)).double()
        self._cutoffs = radii.unsqueeze(1) + radii
        end = self._cutoffs
        value, first, second = self._screened(end, self._charges, self._lengths)
        self._cubic = (end * second - 3.0 * first) / end.square() / 3.0
        self._quartic = (2.0 * first - end * second) / end**3 / 4.0
        self._constant = end * first / 2.0 - value - end.square() * second / 12.0

    def __call__(self, distances: torch.Tensor, some: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Energies of pairs, eV, shape (n_pairs,), in double precision.

        :param distances: Å, shape (n_pairs,)
        :param some: the model's numbers of the elements of their first atoms, shape (n_pairs,)
        :param others: and of their second ones
        """
        charges, lengths = self._charges[some, others], self._lengths[some, others]
        value, _, _ = self._screened(distances, charges, lengths)
        cube = distances**3
        value = value + cube * (self._cubic[some, others] + distances * self._quartic[some, others])
        return torch.where(distances <= self._cutoffs[some, others], value + self._constant[some, others], 0.0)

    def _screened(
        self, distances: torch.Tensor, charges: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """V(r) and its first two derivatives."""
        screening, first, second = (torch.zeros_like(distances) for _ in range(3))
        for amplitude, decay in zip(_AMPLITUDES, _DECAYS, strict=True):
            rate = decay / lengths
            term = amplitude * torch.exp(-rate * distances)
            screening, first, second = screening + term, first - rate * term, second + rate.square() * term
        bare = charges / distances
        return (
            bare * screening,
            bare * (first - screening / distances),
            bare * (second - 2.0 * first / distances + 2.0 * screening / distances.square()),
        )
