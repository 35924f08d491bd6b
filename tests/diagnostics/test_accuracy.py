"""Errors of models: exact where the reference is made from the model itself."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from toy_models import EVERYTHING, SpringModel

from ipi_darkforces import Need, Structure, load_model
from ipi_darkforces.diagnostics.accuracy import Accuracy, check_units, measure
from ipi_darkforces.diagnostics.parity import draw_parity
from ipi_darkforces.diagnostics.reference import Reference
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.units import ENERGY_UNITS, FORCE_UNITS

FORCES = Need.CONSERVATIVE | Need.DIRECT
ALL = Need.ENERGY | FORCES


def labelled(
    structures: list[Structure], energy_factor: float = 1.0, force_factor: float = 1.0, noise: float = 0.0
) -> list[Reference]:
    """Springs as they are, times factors, with random forces and energies on top."""
    rng = np.random.default_rng(1)
    exact = SpringModel().evaluate(structures, ALL)
    return [
        Reference(
            s,
            energy_factor * (forces.energy + rng.normal(0.0, noise)),
            force_factor * (forces.conservative + rng.normal(0.0, noise, s.positions.shape)),
            f"structure {i}",
        )
        for i, (s, forces) in enumerate(zip(structures, exact, strict=True))
    ]


@pytest.fixture
def molecules() -> list[Structure]:
    """Twenty of one composition, at random."""
    rng = np.random.default_rng(0)
    species = np.array([8, 1, 1], dtype=np.int32)
    return [Structure(species, rng.normal(size=(3, 3)), np.zeros((3, 3))) for _ in range(20)]


@pytest.fixture
def shifted(molecules: list[Structure]) -> list[Reference]:
    """References that the springs miss by 10 meV/Å for O, 40 for H, and 5 ± 3 meV/atom."""
    references = []
    for i, reference in enumerate(labelled(molecules)):
        offset = np.array([[0.010], [-0.040], [0.040]]) * np.array([1.0, -1.0, 1.0])
        energy = reference.energy - 3 * (0.005 + 0.003 * (-1) ** i)
        references.append(dataclasses.replace(reference, energy=energy, forces=reference.forces + offset))
    return references


class TestErrors:
    def test_of_energies_per_atom(self, shifted: list[Reference]) -> None:
        errors = measure(SpringModel(), shifted).energy_errors
        assert errors.mean == pytest.approx(5.0)
        assert errors.total.mae == pytest.approx(5.0)  # 8 and 2
        assert errors.total.rmse == pytest.approx(np.sqrt(34.0))
        assert errors.shifted.mae == pytest.approx(3.0)
        assert errors.shifted.rmse == pytest.approx(3.0)

    def test_of_forces_per_component_and_element(self, shifted: list[Reference]) -> None:
        errors = measure(SpringModel(), shifted).conservative_errors
        assert errors is not None
        assert errors.total.mae == pytest.approx(30.0)
        assert errors.total.rmse == pytest.approx(np.sqrt((100 + 2 * 1600) / 3))
        assert {symbol: e.mae for symbol, e in errors.elements.items()} == pytest.approx({"H": 40.0, "O": 10.0})
        assert {symbol: e.rmse for symbol, e in errors.elements.items()} == pytest.approx({"H": 40.0, "O": 10.0})

    def test_of_direct_forces_against_both(self, molecules: list[Structure]) -> None:
        """The direct forces of the springs are off by a tenth of the (permuted) positions."""
        accuracy = measure(SpringModel(), labelled(molecules))
        positions = np.concatenate([s.positions for s in molecules])
        assert accuracy.conservative_errors is not None
        assert accuracy.conservative_errors.total.mae == 0.0
        for errors in (accuracy.direct_errors, accuracy.difference):
            assert errors is not None
            assert errors.total.mae == pytest.approx(100.0 * np.abs(positions).mean())
            assert errors.total.rmse == pytest.approx(100.0 * np.sqrt((positions**2).mean()))
            assert errors.elements["O"].mae == pytest.approx(100.0 * np.abs(positions[::3]).mean())

    def test_structures_of_any_size_weigh_by_their_atoms(self, molecules: list[Structure]) -> None:
        large, small = labelled([molecules[0], Structure(np.array([1]), np.ones((1, 3)), np.zeros((3, 3)))])
        small = dataclasses.replace(small, energy=small.energy - 0.004, forces=small.forces + 0.008)
        accuracy = measure(SpringModel(), [large, small])
        assert (accuracy.n_structures, accuracy.n_atoms) == (2, 4)
        assert accuracy.energy_errors.total.mae == pytest.approx(2.0)
        assert accuracy.conservative_errors is not None
        assert accuracy.conservative_errors.total.mae == pytest.approx(2.0)
        assert accuracy.conservative_errors.elements["H"].mae == pytest.approx(8.0 / 3.0)

    def test_are_numbers_for_machines(self, shifted: list[Reference]) -> None:
        summary = json.loads(json.dumps(measure(SpringModel(), shifted).as_json()))
        assert summary["structures"] == 20
        assert summary["atoms"] == 60
        assert summary["energy_meV_per_atom"]["mean"] == pytest.approx(5.0)
        assert summary["conservative_forces_meV_per_angstrom"]["elements"]["H"]["mae"] == pytest.approx(40.0)
        assert set(summary["milliseconds_per_structure"]) == {"direct", "energy_conservative_direct"}


class TestWhatAModelProvides:
    @pytest.mark.parametrize(
        ("provides", "asked"),
        [
            (EVERYTHING, [Need.DIRECT, ALL]),
            (Need.ENERGY | Need.CONSERVATIVE, [Need.ENERGY | Need.CONSERVATIVE]),
            (Need.ENERGY | Need.DIRECT, [Need.DIRECT]),
        ],
    )
    def test_is_asked_for_and_timed(self, provides: Need, asked: list[Need], molecules: list[Structure]) -> None:
        accuracy = measure(SpringModel(provides), labelled(molecules))
        assert list(accuracy.milliseconds) == asked
        assert all(times.shape == (20,) and (times > 0).all() for times in accuracy.milliseconds.values())
        assert (accuracy.conservative is not None) == (Need.CONSERVATIVE in provides)
        assert (accuracy.direct is not None) == (Need.DIRECT in provides)
        assert (accuracy.difference is not None) == (FORCES in provides)

    def test_is_nothing(self, molecules: list[Structure]) -> None:
        with pytest.raises(DarkforcesError, match="'springs' provides no forces to be judged; it provides energy"):
            measure(SpringModel(Need.ENERGY), labelled(molecules))

    def test_times_are_quartiles(self, molecules: list[Structure]) -> None:
        accuracy = measure(SpringModel(), labelled(molecules[:5]))
        known = dataclasses.replace(accuracy, milliseconds={ALL: np.array([1.0, 2.0, 3.0, 4.0, 50.0])})
        assert dataclasses.astuple(known.timings[ALL]) == (3.0, 2.0, 4.0)

    def test_progress_counts_all_evaluations(self, molecules: list[Structure]) -> None:
        seen: list[tuple[int, int]] = []
        measure(SpringModel(), labelled(molecules[:3]), lambda done, total: seen.append((done, total)))
        assert seen == [(i, 6) for i in range(1, 7)]

    def test_unknown_elements_are_said_before_anything_is_computed(self, water: Structure) -> None:
        model = load_model("pet-m")
        chlorine = dataclasses.replace(water, species=np.where(np.arange(192) == 5, 17, water.species))
        references = [Reference(s, 0.0, np.zeros((192, 3)), f"structure {i}") for i, s in enumerate([water, chlorine])]
        with pytest.raises(DarkforcesError, match="^structure 1: model 'pet-m' does not know Cl; it knows H, O$"):
            measure(model, references)
        assert model.passes.forward == 0

    def test_predictions_that_are_nan_name_the_structure(self, molecules: list[Structure]) -> None:
        far = dataclasses.replace(molecules[0], positions=np.full((3, 3), 1e200))  # squares overflow
        references = [Reference(far, 0.0, np.zeros((3, 3)), "structure 7")]
        with np.errstate(over="ignore"), pytest.raises(DarkforcesError, match="^structure 7: model 'springs' predicts"):
            measure(SpringModel(), references)


class TestSlips:
    def slip(self, references: list[Reference], energy_unit: str = "eV", force_unit: str = "eV/Angstrom") -> str:
        with pytest.raises(DarkforcesError) as caught:
            check_units(measure(SpringModel(), references), energy_unit, force_unit)
        return str(caught.value)

    def test_none(self, molecules: list[Structure]) -> None:
        for noise in (0.0, 0.3):
            check_units(measure(SpringModel(), labelled(molecules, noise=noise)))

    @pytest.mark.parametrize("noise", [0.0, 0.3])
    @pytest.mark.parametrize("unit", [unit for unit in FORCE_UNITS if unit != "eV/Angstrom"])
    def test_forces(self, unit: str, noise: float, molecules: list[Structure]) -> None:
        said = self.slip(labelled(molecules, force_factor=1.0 / FORCE_UNITS[unit], noise=noise))
        assert said.startswith("the reference forces are ")
        assert said.endswith(f"they seem to be in {unit} instead of eV/Angstrom; give --force-unit {unit}")

    @pytest.mark.parametrize("unit", [unit for unit in ENERGY_UNITS if unit != "eV"])
    def test_energies(self, unit: str, molecules: list[Structure]) -> None:
        references = labelled(molecules, energy_factor=1.0 / ENERGY_UNITS[unit], noise=0.1)
        shifted = [dataclasses.replace(r, energy=r.energy - 300.0) for r in references]
        assert self.slip(shifted).endswith(f"they seem to be in {unit} instead of eV; give --energy-unit {unit}")

    def test_conversion_without_need(self, molecules: list[Structure]) -> None:
        references = labelled(molecules, force_factor=FORCE_UNITS["hartree/bohr"])
        said = self.slip(references, force_unit="hartree/bohr")
        assert said.endswith("in eV/Angstrom instead of hartree/bohr; give --force-unit eV/Angstrom")

    def test_sign(self, molecules: list[Structure]) -> None:
        assert self.slip(labelled(molecules, force_factor=-1.0)) == (
            "the reference forces are -1 times the predicted ones (correlation -1.000): "
            "they seem to be gradients instead of forces; turn their sign in the data"
        )

    def test_everything_at_once(self, molecules: list[Structure]) -> None:
        factor = 1.0 / FORCE_UNITS["hartree/bohr"]
        said = self.slip(labelled(molecules, 1.0 / ENERGY_UNITS["hartree"], -factor))
        assert "gradients instead of forces and in hartree/bohr instead of eV/Angstrom; turn their sign" in said
        assert said.endswith("give --energy-unit hartree")

    def test_a_model_with_direct_forces_alone_will_do(self, molecules: list[Structure]) -> None:
        accuracy = measure(SpringModel(Need.ENERGY | Need.DIRECT), labelled(molecules, force_factor=-1.0))
        with pytest.raises(DarkforcesError, match="gradients"):
            check_units(accuracy)

    @pytest.mark.parametrize("factor", [0.8, 1.2, 2.0])
    def test_a_bad_model_is_not_a_slip(self, factor: float, molecules: list[Structure]) -> None:
        check_units(measure(SpringModel(), labelled(molecules, factor, factor)))

    def test_noise_is_not_a_slip(self, molecules: list[Structure]) -> None:
        references = labelled(molecules, force_factor=-1.0, noise=3.0)
        check_units(measure(SpringModel(), references))

    def test_few_energies_say_nothing(self, molecules: list[Structure]) -> None:
        references = labelled(molecules[:2], energy_factor=1.0 / ENERGY_UNITS["hartree"])
        check_units(measure(SpringModel(), references))

    def test_a_model_with_errors_of_its_own_still_tells(self, molecules: list[Structure]) -> None:
        """Errors of the prediction make the factor smaller than it is, here by 14 %."""
        accuracy = measure(SpringModel(), labelled(molecules, force_factor=1.0 / FORCE_UNITS["hartree/bohr"]))
        assert accuracy.conservative is not None
        error = np.random.default_rng(3).normal(0.0, 0.4, accuracy.conservative.shape)
        with pytest.raises(DarkforcesError, match="in hartree/bohr instead"):
            check_units(dataclasses.replace(accuracy, conservative=accuracy.conservative + error))

    def test_few_bad_energies_say_nothing(self, molecules: list[Structure]) -> None:
        """Five that go the wrong way, with a correlation of -0.95."""
        accuracy = measure(SpringModel(), labelled(molecules[:5]))
        energy, reference = np.array([-2.0, -1.0, 0.0, 1.0, 2.0]), np.array([1.5, 2.0, 0.0, -1.0, -2.0])
        assert -0.96 < np.corrcoef(energy, reference)[0, 1] < -0.94
        check_units(dataclasses.replace(accuracy, energy=energy, reference_energy=reference))

    def test_energies_of_free_atoms_say_nothing(self, molecules: list[Structure]) -> None:
        """Two compositions, whose energies differ by much more than the springs': 27 times more, as it happens."""
        more = [dataclasses.replace(s, species=np.array([8, 8, 1])) for s in molecules]
        accuracy = measure(SpringModel(), labelled(molecules + more))
        steps = np.repeat([0.0, 100.0], 20)
        check_units(
            dataclasses.replace(
                accuracy, energy=accuracy.energy + 27.2 * steps, reference_energy=accuracy.reference_energy + steps
            )
        )


