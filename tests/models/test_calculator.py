"""A model as an ase calculator, against the model and against ase's numerical derivatives."""

import ase.build
import numpy as np
import pytest
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

import ipi_darkforces as dark
from ipi_darkforces import Structure
from ipi_darkforces.errors import DarkforcesError


@pytest.fixture(scope="module")
def model():
    return dark.load_model("pet-m", dtype="float64")


@pytest.fixture
def atoms():
    """Two molecules across the boundary of a box that is not cubic."""
    atoms = ase.build.molecule("H2O")
    other = ase.build.molecule("H2O")
    other.translate([2.8, 0.3, -0.2])
    atoms += other
    atoms.set_cell([[7.0, 0.0, 0.0], [1.0, 6.5, 0.0], [0.5, -0.4, 7.2]])
    atoms.pbc = True
    atoms.rattle(0.03, seed=1)
    return atoms


def test_conservative_forces_and_stress_are_derivatives_of_the_energy(model, atoms):
    atoms.calc = dark.Calculator(model)
    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), atol=1e-5)
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), atol=1e-6)


def test_gives_what_the_model_gives(model, atoms):
    expected = model.evaluate(Structure.from_ase(atoms))
    for kind in ("conservative", "direct"):
        atoms.calc = dark.Calculator(model, forces=kind)
        np.testing.assert_allclose(atoms.get_forces(), getattr(expected, kind), atol=1e-12)
        assert atoms.get_potential_energy() == pytest.approx(expected.energy)
        assert atoms.get_potential_energy(force_consistent=True) == pytest.approx(expected.energy)


def test_direct_forces_need_no_backward_pass(model, atoms):
    atoms.calc = dark.Calculator(model, forces="direct")
    before = model.passes.forward, model.passes.backward
    atoms.get_forces()
    atoms.get_potential_energy()
    assert (model.passes.forward, model.passes.backward) == (before[0] + 1, before[1])


def test_stress_that_is_not_there_is_refused(model, atoms):
    atoms.calc = dark.Calculator(model, forces="direct")
    with pytest.raises(PropertyNotImplementedError, match=r"no stress of direct forces"):
        atoms.get_stress()
    atoms.pbc = False
    atoms.calc = dark.Calculator(model)
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_stress_of_the_other_kind(model, atoms):
    atoms.calc = dark.Calculator(model, forces="direct", stress="conservative")
    expected = model.evaluate(Structure.from_ase(atoms))
    np.testing.assert_allclose(atoms.get_stress(voigt=False), -expected.virial / atoms.get_volume(), atol=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), expected.direct, atol=1e-12)
    with pytest.raises(DarkforcesError, match="stress 'none' is not known: expected conservative or direct"):
        dark.Calculator(model, stress="none")


def test_kind_is_that_of_the_model_unless_said(atoms):
    direct = dark.load_model("pet-nc")
    assert dark.Calculator(direct).kind is dark.Need.DIRECT
    with pytest.raises(DarkforcesError, match="does not provide conservative forces"):
        dark.Calculator(direct, forces="conservative")
    with pytest.raises(DarkforcesError, match="forces 'fast' are not known: expected conservative or direct"):
        dark.Calculator(direct, forces="fast")


def test_evaluate_takes_what_people_have(model, atoms):
    one = model.evaluate(atoms)
    assert isinstance(one, dark.Forces)
    two = model.evaluate([atoms, Structure.from_ase(atoms)], dark.Need.ENERGY)
    assert [each.energy for each in two] == pytest.approx([one.energy] * 2)
    assert two[0].conservative is None
    assert one.virial.shape == (3, 3)
