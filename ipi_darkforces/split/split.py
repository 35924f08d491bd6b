"""Forces of each component, at the cost of one evaluation per geometry however many components ask.

Multiple time stepping integrates fast forces at every step and slow ones at every M-th (paper, appendix H)::

    direct        f_NC                      conservative   f_C = -dV/dr
    fast          f_NC                      slow           f_C - f_NC

i-PI asks for the components one after the other, each through a socket or a plugin of its own: M times the fast one,
then, at the geometry of the last, the slow one. Evaluating that last geometry for both at once makes an outer step cost
M - 1 direct evaluations and one combined one, so it pays to know which geometry will be the last: `Trajectory` learns
it from what was asked before. Fast forces are answered first, while the backward pass of the slow ones is still to
come: it is for `Split.finish`, in the time that i-PI takes to ask for them.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import reduce
from operator import or_

import numpy as np

from ..errors import DarkforcesError
from ..models.model import ForceModel, Need
from ..models.result import Forces
from ..models.structure import Structure
from .disagreement import Disagreement
from .stream import Stream
from .trajectory import Mark

log = logging.getLogger(__name__)
# What helps a model that has conservative forces only.
DISTILL = "darkforces distill trains direct ones for it"
_ALWAYS = Need.ENERGY | Need.VIRIAL  # what is asked for whatever else is


class Component(Enum):
    """A force component of an i-PI simulation."""

    CONSERVATIVE = "conservative"
    DIRECT = "direct"
    FAST = "fast"
    SLOW = "slow"

    @property
    def need(self) -> Need:
        """Results that are needed of a geometry for this component, besides energy and virial."""
        return _NEEDS[self]

    @classmethod
    def named(cls, name: str) -> Component:
        """The component of that name.

        :raises DarkforcesError: if there is none
        """
        try:
            return cls(name)
        except ValueError as error:
            known = ", ".join(component.value for component in cls)
            raise DarkforcesError(f"component '{name}' is not known: expected one of {known}") from error

    @classmethod
    def default_for(cls, model: ForceModel) -> Component:
        """The component that a model serves if nobody says: its conservative forces if it has them."""
        return cls.CONSERVATIVE if Need.CONSERVATIVE in model.provides else cls.DIRECT

    def check(self, model: ForceModel) -> None:
        """Raise a DarkforcesError, before the simulation starts, if the model cannot serve this component."""
        try:
            model.check_need(self.need)
        except DarkforcesError as error:
            advice = f"; {DISTILL}" if Need.CONSERVATIVE in model.provides else ""
            raise DarkforcesError(f"component '{self.value}' cannot be served: {error}{advice}") from error


_NEEDS = {
    Component.CONSERVATIVE: Need.CONSERVATIVE,
    Component.DIRECT: Need.DIRECT,
    Component.FAST: Need.DIRECT,
    Component.SLOW: Need.CONSERVATIVE | Need.DIRECT,
}


@dataclass(frozen=True)
class ComponentForces:
    """The forces of one component at one geometry.

    :param energy: eV
    :param forces: eV/Å, shape (n_atoms, 3)
    :param virial: eV, shape (3, 3)
    :param disagreement: of both kinds of forces, where slow ones are asked for
    :param uncertainty: see `Forces`; as far as it is asked for
    :param ensemble: likewise
    """

    energy: float
    forces: np.ndarray
    virial: np.ndarray
    disagreement: Disagreement | None = None
    uncertainty: np.ndarray | None = None
    ensemble: np.ndarray | None = None


def component_forces(forces: Forces, component: Component) -> ComponentForces:
    """The forces of a component, from those of the model.

    The energy belongs to the fast component, unless there are two, of which slow gets the difference. The virials of
    fast and slow add up to the conservative one; a model without direct stress gives the fast component none, and one
    without any stress gives none at all.
    """
    nothing = np.zeros((3, 3))
    direct_virial = nothing if forces.direct_virial is None else forces.direct_virial
    virial = nothing if forces.virial is None else forces.virial
    direct_energy = forces.energy if forces.direct_energy is None else forces.direct_energy
    if component in (Component.DIRECT, Component.FAST):
        assert forces.direct is not None
        return ComponentForces(direct_energy, forces.direct, direct_virial)
    assert forces.conservative is not None
    if component is Component.CONSERVATIVE:
        return ComponentForces(forces.energy, forces.conservative, virial)
    assert forces.direct is not None
    return ComponentForces(forces.energy - direct_energy, forces.conservative - forces.direct, virial - direct_virial)


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

    :param beside: the uncertainty and the ensemble of the energy, as far as they are wanted too
    """

    structure: Structure
    component: Component
    stream: Stream
    beside: Need = Need(0)


