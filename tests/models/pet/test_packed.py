"""Our implementation of PET gives what the exported model gives, and follows a simulation without missing anything."""

from __future__ import annotations

import platform
import resource
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
from ipi_processes import INPUTS
from random_pet import random_pet
from waters import TRICLINIC, VACUUM, few_waters, oxygen_atom, strained, unwrapped, water_like

from ipi_darkforces import Forces, Need, Structure, load_model
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models import metatomic as metatomic_module
from ipi_darkforces.models.metatomic import MetatomicModel
from ipi_darkforces.models.neighbors.verlet import VerletLists
from ipi_darkforces.models.pet import packed as pet_module
from ipi_darkforces.models.pet.checkpoint import UnsupportedModelError
from ipi_darkforces.models.pet.network import PetNetwork
from ipi_darkforces.models.pet.packed import PetModel
from ipi_darkforces.models.pet.padded import PaddedPetModel
from ipi_darkforces.models.registry import kinds
from ipi_darkforces.models.registry.export import exported
from ipi_darkforces.models.registry.zoo import ZOO

BOTH = Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT | Need.VIRIAL
CONSERVATIVE = Need.ENERGY | Need.CONSERVATIVE | Need.VIRIAL
DIRECT = Need.ENERGY | Need.DIRECT | Need.VIRIAL
PET_M = ZOO["pet-m"].path

SHEAR = np.array([[1.05, 0.1, 0.0], [0.0, 0.95, -0.08], [0.03, 0.0, 1.02]])
STRUCTURES: dict[str, Callable[[Structure], Structure]] = {
    "liquid": lambda water: water,
    "strained": lambda water: strained(water, SHEAR),
    "expanded": lambda water: strained(water, 1.6 * np.eye(3)),
    "compressed": lambda water: strained(water, 0.8 * np.eye(3)),
    "triclinic": lambda water: few_waters(TRICLINIC),
    "cell smaller than the cutoff": lambda water: few_waters(3.0 * np.eye(3), n_molecules=1),
    "unwrapped": unwrapped,
    "vacuum": lambda water: few_waters(VACUUM),
    "slab": lambda water: few_waters(np.diag([7.0, 7.0, 0.0])),
    "lonely atom": lambda water: oxygen_atom(),
    "atoms out of reach": lambda water: Structure(np.array([8, 1], np.int32), np.diag([9.0] * 3)[:2], 30 * np.eye(3)),
    "molecule and a lonely atom": lambda water: Structure(
        np.array([8, 1, 1, 8], np.int32),
        np.vstack([few_waters(VACUUM, 1).positions, [[0.0, 0.0, 50.0]]]),
        VACUUM,
    ),
}


@pytest.fixture(scope="module")
def water() -> Structure:
    """16 molecules."""
    return Structure.from_ase(ase.io.read(INPUTS / "water-16.xyz"))


@pytest.fixture(scope="module")
def exported_double(pet_file: Path) -> MetatomicModel:
    return MetatomicModel(pet_file, dtype="float64", remove_net_force=False)


# With neighbours packed anew at each step, and in padded arrays as on GPUs.
WAYS: dict[str, Callable[..., PetModel]] = {"packed": PetModel, "padded": partial(PaddedPetModel, device="cpu")}


@pytest.fixture(scope="module", params=WAYS)
def double(request: pytest.FixtureRequest) -> PetModel:
    return WAYS[request.param](PET_M, dtype="float64", remove_net_force=False)


@pytest.fixture(scope="module", params=WAYS)
def single(request: pytest.FixtureRequest) -> PetModel:
    return WAYS[request.param](PET_M, remove_net_force=False)


def assert_same(ours: Forces, theirs: Forces, energy: float, force: float, virial: float) -> None:
    """Energies relative, eV/Å, and eV for each atom."""
    assert ours.energy == pytest.approx(theirs.energy, rel=energy, abs=energy)
    for field, tolerance in (
        ("conservative", force),
        ("direct", force),
        ("virial", virial),
        ("direct_virial", virial),
    ):
        our, their = getattr(ours, field), getattr(theirs, field)
        if our is None or their is None:
            assert our is their, field
        else:
            np.testing.assert_allclose(our, their, rtol=0, atol=tolerance, err_msg=field)


