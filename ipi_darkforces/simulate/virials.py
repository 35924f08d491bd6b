"""The virials that a simulation at constant pressure cannot do without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from ipi.utils.io.inputs.io_xml import read_array, xml_node

from ..errors import DarkforcesError
from ..models.model import ForceModel, Need
from ..split.component import Component
from .tree import child, descendants, forces_in, text_of

_CONSTANT_PRESSURE = ("npt", "nst", "scnpt")  # modes of i-PI's dynamics
# How much of direct forces is in each component.
_DIRECT = {Component.DIRECT: 1.0, Component.FAST: 1.0, Component.SLOW: -1.0, Component.CONSERVATIVE: 0.0}
_NOTHING = 1e-6


@dataclass(frozen=True)
class Virials:
    """The virials that the pressure is made of.

    :param needed: whether the pressure is kept constant
    :param direct: whether direct forces have a part in that pressure. They have none in conservative forces, nor in
        multiple time stepping, where the slow part takes out what the fast one puts in; unless it acts on fewer beads
        of the ring polymers
    """

    needed: bool = False
    direct: bool = False

    @classmethod
    def of(cls, root: xml_node, components: Mapping[str, Component | None]) -> Virials:
        """Read what an input asks for.

        :param components: by the names of forcefields; None for one that does not say it, which may become direct
        """
        at_constant_pressure = [
            system
            for system in descendants(root, "system")
            if any(dynamics.attribs.get("mode") in _CONSTANT_PRESSURE for dynamics in descendants(system, "dynamics"))
        ]
        shares = {name: _DIRECT[component or Component.DIRECT] for name, component in components.items()}
        direct = any(
            abs(share) > _NOTHING for system in at_constant_pressure for share in _shares_by_beads(system, shares)
        )
        return cls(bool(at_constant_pressure), direct)

    def check(self, model: ForceModel, component: Component) -> None:
        """Raise a DarkforcesError if a model lacks the virial that goes with a component."""
        if self.needed and Need.VIRIAL not in model.provides:
            raise DarkforcesError(
                f"the pressure is to be constant, which takes a virial, but model '{model.name}' has no stress; "
                "expected a simulation at constant volume"
            )
        if self.direct and component in (Component.DIRECT, Component.FAST) and not model.provides_direct_virial:
            raise DarkforcesError(
                f"the pressure is to be constant, which takes a virial, but model '{model.name}' has no direct stress "
                f"for component '{component.value}'; expected conservative forces, multiple time stepping with all "
                "beads, or constant volume"
            )


def _shares_by_beads(system: xml_node, shares: Mapping[str, float]) -> Iterable[float]:
    """The share of direct forces in the sum of all forces that act on the same number of beads of a system."""
    held = [*descendants(system, "beads"), *descendants(system, "initialize")]  # of a state, or of a start
    all_beads = int(held[0].attribs.get("nbeads", 1)) if held else 1
    sums: dict[int, float] = {}
    for force in forces_in(system, "forces"):
        own = int(force.attribs.get("nbeads", 0))
        beads = all_beads if own == 0 else min(own, all_beads)
        share = _weight(force) * shares.get(force.attribs.get("forcefield", ""), 0.0)
        sums[beads] = sums.get(beads, 0.0) + share
    return sums.values()


def _weight(force: xml_node) -> float:
    """Weight of a `<force>` in the sum of all, over all levels of multiple time stepping."""
    levels = child(force, "mts_weights")
    weights = np.ones(1) if levels is None else read_array(float, text_of(levels))
    return float(force.attribs.get("weight", 1.0)) * float(np.sum(weights) if len(weights) else 1.0)
