"""Force components of an i-PI simulation, and their forces from those of the model.

Multiple time stepping integrates fast forces at every step and slow ones at every M-th (paper, appendix H)::

    direct        f_NC                      conservative   f_C = -dV/dr
    fast          f_NC                      slow           f_C - f_NC
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from ..errors import DarkforcesError
from ..models.model import ForceModel, Need
from ..models.result import Forces
from .disagreement import Disagreement

# What helps a model that has conservative forces only.
DISTILL = "darkforces distill trains direct ones for it"


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


def component_forces(forces: Forces, component: Component, extras: Need = Need(0)) -> ComponentForces:
    """The forces of a component, from those of the model.

    The energy belongs to the fast component, unless there are two, of which slow gets the difference. The virials of
    fast and slow add up to the conservative one; a model without direct stress gives the fast component none, and one
    without any stress gives none at all.

    :param extras: the uncertainty and the ensemble of the energy, as far as they are wanted too
    """
    nothing = np.zeros((3, 3))
    direct_virial = nothing if forces.direct_virial is None else forces.direct_virial
    virial = nothing if forces.virial is None else forces.virial
    direct_energy = forces.energy if forces.direct_energy is None else forces.direct_energy
    if component in (Component.DIRECT, Component.FAST):
        assert forces.direct is not None
        found = ComponentForces(direct_energy, forces.direct, direct_virial)
    elif component is Component.CONSERVATIVE:
        assert forces.conservative is not None
        found = ComponentForces(forces.energy, forces.conservative, virial)
    else:
        assert forces.conservative is not None
        assert forces.direct is not None
        slow = forces.conservative - forces.direct
        found = ComponentForces(forces.energy - direct_energy, slow, virial - direct_virial)
    if not extras:
        return found
    return replace(
        found,
        uncertainty=forces.uncertainty if Need.UNCERTAINTY in extras else None,
        ensemble=forces.ensemble if Need.ENSEMBLE in extras else None,
    )
