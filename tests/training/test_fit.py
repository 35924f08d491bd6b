"""Training of direct forces on pairs: what the loss counts, that it falls, and that a training goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ase.build
import numpy as np
import pytest
import torch

from ipi_darkforces import Need, Structure, load_model
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.metatomic import MetatomicModel
from ipi_darkforces.models.registry.export import exported
from ipi_darkforces.training import batches
from ipi_darkforces.training.batches import batch, random_pairs, weights
from ipi_darkforces.training.direct_pet import Shape, new_model, save, shape_for
from ipi_darkforces.training.fit import Fit, Schedule, direct_forces, errors, pairs_for
from ipi_darkforces.training.labels import LabelledTrajectory

SHAPE = Shape(width=16, layers=2, cutoff=3.0)


@pytest.fixture(scope="module")
def trajectory() -> LabelledTrajectory:
    """Water in a small box, so that atoms see images of each other; forces of springs along its bonds."""
    atoms = ase.build.molecule("H2O", cell=[4.0, 4.5, 5.0], pbc=True) * (2, 1, 1)
    moved = np.random.default_rng(0).normal(scale=0.1, size=(12, len(atoms), 3))
    moved -= moved.mean(axis=1, keepdims=True)
    structure = Structure.from_ase(atoms)
    positions = structure.positions + moved
    forces = np.zeros_like(positions)
    for oxygen, hydrogen in ((0, 1), (0, 2), (3, 4), (3, 5)):
        bond = positions[:, hydrogen] - positions[:, oxygen]
        pull = bond * (5.0 - 5.0 / np.linalg.norm(bond, axis=1, keepdims=True))
        forces[:, oxygen] += pull
        forces[:, hydrogen] -= pull
    return LabelledTrajectory(structure.species, structure.cell, atoms.get_masses(), positions, moved, forces, 0.5)


def fit(steps: int, **more: float) -> Fit:
    return Fit(new_model([1, 8], SHAPE), Schedule(steps=steps, lag=1.0, **more))


def test_batches_are_what_the_checkpoint_computes(
    trajectory: LabelledTrajectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neighbours, images, cells and the net force, as in the model that is served; also as metatomic runs it."""
    monkeypatch.setattr(batches, "_rotation", lambda rng: np.eye(3))
    model = new_model([1, 8], SHAPE)
    training = Fit(model, Schedule(steps=1))
    save(training.finished(), tmp_path / "student.ckpt")
    student = load_model(tmp_path / "student.ckpt", dtype="float64")
    pairs = random_pairs([trajectory], 2, 1.0, np.random.default_rng(0))
    made = batch(pairs, training._backend, np.random.default_rng(0))
    found = direct_forces(training._backend, made).detach().numpy()
    frames = [frame for _, *both in pairs for frame in both]
    expected = [student.evaluate(trajectory.structure(frame), Need.DIRECT).direct for frame in frames]
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(found, np.concatenate(expected), atol=2e-5)
    elsewhere = MetatomicModel(exported(tmp_path / "student.ckpt"), "student", "cpu", "float64")
    beside = elsewhere.evaluate(trajectory.structure(frames[0]), Need.DIRECT)
    np.testing.assert_allclose(beside.direct, expected[0], atol=1e-6)


def test_cutoffs_reach_beyond_the_nearest_neighbours() -> None:
    water, copper = ase.build.molecule("H2O"), ase.build.bulk("Cu")
    assert shape_for("s", [Structure.from_ase(water)]) == Shape(32, 2, 3.0)
    assert shape_for("s", [Structure.from_ase(copper)]) == Shape(32, 2, 4.1)
    assert shape_for("s", [Structure.from_ase(ase.Atoms("Cu"))]) == Shape(32, 2, 3.0)


