"""Simulations of an assessment: a small campaign, which grows with what the first of them say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..analysis.temperatures import EXCHANGED
from ..campaign.matrix import NVE, Campaign, Condition, Simulation
from ..models.model import Need
from ..models.registry.specification import label_of
from ..split.component import Component

# fs, of SVR as in the paper's tables: tight, and global, so that what is left is how energy is shared.
_TAU = 10.0
# Thermostatted simulations are so much longer: temperatures of species fluctuate more than the conserved quantity.
SVR_LONGER = 2.0
# Of an NVE simulation, the part at its beginning that does not count.
_DISCARDED = 0.2
_SEED = 1


@dataclass(frozen=True)
class AssessmentPlan:
    """The system that is assessed, and the length of its simulations.

    :param model: name, or path that does not depend on the current folder
    :param provides: what the model can be asked for; direct forces at least
    :param structure: file with the structure that all simulations start from
    :param temperature: K
    :param timestep: fs, of the fast forces
    :param time: ps, of each NVE simulation
    """

    model: str
    provides: Need
    structure: Path
    temperature: float
    timestep: float
    time: float

    @property
    def nve(self) -> tuple[Simulation, ...]:
        """Simulations with each kind of forces that the model has, without a thermostat."""
        direct = self._simulation(NVE, Component.DIRECT, None)
        if Need.CONSERVATIVE not in self.provides:
            return (direct,)
        return (self._simulation(NVE, Component.CONSERVATIVE, None), direct)

    @property
    def thermostatted(self) -> bool:
        """Tell whether simulations with a thermostat are long enough for species to exchange energy.

        Shorter ones would decide nothing, and are not run.
        """
        return SVR_LONGER * self.time >= EXCHANGED

    @property
    def first(self) -> tuple[Simulation, ...]:
        """Simulations with each kind of forces; with a thermostat, direct ones."""
        return (*self.nve, self._simulation("svr", Component.DIRECT, None)) if self.thermostatted else self.nve

    def multiple_time_stepping(self, stride: int) -> tuple[Simulation, ...]:
        """Simulations of a stride, without a thermostat and with one."""
        ensembles = (NVE, "svr") if self.thermostatted else (NVE,)
        return tuple(self._simulation(ensemble, Component.CONSERVATIVE, stride) for ensemble in ensembles)

    def _simulation(self, ensemble: str, component: Component, stride: int | None) -> Simulation:
        tau, time = (None, self.time) if ensemble == NVE else (_TAU, SVR_LONGER * self.time)
        return Simulation(Condition(self.model, label_of(self.model), ensemble, tau, component, stride), _SEED, time)

    def campaign(self, simulations: Sequence[Simulation]) -> Campaign:
        """The campaign of these simulations."""
        return Campaign(
            f"assessment of {label_of(self.model)}",
            self.structure,
            self.temperature,
            self.timestep,
            _DISCARDED * self.time,
            tuple(simulations),
        )