class TestSameAnswers:
    @pytest.mark.parametrize("case", STRUCTURES)
    def test_double_precision(
        self, case: str, water: Structure, double: PetModel, exported_double: MetatomicModel
    ) -> None:
        structure = STRUCTURES[case](water)
        for need in (BOTH, CONSERVATIVE, DIRECT):
            (ours,), (theirs,) = (model.evaluate([structure], need) for model in (double, exported_double))
            assert_same(ours, theirs, 1e-12, 1e-9, 1e-8)

    @pytest.mark.parametrize("case", STRUCTURES)
    def test_single_precision(
        self, case: str, water: Structure, single: PetModel, exported_double: MetatomicModel
    ) -> None:
        structure = STRUCTURES[case](water)
        for need in (BOTH, DIRECT):
            (ours,), (theirs,) = (model.evaluate([structure], need) for model in (single, exported_double))
            assert_same(ours, theirs, 1e-7, 1e-4, 1e-2)

    def test_single_precision_beside_the_exported_model_in_single_precision(
        self, water: Structure, single: PetModel, pet_file: Path
    ) -> None:
        """Whose energies are sums of large numbers in single precision, and less exact than ours."""
        exported = MetatomicModel(pet_file, remove_net_force=False)
        assert_same(single.evaluate([water], BOTH)[0], exported.evaluate([water], BOTH)[0], 3e-6, 1e-4, 1e-2)

    def test_batch_equals_one_by_one(self, water: Structure, double: PetModel) -> None:
        """All structures but those as large as the liquid, of which five at once take gigabytes."""
        every = [build(water) for build in STRUCTURES.values()]
        batch = [water, *(structure for structure in every if len(structure.species) < len(water.species))]
        for forces, structure in zip(double.evaluate(batch, BOTH), batch, strict=True):
            assert_same(forces, double.evaluate([structure], BOTH)[0], 1e-12, 1e-10, 1e-9)

    def test_direct_forces_come_first(self, water: Structure) -> None:
        model = PetModel(PET_M, dtype="float64")
        batch = [water, few_waters(TRICLINIC)]
        first, last = model.evaluate_in_turn(batch, BOTH)
        for forces, direct, structure in zip(first, last, batch, strict=True):
            assert forces.conservative is None
            assert np.array_equal(forces.direct, direct.direct)
            assert forces.energy == direct.energy
            assert_same(direct, model.evaluate([structure], BOTH)[0], 1e-12, 1e-10, 1e-9)
        for need in (DIRECT, CONSERVATIVE):
            assert len(list(model.evaluate_in_turn(batch, need))) == 1

    def test_without_onednn(self, water: Structure, monkeypatch: pytest.MonkeyPatch) -> None:
        before = PetModel(PET_M, remove_net_force=False).evaluate([water], BOTH)[0]
        monkeypatch.setattr("ipi_darkforces.models.pet.layers.has_onednn", lambda: False)
        after = PetModel(PET_M, remove_net_force=False).evaluate([water], BOTH)[0]
        assert not np.array_equal(before.direct, after.direct)  # else this shows nothing
        assert_same(after, before, 1e-9, 1e-4, 1e-2)

    @pytest.mark.parametrize("spare", [0, 1, 300])
    def test_spare_pairs_change_nothing(self, spare: int, water: Structure, monkeypatch: pytest.MonkeyPatch) -> None:
        double = PetModel(PET_M, dtype="float64", remove_net_force=False)
        batch = [few_waters(TRICLINIC), STRUCTURES["lonely atom"](water), few_waters(VACUUM, 2)]
        before = double.evaluate(batch, BOTH)
        monkeypatch.setattr(pet_module, "_spare", lambda n_pairs: spare)
        for forces, expected in zip(double.evaluate(batch, BOTH), before, strict=True):
            assert_same(forces, expected, 1e-13, 1e-11, 1e-10)

    def test_numbers_of_rows_are_few(self) -> None:
        """Between twenty and forty neighbours of an atom, one number in 32 or fewer comes up."""
        numbers = range(192 * 20 // 2, 192 * 40 // 2)
        totals = {n + pet_module._spare(n) for n in numbers}
        assert len(totals) <= len(numbers) / 31
        assert all(0 <= pet_module._spare(n) < n / 30 for n in numbers)
        assert [pet_module._spare(n) for n in (0, 1, 31)] == [0, 0, 0]

    def test_everything_that_comes_back_is_double_precision(self, water: Structure, single: PetModel) -> None:
        forces = single.evaluate([water], BOTH)[0]
        assert {forces.conservative.dtype, forces.direct.dtype, forces.virial.dtype} == {np.dtype(np.float64)}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="nothing else is told to keep its memory")
