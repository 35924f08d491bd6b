"""Parts of an evaluation with fixed shapes, which all kinds of evaluation of one set of structures have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .attention import Packing
from .network import PetNetwork
from .padded_neighbors import PaddedGraph
from .padded_selection import SelectionRoom, select
from .repulsion import Repulsion

CALL_TO_RECORD = 2  # what is asked for once, as of the structures of a data set, is not worth a recording


@dataclass(frozen=True)
class Parts:
    """A network, structures, and what belongs to them.

    :param graph: the structures, and the pairs that are listed
    :param room: for neighbours, where cutoffs are adaptive
    :param repulsion: of pairs at short distances, beside the network
    :param scale: eV, of the energy
    :param dtype: precision of the network
    """

    network: PetNetwork
    graph: PaddedGraph
    room: SelectionRoom
    repulsion: Repulsion | None
    scale: float
    dtype: torch.dtype

    def outputs(
        self, vectors: torch.Tensor, beyond: torch.Tensor, names: Sequence[str]
    ) -> tuple[Packing, dict[str, tuple[torch.Tensor, torch.Tensor]], torch.Tensor]:
        """Outputs of the network, and how its tokens are packed.

        :param vectors: see `PaddedGraph.vectors`
        :param beyond: likewise
        :param names: of the outputs
        :return: the third is the room that is needed; of shape (0,) where cutoffs are not adaptive
        """
        network, listed = self.network, self.graph.graph
        if network.adaptive is None:
            if self.repulsion is not None:  # which may see farther than the network
                beyond = vectors.detach().square().sum(1) > network.cutoff**2
            outputs = network(listed, vectors.to(self.dtype), names, beyond)
            return listed.packing, outputs, vectors.new_empty(0)
        chosen = select(listed, self.graph.places, vectors, network.adaptive, self.room)
        inputs, cutoffs = chosen.vectors.to(self.dtype), chosen.cutoffs.to(self.dtype)
        outputs = network(chosen.graph, inputs, names, chosen.beyond, cutoffs)
        return chosen.graph.packing, outputs, chosen.needed
