"""Options of PET models that the bundled one lacks: adaptive cutoffs, charges and spins, a repulsion, variants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, fcc111
from random_pet import random_pet
from waters import TRICLINIC, VACUUM, few_waters, oxygen_atom, strained, water_like

from ipi_darkforces import Need, Structure
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models import metatomic as metatomic_module
from ipi_darkforces.models.metatomic import MetatomicModel
from ipi_darkforces.models.pet.cutoffs import bump, cosine, faded
from ipi_darkforces.models.pet.packed import PetModel
from ipi_darkforces.models.pet.padded import PaddedPetModel

BOTH = Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT | Need.VIRIAL
ARRAYS = ("conservative", "direct", "virial", "direct_virial")
ELEMENTS = (1, 8, 29)
GRID = {"cutoff": 6.0, "num_neighbors_adaptive": 8, "adaptive_cutoff_method": "grid", "cutoff_width_adaptive": 0.5}
CASES: dict[str, dict[str, Any]] = {
    "grid": GRID,
    "solver": {"cutoff": 6.0, "num_neighbors_adaptive": 8, "adaptive_cutoff_method": "solver"},
    "repulsion that reaches beyond the cutoff": {"zbl": True, "cutoff": 2.0},
    "charge and spin": {"system_conditioning": True},
    "all at once, residual": GRID | {"zbl": True, "system_conditioning": True, "featurizer_type": "residual"},
    "variant": {"variant": "pbe"},
}


def copper(atoms: ase.Atoms) -> Structure:
    atoms.rattle(0.1, seed=1)
    return Structure.from_ase(atoms)


STRUCTURES: dict[str, Callable[[], Structure]] = {
    "liquid": lambda: few_waters(TRICLINIC),
    "compressed liquid": lambda: strained(few_waters(TRICLINIC), 0.75 * np.eye(3)),
    "crystal": lambda: copper(bulk("Cu", cubic=True)),
    "slab": lambda: copper(fcc111("Cu", (2, 2, 3), vacuum=None, periodic=False)),
    "molecule": lambda: few_waters(VACUUM, 1),
    "atom": oxygen_atom,
}


@dataclass(frozen=True)
class Ways:
    """The same model: as exported, in double precision; ours, in double and single precision, and in fixed shapes."""

    path: Path
    exported: MetatomicModel
    double: PetModel
    single: PetModel
    padded: PaddedPetModel


@pytest.fixture(scope="module", params=CASES)
def ways(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ways:
    path, model = random_pet(tmp_path_factory.mktemp("pet"), elements=ELEMENTS, **CASES[request.param])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metatomic_module, "_read", lambda *_: model.float().double().eval().export())
        exported = MetatomicModel("random.pt", remove_net_force=False)
    return Ways(
        path,
        exported,
        *(PetModel(path, dtype=each, remove_net_force=False) for each in ("float64", "float32")),
        PaddedPetModel(path, device="cpu", dtype="float64", remove_net_force=False),
    )


@pytest.mark.parametrize("case", STRUCTURES)
def test_as_the_exported_model(case: str, ways: Ways) -> None:
    structure = replace(STRUCTURES[case](), charge=-2.0, spin_multiplicity=3.0)
    expected, double, single, padded = (
        each.evaluate([structure], BOTH)[0] for each in (ways.exported, ways.double, ways.single, ways.padded)
    )
    assert double.energy == pytest.approx(expected.energy, rel=1e-9)
    assert padded.energy == pytest.approx(expected.energy, rel=1e-9)
    assert single.energy == pytest.approx(expected.energy, rel=1e-5, abs=1e-6)
    for field in ARRAYS:
        values = getattr(expected, field)
        largest = max(1.0, np.abs(values).max())
        np.testing.assert_allclose(getattr(double, field), values, rtol=0, atol=1e-9 * largest, err_msg=field)
        np.testing.assert_allclose(getattr(padded, field), values, rtol=0, atol=1e-9 * largest, err_msg=field)
        np.testing.assert_allclose(getattr(single, field), values, rtol=0, atol=1e-5 * largest, err_msg=field)


def test_forces_are_derivatives_where_cutoffs_change(ways: Ways) -> None:
    """Forces are compared with finite differences, whatever was evaluated before or is in the same batch."""
    start, random = few_waters(TRICLINIC), np.random.default_rng(2)
    direction = random.normal(size=start.positions.shape)
    places = (-1e-5, 0.0, 1e-5)
    path = [water_like(start, positions=start.positions + place * direction) for place in places]
    low, middle, high = ways.double.evaluate([*path], BOTH)
    slope = (high.energy - low.energy) / (places[2] - places[0])
    assert -np.sum(middle.conservative * direction) == pytest.approx(slope, rel=1e-5, abs=1e-6)
    far = water_like(start, positions=start.positions + 3.0 * direction)
    ways.double.evaluate([far], BOTH)
    alone = ways.double.evaluate([start], BOTH)[0]
    np.testing.assert_allclose(alone.conservative, middle.conservative, atol=1e-10)
    np.testing.assert_allclose(alone.virial, middle.virial, atol=1e-9)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that asks for charges."""
    return random_pet(tmp_path_factory.mktemp("charged"), system_conditioning=True)[0]


