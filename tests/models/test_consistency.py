"""The check that forces are what they are said to be: mistakes that it finds, and cases that it lets pass."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from calculators import as_structure, copper, emt, rotated, scaled, single_precision

from ipi_darkforces import ForceModel, Need, Structure
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.ase_calculator import CalculatorModel
from ipi_darkforces.models.consistency import POINTS, RADIUS, STRAINS, Consistency, measure, slope_of_virial

KINDS = [Need.CONSERVATIVE, Need.DIRECT]
HARTREE_PER_BOHR = units.Hartree / units.Bohr


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "ipi_darkforces")
    return caplog


@pytest.fixture(params=[0.0, 0.05], ids=["perfect crystal", "displaced"])
def structure(request: pytest.FixtureRequest) -> Structure:
    """Structures where all forces are zero, and where they are not."""
    return as_structure(copper(request.param))


def evaluate(calculator, kind: Need, structure: Structure, times: int = 1) -> None:
    model = CalculatorModel(calculator, "X", kind)
    for _ in range(times):
        model.evaluate([structure], kind)


def refused(calculator, kind: Need, structure: Structure) -> str:
    with pytest.raises(DarkforcesError) as error:
        evaluate(calculator, kind, structure)
    assert "\n" not in str(error.value)
    return str(error.value)


class TestForcesThatAreTheGradient:
    @pytest.mark.parametrize("calculator", [EMT(), single_precision(-30.0), single_precision(-30.0, 1e-3)])
    def test_may_be_said_to_be(self, structure: Structure, calculator, heard) -> None:
        evaluate(calculator, Need.CONSERVATIVE, structure)
        assert "forces of model 'X' are the gradient of its energy, to 0." in heard.text
        assert not [record for record in heard.records if record.levelno > logging.INFO]

    def test_are_not_direct(self, structure: Structure, heard) -> None:
        evaluate(EMT(), Need.DIRECT, structure)
        assert "are the gradient of its energy, but said to be direct" in heard.text

    def test_of_a_potential_that_ends_abruptly(self, heard) -> None:
        argon = bulk("Ar", "fcc", 5.3, cubic=True) * (3, 3, 3)
        argon.rattle(0.2, seed=0)
        evaluate(LennardJones(sigma=3.4, epsilon=0.01, rc=7.0), Need.CONSERVATIVE, as_structure(argon))
        assert "are the gradient of its energy" in heard.text

    def test_of_a_network(self, pet_m_float64: ForceModel, water: Structure) -> None:
        found = circle(pet_m_float64, Need.CONSERVATIVE, water)
        assert found.conservative
        assert found.slope == pytest.approx(1.0, abs=1e-3)
        assert found.difference < 1e-3


class TestWhatToDoAboutIt:
    """Users can say what the forces of their own calculator are, but not those of a model with a name."""

    @pytest.mark.parametrize(
        ("name", "remedy"),
        [
            ("ase:my.py:make", "say forces=direct if they are predicted as such"),
            ("sevennet-0", "are its weights and options those of 'sevennet-0'?"),
        ],
    )
    def test_of_direct_forces(self, name: str, remedy: str, structure: Structure) -> None:
        with pytest.raises(DarkforcesError) as caught:
            CalculatorModel(rotated(0.1), name).evaluate([structure], Need.CONSERVATIVE)
        assert str(caught.value).endswith(f"; {remedy}")

    @pytest.mark.parametrize(
        ("name", "remedy"),
        [("ase:my.py:make", "say forces=conservative"), ("orb-v2", "are its weights and options those of 'orb-v2'?")],
    )
    def test_of_conservative_forces(self, name: str, remedy: str, structure: Structure, heard) -> None:
        CalculatorModel(EMT(), name, Need.DIRECT).evaluate([structure], Need.DIRECT)
        assert f"but said to be direct: {remedy}" in heard.text


class TestForcesThatAreNot:
    @pytest.mark.parametrize("angle", [0.02, 0.1, -1.0])
    def test_may_be_said_to_be_direct(self, structure: Structure, angle: float, heard) -> None:
        evaluate(rotated(angle), Need.DIRECT, structure)
        assert "are not the gradient of its energy, as is said" in heard.text

    @pytest.mark.parametrize("angle", [0.02, 0.1, -1.0])
    def test_are_not_conservative(self, structure: Structure, angle: float) -> None:
        said = refused(rotated(angle), Need.CONSERVATIVE, structure)
        assert said.startswith("forces of model 'X' are not the gradient of its energy, as they are said to be: they")

    def test_may_be_small_errors_of_a_calculator_that_does_its_best(self, structure: Structure, heard) -> None:
        evaluate(rotated(0.003), Need.CONSERVATIVE, structure)
        (warning,) = [r.getMessage() for r in heard.records if r.levelno > logging.INFO]
        assert warning.startswith("forces of model 'X' are only nearly the gradient of its energy: they differ by 0.")

    def test_of_a_network(self, pet_m_float64: ForceModel, water: Structure) -> None:
        found = circle(pet_m_float64, Need.DIRECT, water)
        assert not found.conservative
        assert not found.misfit
        assert 0.01 < found.difference < 0.1

    def test_the_work_is_that_of_the_rotation(self) -> None:
        """Work of forces J r around a circle in the plane of u and v: π (v J u - u J v)."""
        random = np.random.default_rng(3)
        jacobian = random.normal(size=(12, 12))
        symmetric = 0.5 * (jacobian + jacobian.T)
        directions = []

        def forces(geometries):
            for i in (0, POINTS // 4):
                directions.append(0.5 * (geometries[i] - geometries[i + POINTS // 2]).ravel())
            return [
                (-0.5 * r.ravel() @ symmetric @ r.ravel(), (jacobian @ r.ravel()).reshape(-1, 3)) for r in geometries
            ]

        found = measure(forces, np.zeros((4, 3)))
        u, v = directions
        assert np.sqrt(np.mean(u**2)) == pytest.approx(RADIUS)
        assert u @ v == pytest.approx(0.0, abs=1e-12)
        assert found is not None
        assert found.work == pytest.approx(np.pi * (v @ jacobian @ u - u @ jacobian @ v))


class TestUnitsAndSigns:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        ("energies", "by", "says"),
        [
            (
                1.0,
                -1.0,
                "are -1 times minus the gradient of its energy, expected once, in eV and eV/Å: the sign of one",
            ),
            (1.0, 1.0 / HARTREE_PER_BOHR, "seem to be energies in eV and forces in hartree/bohr"),
            (1.0 / units.Hartree, 1.0, "seem to be energies in hartree and forces in eV/Angstrom"),
            (1.0 / units.Hartree, 1.0 / HARTREE_PER_BOHR, "or energies in hartree and forces in hartree/bohr"),
            (1.0, -1000.0, "is wrong; they seem to be energies in eV and forces in meV/Angstrom"),
            (1.0, 3.0, "are 3 times minus the gradient of its energy, expected once, in eV and eV/Å"),
        ],
    )
    def test_that_do_not_fit(self, structure: Structure, kind: Need, energies: float, by: float, says: str) -> None:
        assert says in refused(scaled(energies, by), kind, structure)


class TestStress:
    @pytest.mark.parametrize(
        ("factor", "said"),
        [(-1.0, "is -1 times"), (1.0 / units.GPa, "is 160.2 times"), (1.0 / units.Hartree, "is 0.036")],
    )
    def test_with_another_unit_or_sign(self, structure: Structure, factor: float, said: str, heard) -> None:
        CalculatorModel(scaled(stress=factor), "X").evaluate([structure], Need.CONSERVATIVE | Need.VIRIAL)
        (warning,) = [r.getMessage() for r in heard.records if r.levelno > logging.INFO]
        assert warning.startswith(f"the stress of model 'X' {said}")

    @pytest.mark.parametrize("calculator", [EMT(), single_precision(-100.0)])
    def test_as_it_should_be(self, structure: Structure, calculator, heard) -> None:
        CalculatorModel(calculator, "X").evaluate([structure], Need.CONSERVATIVE | Need.VIRIAL)
        assert not [record for record in heard.records if record.levelno > logging.INFO]

    def test_of_a_network(self, pet_m_float64: ForceModel, water: Structure) -> None:
        def evaluate(strain: np.ndarray) -> tuple[float, np.ndarray]:
            strained = replace(water, positions=water.positions @ strain, cell=water.cell @ strain)
            (result,) = pet_m_float64.evaluate([strained], Need.ENERGY | Need.CONSERVATIVE | Need.VIRIAL)
            return result.energy, result.virial

        assert slope_of_virial(evaluate) == pytest.approx(1.0, abs=0.02)


def test_noise_is_not_taken_for_work(structure: Structure, heard) -> None:
    """With energies so large that single precision has no digits left for their changes, nothing can be said."""
    for kind in KINDS:
        evaluate(single_precision(-3e5), kind, structure)
    assert heard.text.count("energies of model 'X' are too noisy to say whether forces are their gradient") == 2


def test_an_atom_alone_is_nothing_to_be_checked(heard) -> None:
    evaluate(EMT(), Need.CONSERVATIVE, Structure(np.array([29], np.int32), np.zeros((1, 3)), np.zeros((3, 3))))
    assert "energy and forces do not change, so that nothing can be said about them" in heard.text


def test_it_is_done_once(structure: Structure, tmp_path) -> None:
    counter = tmp_path / "count"
    model = CalculatorModel(emt(str(counter)), "X")
    model.evaluate([structure], Need.ENERGY)
    assert len(counter.read_text()) == 1
    for i in range(3):
        moved = replace(structure, positions=structure.positions + 0.1 * (i + 1))
        model.evaluate([moved], Need.ENERGY | Need.CONSERVATIVE | Need.VIRIAL)
    assert len(counter.read_text()) == 4 + POINTS + len(STRAINS)


def circle(model: ForceModel, kind: Need, structure: Structure) -> Consistency:
    def forces(geometries):
        # One by one: all at once take more than a gigabyte.
        results = [model.evaluate([replace(structure, positions=p)], Need.ENERGY | kind)[0] for p in geometries]
        return [(r.energy, r.conservative if kind is Need.CONSERVATIVE else r.direct) for r in results]

    found = measure(forces, structure.positions)
    assert found is not None
    return found
