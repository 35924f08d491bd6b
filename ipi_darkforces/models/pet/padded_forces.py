"""Direct forces of a PET model as tensors on the device, with fixed shapes: for time steps that are taken there."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import torch

from ..device_forces import DeviceForces
from ..model import Passes
from ..neighbors.verlet import VerletList, VerletLists
from ..structure import Structure
from .checkpoint import Constants
from .cuda_graph import CudaGraphs
from .padded_neighbors import Room, by_atom
from .padded_parts import CALL_TO_RECORD, Parts
from .padded_selection import SIZES, SelectionRoom

# The skin of lists grows by this factor where atoms leave that of a new one within one work, and to so many Å at most.
_GROWTH = 1.5
_THICKEST = 2.0


class PaddedForces(DeviceForces):
    """See `DeviceForces`. Neighbours are those of lists whose skin is thick enough for all evaluations of a work.

    :param structures: of the same number of atoms
    :param lists: in which their neighbours are found
    :param parts: makes the parts of an evaluation, with so much room for pairs listed and pairs selected
    :param output: the name of the direct forces
    :param constants: of the direct forces
    :param remove_net_force: whether their mean is subtracted
    :param graphs: records works; None if they are not to be recorded
    :param passes: counts evaluations
    """

    def __init__(
        self,
        structures: Sequence[Structure],
        lists: VerletLists,
        parts: Callable[[Room, SelectionRoom], Parts],
        output: str,
        constants: Constants,
        remove_net_force: bool,
        graphs: CudaGraphs | None,
        device: torch.device,
        passes: Passes,
    ):
        super().__init__(device)
        self._structures = structures
        self._lists = lists
        self._new_parts = parts
        self._output = output
        self._constants = constants
        self._remove_net_force = remove_net_force
        self._graphs = graphs
        self._passes = passes
        self._used: Sequence[VerletList] = ()
        self._fresh = False  # whether one of these was new when evaluations began
        self._inputs: _Inputs | None = None

    def prepare(self, positions: np.ndarray, ahead: np.ndarray) -> None:
        """See `DeviceForces`."""
        pairs = [(s.moved(p), s.moved(a)) for s, p, a in zip(self._structures, positions, ahead, strict=True)]
        lists, images = zip(*(self._lists.find(*both) for both in pairs), strict=True)
        self._fresh = any(each not in self._used for each in lists)
        self._used = lists
        if self._inputs is None:
            self._inputs = self._room_for(Room.enough_for(lists), SelectionRoom())
        elif not self._inputs.parts.graph.room.holds(lists):
            room = Room.enough_for(lists).merged(self._inputs.parts.graph.room)
            self._inputs = self._room_for(room, self._inputs.parts.room)
        inputs = self._inputs
        inputs.parts.graph.fill(lists)
        inputs.parts.graph.move(images, [structure.cell for structure in self._structures])
        expected = np.concatenate([each.expected for each in lists])
        farthest = np.repeat([each.farthest for each in lists], positions.shape[1])
        inputs.shifts.copy_(torch.from_numpy(np.concatenate(images) - positions.reshape(-1, 3)))
        inputs.expected.copy_(torch.from_numpy(expected))
        inputs.farthest.copy_(torch.from_numpy(farthest))

    @torch.no_grad()
    def __call__(self, positions: torch.Tensor) -> torch.Tensor:
        """See `DeviceForces`."""
        assert self._inputs is not None
        inputs, parts = self._inputs, self._inputs.parts
        where = positions.reshape(-1, 3) + inputs.shifts
        vectors, beyond = parts.graph.vectors(where)
        packing, outputs, needed = parts.outputs(vectors, beyond, [self._output])
        moved = torch.linalg.vector_norm(where - inputs.expected, dim=1)
        now = torch.cat([(moved / inputs.farthest).max().unsqueeze(0), needed])
        self.status.copy_(torch.maximum(self.status, now))
        values = by_atom(packing, torch.cat(outputs[self._output]).double())
        forces = (values * inputs.scales + inputs.offsets).view(positions.shape)
        return forces - forces.mean(1, keepdim=True) if self._remove_net_force else forces

    def recorded(self, name: Hashable, work: Callable[[], None]) -> Callable[[], None]:
        """See `DeviceForces`."""
        assert self._inputs is not None
        inputs = self._inputs
        inputs.calls[name] = inputs.calls.get(name, 0) + 1
        if inputs.calls[name] == CALL_TO_RECORD and self._graphs is not None:
            (inputs.recorded[name],) = self._graphs.record(work)
        return inputs.recorded.get(name, work)

    def reset(self) -> None:
        """See `DeviceForces`."""
        self.status.zero_()

    def valid(self, status: np.ndarray, evaluations: int) -> bool:
        """See `DeviceForces`."""
        assert self._inputs is not None
        self._passes.forward += evaluations * len(self._structures)
        farthest, *needed = status.tolist()
        parts = self._inputs.parts
        if needed and not parts.room.holds(*needed):
            self._inputs = self._room_for(parts.graph.room, parts.room.grown(*needed))
            return False
        if farthest > 1.0 and self._fresh:
            self._lists.skin = min(_GROWTH * self._lists.skin, _THICKEST)
        return bool(farthest <= 1.0)  # not if it is NaN

    def _room_for(self, room: Room, selected: SelectionRoom) -> _Inputs:
        """Make tensors with so much room; what was recorded with others is gone."""
        parts = self._new_parts(room, selected)
        n_status = 1 + (0 if parts.network.adaptive is None else SIZES)
        self.status = torch.zeros(n_status, dtype=torch.float64, device=self.device)
        elements = parts.graph.elements
        scales, offsets = (
            torch.from_numpy(each[elements]).to(self.device)
            for each in (self._constants.scales, self._constants.offsets)
        )
        return _Inputs(parts, scales, offsets)


class _Inputs:
    """Tensors that works read, and what has been recorded with them.

    :param parts: of an evaluation
    :param scales: of all atoms, shape (n_atoms, 1)
    :param offsets: likewise

    `shifts` by whole cell vectors lead to the images that lists are for, where atoms are `expected`, Å, and not more
    than `farthest` from there; shapes (n_atoms, 3) and (n_atoms,).
    """

    def __init__(self, parts: Parts, scales: torch.Tensor, offsets: torch.Tensor):
        self.parts = parts
        self.scales = scales
        self.offsets = offsets
        self.shifts, self.expected = (scales.new_zeros((len(scales), 3)) for _ in range(2))
        self.farthest = scales.new_ones(len(scales))
        self.calls: dict[Hashable, int] = {}
        self.recorded: dict[Hashable, Callable[[], None]] = {}
