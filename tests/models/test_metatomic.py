from __future__ import annotations

import functools
import json
import platform
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import ase
import ase.io
import metatomic.torch as mta
import numpy as np
import pytest
import torch
from ipi.pes.metatomic import MetatomicDriver
from ipi.utils.units import unit_to_internal
from ipi_processes import INPUTS
from toy_models import CUTOFF, STRESS, ConstantModule, export_toy
from waters import TRICLINIC, VACUUM, few_waters, oxygen_atom, strained, unwrapped, water_like

from ipi_darkforces import ForceModel, Forces, Need, Structure, load_model
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.metatomic import MetatomicModel
from ipi_darkforces.models.registry.zoo import ZOO
from ipi_darkforces.serve.units import reply_to_ipi, structure_from_ipi
from ipi_darkforces.split.component import Component, component_forces

BOTH = Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT | Need.VIRIAL
CONSERVATIVE = Need.ENERGY | Need.CONSERVATIVE | Need.VIRIAL
DIRECT = Need.ENERGY | Need.DIRECT | Need.VIRIAL


@pytest.fixture(scope="module")
def water() -> Structure:
    """16 molecules."""
    return Structure.from_ase(ase.io.read(INPUTS / "water-16.xyz"))


@pytest.fixture(scope="module")
def single(pet_file: Path) -> ForceModel:
    """The bundled model in single precision, without net force."""
    return MetatomicModel(pet_file)


@pytest.fixture(scope="module")
def pet_m_float64(pet_file_float64: Path) -> ForceModel:
    """The bundled model as exported, in double precision, with the net force of its direct forces."""
    return MetatomicModel(pet_file_float64, "pet-m", remove_net_force=False)


@pytest.fixture(scope="module")
def double(pet_file_float64: Path) -> ForceModel:
    """The bundled model in double precision, without net force."""
    return MetatomicModel(pet_file_float64)


@pytest.fixture(scope="module")
def raw_single(pet_file: Path) -> ForceModel:
    """The bundled model in single precision, with the net force that it predicts."""
    return MetatomicModel(pet_file, remove_net_force=False)


STRUCTURES: dict[str, Callable[[Structure], Structure]] = {
    "liquid": lambda water: water,
    "triclinic": lambda water: few_waters(TRICLINIC),
    "cell smaller than the cutoff": lambda water: few_waters(3.0 * np.eye(3), n_molecules=1),
    "unwrapped": unwrapped,
    "vacuum": lambda water: few_waters(VACUUM),
    "slab": lambda water: few_waters(np.diag([7.0, 7.0, 0.0])),
}


load_once = functools.cache(mta.load_atomistic_model)  # the driver would load it for each structure


def by_ipi(path: Path, structure: Structure, folder: Path, non_conservative: bool) -> tuple[float, ...]:
    """Energy, forces, virial in atomic units from i-PI's own driver for the same file."""
    template = folder / "template.xyz"
    ase.io.write(template, ase.Atoms(numbers=structure.species, positions=structure.positions))
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as monkeypatch:
        warnings.simplefilter("ignore")
        monkeypatch.setattr(mta, "load_atomistic_model", load_once)
        driver = MetatomicDriver(str(template), str(path), non_conservative=non_conservative)
        energy, forces, virial, _ = driver(*in_bohr(structure))
    return energy, forces, virial


def in_bohr(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    return (
        unit_to_internal("length", "angstrom", structure.cell.T),
        unit_to_internal("length", "angstrom", structure.positions),
    )


def by_us(model: ForceModel, structure: Structure, component: Component) -> tuple[float, ...]:
    """The same from us, on the way that i-PI's positions take."""
    seen = structure_from_ipi(*in_bohr(structure), structure.species)
    (forces,) = model.evaluate([seen], component.need | Need.ENERGY | Need.VIRIAL)
    reply = reply_to_ipi(component_forces(forces, component))
    return reply.energy, reply.forces, reply.virial


def assert_close(ours: object, theirs: object, relative: float) -> None:
    """Equal, relative to the largest number there is."""
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=relative * max(1e-10, np.abs(theirs).max()))