def test_what_one_evaluation_frees_serves_the_next(water: Structure) -> None:
    single = PetModel(PET_M)
    shifts = np.array(list(np.ndindex(4, 4, 2))) @ water.cell
    positions = (water.positions + shifts[:, None]).reshape(-1, 3)
    large = Structure(np.tile(water.species, 32), positions, np.diag([4.0, 4.0, 2.0]) @ water.cell)
    faults = []
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        single.evaluate([large], CONSERVATIVE)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(faults) < 10_000  # pages of 4 kB; else it would be more than 30 000 each time


class TestOneEvaluation:
    def test_passes(self, water: Structure, single: PetModel, monkeypatch: pytest.MonkeyPatch) -> None:
        backward: list[None] = []
        gradient = torch.autograd.grad
        monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: (backward.append(None), gradient(*a, **k))[1])
        forward: list[None] = []
        call = PetNetwork.__call__
        monkeypatch.setattr(PetNetwork, "__call__", lambda *a, **k: (forward.append(None), call(*a, **k))[1])
        for need, passes in ((DIRECT, (1, 0)), (CONSERVATIVE, (1, 1)), (BOTH, (1, 1))):
            forward.clear()
            backward.clear()
            single.evaluate([water], need)
            assert (len(forward), len(backward)) == passes

    def test_what_was_not_asked_for_is_not_there(self, water: Structure, single: PetModel) -> None:
        assert single.evaluate([water], DIRECT)[0].conservative is None
        assert single.evaluate([water], CONSERVATIVE)[0].direct is None


