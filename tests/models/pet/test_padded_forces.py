"""Direct forces as tensors on the device: the same as of evaluations, recorded, and never with neighbours missing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from recorded import Operations, TracedGraphs, trembling
from waters import TRICLINIC, VACUUM, few_waters

from ipi_darkforces import Need, Structure
from ipi_darkforces.models.device_forces import DeviceForces
from ipi_darkforces.models.pet import padded as pet_padded_module
from ipi_darkforces.models.pet.packed import PetModel
from ipi_darkforces.models.pet.padded import PaddedPetModel
from ipi_darkforces.models.registry.zoo import ZOO
from ipi_darkforces.simulate.inner_loop import State, velocity_verlet
from ipi_darkforces.simulate.recorded_steps import RecordedSteps

PET_M = ZOO["pet-m"].path
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def traced(net_force: bool = True) -> PaddedPetModel:
    model = PaddedPetModel(PET_M, device="cpu", dtype="float64", remove_net_force=net_force)
    model._graphs = TracedGraphs()
    return model


class Evaluations:
    """Forces at given positions, by works as time steps have them."""

    def __init__(self, forces: DeviceForces, shape: tuple[int, ...]):
        self._forces = forces
        self._given, self._found = (torch.zeros(shape, dtype=torch.float64, device=forces.device) for _ in range(2))

    def __call__(self, positions: np.ndarray, ahead: np.ndarray | None = None) -> np.ndarray | None:
        self._forces.prepare(positions, positions if ahead is None else ahead)
        self._given.copy_(torch.from_numpy(positions))
        self._forces.recorded("once", self.work)()
        held = self._forces.valid(self._forces.status.cpu().numpy(), 1)
        return self._found.cpu().numpy().copy() if held else None

    def work(self) -> None:
        self._forces.reset()
        self._found.copy_(self._forces(self._given))


@pytest.fixture
def start() -> Structure:
    return few_waters(TRICLINIC)


def evaluations(model: PaddedPetModel, *structures: Structure) -> Evaluations:
    forces = model.on_device(structures)
    assert forces is not None
    return Evaluations(forces, (len(structures), *structures[0].positions.shape))


@pytest.mark.parametrize("net_force", [True, False])
def test_those_of_evaluations(net_force: bool, start: Structure) -> None:
    model, packed = traced(net_force), PetModel(PET_M, dtype="float64", remove_net_force=net_force)
    evaluate = evaluations(model, start)
    for i, structure in enumerate(trembling(start, 12, 0.06)):
        wrapped = structure.positions.copy()
        wrapped[5] += (i % 3) * TRICLINIC[1]
        found = evaluate(wrapped[None])
        expected = packed.evaluate([structure], Need.DIRECT)[0].direct
        np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-8)
    assert model._graphs.recorded == [1]
    assert len(model._lists._used) > 1
    assert model.passes.forward == 12


def test_of_several_structures(start: Structure) -> None:
    """Each stays in its place, also if all begin from the same list."""
    model, packed = traced(), PetModel(PET_M, dtype="float64")
    evaluate = evaluations(model, start, start)
    moving = [start.positions, start.positions]
    random = np.random.default_rng(3)
    for size in (0.0, 0.15, 0.15, 0.15):
        moving[0] = moving[0] + random.normal(0, size, start.positions.shape)
        found = evaluate(np.stack(moving))
        expected = [packed.evaluate([start.moved(each)], Need.DIRECT)[0].direct for each in moving]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)
    assert model.passes.forward == 2 * 4


def test_atoms_that_leave_their_lists_are_noticed(start: Structure) -> None:
    """Nothing is accepted that may lack neighbours; where a list is expected not to hold, it is made anew before."""
    model = traced()
    evaluate, forces = evaluations(model, start), model.on_device([start])
    first = evaluate(start.positions[None])
    assert first is not None
    lists = len(model._lists._used)
    far = start.positions.copy()
    far[3, 0] += 0.3
    evaluate(start.positions[None], far[None])
    assert len(model._lists._used) == lists + 1
    skin = model._lists.skin
    forces.prepare(start.positions[None], start.positions[None])
    forces.reset()
    forces(torch.from_numpy(far)[None])
    assert not forces.valid(forces.status.numpy(), 1)
    assert model._lists.skin == pytest.approx(1.5 * skin)
    far[3, 0] = np.nan
    forces.reset()
    forces(torch.from_numpy(far)[None])
    assert not forces.valid(forces.status.numpy(), 1)


def test_nothing_depends_on_what_is_in_the_arrays(start: Structure) -> None:
    evaluate = evaluations(PaddedPetModel(PET_M, device="cpu", dtype="float64"), start)
    done = []
    for structure in trembling(start, 2, 0.05):
        evaluate(structure.positions[None])
        with Operations() as operations:
            evaluate.work()
        assert operations.waits == []
        done.append(operations.done)
    assert done[0] == done[1]
    assert len(done[0]) > 50


def test_everything_is_on_the_device(start: Structure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pet_padded_module, "pick_device", lambda *_: torch.device("meta"))
    forces = PaddedPetModel(PET_M).on_device([start])
    forces.prepare(start.positions[None], start.positions[None])
    given = torch.zeros((1, 24, 3), dtype=torch.float64, device="meta")
    with Operations() as operations:
        forces.reset()
        forces(given)
    assert operations.devices == {"meta"}


@pytest.mark.parametrize(
    "others",
    [lambda start: [few_waters(VACUUM, 2)], lambda start: [start, few_waters(TRICLINIC, 2)]],
    ids=["a torque to remove", "different numbers of atoms"],
)
def test_what_it_is_not_made_for(others: Callable[[Structure], list[Structure]], start: Structure) -> None:
    assert traced().on_device(others(start)) is None
    assert PetModel(PET_M).on_device([start]) is None


@needs_cuda
class TestOnADevice:
    def test_recorded_steps_are_those_of_the_cpu(self, start: Structure) -> None:
        """Several steps in one recording, across lists that are made anew."""
        here, there = PetModel(PET_M, dtype="float64"), PaddedPetModel(PET_M, dtype="float64")
        source, masses = there.on_device([start]), np.where(start.species == 1, 1.0, 16.0)
        assert source is not None
        recorded = RecordedSteps(source, lambda r: (source(r[None])[0], r.new_empty(0)), 0, masses)

        def fast(positions: np.ndarray) -> np.ndarray:
            return here.evaluate(start.moved(positions), Need.DIRECT).direct

        momenta = np.random.default_rng(4).normal(0.0, 0.16, start.positions.shape) * np.sqrt(masses)[:, None]
        state = State(start.positions, momenta, fast(start.positions))
        for _ in range(10):
            advanced = recorded.advance(state, 0.05, 7)
            state = velocity_verlet(state, masses, 0.05, 7, fast)
            assert advanced is not None
            np.testing.assert_allclose(advanced[0].positions, state.positions, rtol=0, atol=1e-9)
