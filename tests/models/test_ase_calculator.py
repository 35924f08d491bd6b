"""ase calculators as models: the same numbers, and one line for whatever they are not."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.tip3p import TIP3P, angleHOH, rOH
from calculators import FILE, as_structure, copper, emt, rotated, single_precision, turn, without

from ipi_darkforces import Need, Structure, load_model
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.ase_calculator import CalculatorModel

WHAT = Need.ENERGY | Need.CONSERVATIVE | Need.VIRIAL


@pytest.fixture
def structure() -> Structure:
    return as_structure(copper())


class TestNumbers:
    def test_are_those_of_ase(self, structure: Structure) -> None:
        (found,) = load_model("ase:ase.calculators.emt:EMT").evaluate([structure], WHAT)
        atoms = copper()
        atoms.calc = EMT()
        assert found.energy == atoms.get_potential_energy()
        assert np.array_equal(found.conservative, atoms.get_forces())
        np.testing.assert_allclose(found.virial, -atoms.get_volume() * atoms.get_stress(voigt=False), atol=1e-12)
        assert found.direct is None

    def test_the_virial_is_minus_the_derivative_by_strain(self, structure: Structure) -> None:
        model = CalculatorModel(EMT(), "emt")
        (found,) = model.evaluate([structure], WHAT)
        assert found.virial is not None
        strain = np.random.default_rng(0).normal(size=(3, 3))
        strain = 1e-5 * (strain + strain.T)

        def energy(sign: int) -> float:
            matrix = np.eye(3) + sign * strain
            strained = replace(structure, positions=structure.positions @ matrix, cell=structure.cell @ matrix)
            return model.evaluate([strained], Need.ENERGY)[0].energy

        assert energy(1) - energy(-1) == pytest.approx(-2.0 * np.vdot(found.virial, strain), rel=1e-5)

    def test_direct_forces_are_without_their_mean(self, structure: Structure) -> None:
        model = CalculatorModel(rotated(0.1), "rotated", Need.DIRECT)
        (found,) = model.evaluate([structure], Need.DIRECT | Need.VIRIAL)
        atoms = copper()
        atoms.calc = EMT()
        expected = atoms.get_forces() @ turn(0.1).T
        np.testing.assert_allclose(found.direct, expected - expected.mean(axis=0), atol=1e-14)
        assert found.conservative is None
        assert found.virial is None
        assert found.direct_virial is not None

    def test_a_molecule_without_a_cell(self) -> None:
        atoms = molecule("CO")
        structure = Structure.from_ase(atoms)
        (found,) = CalculatorModel(EMT(), "emt").evaluate([structure], WHAT)
        atoms.calc = EMT()
        assert found.energy == atoms.get_potential_energy()
        assert not np.any(found.virial)

    def test_molecules_stay_whole_unless_atoms_may_be_wrapped(self, structure: Structure) -> None:
        moved = structure.positions.copy()
        moved[3] += structure.cell[0] - 2.0 * structure.cell[1]
        moved = replace(structure, positions=moved)
        results = [
            CalculatorModel(emt(), "emt", wrap=wrap).evaluate([s], WHAT)[0]
            for s in (structure, moved)
            for wrap in (False, True)
        ]
        for result in results[1:]:
            np.testing.assert_allclose(result.conservative, results[0].conservative, atol=1e-9)
        seen = []
        for wrap in (False, True):
            calculator = emt()
            CalculatorModel(calculator, "emt", wrap=wrap).evaluate([moved], Need.ENERGY)
            seen.append(calculator.atoms.get_scaled_positions(wrap=False)[3])
        assert seen[0].min() < -0.5
        assert (seen[1] >= 0.0).all()
        assert (seen[1] < 1.0).all()

    def test_free_energies_are_what_forces_belong_to(self, structure: Structure) -> None:
        calculator = emt()
        calculator._change = lambda results: results.update(energy=0.0)
        (found,) = CalculatorModel(calculator, "metal").evaluate([structure], WHAT)
        assert found.energy != 0.0

    def test_a_free_energy_that_is_promised_and_not_there(self, structure: Structure) -> None:
        (found,) = CalculatorModel(without("free_energy", said=False), "emt").evaluate([structure], WHAT)
        assert found.energy == CalculatorModel(EMT(), "emt").evaluate([structure], WHAT)[0].energy

    def test_single_precision_is_known_by_what_it_gives(self, structure: Structure) -> None:
        """Derivatives by finite differences would be noise with the steps that double precision allows."""
        models = [CalculatorModel(calculator, "X") for calculator in (EMT(), single_precision())]
        exact, single = (model.jacobian(structure, Need.CONSERVATIVE) for model in models)
        assert [model.epsilon for model in models] == [np.finfo(np.float64).eps, np.finfo(np.float32).eps]
        vectors = np.random.default_rng(0).normal(size=(32, 3))
        expected = exact.times(vectors)
        assert np.linalg.norm(single.times(vectors) - expected) < 1e-3 * np.linalg.norm(expected)


class TestOptions:
    def test_reach_the_factory_as_what_they_are(self) -> None:
        model = load_model("ase:ase.calculators.lj:LennardJones?sigma=3.4;epsilon=1e-2;smooth=True")
        parameters = model._calculator.parameters
        assert (parameters.sigma, parameters.epsilon, parameters.smooth) == (3.4, 0.01, True)

    def test_forces_say_what_forces_are(self) -> None:
        model = load_model(f"ase:{FILE}:rotated?forces=direct;angle=0.1")
        assert model.provides == Need.ENERGY | Need.DIRECT | Need.VIRIAL

    @pytest.mark.parametrize(("dtype", "said"), [(None, "float32 on cuda:1"), ("float64", "float64 on cuda:1")])
    def test_device_and_precision_go_to_factories_that_take_them(self, dtype: str | None, said: str) -> None:
        with pytest.raises(DarkforcesError, match=f"cannot be made: RuntimeError: {said}"):
            load_model(f"ase:{FILE}:on_a_device", device="cuda:1", dtype=dtype)


class TestWithoutStress:
    def test_as_for_rigid_water(self) -> None:
        """The TIP3P of ase: also a calculator that knows molecules by the order of their atoms."""
        x, angle = rOH, np.radians(angleHOH)
        one = np.array([[0.0, 0.0, 0.0], [x, 0.0, 0.0], [x * np.cos(angle), x * np.sin(angle), 0.0]])
        positions = np.concatenate(
            [one + 3.1 * np.array([i, j, k]) for i in range(3) for j in range(3) for k in range(3)]
        )
        structure = Structure(np.array([8, 1, 1] * 27, np.int32), positions, 9.3 * np.eye(3))
        model = CalculatorModel(TIP3P(rc=4.5), "TIP3P")
        assert model.provides == Need.ENERGY | Need.CONSERVATIVE
        (found,) = model.evaluate([structure], Need.ENERGY | Need.CONSERVATIVE)
        assert found.virial is None

    def test_promised_and_not_there(self, structure: Structure, caplog: pytest.LogCaptureFixture) -> None:
        model = CalculatorModel(without("stress", said=False), "X")
        assert Need.VIRIAL in model.provides
        (found,) = model.evaluate([structure], WHAT)
        assert found.virial is None
        assert Need.VIRIAL not in model.provides
        assert "model 'X' has no stress after all" in caplog.text


class TestWhatIsWrong:
    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("ase:no_such.calculators:Fast", "package 'no_such' is not installed in the environment of /"),
            ("ase:ase.no_such:Fast", "no module 'ase.no_such' in the environment"),
            ("ase:ase.calculators.emt:Fast", "there is no 'Fast' in 'ase.calculators.emt'"),
            ("ase:ase.calculators.emt", "is not complete: expected ase:package.module:factory"),
            ("ase:ase.calculators.emt:parameters", "'parameters' is dict: expected what makes a calculator"),
            ("ase:nowhere.py:make", "file 'nowhere.py' does not exist"),
            (f"ase:{FILE}:no_calculator", "is str: expected an ase calculator"),
            (f"ase:{FILE}:broken", "cannot be made: RuntimeError: Error(s) in loading state_dict for Model: size mis"),
            (f"ase:{FILE}:rotated?angel=0.1", "cannot be made: TypeError: rotated() got an unexpected keyword"),
            (f"ase:{FILE}:rotated?forces=both", "forces=both is not known: expected conservative or direct"),
            (f"ase:{FILE}:without?name=forces", "gives no forces; it gives energy, free_energy, stress"),
            (f"ase:{FILE}:without?name=energy", "gives no energy; it gives free_energy, forces, stress"),
            ("pet-m?precision=high", "model 'pet-m' has no options, but was given 'precision'"),
        ],
    )  # fmt: skip
    def test_when_it_is_loaded(self, name: str, says: str) -> None:
        with pytest.raises(DarkforcesError) as error:
            load_model(name)
        assert says in str(error.value)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 600

    def test_a_module_that_needs_another_package(self, tmp_path) -> None:
        (tmp_path / "mine.py").write_text("import no_such_package.models\n")
        with pytest.raises(DarkforcesError, match=r"mine.py' needs 'no_such_package', which is not installed"):
            load_model(f"ase:{tmp_path}/mine.py:make")

    def test_a_module_that_is_wrong(self, tmp_path) -> None:
        (tmp_path / "mine.py").write_text("1/0\n")
        with pytest.raises(DarkforcesError, match=r"mine.py' cannot be imported: ZeroDivisionError: division by zero"):
            load_model(f"ase:{tmp_path}/mine.py:make")

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"device": "cuda"}, "expected no --device"),
            ({"dtype": "float64"}, "expected no --dtype"),
            ({"variant": "pbe"}, "expected no --variant"),
        ],
    )
    def test_a_device_or_precision_that_the_factory_does_not_take(self, options: dict[str, str], says: str) -> None:
        with pytest.raises(DarkforcesError, match=says):
            load_model(f"ase:{FILE}:emt", **options)

    def test_elements_that_the_calculator_does_not_know(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "ipi_darkforces")
        structure = Structure(np.array([26, 26], np.int32), np.array([[0.0, 0, 0], [2.5, 0, 0]]), np.zeros((3, 3)))
        with pytest.raises(
            DarkforcesError, match="model 'emt' cannot compute the forces of Fe2: .*No EMT-potential for Fe"
        ):
            CalculatorModel(EMT(), "emt").evaluate([structure], Need.CONSERVATIVE)
        assert "Traceback" in caplog.text  # for who wrote the calculator, with -v

    @pytest.mark.parametrize(
        ("name", "shape"), [("forces", "(5,): expected (32, 3)"), ("stress", "(5,): expected (6,) or (3, 3)")]
    )
    def test_results_of_another_shape(self, structure: Structure, name: str, shape: str) -> None:
        with pytest.raises(DarkforcesError) as error:
            load_model(f"ase:{FILE}:misshapen?name={name}").evaluate([structure], WHAT)
        assert f"gives {name} of shape {shape}" in str(error.value)

    def test_forces_that_are_promised_and_not_there(self, structure: Structure) -> None:
        with pytest.raises(DarkforcesError, match="model 'X' gives no forces"):
            CalculatorModel(without("forces", said=False), "X").evaluate([structure], WHAT)
