"""The distance between both kinds of forces at outer steps, and its work, for springs with a known shear."""

from __future__ import annotations

import json

import numpy as np
import pytest
from toy_models import SpringModel

from ipi_darkforces import Structure
from ipi_darkforces.split.component import Component
from ipi_darkforces.split.disagreement import EXTRAS, Disagreement, OuterStep
from ipi_darkforces.split.split import Request, Split

CELL = 10.0 * np.eye(3)


def shear(positions: np.ndarray) -> np.ndarray:
    """Direct less conservative forces of the springs."""
    return 0.1 * positions[:, [1, 2, 0]]


def exact_work(path: np.ndarray) -> float:
    """∫ shear · dr along straight lines between points (n, n_atoms, 3): it is linear, so that halfway is the mean."""
    middles, ways = (path[1:] + path[:-1]) / 2.0, np.diff(path, axis=0)
    return sum(float(np.vdot(shear(middle), way)) for middle, way in zip(middles, ways, strict=True))


def walk(steps: int, n_atoms: int = 4, seed: int = 0) -> np.ndarray:
    """Positions, shape (steps + 1, n_atoms, 3): atoms go on as they went, but for a part that is random."""
    random = np.random.default_rng(seed)
    start, velocity = random.normal(size=(n_atoms, 3)), random.normal(0.0, 0.1, (n_atoms, 3))
    return start + np.cumsum(velocity + random.normal(0.0, 0.02, (steps + 1, n_atoms, 3)), axis=0)


class Simulation:
    """Asks as i-PI does, with multiple time stepping: fast forces of all replicas, and slow ones every M steps."""

    def __init__(self, split: Split):
        self._split = split
        self._fast, self._slow = split.open_stream(), split.open_stream()

    def fast(self, replicas: np.ndarray) -> None:
        for positions in replicas:
            assert self._ask(positions, Component.FAST) is None

    def slow(self, replicas: np.ndarray) -> list[Disagreement]:
        found = [self._ask(positions, Component.SLOW) for positions in replicas]
        assert all(each is not None for each in found)
        return found

    def _ask(self, positions: np.ndarray, component: Component) -> Disagreement | None:
        stream = self._fast if component is Component.FAST else self._slow
        structure = Structure(np.array([8, 1, 1, 1], np.int32), positions, CELL)
        return self._split.serve([Request(structure, component, stream)])[0].disagreement


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_work_is_that_along_the_way_of_each_replica(stride: int, replicas: int) -> None:
    steps = 6 * stride
    paths = np.array([walk(steps, seed=seed) for seed in range(replicas)])
    simulation = Simulation(Split(SpringModel()))
    for step in range(steps + 1):
        simulation.fast(paths[:, step])
        if step % stride:
            continue
        for path, found in zip(paths, simulation.slow(paths[:, step]), strict=True):
            assert found.work == pytest.approx(exact_work(path[: step + 1 : stride]), abs=1e-12)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("stride", [1, 4])
def test_work_is_that_of_each_system_in_whichever_order_they_come(stride: int, together: bool) -> None:
    """As systems do that i-PI advances in threads of their own, perhaps from the same positions until they part."""
    random, systems, outer = np.random.default_rng(0), 4, 8
    paths = np.array([walk(outer * stride, seed=seed) for seed in range(systems)])
    if together:
        paths += paths[0, :1] - paths[:, :1]
    simulation = Simulation(Split(SpringModel()))
    for step in range(0, outer * stride + 1, stride):
        inner = [list(path[max(step - stride + 1, 0) : step + 1]) for path in paths]
        for system in random.permutation(np.repeat(range(systems), len(inner[0]) + 1)):
            if inner[system]:
                simulation.fast(inner[system].pop(0)[None])
                continue
            (found,) = simulation.slow(paths[system, step][None])
            assert found.work == pytest.approx(exact_work(paths[system, : step + 1 : stride]), abs=1e-12)