class TestParityWithIPI:
    """The same file gives the same numbers in i-PI's own metatomic driver."""

    @pytest.mark.parametrize("case", STRUCTURES)
    def test_conservative_float64(
        self, case: str, water: Structure, pet_m_float64: ForceModel, pet_file_float64: Path, tmp_path: Path
    ) -> None:
        structure = STRUCTURES[case](water)
        theirs = by_ipi(pet_file_float64, structure, tmp_path, non_conservative=False)
        for ours, their in zip(by_us(pet_m_float64, structure, Component.CONSERVATIVE), theirs, strict=True):
            assert_close(ours, their, 1e-9)

    @pytest.mark.parametrize("case", STRUCTURES)
    def test_direct_float64(
        self, case: str, water: Structure, pet_m_float64: ForceModel, pet_file_float64: Path, tmp_path: Path
    ) -> None:
        structure = STRUCTURES[case](water)
        theirs = by_ipi(pet_file_float64, structure, tmp_path, non_conservative=True)
        ours = by_us(pet_m_float64, structure, Component.DIRECT)
        assert_close(ours[0], theirs[0], 1e-9)
        assert_close(ours[1] - ours[1].mean(axis=0), theirs[1], 1e-9)  # i-PI always removes the net force
        assert np.isnan(theirs[2]).all()  # the model has no direct stress: i-PI says NaN ...
        assert (ours[2] == 0).all()  # ... and we say nothing, so that fast + slow is the conservative virial

    @pytest.mark.parametrize("component", [Component.CONSERVATIVE, Component.DIRECT])
    def test_float32(
        self, component: Component, water: Structure, single: ForceModel, pet_file: Path, tmp_path: Path
    ) -> None:
        theirs = by_ipi(pet_file, water, tmp_path, non_conservative=component is Component.DIRECT)
        ours = by_us(single, water, component)
        assert_close(ours[0], theirs[0], 1e-6)
        assert_close(ours[1], theirs[1], 1e-4)
        if component is Component.CONSERVATIVE:
            assert_close(ours[2], theirs[2], 1e-4)

    def test_direct_stress(self, tmp_path: Path) -> None:
        path = export_toy(tmp_path / "toy.pt", ["energy", "non_conservative_forces", "non_conservative_stress"])
        structure = few_waters(TRICLINIC)
        theirs = by_ipi(path, structure, tmp_path, non_conservative=True)
        ours = by_us(MetatomicModel(path), structure, Component.DIRECT)
        for our, their in zip(ours, theirs, strict=True):
            assert_close(our, their, 1e-9)


def displaced(structure: Structure, atom: int, axis: int, by: float) -> Structure:
    positions = structure.positions.copy()
    positions[atom, axis] += by
    return water_like(structure, positions=positions)


def energy(model: ForceModel, structure: Structure) -> float:
    return model.evaluate([structure], Need.ENERGY)[0].energy


def evaluated(model: ForceModel, structure: Structure, need: Need = BOTH) -> Forces:
    return model.evaluate([structure], need)[0]


class TestDerivatives:
    @pytest.mark.parametrize("cell", [TRICLINIC, VACUUM], ids=["triclinic", "vacuum"])
    def test_forces_are_minus_the_gradient(self, cell: np.ndarray, pet_m_float64: ForceModel) -> None:
        structure = few_waters(cell)
        forces = evaluated(pet_m_float64, structure).conservative
        h = 1e-4
        for atom, axis in [(0, 0), (4, 1), (11, 2), (23, 0)]:
            up, down = (energy(pet_m_float64, displaced(structure, atom, axis, s * h)) for s in (1, -1))
            assert forces[atom, axis] == pytest.approx(-(up - down) / (2 * h), abs=1e-5)

    def test_virial_is_minus_the_strain_derivative(self, pet_m_float64: ForceModel) -> None:
        structure = few_waters(TRICLINIC)
        virial = evaluated(pet_m_float64, structure).virial
        h = 1e-5
        for i, j in [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0)]:
            strain = np.zeros((3, 3))
            strain[i, j] += 0.5 * h
            strain[j, i] += 0.5 * h
            up, down = (energy(pet_m_float64, strained(structure, np.eye(3) + s * strain)) for s in (1, -1))
            assert virial[i, j] == pytest.approx(-(up - down) / (2 * h), abs=1e-4)

    def test_conservative_forces_sum_to_zero(self, water: Structure, pet_m_float64: ForceModel) -> None:
        assert np.abs(evaluated(pet_m_float64, water).conservative.sum(axis=0)).max() < 1e-10


