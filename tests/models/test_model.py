from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from toy_models import EVERYTHING, SpringModel

from ipi_darkforces import Forces, Need, Structure
from ipi_darkforces.errors import DarkforcesError

WATER = Structure(np.array([8, 1, 1], np.int32), np.eye(3), 10 * np.eye(3))


class BrokenModel(SpringModel):
    """Springs, one of which has snapped."""

    def __init__(self, field: str, value: object):
        super().__init__()
        self._broken = {field: value}

    def _evaluate(self, structures: Sequence[Structure], need: Need) -> list[Forces]:
        return [replace(forces, **self._broken) for forces in super()._evaluate(structures, need)]


BAD_FORCES = np.array([[0.0, 0.0, 0.0], [0.0, np.nan, 0.0], [np.inf, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("energy", float("nan"), "an energy that is NaN or infinite: nan$"),
        ("conservative", BAD_FORCES, r"conservative forces that are NaN or infinite for atom 1 \(H\), atom 2 \(H\)$"),
        ("direct", BAD_FORCES, r"direct forces that are NaN or infinite for atom 1 \(H\), atom 2 \(H\)$"),
        ("virial", np.full((3, 3), np.inf), "a virial that is NaN or infinite$"),
        ("direct_virial", np.full((3, 3), np.nan), "a virial that is NaN or infinite$"),
    ],
)
def test_results_that_are_not_finite_are_never_passed_on(field: str, value: object, message: str) -> None:
    with pytest.raises(DarkforcesError, match=f"^model 'springs' predicts {message}"):
        BrokenModel(field, value).evaluate([WATER], EVERYTHING)


def test_one_bad_structure_of_a_batch_is_enough() -> None:
    bad = Structure(WATER.species, WATER.positions * np.nan, WATER.cell)
    model = SpringModel()
    with pytest.raises(DarkforcesError, match=r"atom 0 \(O\), atom 1 \(H\), atom 2 \(H\)$"):
        model.evaluate([WATER, bad], EVERYTHING)
    assert model.passes.forward == 0


def test_only_direct_forces_are_served_without_net_force_and_torque() -> None:
    """Conservative ones stay the gradient, r for springs, even where that has a net force and a torque."""
    molecule = Structure(WATER.species, np.array([[1.0, 0, 0], [0, 1, 0], [0, 3, 2]]), np.zeros((3, 3)))
    model = SpringModel()
    model.remove_net_force = True
    forces = model.evaluate(molecule, EVERYTHING)
    assert forces.conservative is not None
    assert forces.direct is not None
    assert np.array_equal(forces.conservative, -molecule.positions)
    np.testing.assert_allclose(forces.direct.sum(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.cross(molecule.positions, forces.direct).sum(axis=0), 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("need", "words"),
    [
        (Need.ENERGY | Need.DIRECT, "energy, direct forces"),
        (Need.VIRIAL | Need.CONSERVATIVE, "conservative forces, virial"),
        (Need(0), "nothing"),
    ],
)
def test_needs_in_words(need: Need, words: str) -> None:
    assert str(need) == words


def test_merged_keeps_what_only_the_older_has() -> None:
    older, newer = Forces(1.0, direct=np.ones((2, 3))), Forces(2.0, conservative=np.zeros((2, 3)))
    merged = older.merged(newer)
    assert merged.energy == 2.0
    assert merged.direct is older.direct
    assert merged.conservative is newer.conservative
