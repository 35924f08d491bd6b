# ruff: noqa: UP006, UP035, UP045
"""Models for the tests of i-PI's side."""

from pathlib import Path
from typing import Dict, List, Optional

import metatomic.torch as mta
import pytest
import torch
from metatensor.torch import Labels, TensorBlock, TensorMap


class Breaking(torch.nn.Module):
    """A soft harmonic well, whose energy is NaN as soon as an atom is further than 7 Å from the origin along x."""

    def __init__(self) -> None:
        super().__init__()
        self.reach = 7.0  # Å

    def forward(
        self,
        systems: List[mta.System],  # metatomic wants the old spellings
        outputs: Dict[str, mta.ModelOutput],
        selected_atoms: Optional[Labels],
    ) -> Dict[str, TensorMap]:
        """Energies of the systems."""
        energies: List[torch.Tensor] = []
        for system in systems:
            x = system.positions
            energy = 0.001 * (x**2).sum().reshape(1, 1)
            if bool(x[:, 0].max() > self.reach):
                energy = energy * float("nan")
            energies.append(energy)
        block = TensorBlock(
            torch.vstack(energies),
            Labels("system", torch.arange(len(systems)).reshape(-1, 1)),
            [],
            Labels("energy", torch.tensor([[0]])),
        )
        return {"energy": TensorMap(Labels("_", torch.tensor([[0]])), [block])}


@pytest.fixture(scope="session")
def breaking_model(tmp_path_factory) -> Path:
    """An exported model of argon that stops giving numbers far from the origin."""
    path = tmp_path_factory.mktemp("model") / "breaking.pt"
    capabilities = mta.ModelCapabilities(
        outputs={"energy": mta.ModelOutput(unit="eV", sample_kind="system")},
        atomic_types=[18],
        interaction_range=0.0,
        length_unit="angstrom",
        supported_devices=["cpu"],
        dtype="float64",
    )
    mta.AtomisticModel(Breaking().eval(), mta.ModelMetadata(), capabilities).save(str(path))
    return path