def assert_same(ours: Forces, theirs: Forces, relative: float = 1e-12) -> None:
    for field in ("energy", "conservative", "direct", "virial", "direct_virial"):
        our, their = getattr(ours, field), getattr(theirs, field)
        if our is None or their is None:
            assert our is their, field
        else:
            assert_close(our, their, relative)


class TestOneEvaluation:
    def test_both_kinds_cost_one_forward_and_one_backward_pass(
        self, pet_file_float64: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = MetatomicModel(pet_file_float64)
        forward, backward = count_calls(model, monkeypatch)
        evaluated(model, few_waters(TRICLINIC), BOTH)
        assert (len(forward), len(backward)) == (1, 1)
        assert (model.passes.forward, model.passes.backward) == (1, 1)

    def test_direct_costs_no_backward_pass(self, pet_file_float64: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        model = MetatomicModel(pet_file_float64)
        forward, backward = count_calls(model, monkeypatch)
        evaluated(model, few_waters(TRICLINIC), DIRECT)
        assert (len(forward), len(backward)) == (1, 0)
        assert (model.passes.forward, model.passes.backward) == (1, 0)

    def test_both_kinds_together_equal_both_alone(self, pet_m_float64: ForceModel) -> None:
        structure = few_waters(TRICLINIC)
        alone = evaluated(pet_m_float64, structure, CONSERVATIVE).merged(evaluated(pet_m_float64, structure, DIRECT))
        assert_same(evaluated(pet_m_float64, structure, BOTH), alone)

    def test_what_was_not_asked_for_is_not_there(self, pet_m_float64: ForceModel) -> None:
        structure = few_waters(TRICLINIC)
        assert evaluated(pet_m_float64, structure, DIRECT).conservative is None
        assert evaluated(pet_m_float64, structure, CONSERVATIVE).direct is None

    def test_batch_equals_one_by_one(self, water: Structure, pet_m_float64: ForceModel) -> None:
        batch = [STRUCTURES[case](water) for case in STRUCTURES] + [few_waters(TRICLINIC, 3)]
        together = pet_m_float64.evaluate(batch, BOTH)
        for forces, structure in zip(together, batch, strict=True):
            assert_same(forces, evaluated(pet_m_float64, structure), 1e-9)

    def test_batch_counts_as_many_passes_as_structures(self, pet_file_float64: Path) -> None:
        model = MetatomicModel(pet_file_float64)
        model.evaluate([few_waters(TRICLINIC)] * 3, BOTH)
        assert (model.passes.forward, model.passes.backward) == (3, 3)


def count_calls(model: MetatomicModel, monkeypatch: pytest.MonkeyPatch) -> tuple[list[None], list[None]]:
    """Lists that grow with each forward and backward pass that torch really makes."""
    forward: list[None] = []
    backward: list[None] = []
    gradient = torch.autograd.grad
    model._model.register_forward_hook(lambda *_: forward.append(None))
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: (backward.append(None), gradient(*a, **k))[1])
    return forward, backward


class TestNumbers:
    def test_float32_keeps_its_digits_many_cells_away(
        self, water: Structure, raw_single: ForceModel, pet_file: Path, tmp_path: Path
    ) -> None:
        """The same forces as at home, far better than from positions that were cast before they were wrapped."""
        far = water.positions.copy()
        far[:3] += 32 * water.cell[0] - 32 * water.cell[2]
        home = by_us(raw_single, water, Component.CONSERVATIVE)[1]
        ours = by_us(raw_single, water_like(water, positions=far), Component.CONSERVATIVE)[1]
        naive = by_ipi(pet_file, water_like(water, positions=far), tmp_path, non_conservative=False)[1]
        error, naive_error = np.abs(ours - home).max(), np.abs(naive - home).max()
        assert naive_error > 20 * error
        assert error < 1e-4 * np.abs(home).max()

    def test_moved_by_a_cell_nothing_changes(self, pet_m_float64: ForceModel) -> None:
        structure = few_waters(TRICLINIC)
        moved = water_like(structure, positions=structure.positions + np.array([3, -2, 1]) @ TRICLINIC)
        assert_same(evaluated(pet_m_float64, moved), evaluated(pet_m_float64, structure), 1e-9)

    def test_neighbours_that_are_kept_between_steps_stay_right(
        self, double: ForceModel, pet_m_float64: ForceModel
    ) -> None:
        """Small steps reuse the list of pairs, also across the edges of the cell; the forces must not notice."""
        random = np.random.default_rng(1)
        structure = few_waters(TRICLINIC)
        for _ in range(12):
            structure = water_like(structure, positions=structure.positions + random.normal(0, 0.08, (24, 3)))
            followed = evaluated(double, structure, CONSERVATIVE)
        assert_same(followed, evaluated(pet_m_float64, structure, CONSERVATIVE), 1e-9)

    def test_neighbours_follow_a_changing_cell(self, double: ForceModel, pet_m_float64: ForceModel) -> None:
        for scale in (1.0, 0.95, 0.9, 0.85):
            structure = strained(few_waters(TRICLINIC), scale * np.eye(3))
            followed = evaluated(double, structure, CONSERVATIVE)
        assert_same(followed, evaluated(pet_m_float64, structure, CONSERVATIVE), 1e-9)

    def test_everything_that_comes_back_is_double_precision(self, water: Structure, single: ForceModel) -> None:
        forces = evaluated(single, water)
        assert {forces.conservative.dtype, forces.direct.dtype, forces.virial.dtype} == {np.dtype(np.float64)}

    def test_model_cast_to_double_equals_the_file_in_double(self, pet_file: Path, pet_m_float64: ForceModel) -> None:
        structure = few_waters(TRICLINIC)
        cast = MetatomicModel(pet_file, dtype="float64", remove_net_force=False)
        assert_same(evaluated(cast, structure), evaluated(pet_m_float64, structure))

    def test_double_model_cast_to_single_agrees_to_rounding(
        self, pet_file_float64: Path, pet_m_float64: ForceModel
    ) -> None:
        structure = few_waters(TRICLINIC)
        cast = MetatomicModel(pet_file_float64, dtype="float32", remove_net_force=False)
        single, double = evaluated(cast, structure), evaluated(pet_m_float64, structure)
        assert_close(single.conservative, double.conservative, 1e-4)
        assert not np.array_equal(single.conservative, double.conservative)


LONELY = {
    "single atom in vacuum": oxygen_atom(),
    "single atom in a cell": Structure(np.array([8], np.int32), np.full((1, 3), 99.0), 30 * np.eye(3)),
    "atoms out of reach": Structure(np.array([8, 1], np.int32), np.array([[0.0] * 3, [9.0] * 3]), VACUUM),
}


@pytest.mark.parametrize("case", LONELY)
class TestWithoutNeighbours:
    def test_no_forces_act(self, case: str, pet_m_float64: ForceModel) -> None:
        forces = evaluated(pet_m_float64, LONELY[case])
        assert np.isfinite(forces.energy)
        assert (forces.conservative == 0).all()
        assert (forces.virial == 0).all()

    def test_direct_forces_have_their_shape(self, case: str, pet_m_float64: ForceModel) -> None:
        assert evaluated(pet_m_float64, LONELY[case]).direct.shape == LONELY[case].positions.shape

    def test_single_precision_too(self, case: str, single: ForceModel) -> None:
        assert (evaluated(single, LONELY[case]).conservative == 0).all()


def test_energy_that_does_not_depend_on_positions_has_zero_forces(tmp_path: Path) -> None:
    model = MetatomicModel(export_toy(tmp_path / "toy.pt", ["energy"], ConstantModule()))
    forces = evaluated(model, few_waters(TRICLINIC), CONSERVATIVE)
    assert forces.energy == 1.0
    assert forces.conservative.shape == (24, 3)
    assert not forces.conservative.any()
    assert not forces.virial.any()


PAIR = Structure(np.array([8, 1], np.int32), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]]), VACUUM)
TRIPLE = Structure(np.array([8, 1, 1], np.int32), np.array([[0.0] * 3, [2.0, 0, 0], [4.0, 0, 0]]), 20 * np.eye(3))


