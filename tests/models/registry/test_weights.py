"""The bundled weights are those that were judged: their errors on structures that training/sample.py made with them.

Whoever changes the weights makes ``sampled.xyz`` anew, with the command that its test names, and the number below.
"""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest

from ipi_darkforces import Need, load_model
from ipi_darkforces.diagnostics.accuracy import Accuracy, measure
from ipi_darkforces.diagnostics.reference import read_reference

# meV/Å, root mean square per component, of hot and strained structures
DIRECT_MINUS_CONSERVATIVE = 25.561
STUDENT_MINUS_TEACHER = 52.887  # for inputs/water.xyz


@pytest.fixture(scope="module")
def accuracy() -> Accuracy:
    """Accuracy of pet-m on its own labels: python training/sample.py pet-m.pt inputs/water.xyz --branches 1."""
    # As it did: energies are sums of large numbers in single precision there, and 0.16 meV/atom away from exact ones.
    return measure(load_model("pet-m", backend="metatomic"), read_reference(Path(__file__).with_name("sampled.xyz")))


def test_conservative_forces_and_energies_are_those_of_the_weights_that_labelled(accuracy: Accuracy) -> None:
    assert accuracy.conservative_errors is not None
    assert accuracy.conservative_errors.total.rmse < 0.1  # meV/Å, of single precision
    assert accuracy.energy_errors.total.mae < 0.05  # meV/atom, likewise


def test_the_student_is_as_far_from_its_teacher_as_when_it_was_judged() -> None:
    atoms = ase.io.read(Path(__file__).parents[3] / "inputs" / "water.xyz")
    student, teacher = load_model("pet-xs"), load_model("pet-m")
    assert student.provides == Need.ENERGY | Need.DIRECT
    difference = student.evaluate(atoms).direct - teacher.evaluate(atoms, Need.CONSERVATIVE).conservative
    assert 1e3 * np.sqrt(np.mean(difference**2)) == pytest.approx(STUDENT_MINUS_TEACHER, abs=0.05)


def test_direct_forces_are_as_far_from_them_as_when_they_were_judged(accuracy: Accuracy) -> None:
    assert accuracy.difference is not None
    assert accuracy.difference.total.rmse == pytest.approx(DIRECT_MINUS_CONSERVATIVE, abs=0.05)