class Split:
    """A model, shared by all who want a component of its forces.

    :param model: the model
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
        self._beside: dict[Stream, Need] = {}  # what each client wants beside forces
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
        self._beside.pop(stream, None)

    def serve(self, requests: Sequence[Request]) -> list[ComponentForces]:
        """Answer requests that are ready together, each geometry evaluated once and all in as few batches as possible.

        If one of them cannot be answered, none is; the others can be asked for once more.

        :raises DarkforcesError: see `ForceModel.evaluate`; or if the cell changes and there is no virial for that
        """
        with self._lock:
            return self._serve(requests)

    def along(
        self,
        structures: Sequence[Structure],
        components: Sequence[Component],
        virial: bool,
        beside: Sequence[Need] = (),
    ) -> Callable[[Sequence[np.ndarray]], list[list[ComponentForces]]]:
        """Follow structures that are advanced in this process: nothing is looked up, learned or kept.

        :param structures: whose atoms and cells they have
        :param components: of the forces
        :param virial: whether their virials are needed
        :param beside: see `Request`, of each component; nothing by default
        :return: a function of positions, see `ForceModel.along`, to the answers of each component, for each structure
        :raises DarkforcesError: see `ForceModel.along`
        """
        need = (_ALWAYS if virial else Need.ENERGY) & self.model.provides
        wanted = list(zip(components, beside or [Need(0)] * len(components), strict=True))
        for component, more in wanted:
            need |= component.need | more
        evaluate = self.model.along(structures, need)

        def answers(positions: Sequence[np.ndarray]) -> list[list[ComponentForces]]:
            with self._lock:
                results = evaluate(positions)
                self.answered += len(components) * len(results)
            return [
                [_with(component_forces(forces, component), forces, more) for component, more in wanted]
                for forces in results
            ]

        return answers

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
            wanted[key].need |= request.component.need | request.beside
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
        self._beside[request.stream] = request.beside
        if Need.CONSERVATIVE in request.component.need:
            geometry.mark.correct()
        else:
            trajectory = request.stream.follow(request.structure)
            if not geometry.mark.is_on(trajectory):  # i-PI repeats requests until a batch is full
                predicted = predicted or trajectory.expects_correction()
                trajectory.visit(geometry.mark)
        if predicted and self.model.evaluates_together:
            beside = reduce(or_, self._beside.values(), Need(0))
            return (Need.CONSERVATIVE | Need.DIRECT | beside) & self.model.provides
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
        found = _with(component_forces(geometry.forces, request.component), geometry.forces, request.beside)
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


def _with(found: ComponentForces, forces: Forces, beside: Need) -> ComponentForces:
    """Forces of a component with the uncertainty and the ensemble, as far as they are wanted."""
    if not beside:
        return found
    return replace(
        found,
        uncertainty=forces.uncertainty if Need.UNCERTAINTY in beside else None,
        ensemble=forces.ensemble if Need.ENSEMBLE in beside else None,
    )


def _size(key: bytes) -> int:
    """Bytes that a geometry holds: its key and two sets of forces of the same size, within a few percent."""
    return 3 * len(key)