def toy(tmp_path: Path, *outputs: str, variant: str | None = None, **options: str) -> MetatomicModel:
    path = export_toy(tmp_path / "toy.pt", outputs, **options)
    return MetatomicModel(path, "toy", variant=variant, remove_net_force=False)


class TestOutputs:
    @pytest.mark.parametrize("spelling", ["non_conservative_force", "non_conservative_forces"])
    def test_both_spellings_of_direct_forces(self, spelling: str, tmp_path: Path) -> None:
        direct = evaluated(toy(tmp_path, "energy", spelling), TRIPLE).direct
        assert direct.tolist() == [[1, 0, 0], [2, 0, 0], [1, 0, 0]]

    @pytest.mark.parametrize("spelling", ["non_conservative_force", "non_conservative_forces"])
    def test_both_spellings_survive_a_change_of_precision(self, spelling: str, tmp_path: Path) -> None:
        path = export_toy(tmp_path / "toy.pt", ["energy", spelling])
        model = MetatomicModel(path, dtype="float32", remove_net_force=False)
        assert evaluated(model, TRIPLE).direct.tolist() == [[1, 0, 0], [2, 0, 0], [1, 0, 0]]

    def test_other_units_are_converted(self, tmp_path: Path) -> None:
        angstrom = evaluated(toy(tmp_path, "energy"), PAIR, CONSERVATIVE)
        nanometre = evaluated(toy(tmp_path, "energy", length_unit="nm", energy_unit="kJ/mol"), PAIR, CONSERVATIVE)
        kj_per_mol = 0.01036426965  # in eV
        assert nanometre.energy == pytest.approx(angstrom.energy * 0.01 * kj_per_mol, rel=1e-8)
        assert_close(nanometre.conservative, angstrom.conservative * 0.01 * kj_per_mol, 1e-8)

    def test_variant_is_used_for_all_outputs(self, tmp_path: Path) -> None:
        outputs = [n + v for n in ("energy", "non_conservative_force") for v in ("", "/pbe")]
        plain = evaluated(toy(tmp_path, *outputs), PAIR)
        pbe = evaluated(toy(tmp_path, *outputs, variant="pbe"), PAIR)
        assert pbe.energy == 2 * plain.energy
        assert np.array_equal(pbe.conservative, 2 * plain.conservative)
        assert np.array_equal(pbe.direct, 2 * plain.direct)

    def test_only_variant_need_not_be_named(self, tmp_path: Path) -> None:
        model = toy(tmp_path, "energy/pbe", "non_conservative_forces/pbe")
        assert evaluated(model, PAIR).energy == 2 * (2.0 - CUTOFF) ** 2

    def test_direct_forces_of_another_variant_are_not_used(self, tmp_path: Path) -> None:
        assert Need.DIRECT not in toy(tmp_path, "energy", "non_conservative_force/pbe").provides

    def test_direct_stress_gives_the_virial_of_direct_forces(self, tmp_path: Path) -> None:
        model = toy(tmp_path, "energy", "non_conservative_force", "non_conservative_stress")
        stress = np.array(STRESS)
        assert_close(evaluated(model, TRIPLE).direct_virial, -(20.0**3) * 0.5 * (stress + stress.T), 1e-12)

    def test_direct_stress_without_a_volume_is_none_at_all(self, tmp_path: Path) -> None:
        model = toy(tmp_path, "energy", "non_conservative_force", "non_conservative_stress")
        assert (evaluated(model, PAIR).direct_virial == 0).all()

    def test_without_direct_stress_there_is_no_direct_virial(self, tmp_path: Path) -> None:
        assert evaluated(toy(tmp_path, "energy", "non_conservative_force"), TRIPLE).direct_virial is None

    def test_energy_alone_provides_conservative_forces_alone(self, tmp_path: Path) -> None:
        assert toy(tmp_path, "energy").provides == CONSERVATIVE


