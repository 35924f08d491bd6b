"""One model on several devices: here, the same processor more than once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from waters import TRICLINIC, VACUUM, few_waters, strained

from ipi_darkforces import Need, Structure, load_model
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.devices import DevicesModel

BOTH = Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT | Need.VIRIAL
START = few_waters(TRICLINIC)
BATCH = [START, few_waters(VACUUM, 2), strained(START, 1.02 * np.eye(3)), few_waters(VACUUM, 1), few_waters(VACUUM, 3)]


@pytest.fixture(scope="module", params=["auto", "metatomic"])
def both(request: pytest.FixtureRequest) -> tuple[DevicesModel, object]:
    several, one = (
        load_model("pet-m", device=device, dtype="float64", backend=request.param) for device in ("cpu,cpu;cpu", "cpu")
    )
    assert isinstance(several, DevicesModel)
    return several, one


@pytest.mark.parametrize(("n", "shares"), [(1, [1, 0, 0]), (2, [1, 1, 0]), (4, [2, 1, 1]), (5, [2, 2, 1])])
def test_they_share_a_batch(both: tuple[DevicesModel, object], n: int, shares: list[int]) -> None:
    several, one = both
    taken = []
    with pytest.MonkeyPatch.context() as patch:
        for copy in several._copies:

            def counted(structures: list[Structure], need: Need, plain: Any = copy._evaluate_in_turn) -> Any:
                taken.append(len(structures))
                return plain(structures, need)

            patch.setattr(copy, "_evaluate_in_turn", counted)
        before = several.passes.forward, several.passes.backward
        found = several.evaluate(BATCH[:n], BOTH)
    assert taken == [share for share in shares if share]
    assert (several.passes.forward, several.passes.backward) == (before[0] + n, before[1] + n)
    for forces, expected in zip(found, one.evaluate(BATCH[:n], BOTH), strict=True):
        assert forces.energy == pytest.approx(expected.energy, rel=1e-12)
        np.testing.assert_allclose(forces.conservative, expected.conservative, atol=1e-9)
        np.testing.assert_allclose(forces.direct, expected.direct, atol=1e-9)
        np.testing.assert_allclose(forces.virial, expected.virial, atol=1e-8)


def test_direct_forces_come_first() -> None:
    several = load_model("pet-m", device="cpu,cpu")
    first, last = several.evaluate_in_turn(BATCH, BOTH)
    assert [forces.conservative for forces in first] == [None] * len(BATCH)
    assert all(np.array_equal(a.direct, b.direct) for a, b in zip(first, last, strict=True))


def test_both_models_of_a_pair_are_on_all() -> None:
    pair = load_model("fast=pet-xs slow=pet-m", device="cpu,cpu")
    assert all(isinstance(part, DevicesModel) for part in pair.models)


def test_calculators_are_on_one() -> None:
    with pytest.raises(DarkforcesError, match="is an ase calculator: expected one --device, not several"):
        load_model("ase:ase.calculators.emt:EMT", device="cpu,cpu")


def test_what_is_no_device() -> None:
    with pytest.raises(DarkforcesError, match="device 'gpu' is not a device: expected cpu, cuda or cuda:1"):
        load_model("pet-m", device="cpu,gpu")
