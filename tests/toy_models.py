"""Small models with known answers: metatomic ones, to be exported, and a `ForceModel` with analytic forces.

No `from __future__ import annotations` here: TorchScript reads the annotations.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Dict, List, Optional

import numpy as np
import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import (
    AtomisticModel,
    ModelCapabilities,
    ModelMetadata,
    ModelOutput,
    NeighborListOptions,
    System,
)

from ipi_darkforces import ForceModel, Forces, Need, Structure

CUTOFF = 3.0
STRESS = [[0.01, 0.02, 0.03], [0.0, 0.02, 0.0], [0.0, 0.0, 0.03]]  # eV/Å³; not symmetric, as direct stresses may be

EVERYTHING = Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT | Need.VIRIAL
_UNITS = {"energy": "eV", "non_conservative_force": "eV/Angstrom", "non_conservative_stress": "eV/Angstrom^3"}


class PairModule(torch.nn.Module):
    """Energy: (d - cutoff)² for each pair; direct forces: the number of neighbours, along x; direct stress: constant.

    The variant ``pbe`` of any output is twice that.
    """

    def __init__(self, cutoff: float):
        super().__init__()
        self.cutoff = cutoff
        self.options = NeighborListOptions(cutoff=cutoff, full_list=True, strict=True)
        self.register_buffer("stress", torch.tensor(STRESS, dtype=torch.float64))

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:
        return [self.options]

    def forward(
        self,
        systems: List[System],
        outputs: Dict[str, ModelOutput],
        selected_atoms: Optional[Labels] = None,
    ) -> Dict[str, TensorMap]:
        results: Dict[str, TensorMap] = {}
        for name in outputs:
            values: List[torch.Tensor] = []
            samples: List[List[int]] = []
            for i, system in enumerate(systems):
                pairs = system.get_neighbor_list(self.options)
                if "force" in name:
                    counts = torch.bincount(pairs.samples.column("first_atom").to(torch.int64), minlength=len(system))
                    along_x = torch.tensor([[1.0, 0.0, 0.0]], dtype=system.positions.dtype)
                    values.append(counts.reshape(-1, 1).to(system.positions.dtype) * along_x)
                    for j in range(len(system)):
                        samples.append([i, j])
                elif "stress" in name:
                    values.append(self.stress.to(system.positions.dtype).unsqueeze(0))
                    samples.append([i])
                else:
                    distances = torch.linalg.norm(pairs.values.reshape(-1, 3), dim=1)
                    values.append(0.5 * ((distances - self.cutoff) ** 2).sum().reshape(1, 1))
                    samples.append([i])
            block = torch.cat(values)
            if name.endswith("/pbe"):
                block = 2.0 * block
            components: List[Labels] = []
            names = ["system"]
            if "force" in name:
                names = ["system", "atom"]
                components = [Labels("xyz", torch.arange(3).reshape(3, 1))]
                block = block.unsqueeze(2)
            elif "stress" in name:
                xyz = torch.arange(3).reshape(3, 1)
                components = [Labels("xyz_1", xyz), Labels("xyz_2", xyz)]
                block = block.unsqueeze(3)
            results[name] = TensorMap(
                Labels("_", torch.tensor([[0]])),
                [
                    TensorBlock(
                        block,
                        Labels(names, torch.tensor(samples, dtype=torch.int32)),
                        components,
                        Labels("value", torch.tensor([[0]])),
                    )
                ],
            )
        return results


class ConstantModule(torch.nn.Module):
    """An energy that does not depend on the positions: so has no gradient."""

    def forward(
        self,
        systems: List[System],
        outputs: Dict[str, ModelOutput],
        selected_atoms: Optional[Labels] = None,
    ) -> Dict[str, TensorMap]:
        values = torch.ones((len(systems), 1), dtype=systems[0].positions.dtype)
        samples = Labels("system", torch.arange(len(systems)).reshape(-1, 1))
        block = TensorBlock(values, samples, [], Labels("energy", torch.tensor([[0]])))
        return {"energy": TensorMap(Labels("_", torch.tensor([[0]])), [block])}


def export_toy(
    path: Path,
    outputs: Sequence[str] = ("energy", "non_conservative_force"),
    module: torch.nn.Module | None = None,
    length_unit: str = "angstrom",
    energy_unit: str = "eV",
) -> Path:
    """Export a model of hydrogen and oxygen in double precision; `length_unit` is also that of its cutoff."""
    declared = {}
    for name in outputs:
        kind = name.partition("/")[0].replace("forces", "force")
        unit = energy_unit if kind == "energy" else _UNITS[kind]
        declared[name] = ModelOutput(unit=unit, sample_kind="atom" if "force" in kind else "system")
    cutoff = CUTOFF if length_unit == "angstrom" else CUTOFF / 10
    capabilities = ModelCapabilities(
        outputs=declared,
        atomic_types=[1, 8],
        interaction_range=cutoff,
        length_unit=length_unit,
        supported_devices=["cpu"],
        dtype="float64",
    )
    module = PairModule(cutoff) if module is None else module
    AtomisticModel(module.eval(), ModelMetadata(name="toy"), capabilities).save(str(path))
    return path


class SpringModel(ForceModel):
    """Atoms on springs to the origin, E = Σ r²/2; direct forces are those plus a constant shear of the positions."""

    def __init__(self, provides: Need = EVERYTHING, direct_stress: bool = True):
        super().__init__("springs", provides, species=None, remove_net_force=False)
        self._direct_stress = direct_stress

    def _evaluate(self, structures: Sequence[Structure], need: Need) -> list[Forces]:
        results = []
        for s in structures:
            r = s.positions
            direct = -r + 0.1 * r[:, [1, 2, 0]]
            results.append(
                Forces(
                    0.5 * float(np.sum(r**2)),
                    -r if Need.CONSERVATIVE in need else None,
                    direct if Need.DIRECT in need else None,
                    -r.T @ r if Need.CONSERVATIVE in need else None,
                    np.diag([1.0, 2.0, 3.0]) if Need.DIRECT in need and self._direct_stress else None,
                )
            )
        return results


class DirectFirstModel(SpringModel):
    """Springs whose direct forces are known before the conservative ones."""

    def _evaluate_in_turn(self, structures: Sequence[Structure], need: Need) -> Iterator[List[Forces]]:
        if Need.CONSERVATIVE in need and Need.DIRECT in need:
            yield self._evaluate(structures, need & ~Need.CONSERVATIVE)
        yield self._evaluate(structures, need)