class TestNetForce:
    def test_direct_forces_sum_to_zero(self, water: Structure, single: ForceModel) -> None:
        direct = evaluated(single, water).direct
        assert np.abs(direct.sum(axis=0)).max() < 1e-10

    def test_only_the_mean_is_removed(self, water: Structure, single: ForceModel, raw_single: ForceModel) -> None:
        direct = evaluated(single, water).direct
        raw = evaluated(raw_single, water).direct
        assert np.abs(raw.mean(axis=0)).max() > 1e-4  # else this shows nothing
        assert_close(direct, raw - raw.mean(axis=0), 1e-12)

    def test_in_vacuum_there_is_no_torque_either(self, double: ForceModel, pet_m_float64: ForceModel) -> None:
        structure = few_waters(VACUUM)
        assert np.abs(torque(structure, evaluated(pet_m_float64, structure).direct)).max() > 1e-2
        direct = evaluated(double, structure).direct
        assert np.abs(torque(structure, direct)).max() < 1e-9
        assert np.abs(direct.sum(axis=0)).max() < 1e-9

    def test_in_a_cell_the_torque_is_left(self, double: ForceModel) -> None:
        structure = few_waters(30 * np.eye(3))
        direct = evaluated(double, structure).direct
        assert np.abs(torque(structure, direct)).max() > 1e-2

    @pytest.mark.parametrize("n_atoms", [1, 2])
    def test_linear_molecules_keep_finite_forces(self, n_atoms: int, double: ForceModel) -> None:
        """Linear molecules have no moment of inertia about their axis, a single atom has none at all."""
        structure = Structure(np.array([8, 1][:n_atoms], np.int32), PAIR.positions[:n_atoms] / 2, VACUUM)
        direct = evaluated(double, structure).direct
        assert np.abs(torque(structure, direct)).max() < 1e-9
        assert np.abs(direct.sum(axis=0)).max() < 1e-9

    def test_conservative_forces_are_left_alone(self, double: ForceModel, pet_m_float64: ForceModel) -> None:
        structure = few_waters(VACUUM)
        removed = evaluated(double, structure).conservative
        assert_close(removed, evaluated(pet_m_float64, structure).conservative, 1e-12)


