"""Forces of each component, at the cost of one evaluation per geometry however many components ask.

i-PI asks for the components one after the other, each through a socket or a plugin of its own: M times the fast one,
then, at the geometry of the last, the slow one. Evaluating that last geometry for both at once makes an outer step cost
M - 1 direct evaluations and one combined one, so it pays to know which geometry will be the last: see `prediction`.
Fast forces are answered first, while the backward pass of the slow ones is still to come: it is for `Split.finish`, in
the time that i-PI takes to ask for them.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_

import numpy as np

from ..errors import DarkforcesError
from ..models.device_forces import DeviceForces
from ..models.model import ForceModel, Need
from ..models.result import Forces
from ..models.structure import Structure
from .component import Component, ComponentForces, component_forces
from .prediction import Mark, Stream

log = logging.getLogger(__name__)
_ALWAYS = Need.ENERGY | Need.VIRIAL  # what is asked for whatever else is


@dataclass
class _Geometry:
    """The known results of one geometry."""

    mark: Mark = field(default_factory=Mark)
    known: Need = Need(0)
    forces: Forces | None = None

    def learn(self, forces: Forces, need: Need) -> None:
        """Note what an evaluation that was asked for `need` has found, though perhaps not all of it yet."""
        self.forces = forces if self.forces is None else self.forces.merged(forces)
        self.known |= need if forces.conservative is not None else need & ~Need.CONSERVATIVE


@dataclass
class _Wanted:
    """Results that are needed of one geometry now, and those predicted for the next request."""

    structure: Structure
    geometry: _Geometry
    need: Need = Need(0)
    predicted: Need = Need(0)


@dataclass(frozen=True)
class _Evaluation:
    """An evaluation of several geometries, which may still be going on.

    :param need: what it was asked for
    :param turns: what it finds, bit by bit
    """

    geometries: Sequence[_Geometry]
    need: Need
    turns: Iterator[list[Forces]]

    def advance(self, enough: Sequence[Need]) -> None:
        """Go on until there is enough known of each geometry."""
        while any(wanted not in geometry.known for wanted, geometry in zip(enough, self.geometries, strict=True)):
            for geometry, forces in zip(self.geometries, next(self.turns), strict=True):
                geometry.learn(forces, self.need)

    def finish(self) -> None:
        """Go on to the end."""
        self.advance([self.need] * len(self.geometries))


@dataclass(frozen=True)
class Request:
    """A request for a component of the forces at one geometry, by one client.

    :param extras: the uncertainty and the ensemble of the energy, as far as they are wanted too
    """

    structure: Structure
    component: Component
    stream: Stream
    extras: Need = Need(0)


class Split:
    """A model, shared by all who want a component of its forces.

    :param capacity: memory for results that may be asked for again, in bytes; it takes several times as much of the
        process, as what is kept stands in the way of what is not. Slow forces are asked for one by one after the fast
        ones of all replicas: the default suffices for 32 of 5184 atoms, or 1000 of 192

    `answered` counts the requests; the passes that they cost are counted by the model.
    """

    def __init__(self, model: ForceModel, capacity: int = 2**24):
        self.model = model
        self.answered = 0
        self._capacity = capacity
        self._held = 0
        self._geometries: OrderedDict[bytes, _Geometry] = OrderedDict()
        self._asked: dict[Stream, Component | None] = {}  # component of each client; None before its first request
        self._extras: dict[Stream, Need] = {}  # of each client; see `Request`
        self._lacks_direct_virial = False  # in the results so far
        self._evaluations: list[_Evaluation] = []  # of the last requests
        self._lock = threading.Lock()  # i-PI calls each <ffdirect threaded='true'> from a thread of its own
        if Need.VIRIAL not in model.provides:
            log.info("model '%s' has no stress: for constant volume only, and i-PI's pressures lack it", model.name)

    def open_stream(self, simulation: Hashable = None) -> Stream:
        """A new client's history; to be given with each of its requests.

        :param simulation: the same for all clients of one simulation
        """
        stream = Stream(simulation)
        self._asked[stream] = None
        return stream

    def close_stream(self, stream: Stream) -> None:
        """Forget a client that has left."""
        del self._asked[stream]
        self._extras.pop(stream, None)

    def serve(self, requests: Sequence[Request]) -> list[ComponentForces]:
        """Answer requests that are ready together, each geometry evaluated once and all in as few batches as possible.

        If one of them cannot be answered, none is; the others can be asked for once more.

        :raises DarkforcesError: see `ForceModel.evaluate`; or if the cell changes and there is no virial for that
        """
        with self._lock:
            return self._serve(requests)

    def evaluator(
        self,
        structures: Sequence[Structure],
        components: Sequence[Component],
        virial: bool,
        extras: Sequence[Need] = (),
    ) -> Callable[[Sequence[np.ndarray]], list[list[ComponentForces]]]:
        """Make an evaluator of structures that are advanced in this process: nothing is looked up, learned or kept.

        :param structures: whose atoms and cells they have
        :param components: of the forces
        :param virial: whether their virials are needed
        :param extras: see `Request`, of each component; nothing by default
        :return: a function of positions, see `ForceModel.evaluator`, to the forces of each component on each structure
        :raises DarkforcesError: see `ForceModel.evaluator`
        """
        need = (_ALWAYS if virial else Need.ENERGY) & self.model.provides
        wanted = list(zip(components, extras or [Need(0)] * len(components), strict=True))
        for component, more in wanted:
            need |= component.need | more
        evaluate = self.model.evaluator(structures, need)

        def evaluate_components(positions: Sequence[np.ndarray]) -> list[list[ComponentForces]]:
            with self._lock:
                results = evaluate(positions)
                self.answered += len(components) * len(results)
            return [[component_forces(forces, component, more) for component, more in wanted] for forces in results]

        return evaluate_components

    def on_device(self, structures: Sequence[Structure], components: Sequence[Component]) -> DeviceForces | None:
        """One component of the forces as tensors, for time steps that are taken where they are computed.

        :param structures: see `ForceModel.on_device`
        :param components: those that act
        :return: None if it is not direct forces alone, or if the model does not compute that way
        """
        if [component.need for component in components] != [Need.DIRECT]:
            return None
        return self.model.on_device(structures)

    def finish(self) -> None:
        """Compute the outputs that are predicted for the next requests and were not needed yet.

        To be called when nobody waits for an answer. What it finds costs no time when it is asked for. And what is not
        needed any more is let go here: to free a graph of hundreds of operations takes as long as to answer. What
        cannot be computed is left: nobody has asked for it yet.
        """
        with self._lock:
            self._finish()

    def _finish(self) -> None:
        evaluations, self._evaluations = self._evaluations, []
        for evaluation in evaluations:
            try:
                evaluation.finish()
            except Exception:
                log.debug("what was computed ahead has failed", exc_info=True)
        self._forget()

    def _serve(self, requests: Sequence[Request]) -> list[ComponentForces]:
        self._finish()
        keys = [request.structure.key for request in requests]
        wanted: dict[bytes, _Wanted] = {}
        for key, request in zip(keys, requests, strict=True):
            self._check_volume(request)
            if key not in wanted:
                wanted[key] = _Wanted(request.structure, self._results(key))
            wanted[key].need |= request.component.need | request.extras
            wanted[key].predicted |= self._predict(request, wanted[key].geometry)
        self._evaluate(list(wanted.values()))
        self.answered += len(requests)
        return [self._component_of(request, wanted[key].geometry) for key, request in zip(keys, requests, strict=True)]

    def _check_volume(self, request: Request) -> None:
        """i-PI does not say what it needs a virial for; but where the cell changes, it is what changes it."""
        lacks_any = Need.VIRIAL not in self.model.provides
        lacks_its_own = self._lacks_direct_virial and Need.CONSERVATIVE not in request.component.need
        structure = request.structure
        if not (lacks_any or lacks_its_own) or not request.stream.follow(structure).cell_changes(structure.cell):
            return
        if lacks_any:
            raise DarkforcesError(
                f"the cell changes, which takes a virial, but model '{self.model.name}' has no stress; expected a "
                "simulation at constant volume"
            )
        if not self._may_be_corrected(request.stream):
            raise DarkforcesError(
                f"the cell changes, which takes a virial, but model '{self.model.name}' has no direct stress, and this "
                f"simulation asks for {request.component.value} forces alone; expected constant volume, or slow or "
                "conservative forces beside them"
            )

    def _may_be_corrected(self, stream: Stream) -> bool:
        """Tell whether there is, or may be, a client of the same simulation that gets the whole virial."""
        return any(
            asked is None or Need.CONSERVATIVE in asked.need
            for other, asked in self._asked.items()
            if other is not stream and other.simulation == stream.simulation
        )

    def _predict(self, request: Request, geometry: _Geometry) -> Need:
        """Predict the outputs of the next request at this geometry, and record the prediction."""
        predicted = self._is_beginning(request)
        self._asked[request.stream] = request.component
        self._extras[request.stream] = request.extras
        if Need.CONSERVATIVE in request.component.need:
            geometry.mark.correct()
        else:
            trajectory = request.stream.follow(request.structure)
            if not geometry.mark.is_on(trajectory):  # i-PI repeats requests until a batch is full
                predicted = predicted or trajectory.expects_correction()
                trajectory.visit(geometry.mark)
                if request.component is Component.FAST:
                    request.stream.paths.extend(request.structure, geometry.mark)
        if predicted and self.model.evaluates_together:
            extras = reduce(or_, self._extras.values(), Need(0))
            return (Need.CONSERVATIVE | Need.DIRECT | extras) & self.model.provides
        return Need(0)

    def _is_beginning(self, request: Request) -> bool:
        """Tell whether a simulation seems to begin here: all components ask everything of its first geometries."""
        stream = request.stream
        fresh = self._asked[stream] is None
        others_to_come = any(asked is None for other, asked in self._asked.items() if other is not stream)
        if request.component is Component.FAST:  # there will be a slow one, whether it is here already or not
            return fresh or (others_to_come and not stream.corrected)
        return fresh and others_to_come

    def _evaluate(self, wanted: Sequence[_Wanted]) -> None:
        """Evaluate until what is needed is known; the rest of what is predicted is left for `finish`."""
        batches: dict[Need, list[_Wanted]] = {}
        for each in wanted:
            missing = (each.need | each.predicted) & ~each.geometry.known
            if missing:
                batches.setdefault(missing, []).append(each)
        for need, batch in batches.items():
            turns = self.model.evaluate_in_turn(
                [each.structure for each in batch], need | (_ALWAYS & self.model.provides)
            )
            evaluation = _Evaluation([each.geometry for each in batch], need, turns)
            evaluation.advance([each.need for each in batch])
            self._evaluations.append(evaluation)

    def _component_of(self, request: Request, geometry: _Geometry) -> ComponentForces:
        assert geometry.forces is not None
        found = component_forces(geometry.forces, request.component, request.extras)
        if Need.CONSERVATIVE not in request.component.need:
            self._lacks_direct_virial = geometry.forces.direct_virial is None
        if request.component is not Component.SLOW:
            return found
        return replace(found, disagreement=geometry.mark.disagreement(request.structure, found.forces))

    def _results(self, key: bytes) -> _Geometry:
        """The known results of a geometry, perhaps none; it becomes the last that will be dropped."""
        if key not in self._geometries:
            self._geometries[key] = _Geometry()
            self._held += _size(key)
        self._geometries.move_to_end(key)
        return self._geometries[key]

    def _forget(self) -> None:
        """Let go of the oldest results when there is no more room.

        Clients that all want the same component have geometries of their own: then the last one is enough.
        """
        capacity = self._capacity if len(set(self._asked.values())) > 1 else 0
        while self._held > capacity and len(self._geometries) > 1:
            oldest, _ = self._geometries.popitem(last=False)
            self._held -= _size(oldest)


def _size(key: bytes) -> int:
    """Bytes that a geometry holds: its key and two sets of forces of the same size, within a few percent."""
    return 3 * len(key)