def test_the_bundled_model_against_itself(water: Structure) -> None:
    """Displaced at random; labels from the model, in double precision, are labels without an error."""
    rng = np.random.default_rng(2)
    model = load_model("pet-m", dtype="float64")
    structures = [dataclasses.replace(water, positions=water.positions + rng.normal(0, 0.02, (192, 3))) for _ in "ab"]
    references = [
        Reference(s, forces.energy - 0.192, forces.conservative + 0.020, "water")
        for s, forces in zip(structures, model.evaluate(structures, ALL), strict=True)
    ]
    accuracy = measure(model, references)
    assert accuracy.energy_errors.mean == pytest.approx(1.0, abs=1e-6)
    assert accuracy.energy_errors.shifted.rmse == pytest.approx(0.0, abs=1e-6)
    assert accuracy.conservative_errors is not None
    assert accuracy.conservative_errors.total.mae == pytest.approx(20.0, abs=1e-6)
    assert accuracy.difference is not None
    assert 30.0 < accuracy.difference.total.rmse < 150.0
    check_units(accuracy)


class TestPicture:
    @pytest.fixture
    def accuracy(self, shifted: list[Reference]) -> Accuracy:
        return measure(SpringModel(), shifted)

    def size(self, accuracies: Accuracy | list[Accuracy], path: Path) -> tuple[int, int]:
        """Width and height of the PNG that is drawn."""
        draw_parity(accuracies, path)
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG")
        return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")

    def test_has_a_panel_for_each_kind_of_force_and_a_row_for_each_model(
        self, accuracy: Accuracy, tmp_path: Path
    ) -> None:
        width, height = self.size(accuracy, tmp_path / "one.png")
        without = dataclasses.replace(accuracy, direct=None)
        assert self.size([accuracy, without], tmp_path / "two.png") == (width, 2 * height)
        assert self.size(without, tmp_path / "half.png") == (width // 2, height)

    def test_is_the_same_every_time(self, accuracy: Accuracy, tmp_path: Path) -> None:
        draw_parity(accuracy, tmp_path / "one.png")
        draw_parity(accuracy, tmp_path / "two.png")
        assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()

    def test_can_be_drawn_of_more_elements_than_there_are_colours(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        species = np.arange(1, 13, dtype=np.int32)
        structures = [Structure(species, rng.normal(size=(12, 3)), np.zeros((3, 3))) for _ in range(2)]
        self.size(measure(SpringModel(), labelled(structures)), tmp_path / "many.png")

    def test_can_be_drawn_of_a_single_structure_without_an_error(
        self, molecules: list[Structure], tmp_path: Path
    ) -> None:
        self.size(measure(SpringModel(), labelled(molecules[:1])), tmp_path / "single.png")
