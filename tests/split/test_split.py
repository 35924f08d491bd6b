from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from toy_models import EVERYTHING, DirectFirstModel, SpringModel

from ipi_darkforces import ForceModel, Forces, Need, Structure
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.split.component import Component, ComponentForces
from ipi_darkforces.split.prediction import MOST_TRAJECTORIES as MOST
from ipi_darkforces.split.prediction import Stream
from ipi_darkforces.split.split import Request, Split

FAST_SLOW = (Component.FAST, Component.SLOW)
DIRECT_CONSERVATIVE = (Component.DIRECT, Component.CONSERVATIVE)  # with mts_weights [1,0] and [-1,1]


def ask(split: Split, structure: Structure, component: Component, stream: Stream) -> ComponentForces:
    return split.serve([Request(structure, component, stream)])[0]


def geometry(number: float, n_atoms: int = 3) -> Structure:
    positions = np.random.default_rng(0).normal(size=(n_atoms, 3)) + 0.001 * number
    return Structure(np.ones(n_atoms, np.int32), positions, 10 * np.eye(3))


class TestShares:
    """The share of each component, as the design defines it."""

    @pytest.fixture(params=[True, False], ids=["direct stress", "no direct stress"])
    def answers(self, request: pytest.FixtureRequest) -> dict[Component, ComponentForces]:
        split = Split(SpringModel(direct_stress=request.param))
        return {c: ask(split, geometry(0), c, split.open_stream()) for c in Component}

    def test_fast_and_slow_add_up_to_conservative(self, answers: dict[Component, ComponentForces]) -> None:
        fast, slow, whole = (answers[c] for c in (*FAST_SLOW, Component.CONSERVATIVE))
        assert fast.energy + slow.energy == whole.energy
        np.testing.assert_allclose(fast.forces + slow.forces, whole.forces, atol=1e-14)
        np.testing.assert_allclose(fast.virial + slow.virial, whole.virial, atol=1e-14)

    def test_fast_is_direct(self, answers: dict[Component, ComponentForces]) -> None:
        fast, direct = answers[Component.FAST], answers[Component.DIRECT]
        assert fast.energy == direct.energy
        assert np.array_equal(fast.forces, direct.forces)
        assert np.array_equal(fast.virial, direct.virial)

    def test_the_energy_is_that_of_fast(self, answers: dict[Component, ComponentForces]) -> None:
        assert answers[Component.SLOW].energy == 0.0
        assert answers[Component.FAST].energy > 0.0

    def test_forces_are_those_of_the_model(self, answers: dict[Component, ComponentForces]) -> None:
        (model,) = SpringModel().evaluate([geometry(0)], EVERYTHING)
        assert np.array_equal(answers[Component.CONSERVATIVE].forces, model.conservative)
        assert np.array_equal(answers[Component.DIRECT].forces, model.direct)
        assert np.array_equal(answers[Component.CONSERVATIVE].virial, model.virial)

    def test_without_direct_stress_fast_has_no_virial(self) -> None:
        split = Split(SpringModel(direct_stress=False))
        assert not ask(split, geometry(0), Component.FAST, split.open_stream()).virial.any()

    def test_with_direct_stress_fast_has_its_virial(self) -> None:
        split = Split(SpringModel())
        fast = ask(split, geometry(0), Component.FAST, split.open_stream())
        assert np.array_equal(fast.virial, np.diag([1.0, 2.0, 3.0]))

    def test_real_model_adds_up(self, water: Structure, pet_m_float64: ForceModel) -> None:
        split = Split(pet_m_float64)
        fast, slow, whole = (ask(split, water, c, split.open_stream()) for c in (*FAST_SLOW, Component.CONSERVATIVE))
        np.testing.assert_allclose(fast.forces + slow.forces, whole.forces, atol=1e-12)
        np.testing.assert_allclose(fast.virial + slow.virial, whole.virial, atol=1e-10)