def torque(structure: Structure, forces: np.ndarray) -> np.ndarray:
    return np.cross(structure.positions, forces).sum(axis=0)


def refused(message: str, action: Callable[[], object]) -> None:
    """Expect an end in one line that says `message`."""
    with pytest.raises(DarkforcesError, match=message) as caught:
        action()
    assert "\n" not in str(caught.value)


class TestErrors:
    def test_missing_file(self) -> None:
        refused("model file 'no/model.pt' does not exist", lambda: MetatomicModel("no/model.pt"))

    def test_path_that_no_file_can_have(self) -> None:
        refused("does not exist", lambda: MetatomicModel("m" * 5000 + ".pt"))

    def test_folder(self, tmp_path: Path) -> None:
        refused("does not exist|is not", lambda: MetatomicModel(tmp_path))

    @pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(100)])
    def test_file_that_is_no_model(self, content: bytes, tmp_path: Path) -> None:
        path = tmp_path / "model.pt"
        path.write_bytes(content)
        refused("is not an exported metatomic model", lambda: MetatomicModel(path))

    def test_other_torchscript_file(self, tmp_path: Path) -> None:
        path = tmp_path / "model.pt"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.script(torch.nn.Linear(2, 2)).save(path)
        refused("is not an exported metatomic model", lambda: MetatomicModel(path))

    def test_checkpoint_before_its_export(self) -> None:
        refused(r"is not an exported metatomic model \(\.pt\)$", lambda: MetatomicModel(ZOO["pet-m"].path))

    @pytest.mark.parametrize("device", ["gpu", "cuda:x", ""])
    def test_unknown_device(self, device: str, pet_file: Path) -> None:
        refused(
            f"device '{device}' is not a device: expected cpu, cuda or cuda:1",
            lambda: MetatomicModel(pet_file, device=device),
        )

    def test_device_that_the_model_does_not_run_on(self, pet_file: Path) -> None:
        refused("does not run on 'mps'; it runs on", lambda: MetatomicModel(pet_file, device="mps"))

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
    @pytest.mark.parametrize("device", ["cuda", "cuda:1"])
    def test_cuda_absent(self, device: str, pet_file: Path) -> None:
        refused(
            f"device '{device}' was asked for but PyTorch finds no CUDA device; use --device cpu",
            lambda: MetatomicModel(pet_file, device=device),
        )

    def test_unknown_dtype(self, pet_file: Path) -> None:
        refused(
            "dtype 'float16' is not known: expected float32 or float64",
            lambda: MetatomicModel(pet_file, dtype="float16"),
        )

    def test_no_energy(self, tmp_path: Path) -> None:
        refused(
            "model 'toy' has no energy output; it has: non_conservative_force",
            lambda: toy(tmp_path, "non_conservative_force"),
        )

    def test_unknown_variant(self, tmp_path: Path) -> None:
        refused(
            "has no energy variant 'r2scan'; choose one with --variant: pbe, the one without a name",
            lambda: toy(tmp_path, "energy", "energy/pbe", variant="r2scan"),
        )

    def test_several_variants_and_none_chosen(self, tmp_path: Path) -> None:
        refused(
            "has several energy variants; choose one with --variant: pbe, pbe0",
            lambda: toy(tmp_path, "energy/pbe", "energy/pbe0"),
        )

    def test_unknown_elements(self, pet_m_float64: ForceModel) -> None:
        rocksalt = Structure(np.array([11, 17], np.int32), PAIR.positions, VACUUM)
        refused("model 'pet-m' does not know Na, Cl; it knows H, O", lambda: evaluated(pet_m_float64, rocksalt))

    def test_need_that_is_not_provided(self, tmp_path: Path) -> None:
        refused(
            "model 'toy' does not provide direct forces; it provides energy, conservative forces, virial",
            lambda: evaluated(toy(tmp_path, "energy"), PAIR, DIRECT),
        )

    def test_nothing_was_computed_for_a_need_that_is_not_provided(self, tmp_path: Path) -> None:
        model = toy(tmp_path, "energy")
        with pytest.raises(DarkforcesError):
            evaluated(model, PAIR, DIRECT)
        assert model.passes.forward == 0

    def test_positions_that_are_not_finite(self, pet_m_float64: ForceModel) -> None:
        refused(
            r"positions are NaN or infinite for atom 1 \(H\)",
            lambda: evaluated(pet_m_float64, displaced(PAIR, 1, 2, np.nan)),
        )