def ring_polymers(steps: int, beads: int, start: np.ndarray) -> np.ndarray:
    """Straight ways of beads, shape (beads, steps + 1, n_atoms, 3), from a start for each or for all."""
    velocities = np.random.default_rng(7).normal(0.0, 0.005, (beads, 1, 4, 3))
    return start + velocities * np.arange(steps + 1)[:, None, None]


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("stride", [2, 4])
def test_work_and_cost_of_beads_in_whichever_order_they_come(stride: int, together: bool) -> None:
    """i-PI asks for beads one by one, and gives a driver first the bead that it had last."""
    random, beads, outer = np.random.default_rng(0), 4, 8
    start = random.normal(size=(4, 3)) + (0.0 if together else random.normal(0.0, 0.1, (beads, 1, 4, 3)))
    paths = ring_polymers(outer * stride, beads, start)
    split = Split(SpringModel())
    simulation = Simulation(split)
    for step in range(outer * stride + 1):
        simulation.fast(random.permutation(paths)[:, step])
        if step % stride == 0:
            order = random.permutation(paths)
            for path, found in zip(order, simulation.slow(order[:, step]), strict=True):
                assert found.work == pytest.approx(exact_work(path[: step + 1 : stride]), abs=1e-12)
    # No more than one wrong guess for each bead, before the stride is known.
    assert split.model.passes.forward <= beads * (outer * stride + 2)
    assert split.model.passes.backward <= beads * (outer + 2)


def test_of_two_simulations_at_once_each_has_its_own() -> None:
    split = Split(SpringModel())
    simulations, paths = [Simulation(split) for _ in range(2)], [walk(8, seed=seed) for seed in range(2)]
    for step in range(9):
        for simulation, path in zip(simulations, paths, strict=True):
            simulation.fast(path[step : step + 1])
            if step % 2 == 0:
                (found,) = simulation.slow(path[step : step + 1])
                assert found.work == pytest.approx(exact_work(path[: step + 1 : 2]), abs=1e-12)


@pytest.mark.parametrize("cell", [CELL, np.array([[10.0, 0.0, 0.0], [3.0, 9.0, 0.0], [-2.0, 1.0, 8.0]]), 0.0 * CELL])
def test_an_atom_that_is_moved_by_a_cell_vector_has_done_no_work(cell: np.ndarray) -> None:
    path, random = walk(2), np.random.default_rng(1)
    jumps = np.array([[0, 0, 0], [1, 0, -1], [0, 2, 0], [0, 0, 0]])
    outer_steps: list[OuterStep] = []
    for index, (positions, slow) in enumerate(zip(path, random.normal(size=path.shape), strict=True)):
        moved = Structure(np.array([8, 1, 1, 1], np.int32), positions + (index == 1) * jumps @ cell, cell)
        outer_steps.append(outer_steps[-1].next(moved, slow) if outer_steps else OuterStep(moved, slow))
    middles, ways = np.random.default_rng(1).normal(size=path.shape), np.diff(path, axis=0)
    steps = [-0.5 * np.vdot(a + b, way) for a, b, way in zip(middles[:-1], middles[1:], ways, strict=True)]
    works = [each.disagreement.work for each in outer_steps]
    assert works == pytest.approx([0.0, *np.cumsum(steps)])


def test_how_far_they_are_apart() -> None:
    simulation, positions = Simulation(Split(SpringModel())), walk(0)
    positions[0, 2] = [3.0, 4.0, 0.0]
    simulation.fast(positions)
    (found,) = simulation.slow(positions)
    assert found.rms == pytest.approx(np.sqrt(np.mean(shear(positions[0]) ** 2)))
    assert (found.worst, found.largest) == (2, pytest.approx(0.5))


def test_asked_for_again_it_says_the_same() -> None:
    simulation, path = Simulation(Split(SpringModel())), walk(4)
    for step in range(5):
        simulation.fast(path[step : step + 1])
        if step % 2 == 0:
            first, again = (simulation.slow(path[step : step + 1]) for _ in range(2))
            assert first == again


def test_slow_may_be_asked_for_first() -> None:
    """In the beginning this happens; the geometry is told when the fast forces are asked for."""
    simulation, path = Simulation(Split(SpringModel())), walk(8)
    (found,) = simulation.slow(path[:1])
    assert found.work == 0.0
    for step in range(9):
        simulation.fast(path[step : step + 1])
        if step and step % 4 == 0:
            (found,) = simulation.slow(path[step : step + 1])
            assert found.work == pytest.approx(exact_work(path[: step + 1 : 4]), abs=1e-12)


def test_extras_are_json() -> None:
    assert json.loads(Disagreement(0.07, 5, 0.4, -0.2).as_json()) == dict(
        zip(EXTRAS, (0.07, 0.4, 5, -0.2), strict=True)
    )
