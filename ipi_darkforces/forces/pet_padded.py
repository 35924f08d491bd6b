"""PET with fixed shapes, for GPUs: each kind of evaluation is one CUDA graph, recorded once and started at each step.

The same weights, layers and lists of pairs as `PetModel`. Where that packs the neighbours that there are, anew at each
step and on the host, this leaves them where they are, and computes vectors and what is within the cutoff on the device;
see `padded`. An answer takes one copy to the device, one start, one copy back, and one wait.

On a CPU it computes the same, without recording: for tests, and to compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from .cuda_graph import CudaGraphs, wait_for
from .metatomic import pick_device
from .model import Need
from .padded import PaddedGraph, Room
from .pet import PetModel, symmetric
from .pet_network import PetNetwork
from .result import Forces
from .structure import Structure
from .verlet import VerletList

# How many sets of structures, such as one or several simulations at once, are remembered with what was recorded.
MOST_SETS = 32
_CALL_TO_RECORD = 2  # what is asked for once, as of the structures of a data set, is not worth a recording
_DERIVATIVES = 3 + 9  # numbers for each atom: its force, and its part of the virial


class PaddedPetModel(PetModel):
    """A PET model from a metatrain checkpoint, with fixed shapes.

    :param path: the checkpoint
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
        self._graphs = CudaGraphs(self._device) if record and self._device.type == "cuda" else None
        self._sets: dict[tuple[bytes, ...], _Set] = {}  # by atomic numbers; the one that was used last comes last

    def _evaluate_in_turn(self, structures: Sequence[Structure], need: Need) -> Iterator[list[Forces]]:
        # Both kinds of forces are one recording, so that they come together.
        lists, positions = zip(*map(self._lists.find, structures), strict=True)
        current = self._set(structures, lists)
        current.graph.fill(lists)
        current.graph.move(positions, [structure.cell for structure in structures])
        kind = tuple(self._asked(need)), Need.CONSERVATIVE in need
        if kind not in current.evaluations:
            current.evaluations[kind] = _Evaluation(self._network, current.graph, *kind, self._dtype, self._graphs)
        names, conservative = kind
        parts = current.evaluations[kind]()
        values = self._physical(dict(zip(names, parts, strict=False)), current.graph.elements)
        gradients = parts[-1] * self._constants[self._outputs.energy].scales[0] if conservative else None
        starts = [0, *current.graph.atom_ends[:-1]]
        yield [
            self._forces(
                structure,
                {name: value[start:end] for name, value in values.items()},
                *((None, None) if gradients is None else _derivatives(gradients[start:end])),
            )
            for structure, start, end in zip(structures, starts, current.graph.atom_ends, strict=True)
        ]

    def _set(self, structures: Sequence[Structure], lists: Sequence[VerletList]) -> _Set:
        """What is remembered of structures of these elements, with room for these lists."""
        key = tuple(structure.species.tobytes() for structure in structures)
        known = self._sets.pop(key, None)
        if known is None or not known.graph.room.holds(lists):
            room = Room.for_(lists)
            if known is not None:
                room = room.or_more(known.graph.room)
            elements = [self._elements[structure.species] for structure in structures]
            known = _Set(PaddedGraph(elements, room, self._network.cutoff, self._network.heads, self._device))
        self._sets[key] = known
        if len(self._sets) > MOST_SETS:
            del self._sets[next(iter(self._sets))]
        return known


class _Evaluation:
    """One kind of evaluation of one set of structures; all that it reads and writes stays where it is.

    :param network: the network
    :param graph: the structures
    :param names: outputs to compute, of which the first is the energy
    :param conservative: whether to compute the derivatives of the energy too
    :param dtype: precision of the network
    :param graphs: what records it; None if it is not to be recorded
    """

    def __init__(
        self,
        network: PetNetwork,
        graph: PaddedGraph,
        names: Sequence[str],
        conservative: bool,
        dtype: torch.dtype,
        graphs: CudaGraphs | None,
    ):
        self._network = network
        self._graph = graph
        self._names = names
        self._conservative = conservative
        self._dtype = dtype
        self._device = graph.graph.elements.device
        sizes = [network.sizes[name] for name in names] + [_DERIVATIVES] * conservative
        self._ends = np.cumsum(sizes)
        self._output = torch.zeros((len(graph.elements), sum(sizes)), dtype=torch.float64, device=self._device)
        self._answer = torch.zeros(self._output.shape, dtype=torch.float64, pin_memory=self._device.type == "cuda")
        self._graphs = graphs
        self._calls = 0
        self._start: Callable[[], None] = self._compute

    def __call__(self) -> list[np.ndarray]:
        """Of each atom what each output says, and then the derivatives, as long as it is not called again."""
        self._calls += 1
        if self._calls == _CALL_TO_RECORD and self._graphs is not None:
            self._start = self._graphs.record(self._compute)
        self._start()
        self._answer.copy_(self._output, non_blocking=True)
        wait_for(self._device)
        return np.split(self._answer.numpy(), self._ends[:-1], axis=1)

    def _compute(self) -> None:
        with torch.no_grad():
            vectors, beyond = self._graph.vectors()
        inputs = vectors.to(self._dtype).requires_grad_(self._conservative)
        with torch.set_grad_enabled(self._conservative):
            outputs = self._network(self._graph.graph, inputs, self._names, beyond)
        tokens = [torch.cat(outputs[name]).detach().double() for name in self._names]
        if self._conservative:
            atoms, pairs = outputs[self._names[0]]
            (gradients,) = torch.autograd.grad(atoms.sum() + pairs.sum(), inputs)
            tokens.append(_by_token(gradients.double(), vectors.detach(), beyond, len(atoms)))
        self._output.copy_(self._graph.by_atom(torch.cat(tokens, 1)))


@dataclass
class _Set:
    """Structures that are evaluated together, and how they are: by names of outputs, and whether with derivatives."""

    graph: PaddedGraph
    evaluations: dict[tuple[tuple[str, ...], bool], _Evaluation] = field(default_factory=dict)


def _by_token(gradients: torch.Tensor, vectors: torch.Tensor, beyond: torch.Tensor, n_atoms: int) -> torch.Tensor:
    """For each atom and neighbour, what it adds to the force on the atom, and r ⊗ ∂V/∂r, from ∂V/∂r of pairs."""
    gradients = gradients.masked_fill(beyond.unsqueeze(1), 0.0)
    products = (vectors.unsqueeze(2) * gradients.unsqueeze(1)).view(-1, 9)
    there, back = torch.cat([gradients, products], 1), torch.cat([-gradients, torch.zeros_like(products)], 1)
    return torch.cat([gradients.new_zeros((n_atoms, _DERIVATIVES)), there, back])


def _derivatives(gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Conservative forces and virial of one structure."""
    forces, products = np.split(gradients, [3], axis=1)
    return forces, -symmetric(products.sum(axis=0).reshape(3, 3))