class TestExtensions:
    """Compiled code that a model needs, as those have that are exported with operations of their own."""

    @pytest.fixture(scope="class")
    def needing(self, pet_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A model that says that it needs the extension `mine`."""
        path = tmp_path_factory.mktemp("extended") / "needing.pt"
        needed = json.dumps([{"name": "mine", "path": "mine/libmine.so"}])
        with zipfile.ZipFile(pet_file) as source, zipfile.ZipFile(path, "w") as target:
            for name in source.namelist():
                target.writestr(name, needed if name.endswith("extra/extensions") else source.read(name))
        return path

    @pytest.mark.parametrize("what", ["builtin op: mine::energy", "type name '__torch__.torch.classes.mine.Energy'"])
    def test_what_is_not_there_is_named(self, needing: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def load(*_: object, **__: object) -> None:
            raise RuntimeError(f"\nUnknown {what}:\nCould not find any similar ops\n")

        monkeypatch.setattr(mta, "load_atomistic_model", load)
        with pytest.raises(
            DarkforcesError, match="needing.pt' needs compiled code .* extensions_directory=DIR"
        ) as error:
            load_model(needing)
        assert "mine" in str(error.value)
        assert "\n" not in str(error.value)

    @pytest.mark.skipif(platform.system() != "Linux", reason="libraries have other names")
    def test_from_the_folder_that_is_given(self, needing: Path, tmp_path: Path, water: Structure) -> None:
        library = next((Path(torch.__file__).parent / "lib").glob("libtorch_global_deps.so"))
        (tmp_path / "code" / "mine").mkdir(parents=True)
        shutil.copy(library, tmp_path / "code" / "mine" / "libmine.so")
        model = load_model(f"{needing}?extensions_directory={tmp_path / 'code'}")
        assert model.loaded["model"].endswith(f"?extensions_directory={tmp_path / 'code'}")
        assert model.evaluate(water, Need.ENERGY).energy < 0.0

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ("extensions_directory=nowhere", "extensions_directory 'nowhere' of model '.*needing.pt' is not a folder"),
            ("extension=here", "model '.*needing.pt' has no option 'extension': expected extensions_directory"),
        ],
    )
    def test_what_cannot_be(self, needing: Path, option: str, message: str) -> None:
        with pytest.raises(DarkforcesError, match=message):
            load_model(f"{needing}?{option}")