class TestCharges:
    @pytest.mark.parametrize("way", [PetModel, lambda path, **options: PaddedPetModel(path, device="cpu", **options)])
    def test_each_structure_of_a_batch_has_its_own(self, way: Callable[..., PetModel], path: Path) -> None:
        model, reference = way(path, dtype="float64"), PetModel(path, dtype="float64")
        atoms = ase.Atoms("OH2", few_waters(VACUUM, 1).positions)
        batch = []
        for info in ({}, {"charge": 1, "spin": 2}, {"charge": -1, "spin_multiplicity": 4}):
            atoms.info = info
            batch.append(Structure.from_ase(atoms))
        energies = [reference.evaluate(structure, BOTH).energy for structure in batch]
        assert len({round(energy, 6) for energy in energies}) == 3
        for order in ([0, 1, 2], [2, 0, 1]):
            found = model.evaluate([batch[i] for i in order], BOTH)
            assert [each.energy for each in found] == pytest.approx([energies[i] for i in order], rel=1e-12)

    @pytest.mark.parametrize(
        ("state", "message"),
        [
            ({"charge": 0.5}, "the charge of the structure is 0.5: expected an integer from -10 to 10"),
            ({"charge": 11}, "charge of the structure is 11"),
            ({"spin_multiplicity": 0}, "the spin multiplicity of the structure is 0: expected an integer from 1 to 10"),
        ],
    )
    def test_what_the_model_does_not_know(self, state: dict[str, float], message: str, path: Path) -> None:
        with pytest.raises(DarkforcesError, match=message):
            PetModel(path).evaluate(replace(few_waters(VACUUM, 1), **state), BOTH)

    def test_no_number(self) -> None:
        atoms = ase.Atoms("H")
        atoms.info["charge"] = "two"
        with pytest.raises(DarkforcesError, match="the structure's charge is 'two': expected a number"):
            Structure.from_ase(atoms)

    def test_it_is_said_where_they_come_from(self, path: Path) -> None:
        (remark,) = PetModel(path).remarks
        assert "0 and 1 for i-PI" in remark


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neighbours_that_are_left_out_have_no_weight(dtype: torch.dtype) -> None:
    depth, cutoffs = faded(bump, 0.5, dtype), torch.linspace(2.0, 10.0, 500, dtype=dtype)
    assert 0.005 < depth < 0.02
    assert faded(cosine, 0.5, dtype) == 0.0
    distances = (cutoffs - depth).requires_grad_()
    weights = bump(distances, cutoffs, 0.5)
    assert not weights.any()
    assert not torch.autograd.grad(weights.sum(), distances)[0].any()