def test_each_step_has_about_as_many_atoms() -> None:
    sizes = {1: 192, 32: 6, 96: 2, 192: 1, 1000: 1}
    of_size = {n: Structure.from_ase(ase.Atoms("Cu" * n)) for n in sizes}
    assert {n: pairs_for([structure]) for n, structure in of_size.items()} == sizes
    assert pairs_for([of_size[32], of_size[96]]) == 3


def test_a_student_has_no_energy_of_its_own(tmp_path: Path) -> None:
    save(new_model([1, 8], SHAPE), tmp_path / "student.ckpt")
    student = load_model(tmp_path / "student.ckpt")
    assert student.provides == Need.ENERGY | Need.DIRECT
    water = ase.build.molecule("H2O")
    assert student.evaluate(water, Need.DIRECT | Need.ENERGY).energy == 0.0
    with pytest.raises(DarkforcesError, match="does not provide conservative forces"):
        student.evaluate(water, Need.CONSERVATIVE)


def test_a_constant_error_is_no_change_and_a_change_is_no_error(trajectory: LabelledTrajectory) -> None:
    made = batch([(trajectory, 0, 1)], new_model([1, 8], SHAPE).backend, np.random.default_rng(1))
    n = len(trajectory.species)
    error = torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    value, change = errors(made.forces + error.repeat(2, 1), made)
    expected = (torch.tensor(weights(trajectory.masses))[:, None] * error.square()).sum() / (3 * n)
    assert (value.item(), change.item()) == pytest.approx((expected.item(), 0.0), abs=1e-6)
    value, change = errors(made.forces + torch.cat([error, -error]), made)
    assert (value.item(), change.item()) == pytest.approx((0.0, 4.0 * expected.item()), abs=1e-6)


def test_what_cannot_move_does_not_count() -> None:
    assert weights(np.array([1.0, 4.0, np.inf])).tolist() == pytest.approx([2.4, 0.6, 0.0])


def test_pairs_are_of_one_trajectory_and_as_far_apart_as_they_can_be(trajectory: LabelledTrajectory) -> None:
    short = replace(trajectory, positions=trajectory.positions[:2])
    for of, first, second in random_pairs([trajectory, short], 50, 1.5, np.random.default_rng(0)):
        assert second - first == (3 if of is trajectory else 1)
        assert 0 <= first < second < len(of)


def test_it_learns(trajectory: LabelledTrajectory) -> None:
    losses: list[tuple[float, float]] = []
    fit(250, pairs=4, learning_rate=2e-2).run([trajectory], 250, lambda value, change: losses.append((value, change)))
    before, after = (np.sqrt(np.mean(np.square(part), axis=0)) for part in (losses[:20], losses[-20:]))
    assert after[1] < 0.5 * before[1]


def test_it_goes_on_as_if_it_had_not_been_stopped(trajectory: LabelledTrajectory, tmp_path: Path) -> None:
    whole, first, second = fit(8), fit(8), fit(8)
    whole.run([trajectory], 8)
    first.run([trajectory], 3)
    first.write(tmp_path / "state.pt")
    second.restore(tmp_path / "state.pt")
    second.run([trajectory], 100)
    assert second.step == 8
    for one, other in zip(whole.finished().parameters(), second.finished().parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_is_no_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(DarkforcesError, match="holds no training that can go on"):
        fit(1).restore(tmp_path / "state.pt")
    (tmp_path / "labels.npz").write_bytes(b"nothing")
    with pytest.raises(DarkforcesError, match="holds no labels that can be read"):
        LabelledTrajectory.read(tmp_path / "labels.npz")


def test_labels_come_back_as_they_were(trajectory: LabelledTrajectory, tmp_path: Path) -> None:
    trajectory.write(tmp_path / "labels.npz")
    read = LabelledTrajectory.read(tmp_path / "labels.npz")
    assert read.interval == trajectory.interval
    for name in ("species", "cell", "masses", "positions", "velocities", "forces"):
        np.testing.assert_array_equal(getattr(read, name), getattr(trajectory, name))