def simulate(model: PetModel | MetatomicModel, structure: Structure, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """NVE, 0.5 fs: positions at the end, and the total energy (eV) at each step."""
    masses = np.where(structure.species == 8, 15.999, 1.008)[:, None] / 0.0096485332  # eV fs² / Å²
    velocities = np.random.default_rng(4).normal(0, np.sqrt(0.0259 / masses), structure.positions.shape)
    forces = model.evaluate([structure], CONSERVATIVE)[0]
    totals = []
    for _ in range(steps):
        velocities = velocities + 0.25 * forces.conservative / masses
        structure = water_like(structure, positions=structure.positions + 0.5 * velocities)
        forces = model.evaluate([structure], CONSERVATIVE)[0]
        velocities = velocities + 0.25 * forces.conservative / masses
        totals.append(forces.energy + 0.5 * float((masses * velocities**2).sum()))
    return structure.positions, np.array(totals)


class TestSimulation:
    @pytest.mark.parametrize("way", WAYS)
    def test_same_trajectory_across_searches(self, way: str, exported_double: MetatomicModel) -> None:
        model = WAYS[way](PET_M, dtype="float64")
        ours, _ = simulate(model, few_waters(TRICLINIC), 120)
        theirs, _ = simulate(exported_double, few_waters(TRICLINIC), 120)
        assert len(model._lists._used) > 2
        np.testing.assert_allclose(ours, theirs, atol=1e-6)

    @pytest.mark.parametrize("way", WAYS)
    def test_single_precision_conserves_energy_as_double_precision_does(self, way: str) -> None:
        errors = []
        for dtype in ("float64", "float32"):
            _, totals = simulate(WAYS[way](PET_M, dtype=dtype), few_waters(TRICLINIC), 100)
            errors.append(totals - totals[0])
        assert np.abs(errors[0]).max() < 0.05  # eV, of 24 atoms: the integrator's own
        assert np.abs(errors[1] - errors[0]).max() < 0.1 * np.abs(errors[0]).max()


@pytest.mark.parametrize("way", WAYS)
def test_what_a_model_has_seen_before_makes_no_difference(way: str) -> None:
    """A simulation that wraps its atoms, changes its cell, explodes, and begins again where it was."""
    start, random = few_waters(TRICLINIC), np.random.default_rng(6)
    jumps = random.integers(-2, 3, start.positions.shape) @ TRICLINIC
    history = [
        start,
        water_like(start, positions=start.positions + jumps),
        strained(start, 1.01 * np.eye(3)),
        strained(start, SHEAR),
        strained(start, 0.8 * np.eye(3)),
        water_like(start, cell=VACUUM),
        strained(start, 1.6 * np.eye(3)),
        water_like(start, positions=start.positions + random.normal(0.0, 0.3, start.positions.shape)),
        start,
    ]
    seasoned = WAYS[way](PET_M, dtype="float64", remove_net_force=False)
    fresh = PetModel(PET_M, dtype="float64", remove_net_force=False)
    for structure in history:
        fresh._lists = VerletLists(fresh._network.cutoff)  # has seen nothing
        assert_same(seasoned.evaluate([structure], BOTH)[0], fresh.evaluate([structure], BOTH)[0], 1e-12, 1e-10, 1e-9)


ARCHITECTURES: dict[str, dict[str, Any]] = {
    "default": {},
    "as the first PET models": {
        "featurizer_type": "residual",
        "transformer_type": "PostLN",
        "normalization": "LayerNorm",
        "activation": "SiLU",
        "cutoff_function": "Cosine",
        "d_node": 16,
    },
    "one layer and a temperature": {"num_gnn_layers": 1, "num_attention_layers": 1, "attention_temperature": 0.7},
    "residual": {"featurizer_type": "residual", "num_gnn_layers": 3},
    "wide atoms after attention": {"transformer_type": "PostLN"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", ARCHITECTURES)
def test_every_architecture(case: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, model = random_pet(tmp_path, **ARCHITECTURES[case])
    monkeypatch.setattr(metatomic_module, "_read", lambda *_: model.eval().export())
    theirs = MetatomicModel("random.pt", dtype="float64", remove_net_force=False)
    ours = WAYS[way](path, dtype="float64", remove_net_force=False)
    for structure in (few_waters(TRICLINIC), few_waters(VACUUM, 3)):
        expected = theirs.evaluate([structure], BOTH)[0]
        assert np.abs(expected.conservative).max() > 1e-3
        assert_same(ours.evaluate([structure], BOTH)[0], expected, 1e-10, 1e-9, 1e-8)


class TestLoading:
    def test_checkpoints_of_pet_take_the_fast_way(self) -> None:
        assert isinstance(load_model("pet-m"), PetModel)
        assert isinstance(load_model(str(PET_M)), PetModel)

    def test_the_exported_model_can_be_had(self) -> None:
        assert isinstance(load_model("pet-m", backend="metatomic"), MetatomicModel)

    def test_exported_models_go_through_metatomic(self, pet_file: Path) -> None:
        assert isinstance(load_model(str(pet_file)), MetatomicModel)

    def test_others_go_through_metatomic_and_it_is_said(
        self, pet_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(path: Path) -> None:
            raise UnsupportedModelError("it has long-range features")

        monkeypatch.setattr(pet_module, "read_checkpoint", refuse)
        model = load_model("pet-m")
        assert isinstance(model, MetatomicModel)
        (remark,) = model.remarks
        assert remark.startswith("it is evaluated through metatomic, which takes 1.5 to 3 times as long")
        assert remark.endswith("CUDA graphs: it has long-range features")
        assert f"remark on model 'pet-m': {remark}" in caplog.text

    def test_exported_pet_models_say_that_their_checkpoint_is_faster(self, pet_file: Path) -> None:
        (remark,) = load_model(pet_file).remarks
        assert remark == (
            "it is an exported PET model, which takes 1.5 to 3 times as long on a CPU, and is without CUDA graphs: its "
            "checkpoint (.ckpt) is faster"
        )
        assert load_model(pet_file, backend="metatomic").remarks == ()  # who asks for it knows

    def test_other_architectures_have_no_faster_way(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        checkpoint = tmp_path / "other.ckpt"
        torch.save({"architecture_name": "soap_bpnn"}, checkpoint)
        monkeypatch.setattr(kinds, "exported", lambda path: exported(PET_M))
        (remark,) = load_model(checkpoint).remarks
        assert remark == (
            "it is evaluated through metatomic: its architecture is soap_bpnn, and only PET has a faster way"
        )

    def test_unknown_backend(self) -> None:
        with pytest.raises(DarkforcesError, match="backend 'gpu' is not known: expected auto or metatomic"):
            load_model("pet-m", backend="gpu")

    def test_views_of_the_same_weights(self) -> None:
        assert Need.DIRECT not in load_model("pet-c").provides
        assert Need.CONSERVATIVE not in load_model("pet-nc").provides
