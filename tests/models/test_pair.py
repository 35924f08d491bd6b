"""Two models as one split: what each gives, and when it is asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.calculators.emt import EMT
from calculators import FILE, as_structure, copper, emt, rotated, without
from toy_models import SpringModel

from ipi_darkforces import ForceModel, Need, Structure, load_model
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.ase_calculator import CalculatorModel
from ipi_darkforces.models.consistency import POINTS, STRAINS
from ipi_darkforces.models.pair import PairModel
from ipi_darkforces.split.component import Component
from ipi_darkforces.split.split import Request, Split

EVERYTHING = Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT | Need.VIRIAL


@pytest.fixture
def structure() -> Structure:
    return as_structure(copper())


@pytest.fixture
def fast() -> ForceModel:
    return CalculatorModel(rotated(0.1), "fast", Need.DIRECT)


@pytest.fixture
def slow() -> ForceModel:
    return SpringModel()


def test_each_gives_its_part(fast: ForceModel, slow: ForceModel, structure: Structure) -> None:
    (both,) = PairModel(fast, slow, "both").evaluate([structure], EVERYTHING)
    (direct,) = fast.evaluate([structure], Need.ENERGY | Need.DIRECT | Need.VIRIAL)
    (conservative,) = slow.evaluate([structure], Need.ENERGY | Need.CONSERVATIVE | Need.VIRIAL)
    assert (both.energy, both.direct_energy) == (conservative.energy, direct.energy)
    assert np.array_equal(both.direct, direct.direct)
    assert np.array_equal(both.direct_virial, direct.direct_virial)
    assert np.array_equal(both.conservative, conservative.conservative)
    assert np.array_equal(both.virial, conservative.virial)


@pytest.mark.parametrize("order", [(Component.FAST, Component.SLOW), (Component.SLOW, Component.FAST)])
def test_fast_and_slow_add_up_to_the_slow_model(
    fast: ForceModel, slow: ForceModel, structure: Structure, order: tuple[Component, ...]
) -> None:
    split = Split(PairModel(fast, slow, "both"))
    answers = [split.serve([Request(structure, component, split.open_stream())])[0] for component in order]
    (whole,) = slow.evaluate([structure], EVERYTHING)
    assert sum(answer.energy for answer in answers) == pytest.approx(whole.energy, abs=1e-9)
    np.testing.assert_allclose(sum(answer.forces for answer in answers), whole.conservative, atol=1e-12)
    np.testing.assert_allclose(sum(answer.virial for answer in answers), whole.virial, atol=1e-9)


def test_neither_is_asked_before_it_is_due(structure: Structure, tmp_path) -> None:
    """Neither is at the first geometries, nor when the stride changes: a wrong guess costs an evaluation."""
    counters = [tmp_path / name for name in ("fast", "slow")]
    fast = CalculatorModel(rotated(0.1, str(counters[0])), "fast", Need.DIRECT)
    split = Split(PairModel(fast, CalculatorModel(emt(str(counters[1])), "slow"), "both"))
    streams = {component: split.open_stream() for component in (Component.SLOW, Component.FAST)}

    def ask(component: Component, i: int) -> tuple[int, int]:
        moved = replace(structure, positions=structure.positions + 0.01 * i)
        split.serve([Request(moved, component, streams[component])])
        counts = [len(c.read_text()) if c.exists() else 0 for c in counters]
        checks = (POINTS, POINTS + len(STRAINS))  # the virial of direct forces is not checked
        return tuple(max(0, count - check) for count, check in zip(counts, checks, strict=True))

    assert ask(Component.FAST, 0) == (1, 0)
    assert ask(Component.SLOW, 0) == (1, 1)
    n, corrected = 1, 1
    for stride in (4, 4, 4, 2, 2, 1, 1, 1):
        for _ in range(stride):
            assert ask(Component.FAST, n) == (n + 1, corrected)
            n += 1
        corrected += 1
        assert ask(Component.SLOW, n - 1) == (n, corrected)


def test_a_fast_model_without_direct_forces_gives_its_conservative_ones(slow: ForceModel, structure: Structure) -> None:
    cheap = CalculatorModel(EMT(), "cheap")
    (both,) = PairModel(cheap, slow, "both").evaluate([structure], EVERYTHING)
    (expected,) = cheap.evaluate([structure], Need.ENERGY | Need.CONSERVATIVE | Need.VIRIAL)
    assert np.array_equal(both.direct, expected.conservative)
    assert np.array_equal(both.direct_virial, expected.virial)


def test_any_two_models(water: Structure) -> None:
    model = load_model("fast=pet-nc slow=pet-c", dtype="float64")
    both = load_model("pet-m", dtype="float64")
    (found,), (expected,) = (m.evaluate([water], EVERYTHING) for m in (model, both))
    np.testing.assert_allclose(found.direct, expected.direct, atol=1e-9)
    np.testing.assert_allclose(found.conservative, expected.conservative, atol=1e-9)
    assert [part.passes.forward for part in model.models] == [1, 1]
    assert model.species == {1, 8}


def test_derivatives_are_those_of_the_model_that_has_the_forces(fast: ForceModel, structure: Structure) -> None:
    pair = PairModel(fast, SpringModel(), "both")
    vectors = np.random.default_rng(0).normal(size=(32, 3))
    np.testing.assert_allclose(pair.jacobian(structure, Need.CONSERVATIVE).times(vectors), -vectors, atol=1e-6)
    expected = fast.jacobian(structure, Need.DIRECT).times(vectors)
    np.testing.assert_allclose(pair.jacobian(structure, Need.DIRECT).times(vectors), expected, atol=1e-6)


def test_the_stress_is_that_of_the_slow_model(fast: ForceModel, structure: Structure) -> None:
    pair = PairModel(fast, CalculatorModel(without("stress"), "slow"), "both")
    assert Need.VIRIAL not in pair.provides
    pair = PairModel(CalculatorModel(without("stress"), "cheap"), CalculatorModel(EMT(), "slow"), "both")
    (found,) = pair.evaluate([structure], EVERYTHING)
    assert found.direct_virial is None
    assert found.virial is not None


class TestWhatIsWrong:
    def test_a_slow_model_without_conservative_forces(self) -> None:
        with pytest.raises(DarkforcesError, match="model 'pet-nc' does not provide conservative forces"):
            load_model("fast=pet-c slow=pet-nc")

    def test_elements_that_one_of_them_does_not_know(self, water: Structure) -> None:
        pair = load_model(f"fast=ase:{FILE}:emt slow=pet-c")
        with pytest.raises(DarkforcesError, match="model 'pet-c' does not know Cu; it knows H, O"):
            pair.check_species(np.array([29]))

    def test_direct_forces_that_were_not_said_to_be(self, structure: Structure) -> None:
        pair = load_model(f"fast=ase:{FILE}:rotated slow=ase:{FILE}:emt")
        with pytest.raises(DarkforcesError, match="rotated' are not the gradient of its energy"):
            pair.evaluate([structure], Need.DIRECT)
