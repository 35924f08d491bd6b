"""Uncertainties and ensembles of energies: those of metatrain's export, on both ways of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from metatrain.utils.io import model_from_checkpoint
from random_llpr import MEMBERS, random_llpr
from random_pet import random_pet
from waters import TRICLINIC, VACUUM, few_waters, oxygen_atom

from ipi_darkforces import Need, Structure
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models import metatomic as metatomic_module
from ipi_darkforces.models.metatomic import MetatomicModel
from ipi_darkforces.models.pair import PairModel
from ipi_darkforces.models.pet.packed import PetModel
from ipi_darkforces.models.pet.padded import PaddedPetModel
from ipi_darkforces.models.registry.zoo import ZOO
from ipi_darkforces.split.component import Component
from ipi_darkforces.split.split import Request, Split

BESIDE = Need.UNCERTAINTY | Need.ENSEMBLE
STRUCTURES: dict[str, Callable[[], Structure]] = {
    "liquid": lambda: few_waters(TRICLINIC),
    "molecule": lambda: few_waters(VACUUM, 1),
    "atom": oxygen_atom,
}


@dataclass(frozen=True)
class Ways:
    """The same model: as metatrain exports it, and by our implementation."""

    path: Path
    exported: MetatomicModel
    ours: tuple[PetModel, PetModel]


@pytest.fixture(scope="module", params=["bundled", "variant", "read out after each layer"])
def ways(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ways:
    """The bundled model has composition and scale, which others do not."""
    folder, variant = tmp_path_factory.mktemp("llpr"), ""
    if request.param == "bundled":
        pet = model_from_checkpoint(torch.load(ZOO["pet-m"].path, weights_only=False), "export")
    elif request.param == "variant":
        variant = "pbe"
        _, pet = random_pet(folder, variant)
    else:
        _, pet = random_pet(folder, featurizer_type="residual")
    path, model = random_llpr(pet, folder, variant)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metatomic_module, "_read", lambda *_: model.export())
        exported = MetatomicModel("random.pt", dtype="float64")
    ours = PetModel(path, dtype="float64"), PaddedPetModel(path, device="cpu", dtype="float64")
    return Ways(path, exported, ours)


@pytest.mark.parametrize("case", STRUCTURES)
def test_as_the_exported_model(case: str, ways: Ways) -> None:
    structure = STRUCTURES[case]()
    expected = ways.exported.evaluate(structure)
    assert expected.uncertainty.shape == (len(structure.species),)
    assert expected.ensemble.shape == (MEMBERS,)
    assert np.ptp(expected.ensemble) > 1e-4
    for model in ways.ours:
        for need in (model.provides, BESIDE, Need.DIRECT | Need.UNCERTAINTY, Need.CONSERVATIVE | Need.ENSEMBLE):
            forces = model.evaluate(structure, need)
            for each, name in ((Need.UNCERTAINTY, "uncertainty"), (Need.ENSEMBLE, "ensemble")):
                found = getattr(forces, name)
                if each in need:
                    np.testing.assert_allclose(found, getattr(expected, name), rtol=1e-9, err_msg=name)
        assert model.evaluate(structure, Need.CONSERVATIVE).uncertainty is None


def test_each_structure_of_a_batch_has_its_own(ways: Ways) -> None:
    batch = [build() for build in STRUCTURES.values()]
    for model in (ways.exported, *ways.ours):
        for forces, structure in zip(model.evaluate(batch, BESIDE), batch, strict=True):
            alone = model.evaluate(structure, BESIDE)
            np.testing.assert_allclose(forces.uncertainty, alone.uncertainty, rtol=1e-9)
            np.testing.assert_allclose(forces.ensemble, alone.ensemble, rtol=1e-9)


def test_they_cost_no_further_pass(ways: Ways) -> None:
    """Uncertainties of slow forces come from the evaluation before, once it has been seen that they are wanted."""
    model = ways.ours[0]
    split, random = Split(model), np.random.default_rng(0)
    streams = {component: split.open_stream() for component in (Component.FAST, Component.SLOW)}
    structure, stride, taken = few_waters(TRICLINIC), 2, []
    for step in range(12):
        structure = Structure(structure.species, structure.positions + random.normal(0, 0.01, (24, 3)), TRICLINIC)
        before = model.passes.forward
        split.serve([Request(structure, Component.FAST, streams[Component.FAST])])
        if step % stride == 0:
            (slow,) = split.serve([Request(structure, Component.SLOW, streams[Component.SLOW], BESIDE)])
            np.testing.assert_allclose(slow.ensemble, model.evaluate(structure, BESIDE).ensemble, rtol=1e-9)
            assert slow.uncertainty.shape == (24,)
            before += 1  # of this comparison
        taken.append(model.passes.forward - before)
    assert taken[6:] == [1] * 6


def test_of_two_models_it_is_the_slow_one(ways: Ways) -> None:
    fast = PetModel(ZOO["pet-m"].path, withhold=Need.CONSERVATIVE)
    pair, structure = PairModel(fast, ways.ours[0], "both"), few_waters(VACUUM, 2)
    assert BESIDE in pair.provides
    for need in (BESIDE, Need.DIRECT | BESIDE, Need.DIRECT | Need.CONSERVATIVE | BESIDE):
        found = pair.evaluate(structure, need)
        np.testing.assert_allclose(found.ensemble, ways.ours[0].evaluate(structure, BESIDE).ensemble, rtol=1e-12)
        assert (found.direct is None) == (Need.DIRECT not in need)


def test_models_without_say_so() -> None:
    with pytest.raises(DarkforcesError, match="model 'pet-m' does not provide uncertainty; it provides energy, cons"):
        PetModel(ZOO["pet-m"].path, "pet-m").evaluate(few_waters(VACUUM, 1), Need.UNCERTAINTY)


def test_along_a_trajectory_in_this_process(ways: Ways) -> None:
    model, structure = ways.ours[0], few_waters(TRICLINIC)
    evaluate = Split(model).evaluator(
        [structure], [Component.FAST, Component.SLOW], virial=True, extras=[Need(0), BESIDE]
    )
    ((fast, slow),) = evaluate(structure.positions[None])
    expected = model.evaluate(structure, BESIDE)
    assert fast.uncertainty is None
    np.testing.assert_allclose(slow.uncertainty, expected.uncertainty, rtol=1e-12)
    np.testing.assert_allclose(slow.ensemble, expected.ensemble, rtol=1e-12)
