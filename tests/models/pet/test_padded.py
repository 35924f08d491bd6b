"""Recorded evaluations go on to give right answers, whatever structures come; without a GPU as far as possible.

That padded arrays give the answers of the exported model is in test_pet.py.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from recorded import Operations, TracedGraphs, trembling
from waters import TRICLINIC, VACUUM, few_waters, strained, water_like

from ipi_darkforces import Forces, Need, Structure, load_model
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.pet import padded as pet_padded_module
from ipi_darkforces.models.pet.packed import PetModel
from ipi_darkforces.models.pet.padded import PaddedPetModel
from ipi_darkforces.models.registry.zoo import ZOO

BOTH = Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT | Need.VIRIAL
DIRECT = Need.ENERGY | Need.DIRECT
PET_M = ZOO["pet-m"].path
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def not_recorded() -> PaddedPetModel:
    return PaddedPetModel(PET_M, device="cpu", dtype="float64", remove_net_force=False)


def traced() -> PaddedPetModel:
    model = not_recorded()
    model._graphs = TracedGraphs()
    return model


@pytest.fixture(scope="module")
def packed() -> PetModel:
    return PetModel(PET_M, dtype="float64", remove_net_force=False)


def on_a_device() -> PaddedPetModel:
    return PaddedPetModel(PET_M, dtype="float64", remove_net_force=False)


def assert_same(ours: Forces, theirs: Forces, tolerance: float = 1e-9) -> None:
    assert ours.energy == pytest.approx(theirs.energy, rel=tolerance)
    for kind in ("conservative", "direct", "virial"):
        our, their = getattr(ours, kind), getattr(theirs, kind)
        assert (our is None) == (their is None)
        if our is not None:
            factor = 100 if kind == "virial" else 10  # it is a sum over all pairs
            np.testing.assert_allclose(our, their, rtol=0, atol=factor * tolerance, err_msg=kind)


class TestRecorded:
    def test_many_steps_many_lists_one_recording(self, packed: PetModel) -> None:
        model = traced()
        jump = np.zeros((24, 3))
        jump[5] = TRICLINIC[1]
        for i, structure in enumerate(trembling(few_waters(TRICLINIC), 20, 0.05)):
            moved = water_like(structure, positions=structure.positions + jump) if i % 3 == 0 else structure
            assert_same(model.evaluate([moved], BOTH)[0], packed.evaluate([structure], BOTH)[0])
        assert len(model._lists._used) > 2
        assert len(model._graphs.recorded) == 1

    def test_each_kind_of_evaluation_is_recorded_once(self, packed: PetModel) -> None:
        model = traced()
        for structure in trembling(few_waters(TRICLINIC), 3, 0.02):
            for need in (BOTH, DIRECT, Need.ENERGY | Need.CONSERVATIVE):
                assert_same(model.evaluate([structure], need)[0], packed.evaluate([structure], need)[0])
        assert model._graphs.recorded == [2, 1, 1]

    def test_cells_that_change(self, packed: PetModel) -> None:
        model, start = traced(), few_waters(TRICLINIC)
        for scale in (1.0, 1.001, 0.999, 1.01, 1.05):
            structure = strained(start, np.diag([scale, 1.0, 1.0]))
            assert_same(model.evaluate([structure], BOTH)[0], packed.evaluate([structure], BOTH)[0])
        assert len(model._graphs.recorded) == 1

    def test_more_neighbours_than_there_is_room_for(self, packed: PetModel) -> None:
        """They are recorded anew, once, and what is expanded again needs nothing new."""
        model, start = traced(), few_waters(TRICLINIC)
        for scale, n in ((1.6, 1), (1.0, 2), (0.8, 3), (1.6, 3), (0.8, 3)):
            structure = strained(start, scale * np.eye(3))
            expected = packed.evaluate([structure], BOTH)[0]
            for _ in range(2):
                assert_same(model.evaluate([structure], BOTH)[0], expected)
            assert len(model._graphs.recorded) == n

    def test_batches(self, packed: PetModel) -> None:
        """Simulations that are evaluated together or in turn: what comes again is recorded, and no list mixed up."""
        model, start = traced(), few_waters(TRICLINIC)
        first, second, alone = start, strained(start, 1.02 * np.eye(3)), few_waters(VACUUM, 2)
        for batch in ([first, second], [second, first], [alone, first], [first], [second], [first, second]):
            for forces, structure in zip(model.evaluate(batch, BOTH), batch, strict=True):
                assert_same(forces, packed.evaluate([structure], BOTH)[0])
        assert len(model._graphs.recorded) == 2

    def test_simulations_in_any_order(self, packed: PetModel) -> None:
        """As threads of one i-PI ask for them; each stays where its pairs are."""
        model, start = traced(), few_waters(TRICLINIC)
        batch = [strained(start, scale * np.eye(3)) for scale in (1.0, 1.03, 1.06)] + [few_waters(VACUUM, 2)]
        for order in ([0, 1, 3, 2], [2, 0, 3, 1], [1, 2, 3, 0]):
            structures = [batch[i] for i in order]
            pairs = [current.graph._pairs.clone() for current in model._sets.values()]
            for forces, structure in zip(model.evaluate(structures, BOTH), structures, strict=True):
                assert_same(forces, packed.evaluate([structure], BOTH)[0])
            (current,) = model._sets.values()
            assert not pairs or torch.equal(current.graph._pairs, pairs[0])
            assert current.graph.atoms[2] == slice(48, 54)
        assert len(model._graphs.recorded) == 1

    def test_only_so_much_is_remembered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pet_padded_module, "MOST_SETS", 2)
        model = traced()
        for n in (1, 2, 3, 2, 1):
            for _ in range(2):
                model.evaluate([few_waters(VACUUM, n)], DIRECT)
        assert len(model._graphs.recorded) == 4  # that of one molecule had to go
        assert len(model._sets) == 2


@pytest.mark.parametrize("new", [traced, not_recorded, pytest.param(on_a_device, marks=needs_cuda)])
class TestInTurn:
    """Direct forces before the backward pass, which goes on from where the forward pass stopped, if it still can."""

    def test_direct_forces_come_first(self, new: Callable[[], PaddedPetModel], packed: PetModel) -> None:
        model = new()
        for structure in trembling(few_waters(TRICLINIC), 3, 0.02):
            expected = packed.evaluate([structure], BOTH)[0]
            turns = model.evaluate_in_turn([structure], BOTH)
            (early,) = next(turns)
            assert (early.conservative, early.virial) == (None, None)
            assert_same(early, replace(expected, conservative=None, virial=None))
            (late,) = next(turns)
            assert_same(late, expected)
            assert next(turns, None) is None

    @pytest.mark.parametrize("between", ["the same atoms", "others", "one kind of forces"])
    def test_another_evaluation_in_between(
        self, new: Callable[[], PaddedPetModel], packed: PetModel, between: str
    ) -> None:
        model = new()
        need = DIRECT if between == "one kind of forces" else BOTH
        for structure in trembling(few_waters(TRICLINIC), 3, 0.02):
            other = few_waters(VACUUM, 2) if between == "others" else strained(structure, 1.01 * np.eye(3))
            begun = [model.evaluate_in_turn([structure], BOTH), model.evaluate_in_turn([other], need)]
            expected = [packed.evaluate([structure], BOTH)[0], packed.evaluate([other], need)[0]]
            for turns in begun:
                next(turns)
            for turns, right in zip(begun, expected, strict=True):
                for (late,) in turns:
                    assert_same(late, right)


def test_the_backward_pass_waits_until_it_is_asked_for() -> None:
    model = traced()
    for structure in trembling(few_waters(TRICLINIC), 3, 0.02):
        *_, last = model.evaluate_in_turn([structure], BOTH)
    graphs = model._graphs
    before = graphs.replayed
    turns = model.evaluate_in_turn([structure], BOTH)
    next(turns)
    assert graphs.replayed == before + 1
    (again,) = next(turns)
    assert graphs.replayed == before + 2
    assert_same(again, last[0], 1e-14)


def test_results_stay_as_they_are() -> None:
    """A split keeps them until i-PI asks for the slow forces, and evaluates others meanwhile."""
    model, start = not_recorded(), few_waters(TRICLINIC)
    kept = model.evaluate([start], BOTH)
    before = deepcopy(kept)
    model.evaluate([strained(start, 1.01 * np.eye(3))], BOTH)
    assert_same(kept[0], before[0], 0.0)


@pytest.mark.parametrize("need", [BOTH, DIRECT])
def test_nothing_depends_on_what_is_in_the_arrays(need: Need) -> None:
    """No shape and no decision, which would have to wait for the device: else it could not be recorded."""
    model = PaddedPetModel(PET_M, device="cpu", dtype="float64")
    start = few_waters(TRICLINIC)
    model.evaluate([start], need)
    ((evaluation,),) = (current.evaluations.values() for current in model._sets.values())
    done = []
    for scale in (1.0, 1.6):
        model.evaluate([strained(start, scale * np.eye(3))], need)
        with Operations() as operations:
            for work in evaluation._passes():
                work()
        assert operations.waits == []
        done.append(operations.done)
    assert done[0] == done[1]
    assert len(model._sets) == 1
    assert len(done[0]) > 100


@pytest.mark.parametrize("need", [BOTH, DIRECT])
def test_everything_is_on_the_device(need: Need, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried with PyTorch's device without data; what has to come from the host could not be recorded."""
    monkeypatch.setattr(pet_padded_module, "pick_device", lambda *_: torch.device("meta"))
    model = PaddedPetModel(PET_M)
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):  # the answer, at the very end
        model.evaluate([few_waters(TRICLINIC)], need)
    ((evaluation,),) = (current.evaluations.values() for current in model._sets.values())
    with Operations() as operations:
        for work in evaluation._passes():
            work()
    assert operations.devices == {"meta"}
    assert evaluation._output.shape == (24 * (16 if need is BOTH else 4),)


