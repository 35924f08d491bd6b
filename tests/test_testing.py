"""`check_model`: right models pass, and each thing that can be wrong is found."""

import doctest
import re
from dataclasses import replace

import ase.build
import numpy as np
import pytest

from ipi_darkforces import DarkforcesError, Forces, Need
from ipi_darkforces.testing import check_model, model_checks


@pytest.fixture(scope="module")
def bonds(request):
    """The class in the page, which is checked there."""
    text = (request.config.rootpath / "docs" / "add_a_model.md").read_text()
    names = {}
    exec("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)), names)
    assert str(names["check"]).startswith("direct forces in a batch: ")
    return names["Bonds"]


def test_the_bundled_model_passes():
    results = doctest.testmod(model_checks)
    assert results.attempted > 0
    assert results.failed == 0


def of(kind, change):
    """A model whose results are changed."""

    class Changed(kind):
        def _evaluate(self, structures, need):
            return [change(self._one(s.positions), s, i) for i, s in enumerate(structures)]

    return Changed()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, s, i: replace(f, conservative=1.02 * f.conservative), "against the gradient of the energy: 0.02"),
        (lambda f, s, i: replace(f, direct=-f.direct), "sign and unit of direct forces"),
        (lambda f, s, i: replace(f, energy=f.energy + 1e-3 * s.positions[0, 0]), "energy in another place: 0.00037 eV"),
        (lambda f, s, i: replace(f, direct=f.direct + i * np.eye(3)), "direct forces in a batch: "),
        (
            lambda f, s, i: replace(f, direct=f.direct * np.linspace(1.0, 1.1, 3)[:, None]),
            "direct forces in another order of the atoms: ",
        ),
        (lambda f, s, i: replace(f, conservative=None), "gives nothing for 'conservative': expected shape (3, 3)"),
    ],
)
def test_wrong_models_are_found_out(bonds, change, message):
    with pytest.raises(DarkforcesError, match=re.escape(message)):
        check_model(of(bonds, change), ase.build.molecule("H2O"))


def test_positions_are_wrapped_and_strains_felt(bonds):
    """A model that knows nothing of its cell fails."""
    water = ase.build.molecule("H2O", cell=[9, 9, 9], pbc=True)
    with pytest.raises(DarkforcesError, match="energy in other periodic images"):
        check_model(bonds(), water)

    class Pressed(bonds):
        def _evaluate(self, structures, need):
            found = [self._one(s.positions - 9.0 * np.round(s.positions / 9.0)) for s in structures]
            return [Forces(f.energy, f.conservative, f.direct, np.eye(3)) for f in found]

    model = Pressed()
    model.provides |= Need.VIRIAL
    with pytest.raises(DarkforcesError, match="virial against the gradient"):
        check_model(model, water)
