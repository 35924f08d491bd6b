"""Adaptive cutoffs and repulsion in fixed shapes: recorded once, right whatever the structures do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_pet import random_pet
from recorded import Operations, TracedGraphs, trembling
from waters import TRICLINIC, VACUUM, few_waters, strained

from ipi_darkforces import Forces, Need
from ipi_darkforces.models.pet import padded as pet_padded_module
from ipi_darkforces.models.pet.packed import PetModel
from ipi_darkforces.models.pet.padded import PaddedPetModel
from ipi_darkforces.models.pet.padded_selection import SelectionRoom

BOTH = Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT | Need.VIRIAL
DIRECT = Need.ENERGY | Need.DIRECT
CASES: dict[str, dict[str, Any]] = {
    "grid": {"adaptive_cutoff_method": "grid", "cutoff_width_adaptive": 0.5},
    "solver": {"adaptive_cutoff_method": "solver"},
    "grid and repulsion": {"adaptive_cutoff_method": "grid", "cutoff_width_adaptive": 0.5, "zbl": True},
}


@pytest.fixture(scope="module", params=CASES)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    hypers = {"cutoff": 5.0, "num_neighbors_adaptive": 6} | CASES[request.param]
    return random_pet(tmp_path_factory.mktemp("pet"), **hypers)[0]


@pytest.fixture(scope="module")
def packed(path: Path) -> PetModel:
    return PetModel(path, dtype="float64")


def assert_same(ours: Forces, theirs: Forces) -> None:
    for field in ("energy", "conservative", "direct", "virial"):
        our, their = getattr(ours, field), getattr(theirs, field)
        assert (our is None) == (their is None)
        if our is not None:
            np.testing.assert_allclose(our, their, rtol=0, atol=1e-9 * max(1.0, np.abs(their).max()), err_msg=field)


def traced(path: Path) -> PaddedPetModel:
    model = PaddedPetModel(path, device="cpu", dtype="float64")
    model._graphs = TracedGraphs()
    return model


def test_what_is_recorded_goes_on(path: Path, packed: PetModel) -> None:
    """Over steps and lists, in both kinds of evaluation, until there is not enough room; and then again."""
    model = traced(path)
    for structure in trembling(few_waters(TRICLINIC), 6, 0.07):
        for need in (BOTH, DIRECT):
            assert_same(model.evaluate([structure], need)[0], packed.evaluate([structure], need)[0])
    assert len(model._lists._used) > 1
    assert model._graphs.recorded == [2, 1]
    (current,) = model._sets.values()
    before = current.room
    squeezed = strained(few_waters(TRICLINIC), 0.6 * np.eye(3))
    for _ in range(3):
        assert_same(model.evaluate([squeezed], BOTH)[0], packed.evaluate([squeezed], BOTH)[0])
    (current,) = model._sets.values()
    assert current.room.pairs >= before.pairs


def test_not_enough_room_is_found_out(path: Path, packed: PetModel) -> None:
    model, structure = traced(path), few_waters(TRICLINIC)
    expected = packed.evaluate([structure], BOTH)[0]
    model.evaluate([structure], BOTH)
    (current,) = model._sets.values()
    for room in (SelectionRoom(64, 64), SelectionRoom(1024, 4), SelectionRoom(1, 2)):
        current.room = room
        current.evaluations.clear()
        for _ in range(2):
            assert_same(model.evaluate([structure], BOTH)[0], expected)
        assert current.room != room


def test_batches_and_another_evaluation_in_between(path: Path, packed: PetModel) -> None:
    model, start = traced(path), few_waters(TRICLINIC)
    batch = [start, strained(start, 1.03 * np.eye(3)), few_waters(VACUUM, 2)]
    for order in ([0, 1, 2], [2, 0, 1], [1, 0, 2]):
        structures = [batch[i] for i in order]
        begun = [model.evaluate_in_turn(structures, BOTH), model.evaluate_in_turn(structures[:1], BOTH)]
        for turns in begun:
            next(turns)
        for turns, expected in zip(begun, (structures, structures[:1]), strict=True):
            for forces, structure in zip(next(turns), expected, strict=True):
                assert_same(forces, packed.evaluate([structure], BOTH)[0])


def test_forces_as_tensors(path: Path, packed: PetModel) -> None:
    """Where there was not enough room, they do not hold, and there is more the next time."""
    model = traced(path)
    start = few_waters(TRICLINIC)
    forces = model.on_device([start])
    assert forces is not None
    found: list[torch.Tensor] = []

    def work() -> None:
        forces.reset()
        found[:] = [forces(torch.from_numpy(start.positions)[None])]

    held = []
    for _ in range(4):
        forces.prepare(start.positions[None], start.positions[None])
        forces.recorded("once", work)()
        held.append(forces.valid(forces.status.numpy(), 1))
    assert held == [False, *held[1:3], True]
    np.testing.assert_allclose(found[0][0], packed.evaluate([start], DIRECT)[0].direct, rtol=0, atol=1e-8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_a_device(path: Path, packed: PetModel) -> None:
    model = PaddedPetModel(path, dtype="float64")
    for structure in trembling(few_waters(TRICLINIC), 10, 0.07):
        for need in (BOTH, DIRECT):
            assert_same(model.evaluate([structure], need)[0], packed.evaluate([structure], need)[0])


@pytest.mark.parametrize("need", [BOTH, DIRECT])
def test_nothing_depends_on_what_is_in_the_arrays(need: Need, path: Path) -> None:
    """No shape and no decision, which would have to wait for the device: else it could not be recorded."""
    model = PaddedPetModel(path, device="cpu", dtype="float64")
    start, done = few_waters(TRICLINIC), []
    model.evaluate([start], need)
    for scale in (1.0, 1.3):
        model.evaluate([strained(start, scale * np.eye(3))], need)
        ((evaluation,),) = (current.evaluations.values() for current in model._sets.values())
        with Operations() as operations:
            for work in evaluation._passes():
                work()
        assert operations.waits == []
        done.append(operations.done)
    assert done[0] == done[1]
    assert len(done[0]) > 100


@pytest.mark.parametrize("need", [BOTH, DIRECT])
def test_everything_is_on_the_device(need: Need, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pet_padded_module, "pick_device", lambda *_: torch.device("meta"))
    model = PaddedPetModel(path)
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):  # the answer, at the very end
        model.evaluate([few_waters(TRICLINIC)], need)
    ((evaluation,),) = (current.evaluations.values() for current in model._sets.values())
    with Operations() as operations:
        for work in evaluation._passes():
            work()
    assert operations.devices == {"meta"}