def test_room_that_is_not_used_changes_nothing() -> None:
    """As after a restart, when there were more neighbours before it."""
    start = few_waters(TRICLINIC)
    models = [PaddedPetModel(PET_M, device="cpu", dtype="float64") for _ in range(2)]
    models[0].evaluate([strained(start, 0.8 * np.eye(3))], BOTH)
    one, other = (model.evaluate([start], BOTH)[0] for model in models)
    assert_same(one, other, 1e-13)


def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DarkforcesError, match="device 'cuda:1' was asked for but PyTorch finds no CUDA device"):
        load_model("pet-m", device="cuda:1")


def test_cuda_devices_take_this_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pet_padded_module, "pick_device", lambda *_: torch.device("cpu"))
    assert isinstance(load_model("pet-m", device="cuda"), PaddedPetModel)


@needs_cuda
class TestOnADevice:
    def test_recorded_as_not_recorded(self) -> None:
        recorded, not_recorded = (PaddedPetModel(PET_M, record=record) for record in (True, False))
        for structure in trembling(few_waters(TRICLINIC), 40, 0.05):
            for need in (DIRECT, BOTH, DIRECT):
                ours, theirs = (model.evaluate([structure], need)[0] for model in (recorded, not_recorded))
                assert_same(ours, theirs, 1e-6)

    @pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
    def test_as_on_the_cpu(self, dtype: str, tolerance: float, water: Structure) -> None:
        here, there = PetModel(PET_M, dtype=dtype), PaddedPetModel(PET_M, dtype=dtype)
        for scale in (1.0, 1.6, 0.9):
            structure = strained(water, scale * np.eye(3))
            assert_same(there.evaluate([structure], BOTH)[0], here.evaluate([structure], BOTH)[0], tolerance)

    def test_structures_come_and_go(self, packed: PetModel) -> None:
        """Also when all that shared the work memory is gone."""
        model = PaddedPetModel(PET_M, dtype="float64", remove_net_force=False)
        for n in (1, 2, 1):
            model._sets.clear()
            structure = few_waters(VACUUM, n)
            for _ in range(2):
                assert_same(model.evaluate([structure], BOTH)[0], packed.evaluate([structure], BOTH)[0])

    def test_recordings_outlive_others(self, packed: PetModel) -> None:
        """Nothing is let go of with one recording that others need."""
        model = on_a_device()
        gone, kept = few_waters(VACUUM, 2), few_waters(TRICLINIC)
        for structure in (gone, gone, kept, kept):
            model.evaluate([structure], BOTH)
        model._sets.pop(next(iter(model._sets)))
        torch.cuda.empty_cache()
        others = torch.full((2**28,), torch.nan, device="cuda")
        assert_same(model.evaluate([kept], BOTH)[0], packed.evaluate([kept], BOTH)[0])
        assert others.isnan().all()

    def test_work_memory_is_held_once(self, water: Structure) -> None:
        model = PaddedPetModel(PET_M)
        weights = torch.cuda.memory_allocated()
        for _ in range(2):
            model.evaluate([water], BOTH)
        with_both = torch.cuda.memory_reserved()
        for _ in range(2):
            model.evaluate([water], DIRECT)
        assert torch.cuda.memory_reserved() - with_both <= 0.1 * (with_both - weights)

    def test_weights_are_held_once(self) -> None:
        first = PaddedPetModel(PET_M)  # cuBLAS takes memory too when it is used for the first time
        before = torch.cuda.memory_allocated()
        second = PaddedPetModel(PET_M)
        held = torch.cuda.memory_allocated() - before
        assert held < 1.5 * 4 * 437_000  # parameters in single precision
        assert first.name == second.name

    def test_products_have_full_precision(self) -> None:
        assert not torch.backends.cuda.matmul.allow_tf32
