"""PET with fixed shapes, for GPUs: each kind of evaluation is one CUDA graph, recorded once and started at each step.

The same weights, layers and lists of pairs as `PetModel`. Where that packs the neighbours that there are, anew at each
step and on the host, this leaves them where they are, and computes vectors and what is within the cutoff on the device;
see `padded`. An answer takes one copy to the device, one start, one copy back, and one wait. Asked for both kinds of
forces, it has two recordings: direct forces are back before the backward pass is started, and that goes on from what
the forward pass has left in the work memory.

On a CPU it computes the same, without recording: for tests, and to compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ..device_forces import DeviceForces
from ..metatomic import pick_device, symmetric
from ..model import Need
from ..neighbors.verlet import VerletList
from ..result import Forces
from ..structure import Structure
from .cuda_graph import CudaGraphs, graphs_for, wait_for
from .network import in_turn
from .packed import PetModel, conditions
from .padded_forces import PaddedForces
from .padded_neighbors import PaddedGraph, Room, by_atom
from .padded_parts import CALL_TO_RECORD, Parts
from .padded_selection import SIZES, SelectionRoom

# How many sets of structures, such as one or several simulations at once, are remembered with what was recorded.
MOST_SETS = 32
_DERIVATIVES = 3 + 9  # numbers for each atom: its force, and its part of the virial


class PaddedPetModel(PetModel):
    """A PET model from a metatrain checkpoint, with fixed shapes.

    :param name: what the user calls it; default: its path
    :param device: ``cuda``, ``cuda:1`` or ``cpu``
    :param dtype: ``float32`` or ``float64``; default: the precision of the checkpoint
    :param variant: see `MetatomicModel`
    :param withhold: what the model shall not provide although it could
    :param remove_net_force: see `ForceModel`
    :param record: on a CUDA device, whether evaluations are recorded; without, they start kernel by kernel
    :raises UnsupportedModelError: see `PetModel`
    :raises DarkforcesError: see `PetModel`, or if the device is absent
    """

    _fixed_shapes = True

    def __init__(
        self,
        path: Path,
        name: str | None = None,
        device: str = "cuda",
        dtype: str | None = None,
        variant: str | None = None,
        withhold: Need = Need(0),
        remove_net_force: bool = True,
        record: bool = True,
    ):
        self._device = pick_device(name or str(path), device, ("cpu", "cuda"))
        super().__init__(path, name, dtype, variant, withhold, remove_net_force, self._device)
        self._graphs = graphs_for(self._device) if record else None
        self._sets: dict[tuple[bytes, ...], _Set] = {}  # by what they are; the one that was used last comes last
        self._begun = 0  # evaluations

    def on_device(self, structures: Sequence[Structure]) -> DeviceForces | None:
        """See `ForceModel`; not where a net torque is removed, which takes linear algebra that waits."""
        self.check_request(structures, Need.DIRECT)
        torque = self.remove_net_force and not all(structure.cell.any() for structure in structures)
        if torque or len({len(structure.species) for structure in structures}) > 1:
            return None
        output = self._outputs.direct
        assert output is not None
        kinds = [str(i).encode() for i in range(len(structures))]  # none takes the place of another

        def parts(room: Room, selected: SelectionRoom) -> Parts:
            return self._parts(self._graph(structures, kinds, room), selected)

        settings = output, self._constants[output], self.remove_net_force
        return PaddedForces(structures, self._lists, parts, *settings, self._graphs, self._device, self.passes)

    def _evaluate_in_turn(self, structures: Sequence[Structure], need: Need) -> Iterator[list[Forces]]:
        names, conservative = self._asked(need), Need.CONSERVATIVE in need
        evaluation, atoms, predicted = self._forward(structures, names, conservative)
        number = self._begun
        values = self._physical(dict(zip(names, predicted, strict=True)), evaluation.elements)
        own = [{name: value[place] for name, value in values.items()} for place in atoms]
        if not conservative or Need.DIRECT in need:
            yield [self._forces(s, v, None, None) for s, v in zip(structures, own, strict=True)]
        if conservative:
            if self._begun != number:  # another one has taken the arrays and the work memory meanwhile
                evaluation, atoms, _ = self._forward(structures, names, conservative)
            gradients = evaluation.backward()
            yield [
                self._forces(s, v, *_derivatives(gradients[place]))
                for s, v, place in zip(structures, own, atoms, strict=True)
            ]

    def _forward(
        self, structures: Sequence[Structure], names: Sequence[str], conservative: bool
    ) -> tuple[_PaddedEvaluation, list[slice], list[np.ndarray]]:
        """Evaluator of these structures, their atoms, and its values; once more if there was not enough room."""
        while True:
            evaluation, atoms = self._begin(structures, names, conservative)
            predicted = evaluation.forward()
            needed = evaluation.needed
            if not len(needed) or evaluation.room.holds(*needed):
                return evaluation, atoms, predicted
            current = next(reversed(self._sets.values()))
            current.room = current.room.grown(*needed)
            current.evaluations.clear()

    def _begin(
        self, structures: Sequence[Structure], names: Sequence[str], conservative: bool
    ) -> tuple[_PaddedEvaluation, list[slice]]:
        """Evaluator of these structures, which are in its arrays now; and the atoms of each of them."""
        self._begun += 1
        lists, positions = zip(*map(self._lists.find, structures), strict=True)
        current = self._set(structures, lists)
        current.graph.fill(lists)
        current.graph.move(positions, [structure.cell for structure in structures])
        kind = tuple(names), conservative
        if kind not in current.evaluations:
            parts = self._parts(current.graph, current.room)
            current.evaluations[kind] = _PaddedEvaluation(parts, *kind, self._graphs)
        return current.evaluations[kind], current.graph.atoms

    def _set(self, structures: Sequence[Structure], lists: Sequence[VerletList]) -> _Set:
        """Cached evaluator of structures of these elements and charges, with room for these lists."""
        key = tuple(
            structure.species.tobytes() + np.array([structure.charge, structure.spin_multiplicity]).tobytes()
            for structure in structures
        )
        known = self._sets.pop(key, None)
        if known is None or not known.graph.room.holds(lists):
            room = Room.enough_for(lists, key)
            if known is not None:
                room = room.merged(known.graph.room)
            known = _Set(self._graph(structures, key, room))
        self._sets[key] = known
        if len(self._sets) > MOST_SETS:
            del self._sets[next(iter(self._sets))]
        return known

    def _graph(self, structures: Sequence[Structure], kinds: Sequence[bytes], room: Room) -> PaddedGraph:
        elements = [self._elements[structure.species] for structure in structures]
        added = conditions(self._network, structures)
        return PaddedGraph(elements, kinds, room, self._reach, self._network.heads, self._device, added)

    def _parts(self, graph: PaddedGraph, room: SelectionRoom) -> Parts:
        scale = float(self._constants[self._outputs.energy].scales[0, 0])
        return Parts(self._network, graph, room, self._repulsion, scale, self._dtype)


class _PaddedEvaluation:
    """One kind of evaluation of one set of structures; all that it reads and writes stays where it is.

    :param parts: the network, the structures, and what belongs to them
    :param names: outputs to compute, of which the first is the energy
    :param conservative: whether to compute the derivatives of the energy too
    :param graphs: what records it; None if it is not to be recorded
    """

    def __init__(self, parts: Parts, names: Sequence[str], conservative: bool, graphs: CudaGraphs | None):
        self._parts = parts
        self._graph = graph = parts.graph
        self._names = names
        self._conservative = conservative
        self._graphs = graphs
        self._calls = 0
        self._recorded: Sequence[Callable[[], None]] = ()
        self._passed: _Passed | None = None
        # In one piece, so that what comes from one recording is copied at once: sizes, predictions, then derivatives.
        sizes = [parts.network.sizes[name] for name in names]
        n, width = len(graph.elements), sum(sizes)
        n_sizes = 0 if parts.network.adaptive is None else SIZES
        n_predicted = n_sizes + n * width
        n_values = n_predicted + n * _DERIVATIVES * conservative
        self._device = graph.graph.elements.device
        self._output = torch.zeros(n_values, dtype=torch.float64, device=self._device)
        self._answer = torch.zeros(n_values, dtype=torch.float64, pin_memory=self._device.type == "cuda")
        self._needed, self._predicted = slice(n_sizes), slice(n_sizes, n_predicted)
        self._derivatives = slice(n_predicted, n_values)
        self._ends = np.cumsum(sizes)[:-1]

    @property
    def elements(self) -> np.ndarray:
        """Elements of all atoms, as numbers that the network knows."""
        return self._graph.elements

    @property
    def room(self) -> SelectionRoom:
        """Room for neighbours within adaptive cutoffs."""
        return self._parts.room

    @property
    def needed(self) -> list[float]:
        """Room that the last `forward` would have needed; if that is not there, it has to be done again with more."""
        needed: list[float] = self._answer[self._needed].tolist()
        return needed

    def forward(self) -> list[np.ndarray]:
        """Values of each output for each atom, valid until the next call."""
        self._calls += 1
        if self._calls == CALL_TO_RECORD and self._graphs is not None:
            self._recorded = self._graphs.record(*self._passes())
        self._do(0, slice(self._predicted.stop) if self._in_turn else slice(None))
        return np.split(self._of_atoms(self._answer, self._predicted).numpy(), self._ends, axis=1)

    def backward(self) -> np.ndarray:
        """Derivatives for each atom, `_DERIVATIVES` numbers, valid until the next call; once after each `forward`."""
        if self._in_turn:
            self._do(1, self._derivatives)
        return self._of_atoms(self._answer, self._derivatives).numpy()

    @property
    def _in_turn(self) -> bool:
        """Tell whether there is something to answer before the derivatives are known."""
        return self._conservative and len(self._names) > 1

    def _passes(self) -> list[Callable[[], None]]:
        """Work that is started as a whole."""
        return [self._predict, self._differentiate] if self._in_turn else [self._compute]

    def _do(self, number: int, part: slice) -> None:
        """One of the passes, and get that part of the output which comes from it."""
        (self._recorded or self._passes())[number]()
        self._answer[part].copy_(self._output[part], non_blocking=True)
        wait_for(self._device)

    def _compute(self) -> None:
        self._predict()
        if self._conservative:
            self._differentiate()

    def _predict(self) -> None:
        with torch.no_grad():
            vectors, beyond = self._graph.vectors(self._graph.positions)
        vectors.requires_grad_(self._conservative)
        with torch.set_grad_enabled(self._conservative):
            packing, outputs, needed = self._parts.outputs(vectors, beyond, self._names)
            self._output[self._needed].copy_(needed)
            atoms, pairs = outputs[self._names[0]]
            energy = (atoms.sum() + pairs.sum()).double() * self._parts.scale
            repulsion = self._repel(vectors)
            if repulsion is not None:
                energy = energy + repulsion.sum()
        tokens = [torch.cat(outputs[name]).detach().double() for name in self._names]
        values = by_atom(packing, torch.cat(tokens, 1))
        if repulsion is not None:
            of_pairs = in_turn(repulsion, torch.zeros_like(repulsion))
            of_first = torch.cat([repulsion.new_zeros(len(values)), of_pairs]).detach()
            values[:, :1] += by_atom(self._graph.graph.packing, of_first.unsqueeze(1)) / self._parts.scale
        self._of_atoms(self._output, self._predicted).copy_(values)
        if self._conservative:
            self._passed = _Passed(energy, vectors, beyond)

    def _repel(self, vectors: torch.Tensor) -> torch.Tensor | None:
        """Energies by which pairs repel each other, eV, shape (n_pairs,); None without."""
        if self._parts.repulsion is None:
            return None
        graph = self._graph.graph
        ends = (graph.elements.index_select(0, atoms) for atoms in (graph.first, graph.second))
        return self._parts.repulsion(torch.linalg.vector_norm(vectors, dim=1), *ends)

    def _differentiate(self) -> None:
        assert self._passed is not None
        passed, self._passed = self._passed, None  # its tensors live as long as it, in a recording too
        (gradients,) = torch.autograd.grad(passed.energy, passed.vectors)
        tokens = _by_token(gradients, passed.vectors.detach(), passed.beyond, len(self._graph.elements))
        self._of_atoms(self._output, self._derivatives).copy_(by_atom(self._graph.graph.packing, tokens))

    def _of_atoms(self, values: torch.Tensor, part: slice) -> torch.Tensor:
        return values[part].view(len(self._graph.elements), -1)


@dataclass(frozen=True)
class _Passed:
    """Intermediate values that a forward pass leaves for the backward pass.

    :param energy: of all structures, eV, with its graph
    :param vectors: what it depends on
    :param beyond: see `PaddedGraph.vectors`
    """

    energy: torch.Tensor
    vectors: torch.Tensor
    beyond: torch.Tensor


@dataclass
class _Set:
    """Structures that are evaluated together, and how they are: by names of outputs, and whether with derivatives."""

    graph: PaddedGraph
    room: SelectionRoom = SelectionRoom()
    evaluations: dict[tuple[tuple[str, ...], bool], _PaddedEvaluation] = field(default_factory=dict)


def _by_token(gradients: torch.Tensor, vectors: torch.Tensor, beyond: torch.Tensor, n_atoms: int) -> torch.Tensor:
    """Contributions of atoms and neighbours to the force on the atom, and r ⊗ ∂V/∂r, from ∂V/∂r of pairs."""
    gradients = gradients.masked_fill(beyond.unsqueeze(1), 0.0)
    products = (vectors.unsqueeze(2) * gradients.unsqueeze(1)).view(-1, 9)
    there, back = torch.cat([gradients, products], 1), torch.cat([-gradients, torch.zeros_like(products)], 1)
    return torch.cat([gradients.new_zeros((n_atoms, _DERIVATIVES)), in_turn(there, back)])


def _derivatives(gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Conservative forces and virial of one structure; not in memory that the next evaluation writes to."""
    forces, products = np.split(gradients, [3], axis=1)
    return forces.copy(), -symmetric(products.sum(axis=0).reshape(3, 3))
