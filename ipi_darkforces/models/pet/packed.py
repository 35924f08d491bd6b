"""PET models of metatrain as `ForceModel`s, by an implementation of our own; here on CPUs, for GPUs in `padded`.

It takes the weights from a checkpoint and computes the same function as the exported model; see `network`.
Differences of positions are taken in double precision, the network has the precision that is asked for, and what atoms
and pairs contribute is summed in double precision. Conservative forces and the virial come from the derivative of the
energy with respect to the vectors between neighbours. With adaptive cutoffs, these are vectors to all that might be
neighbours, of which sequences hold only those that are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from ...errors import DarkforcesError
from ..memory import keep_freed_memory
from ..metatomic import DTYPES, pick_outputs, symmetric
from ..model import ForceModel, Need
from ..neighbors.search import CPU
from ..neighbors.verlet import Pairs, VerletLists, number_within
from ..result import Forces
from ..structure import Structure
from .attention import NOWHERE, Packing
from .checkpoint import check_outputs, constants_of, read_checkpoint, repulsion
from .heads import last_layer, untrained
from .network import Graph, PetNetwork, in_turn
from .uncertainty import LastLayerUncertainty

STATES = (
    "it depends on the total charge and the spin multiplicity, which are 0 and 1 for i-PI, and in Python those of "
    "atoms.info['charge'] and atoms.info['spin_multiplicity']"
)
_MULTIPLE = 4  # of which the width of sequences is one: matrices of such sizes are multiplied faster
_VECTOR = 16  # the smallest width; PyTorch's softmax takes seven times as long for rows of fewer numbers
_WORTH = 5_000  # products of queries with keys, fewer of which take less time than another block of sequences


class PetModel(ForceModel):
    """A PET model from a metatrain checkpoint, on the CPU; `PaddedPetModel` is the same for GPUs.

    :param name: what the user calls it; default: its path
    :param dtype: ``float32`` or ``float64``; default: the precision of the checkpoint
    :param variant: see `MetatomicModel`
    :param withhold: what the model shall not provide although it could
    :param remove_net_force: see `ForceModel`
    :param device: where the weights are to be
    :raises UnsupportedModelError: if it is no checkpoint of a PET model or has parts that are not implemented here
    :raises DarkforcesError: if it has no energy, the variant does not exist or the dtype is unknown
    """

    _fixed_shapes = False  # whether no shape depends on which pairs are neighbours

    def __init__(
        self,
        path: Path,
        name: str | None = None,
        dtype: str | None = None,
        variant: str | None = None,
        withhold: Need = Need(0),
        remove_net_force: bool = True,
        device: torch.device = CPU,
    ):
        if dtype is not None and dtype not in DTYPES:
            raise DarkforcesError(f"dtype '{dtype}' is not known: expected {' or '.join(DTYPES)}")
        name = name or str(path)
        model, wrapper = read_checkpoint(path)
        keep_freed_memory()
        outputs = pick_outputs(name, (wrapper or model).supported_outputs(), variant)
        used = [output for output in (outputs.energy, outputs.direct, outputs.stress) if output is not None]
        check_outputs(model, used)
        self._outputs = outputs
        self._constants = {output: constants_of(model, output) for output in used}
        self._dtype = next(model.backend.gnn_layers.parameters()).dtype if dtype is None else DTYPES[dtype]
        self._elements = model.backend.species_to_species_index.numpy()
        constant = untrained(model.backend, used)
        backend = model.backend.to(device, self._dtype)
        self._network = PetNetwork(backend, used, model.cutoff_width_adaptive, constant, self._fixed_shapes)
        self._repulsion = repulsion(model, outputs.energy, device)
        farthest = self._network.cutoff if self._network.adaptive else self._network.cutoff - self._network.faded
        self._reach = max(farthest, 0.0 if self._repulsion is None else self._repulsion.cutoff)
        self._lists = VerletLists(self._reach, device)

        provides = Need.ENERGY | outputs.provides
        if outputs.energy in self._network.constant:  # as that of a student of direct forces is
            provides &= ~(Need.UNCERTAINTY | Need.ENSEMBLE)
        else:
            provides |= Need.CONSERVATIVE | Need.VIRIAL
        self._features = last_layer(outputs.energy)
        self._uncertainty = None
        if outputs.uncertainty is not None:
            self._uncertainty = LastLayerUncertainty(wrapper, outputs.energy, outputs.uncertainty)
        super().__init__(name, provides & ~withhold, frozenset(model.atomic_types), remove_net_force)
        if self._network.conditioning is not None:
            self.remarks = (STATES,)

    @property
    def epsilon(self) -> float:
        """Relative rounding error of the network's precision."""
        return torch.finfo(self._dtype).eps

    @property
    def provides_direct_virial(self) -> bool:
        """Tell whether the model predicts a stress."""
        return self._outputs.stress is not None

    def _evaluate(self, structures: Sequence[Structure], need: Need) -> list[Forces]:
        *_, results = self._evaluate_in_turn(structures, need)
        return results

    def _evaluate_in_turn(self, structures: Sequence[Structure], need: Need) -> Iterator[list[Forces]]:
        batch = _Batch(structures, [self._lists.pairs(structure) for structure in structures], self._elements)
        vectors = torch.from_numpy(batch.vectors).requires_grad_(Need.CONSERVATIVE in need)
        with torch.inference_mode(Need.CONSERVATIVE not in need):
            graph, inputs, cutoffs = self._neighbours(batch, vectors)
            asked, constant = self._asked(need), self._network.constant
            outputs = self._network(graph, inputs, [each for each in asked if each not in constant], cutoffs=cutoffs)
            repulsion = self._repel(batch, vectors)
        of_atoms = {name: by_atom(graph, *parts) for name, parts in outputs.items()}
        zeros = {name: np.zeros((len(batch.elements), self._network.sizes[name])) for name in asked if name in constant}
        values = self._physical({**of_atoms, **zeros}, batch.elements)
        if repulsion is not None:
            values[self._outputs.energy] += batch.by_first(repulsion)
        if Need.CONSERVATIVE not in need or Need.DIRECT in need:
            yield [self._forces(structure, own, None, None) for structure, _, own, _ in batch.split(values)]
        if Need.CONSERVATIVE in need:
            gradients = self._gradients(outputs[self._outputs.energy], repulsion, vectors)
            yield [
                self._forces(structure, own, *_derivatives(structure, pairs, gradients[place]))
                for structure, pairs, own, place in batch.split(values)
            ]

    def _neighbours(self, batch: _Batch, vectors: torch.Tensor) -> tuple[Graph, torch.Tensor, torch.Tensor | None]:
        """Pairs that the network sees: the graph, and as it takes them, their vectors and adaptive cutoffs, if any.

        There are some pairs more than there are neighbours, beyond the cutoff: what is done for the first time with so
        many rows takes longer, and with these the number is one of few.
        """
        network, first, second, cutoffs = self._network, batch.first, batch.second, None
        if network.adaptive is not None or self._repulsion is not None:
            distances = torch.linalg.vector_norm(vectors, dim=1)
            within = torch.full_like(distances, network.cutoff)
            if network.adaptive is not None:
                atoms = network.adaptive(distances, first, second, len(batch.elements))
                within = 0.5 * (atoms.index_select(0, first) + atoms.index_select(0, second))
            chosen = torch.nonzero(distances <= within - network.faded).squeeze(1)
            first, second, vectors = (each.index_select(0, chosen) for each in (first, second, vectors))
            cutoffs = within.index_select(0, chosen)
        spare = _spare(len(vectors))
        beyond = vectors.new_full((spare, 3), network.cutoff)
        if cutoffs is not None:
            cutoffs = torch.cat([cutoffs, beyond[:, 0]]).to(self._dtype)
        graph = batch.graph(first.numpy(), second.numpy(), spare, network, vectors.requires_grad)
        return graph, torch.cat([vectors, beyond]).to(self._dtype), cutoffs

    def _repel(self, batch: _Batch, vectors: torch.Tensor) -> torch.Tensor | None:
        """Energies by which pairs repel each other at short distances, eV, shape (n_pairs,); None without."""
        if self._repulsion is None:
            return None
        distances, elements = torch.linalg.vector_norm(vectors, dim=1), torch.from_numpy(batch.elements)
        return self._repulsion(distances, elements[batch.first], elements[batch.second])

    def _asked(self, need: Need) -> list[str]:
        names: list[str | None] = [self._outputs.energy]
        if Need.DIRECT in need:
            names += [self._outputs.direct, self._outputs.stress if Need.VIRIAL in need else None]
        if need & (Need.UNCERTAINTY | Need.ENSEMBLE):
            names.append(self._features)
        return [name for name in names if name is not None]

    def _physical(self, values: dict[str, np.ndarray], elements: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs of the network for atoms, (n_atoms, n_values), in eV and Å."""
        return {
            name: value * constants.scales[elements] + constants.offsets[elements]
            if (constants := self._constants.get(name))
            else value
            for name, value in values.items()
        }

    def _gradients(
        self, energies: tuple[torch.Tensor, torch.Tensor], repulsion: torch.Tensor | None, vectors: torch.Tensor
    ) -> np.ndarray:
        """Derivatives of all energies with respect to the vectors of pairs, eV/Å, shape (n_pairs, 3)."""
        if not len(vectors):
            return np.zeros((0, 3))
        atoms, pairs = energies
        total = (atoms.sum() + pairs.sum()).double() * float(self._constants[self._outputs.energy].scales[0, 0])
        if repulsion is not None:
            total = total + repulsion.sum()
        (gradients,) = torch.autograd.grad(total, vectors)
        return gradients.numpy()

    def _forces(
        self,
        structure: Structure,
        values: dict[str, np.ndarray],
        conservative: np.ndarray | None,
        virial: np.ndarray | None,
    ) -> Forces:
        """Collect the results of one structure."""
        direct = direct_virial = None
        if self._outputs.direct in values:
            direct = values[self._outputs.direct]
        if self._outputs.stress in values:
            # What the network predicts for it is volume times stress; but for variants, metatrain has the stress.
            total = values[self._outputs.stress].sum(axis=0).reshape(3, 3)
            factor = structure.volume if "/" in str(self._outputs.stress) else 1.0
            direct_virial = -factor * symmetric(total) if structure.volume else np.zeros((3, 3))
        energy = float(values[self._outputs.energy].sum())
        uncertainty = ensemble = None
        if self._features in values:
            assert self._uncertainty is not None
            uncertainty = self._uncertainty.of_atoms(values[self._features])
            if Need.ENSEMBLE in self.provides:
                ensemble = self._uncertainty.ensemble(values[self._features], energy)
        return Forces(energy, conservative, direct, virial, direct_virial, uncertainty=uncertainty, ensemble=ensemble)


class _Batch:
    """Several structures as one.

    :param pairs: of each of them
    :param elements: the network's number of each atomic number
    """

    def __init__(self, structures: Sequence[Structure], pairs: Sequence[Pairs], elements: np.ndarray):
        self._structures = structures
        self._pairs = pairs
        self._atom_ends = np.cumsum([len(s.positions) for s in structures])
        self._pair_ends = np.cumsum([len(p.vectors) for p in pairs])
        starts = [0, *self._atom_ends[:-1]]
        self.first, self.second = (
            torch.from_numpy(np.concatenate([getattr(p, end) + start for p, start in zip(pairs, starts, strict=True)]))
            for end in ("first", "second")
        )
        self.vectors = np.concatenate([p.vectors for p in pairs])
        self.elements = elements[np.concatenate([s.species for s in structures])]

    def graph(self, first: np.ndarray, second: np.ndarray, spare: int, network: PetNetwork, gradients: bool) -> Graph:
        """The graph of these pairs, and of so many spare ones."""
        none = np.zeros(spare, np.int64)
        packing = _pack(first, second, spare, len(self.elements), network.heads, gradients)
        one, other = (torch.from_numpy(np.concatenate([atoms, none])) for atoms in (first, second))
        return Graph(torch.from_numpy(self.elements), one, other, packing, conditions(network, self._structures))

    def by_first(self, values: torch.Tensor) -> np.ndarray:
        """Sums of what pairs contribute to their first atoms, shape (n_atoms, 1)."""
        sums = np.bincount(self.first.numpy(), values.detach().numpy(), len(self.elements))
        return sums[:, None]

    def split(self, values: dict[str, np.ndarray]) -> Iterator[tuple[Structure, Pairs, dict[str, np.ndarray], slice]]:
        """Split values by structure: each with its pairs, its values, and the range of its pairs among all."""
        first_atom = first_pair = 0
        for structure, pairs, atom_end, pair_end in zip(
            self._structures, self._pairs, self._atom_ends, self._pair_ends, strict=True
        ):
            own = {name: value[first_atom:atom_end] for name, value in values.items()}
            yield structure, pairs, own, slice(first_pair, pair_end)
            first_atom, first_pair = atom_end, pair_end


def by_atom(graph: Graph, atoms: torch.Tensor, pairs: torch.Tensor) -> np.ndarray:
    """Sum of what atoms and their neighbours contribute, shape (n_atoms, n_values)."""
    centres = in_turn(graph.first, graph.second)
    return atoms.detach().double().index_add(0, centres, pairs.detach().double()).numpy()


def conditions(network: PetNetwork, structures: Sequence[Structure]) -> torch.Tensor | None:
    """Features of charges and spin multiplicities, of each atom; None for a network without."""
    if network.conditioning is None:
        return None
    of_structures = [network.conditioning(s.charge, s.spin_multiplicity) for s in structures]
    return torch.cat([row.expand(len(s.species), -1) for row, s in zip(of_structures, structures, strict=True)])


def _spare(n_pairs: int) -> int:
    """Number of pairs to add to those that there are: at most 3 %."""
    return -n_pairs % (1 << max(0, (n_pairs // 32).bit_length() - 1))


def _pack(first: np.ndarray, second: np.ndarray, spare: int, n_atoms: int, heads: int, gradients: bool) -> Packing:
    """Places of the tokens of atoms and of their neighbours: each atom is the first of its own sequence."""
    centres = np.stack([first, second], axis=1).ravel()
    lengths = 1 + np.bincount(centres, minlength=n_atoms)
    starts = np.empty(n_atoms, np.int64)
    blocks, end = [], 0
    for width, atoms in _by_length(lengths):
        starts[atoms] = np.arange(end, end + len(atoms) * width, width)
        blocks.append((len(atoms), width))
        end += len(atoms) * width
    neighbours = starts[centres] + 1 + number_within(centres, n_atoms)
    places = np.concatenate([starts, neighbours, np.full(2 * spare, NOWHERE)])
    return Packing(torch.from_numpy(places), blocks, heads, gradients)


def _by_length(lengths: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Widths of sequences, and the atoms of each: one for all, or two where this saves many products."""
    longest = max(_VECTOR, int(lengths.max(initial=0)))
    longest += -longest % _MULTIPLE
    saved = {w: np.count_nonzero(lengths <= w) * (longest**2 - w**2) for w in range(_VECTOR, longest, _VECTOR)}
    width = max(saved, key=lambda w: saved[w], default=longest)
    if saved.get(width, 0) < _WORTH:
        return [(longest, np.arange(len(lengths)))]
    return [(width, np.flatnonzero(lengths <= width)), (longest, np.flatnonzero(lengths > width))]


def _derivatives(structure: Structure, pairs: Pairs, gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Conservative forces and virial."""
    forces = _sum_at(pairs.first, gradients, structure) - _sum_at(pairs.second, gradients, structure)
    return forces, -symmetric(pairs.vectors.T @ gradients)


def _sum_at(atoms: np.ndarray, values: np.ndarray, structure: Structure) -> np.ndarray:
    """Sums of the values (n, 3) that belong to the same atom, shape (n_atoms, 3)."""
    n = len(structure.positions)
    return np.stack([np.bincount(atoms, values[:, axis], n) for axis in range(3)], axis=1)