class TestOneEvaluationPerGeometry:
    @pytest.mark.parametrize("order", itertools.permutations(Component))
    def test_all_components_at_one_time(self, order: Sequence[Component]) -> None:
        split = Split(SpringModel())
        split.serve([Request(geometry(0), c, split.open_stream()) for c in order])
        assert (split.model.passes.forward, split.model.passes.backward) == (1, 1)

    @pytest.mark.parametrize("repeated", Component)
    def test_asked_again(self, repeated: Component) -> None:
        split = Split(SpringModel())
        stream = split.open_stream()
        ask(split, geometry(0), repeated, stream)
        ask(split, geometry(0), repeated, stream)
        assert split.model.passes.forward == 1

    def test_geometries_that_are_ready_together_are_one_batch(self) -> None:
        model = BatchesSeen()
        split = Split(model)
        stream = split.open_stream()
        split.serve([Request(geometry(i), Component.CONSERVATIVE, stream) for i in range(5)])
        assert model.batches == [5]

    def test_answers_come_in_the_order_of_the_requests(self) -> None:
        split = Split(SpringModel())
        stream = split.open_stream()
        numbers = [3, 1, 2, 1, 3]
        answers = split.serve([Request(geometry(i), Component.DIRECT, stream) for i in numbers])
        alone = [SpringModel().evaluate([geometry(i)], Need.ENERGY)[0].energy for i in numbers]
        assert [a.energy for a in answers] == alone

    def test_requests_are_counted(self) -> None:
        split = Split(SpringModel())
        stream = split.open_stream()
        split.serve([Request(geometry(0), Component.DIRECT, stream)] * 3)
        assert split.answered == 3

    def test_asked_from_two_threads(self) -> None:
        """With <ffdirect threaded='true'>, i-PI's second thread waits for the first instead of evaluating too."""
        split = Split(SlowModel())
        threads = [
            threading.Thread(target=ask, args=(split, geometry(0), component, split.open_stream()))
            for component in FAST_SLOW
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert split.model.passes.forward == 1


class BatchesSeen(SpringModel):
    """Springs that remember how many structures they were given at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def _evaluate(self, structures: Sequence[Structure], need: Need) -> list[Forces]:
        self.batches.append(len(structures))
        return super()._evaluate(structures, need)


class SlowModel(SpringModel):
    """Springs that let other threads have their turn before they answer."""

    def _evaluate(self, structures: Sequence[Structure], need: Need) -> list[Forces]:
        threading.Event().wait(0.1)
        return super()._evaluate(structures, need)


NUMBERS = itertools.count()  # so that no two simulations meet at the same geometry


class Simulation:
    """Asks a `Split` for what i-PI asks for in multiple time stepping.

    At the start all components are asked for, for each bead; then, in each outer step, the fast one at M geometries and
    the slow one at the last of them.
    """

    def __init__(
        self,
        split: Split,
        stride: int,
        beads: int = 1,
        components: tuple[Component, Component] = FAST_SLOW,
        first: str = "fast",
        batched: bool = False,
    ):
        self._split = split
        self._stride = stride
        self._fast, self._slow = components
        self._slow_first = first == "slow"
        self._batched = batched
        self._streams = {component: split.open_stream() for component in components}
        self._beads = beads

    def start(self) -> None:
        here = self._new()
        for component in (self._slow, self._fast) if self._slow_first else (self._fast, self._slow):
            self._ask(component, here)

    def outer_step(self) -> None:
        for _ in range(self._stride):
            here = self._new()
            self._ask(self._fast, here)
        self._ask(self._slow, here)

    def run(self, outer_steps: int) -> None:
        self.start()
        for _ in range(outer_steps):
            self.outer_step()

    def leave(self) -> None:
        for stream in self._streams.values():
            self._split.close_stream(stream)

    def _new(self) -> list[Structure]:
        return [geometry(next(NUMBERS)) for _ in range(self._beads)]

    def _ask(self, component: Component, structures: list[Structure]) -> None:
        requests = [Request(structure, component, self._streams[component]) for structure in structures]
        for together in [requests] if self._batched else [[request] for request in requests]:
            self._split.serve(together)


def passes(split: Split) -> tuple[int, int]:
    return split.model.passes.forward, split.model.passes.backward


STEPS = 7


class TestStride:
    @pytest.mark.parametrize("first", ["fast", "slow"])
    @pytest.mark.parametrize("components", [FAST_SLOW, DIRECT_CONSERVATIVE], ids=["fast-slow", "direct-conservative"])
    @pytest.mark.parametrize("stride", [1, 2, 3, 8, 16])
    @pytest.mark.parametrize("model", [SpringModel, DirectFirstModel])
    def test_an_outer_step_costs_one_combined_evaluation(
        self, model: type[SpringModel], stride: int, components: tuple[Component, Component], first: str
    ) -> None:
        split = Split(model())
        Simulation(split, stride, components=components, first=first).run(STEPS)
        forward, backward = passes(split)
        assert forward <= stride * STEPS + 2
        assert backward <= STEPS + 1

    @pytest.mark.parametrize("batched", [False, True], ids=["one by one", "batched"])
    @pytest.mark.parametrize("first", ["fast", "slow"])
    @pytest.mark.parametrize("beads", [2, 4])
    @pytest.mark.parametrize("stride", [1, 2, 3, 8])
    def test_with_beads_it_costs_that_for_each(self, stride: int, beads: int, first: str, batched: bool) -> None:
        split = Split(SpringModel())
        Simulation(split, stride, beads, first=first, batched=batched).run(STEPS)
        forward, backward = passes(split)
        assert forward <= beads * (stride * STEPS + 2)
        assert backward <= beads * (STEPS + 1)

    @pytest.mark.parametrize("beads", [1, 4])
    @pytest.mark.parametrize("stride", [1, 2, 8])
    def test_once_learned_no_guess_is_wrong(self, stride: int, beads: int) -> None:
        split = Split(SpringModel())
        simulation = Simulation(split, stride, beads)
        simulation.run(3)
        before = passes(split)
        simulation.outer_step()
        assert passes(split) == (before[0] + stride * beads, before[1] + beads)

    def test_beads_that_start_interleaved_cost_little_more(self) -> None:
        """Two sockets at the start: fast and slow of one bead before those of the next."""
        split = Split(SpringModel())
        fast, slow = split.open_stream(), split.open_stream()
        beads, stride = 4, 2
        for i in range(beads):
            ask(split, geometry(-i), Component.FAST, fast)
            ask(split, geometry(-i), Component.SLOW, slow)
        for step in range(STEPS):
            for inner in range(stride):
                for i in range(beads):
                    ask(split, geometry(100 * step + 10 * inner + i), Component.FAST, fast)
            for i in range(beads):
                ask(split, geometry(100 * step + 10 * inner + i), Component.SLOW, slow)
        forward, backward = passes(split)
        assert forward <= beads * (stride * STEPS + 2) + beads
        assert backward <= beads * (STEPS + 1) + beads

    def test_two_simulations_do_not_disturb_each_other(self) -> None:
        """Their strides differ, and one is further than the other."""
        split = Split(SpringModel())
        one, other = Simulation(split, 8), Simulation(split, 3)
        one.start()
        one.outer_step()
        other.start()
        for _ in range(STEPS - 1):
            one.outer_step()
            other.outer_step()
        other.outer_step()
        forward, backward = passes(split)
        assert forward <= (8 * STEPS + 2) + (3 * STEPS + 2)
        assert backward <= 2 * (STEPS + 1)

    def test_a_simulation_that_follows_another_is_learned_anew(self) -> None:
        split = Split(SpringModel())
        first = Simulation(split, 8)
        first.run(STEPS)
        first.leave()
        before = passes(split)
        Simulation(split, 3).run(STEPS)
        assert passes(split)[0] - before[0] <= 3 * STEPS + 2
        assert passes(split)[1] - before[1] <= STEPS + 1

    @pytest.mark.parametrize("component", [Component.DIRECT, Component.FAST])
    def test_a_stream_of_new_length_is_followed(self, component: Component) -> None:
        """A stride that changes costs some wrong guesses, and then none."""
        split = Split(SpringModel())
        simulation = Simulation(split, 8, components=(component, Component.SLOW))
        simulation.run(4)
        simulation._stride = 5
        for _ in range(3):
            simulation.outer_step()
        before = passes(split)
        simulation.outer_step()
        assert passes(split) == (before[0] + 5, before[1] + 1)

    def test_slow_forces_of_beads_may_come_in_another_order(self) -> None:
        split = Split(SpringModel())
        simulation = Simulation(split, 3, beads=4)
        ask_slow = simulation._ask
        simulation._ask = lambda component, here: ask_slow(  # type: ignore[method-assign]
            component, here[::-1] if component is Component.SLOW else here
        )
        simulation.run(3)
        before = passes(split)
        simulation.outer_step()
        assert passes(split) == (before[0] + 4 * 3, before[1] + 4)


class Systems:
    """Several systems of one i-PI, each in a thread of its own: they come in changing order, and out of step.

    A batch has requests of some of them, and is filled up with copies of the last, as i-PI does.

    :param start: of each system, shape (n_systems, n_atoms, 3)
    """

    def __init__(self, split: Split, start: np.ndarray, stride: int, seed: int):
        self._split = split
        self._stride = stride
        self._random = np.random.default_rng(seed)
        self._velocities = self._random.normal(0.0, 0.02, start.shape)
        self._streams = {component: split.open_stream() for component in FAST_SLOW}
        self._start = start
        self.forward = self.backward = 0  # passes that are needed

    def run(self, steps: range) -> None:
        """Ask for forces from one outer step to another; a system waits for the others only at the end."""
        threads = [self._requests(system, steps) for system in range(len(self._start))]
        while threads:
            ready = self._random.permutation(len(threads))[: self._random.integers(1, len(threads) + 1)]
            batch = [request for i in ready if (request := next(threads[i], None))]
            if not batch:
                threads = [thread for i, thread in enumerate(threads) if i not in ready]
                continue
            padding = [batch[-1]] * (len(self._start) - len(batch))
            self._split.serve(batch + padding)

    def _requests(self, system: int, steps: range) -> Iterator[Request]:
        if steps.start == 0:
            yield from self._both(system, 0)
        for step in steps:
            for inner in range(1, self._stride):
                yield self._request(Component.FAST, system, step * self._stride + inner)
            yield from self._both(system, (step + 1) * self._stride)
        self.forward += self._stride * len(steps)
        self.backward += len(steps)

    def _both(self, system: int, time: int) -> Iterator[Request]:
        for component in FAST_SLOW:
            yield self._request(component, system, time)

    def _request(self, component: Component, system: int, time: int) -> Request:
        positions = self._start[system] + time * self._velocities[system]
        return Request(positioned(positions), component, self._streams[component])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stride", [1, 2, 3, 8])
class TestSystemsInThreads:
    N = 5

    def test_once_learned_no_guess_is_wrong(self, stride: int, seed: int) -> None:
        split = Split(SpringModel())
        start = np.random.default_rng(seed).normal(0.0, 3.0, (self.N, 10, 3))
        systems = Systems(split, start, stride, seed)
        systems.run(range(4))
        forward, backward = passes(split)
        assert forward <= systems.forward + 4 * self.N
        assert backward <= systems.backward + 3 * self.N
        assert self.goes_on(split, systems, range(4, 10)) == (0, 0)

    def test_from_the_same_positions_they_are_told_apart_when_they_have_parted(self, stride: int, seed: int) -> None:
        split = Split(SpringModel())
        systems = Systems(split, np.zeros((self.N, 10, 3)), stride, seed)
        systems.run(range(100 // stride))
        assert self.goes_on(split, systems, range(100 // stride, 100 // stride + 6)) == (0, 0)

    def goes_on(self, split: Split, systems: Systems, steps: range) -> tuple[int, int]:
        """The numbers of passes that are wasted, forward and backward."""
        before, needed = passes(split), (systems.forward, systems.backward)
        systems.run(steps)
        after = passes(split)
        forward, backward = systems.forward - needed[0], systems.backward - needed[1]
        return after[0] - before[0] - forward, after[1] - before[1] - backward


class TestStream:
    def test_atoms_that_jump_by_a_cell_vector_stay_on_the_trajectory(self) -> None:
        """With <ffsocket pbc='True'>, atoms jump."""
        stream, random = Stream(), np.random.default_rng(0)
        positions = random.uniform(0.0, 10.0, (50, 3))
        followed = set()
        for _ in range(50):
            positions = positions + random.normal(0.0, 0.1, positions.shape)
            followed.add(id(stream.follow(positioned(positions % 10.0))))
        assert len(followed) == 1

    def test_systems_far_from_each_other_are_apart(self) -> None:
        stream, random = Stream(), np.random.default_rng(0)
        systems = [positioned(random.uniform(0.0, 10.0, (50, 3))) for _ in range(10)]
        assert len({id(stream.follow(system)) for system in systems}) == 10


class TestUnrelatedGeometries:
    def test_what_is_remembered_is_limited(self) -> None:
        """Structures of a data set, say; and they are answered."""
        stream, random = Stream(), np.random.default_rng(0)
        followed = {id(stream.follow(positioned(random.normal(0.0, 5.0, (4, 3))))) for _ in range(MOST + 10)}
        assert len(followed) > 2
        assert len(stream._trajectories) <= MOST

    def test_atoms_of_another_number_are_another_trajectory(self) -> None:
        stream = Stream()
        assert stream.follow(geometry(0, 3)) is stream.follow(geometry(1, 3))
        assert stream.follow(geometry(0, 3)) is not stream.follow(geometry(0, 4))

    def test_where_slow_forces_are_asked_once_each_new_one_is_expected_to_need_them(self) -> None:
        split, random = Split(SpringModel()), np.random.default_rng(0)
        fast, slow = split.open_stream(), split.open_stream()
        for _ in range(20):
            structure = positioned(random.normal(0.0, 5.0, (4, 3)))
            ask(split, structure, Component.FAST, fast)
            ask(split, structure, Component.SLOW, slow)
        assert passes(split) == (20, 20)


def positioned(positions: np.ndarray) -> Structure:
    return Structure(np.ones(len(positions), np.int32), positions, 10 * np.eye(3))


class TestCells:
    """A model without stress is for constant volume only."""

    WITHOUT_STRESS = Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT

    @pytest.mark.parametrize("component", [Component.DIRECT, Component.CONSERVATIVE])
    def test_that_change_are_refused(self, component: Component) -> None:
        split = Split(SpringModel(provides=self.WITHOUT_STRESS))
        stream = split.open_stream()
        ask(split, geometry(0), component, stream)
        with pytest.raises(DarkforcesError, match="the cell changes, which takes a virial"):
            ask(split, replace(geometry(1), cell=11 * np.eye(3)), component, stream)

    @pytest.mark.parametrize("component", [Component.DIRECT, Component.CONSERVATIVE])
    def test_of_two_systems_may_differ(self, component: Component) -> None:
        split = Split(SpringModel(provides=self.WITHOUT_STRESS))
        stream = split.open_stream()
        for number in range(3):
            ask(split, geometry(number), component, stream)
            ask(split, replace(geometry(10_000 + number), cell=11 * np.eye(3)), component, stream)
        assert split.answered == 6


class TestDirectOnly:
    def test_no_backward_pass_ever(self) -> None:
        split = Split(SpringModel())
        stream = split.open_stream()
        for i in range(50):
            ask(split, geometry(i), Component.DIRECT, stream)
        assert passes(split) == (50, 0)

    def test_two_at_a_time_cost_one_guess_at_most(self) -> None:
        """Two streams that begin together could be the two halves of one simulation."""
        split = Split(SpringModel())
        streams = [split.open_stream(), split.open_stream()]
        for i in range(50):
            for j, stream in enumerate(streams):
                ask(split, geometry(i + 100 * j), Component.DIRECT, stream)
        assert split.model.passes.forward == 100
        assert split.model.passes.backward <= 1

    def test_beside_a_simulation_that_has_long_begun(self) -> None:
        split = Split(SpringModel())
        mts = Simulation(split, 4)
        mts.run(3)
        before = split.model.passes.backward
        stream = split.open_stream()
        for i in range(20):
            ask(split, geometry(-i - 1), Component.DIRECT, stream)
        assert split.model.passes.backward == before

    def test_model_without_conservative_forces_is_not_asked_for_them(self) -> None:
        split = Split(SpringModel(provides=Need.ENERGY | Need.DIRECT | Need.VIRIAL))
        streams = [split.open_stream(), split.open_stream()]
        for stream in streams:
            ask(split, geometry(0), Component.DIRECT, stream)
        assert passes(split) == (1, 0)

    def test_model_without_direct_forces_is_not_asked_for_them(self) -> None:
        split = Split(SpringModel(provides=Need.ENERGY | Need.CONSERVATIVE | Need.VIRIAL))
        streams = [split.open_stream(), split.open_stream()]
        for stream in streams:
            ask(split, geometry(0), Component.CONSERVATIVE, stream)
        assert passes(split) == (1, 1)


class TestMemory:
    def test_results_are_kept_while_there_is_room(self) -> None:
        split = Split(SpringModel(), capacity=10**6)
        stream, _ = split.open_stream(), split.open_stream()
        for i in range(20):
            ask(split, geometry(i), Component.DIRECT, stream)
        ask(split, geometry(0), Component.DIRECT, stream)
        assert split.model.passes.forward == 20

    def test_the_oldest_are_let_go(self) -> None:
        split = Split(SpringModel(), capacity=3 * 3 * len(geometry(0).key))
        stream, _ = split.open_stream(), split.open_stream()
        for i in (0, 1, 2, 3, 3, 2, 1):  # three fit
            ask(split, geometry(i), Component.DIRECT, stream)
        assert split.model.passes.forward == 4
        ask(split, geometry(0), Component.DIRECT, stream)
        assert split.model.passes.forward == 5

    def test_what_is_held_stays_within_the_capacity(self) -> None:
        capacity = 100_000
        split = Split(SpringModel(), capacity)
        stream, _ = split.open_stream(), split.open_stream()
        for i in range(300):
            ask(split, geometry(i, n_atoms=1 + i % 7), Component.SLOW, stream)
        split.finish()
        held = [
            len(key) + g.forces.direct.nbytes + g.forces.conservative.nbytes for key, g in split._geometries.items()
        ]
        assert len(held) > 10
        assert sum(held) <= capacity

    def test_one_geometry_is_kept_however_large(self) -> None:
        split = Split(SpringModel(), capacity=1)
        stream = split.open_stream()
        ask(split, geometry(0), Component.FAST, stream)
        ask(split, geometry(0), Component.FAST, stream)
        assert split.model.passes.forward == 1

    def test_a_batch_larger_than_the_capacity_is_answered(self) -> None:
        split = Split(SpringModel(), capacity=1)
        stream = split.open_stream()
        answers = split.serve([Request(geometry(i), Component.SLOW, stream) for i in range(9)])
        assert len(answers) == 9

    @pytest.mark.parametrize("component", [Component.CONSERVATIVE, Component.DIRECT])
    def test_only_the_last_is_kept_for_clients_that_ask_for_the_same(self, component: Component) -> None:
        split = Split(SpringModel())
        streams = [split.open_stream() for _ in range(3)]
        for i in range(30):
            ask(split, geometry(i), component, streams[i % 3])
        split.finish()
        assert list(split._geometries) == [geometry(29).key]

    def test_a_client_that_has_left_asks_for_nothing(self) -> None:
        split = Split(SpringModel())
        fast, slow = (split.open_stream() for _ in FAST_SLOW)
        for i in range(10):
            ask(split, geometry(i), Component.FAST, fast)
        assert len(split._geometries) == 10
        split.close_stream(slow)
        ask(split, geometry(10), Component.FAST, fast)
        split.finish()
        assert len(split._geometries) == 1

    @pytest.mark.parametrize("component", Component)
    def test_the_graph_of_an_evaluation_is_freed_when_nobody_waits(self, component: Component) -> None:
        model = GraphModel()
        split = Split(model)
        stream = split.open_stream()
        ask(split, geometry(0), component, stream)
        assert model.graph() is not None
        split.finish()
        assert model.graph() is None
        ask(split, geometry(1), component, stream)
        first = model.graph
        ask(split, geometry(2), component, stream)
        assert first() is None


class GraphModel(SpringModel):
    """Springs that need memory while they are evaluated."""

    graph: weakref.ref[np.ndarray]

    def _evaluate_in_turn(self, structures: Sequence[Structure], need: Need) -> Iterator[list[Forces]]:
        graph = np.zeros(1000)
        self.graph = weakref.ref(graph)
        yield self._evaluate(structures, need)


class TestDirectFirst:
    """Fast forces are answered before the backward pass of the slow ones that will be asked for."""

    @pytest.fixture
    def split(self) -> Split:
        """A split for which the next geometry is due for slow forces."""
        split = Split(DirectFirstModel())
        self.simulation = Simulation(split, stride=1)
        self.simulation.run(3)
        split.finish()
        return split

    def ask(self, split: Split, component: Component, structure: Structure) -> ComponentForces:
        return ask(split, structure, component, self.simulation._streams[component])

    @pytest.mark.parametrize("finished", [True, False], ids=["finished in time", "asked for before"])
    def test_slow_forces_are_put_off(self, split: Split, finished: bool) -> None:
        forward, backward = passes(split)
        structure = geometry(next(NUMBERS))
        fast = self.ask(split, Component.FAST, structure)
        assert passes(split) == (forward + 1, backward)
        if finished:
            split.finish()
            assert passes(split) == (forward + 1, backward + 1)
        slow = self.ask(split, Component.SLOW, structure)
        assert passes(split) == (forward + 1, backward + 1)
        (whole,) = SpringModel().evaluate([structure], EVERYTHING)
        assert np.array_equal(fast.forces, whole.direct)
        assert np.array_equal(slow.forces, whole.conservative - whole.direct)
        np.testing.assert_allclose(fast.virial + slow.virial, whole.virial, atol=1e-14)

    def test_conservative_forces_that_are_asked_for_are_not(self, split: Split) -> None:
        _, backward = passes(split)
        self.ask(split, Component.SLOW, geometry(next(NUMBERS)))
        assert passes(split)[1] == backward + 1

    def test_there_may_be_nothing_to_finish(self, split: Split) -> None:
        before = passes(split)
        split.finish()
        assert passes(split) == before


class TestComponents:
    @pytest.mark.parametrize("component", Component)
    def test_are_known_by_their_names(self, component: Component) -> None:
        assert Component.named(component.value) is component

    def test_unknown_name_says_which_exist(self) -> None:
        message = "component 'quick' is not known: expected one of conservative, direct, fast, slow"
        with pytest.raises(DarkforcesError, match=message):
            Component.named("quick")

    @pytest.mark.parametrize("component", [Component.DIRECT, Component.FAST, Component.SLOW])
    def test_that_need_direct_forces_are_refused_by_a_model_without(self, component: Component) -> None:
        model = SpringModel(provides=Need.ENERGY | Need.CONSERVATIVE | Need.VIRIAL)
        message = f"component '{component.value}' cannot be served: model 'springs' does not provide direct forces"
        with pytest.raises(DarkforcesError, match=message):
            component.check(model)

    def test_default_is_conservative_where_the_model_can(self) -> None:
        assert Component.default_for(SpringModel()) is Component.CONSERVATIVE
        assert Component.default_for(SpringModel(provides=Need.ENERGY | Need.DIRECT)) is Component.DIRECT
