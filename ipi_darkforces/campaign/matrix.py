"""The matrix of simulations of a campaign: conditions, seeds and lengths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..models.structure import formula_from_species
from ..simulate.recipe import Recipe
from ..simulate.start import Start, letters
from ..split.component import Component

NVE = "nve"


@dataclass(frozen=True)
class Condition:
    """Conditions of simulations that differ by their seeds alone.

    :param model: name or path
    :param label: of the model, fit for file names
    :param ensemble: ``nve``, ``langevin``, ``svr`` or ``gle``
    :param tau: fs, of the thermostat; None without one
    :param component: ``conservative`` or ``direct`` forces
    :param stride: M of multiple time stepping, which uses both; None without
    """

    model: str
    label: str
    ensemble: str
    tau: float | None
    component: Component
    stride: int | None

    @property
    def thermostat(self) -> str:
        """Short name: ``langevin100``."""
        return self.ensemble if self.tau is None else f"{self.ensemble}{self.tau:g}"

    @property
    def forces(self) -> str:
        """Short name: ``direct``, ``mts8``."""
        return self.component.value if self.stride is None else f"mts{self.stride}"

    @property
    def needs(self) -> tuple[Component, ...]:
        """Results that the model must be able to give."""
        return (self.component,) if self.stride is None else (Component.SLOW, Component.FAST)


@dataclass(frozen=True)
class Simulation:
    """A simulation of a campaign.

    :param condition: all but the seed
    :param seed: of the first velocities and of the thermostat
    :param time: ps
    """

    condition: Condition
    seed: int
    time: float

    @property
    def name(self) -> str:
        """Name of its folder and its outputs."""
        of = self.condition
        return f"{of.label}-{of.thermostat}-{of.forces}-seed{self.seed}"


@dataclass(frozen=True)
class Campaign:
    """The simulations of a campaign, and what they have in common.

    :param structure: file with the structure that all start from
    :param temperature: K, of the first velocities and of the thermostats
    :param timestep: fs
    :param discard: ps at the beginning of each simulation that do not count
    :param simulations: in the order of the file
    """

    name: str
    structure: Path
    temperature: float
    timestep: float
    discard: float
    simulations: tuple[Simulation, ...]

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The different conditions, in order."""
        return tuple(dict.fromkeys(simulation.condition for simulation in self.simulations))

    @property
    def models(self) -> tuple[str, ...]:
        """The different models, in order."""
        return tuple(dict.fromkeys(condition.model for condition in self.conditions))

    def recipe(self, simulation: Simulation, start: Start, file: str) -> Recipe:
        """The recipe for the i-PI input of a simulation.

        :param file: name of the i-PI checkpoint with it
        """
        condition = simulation.condition
        return Recipe(
            name=simulation.name,
            ensemble=condition.ensemble,
            species=formula_from_species(start.atoms.numbers),
            start=file,
            fixed=start.fixed,
            pbc=letters(start.atoms.pbc),
            component=condition.component,
            stride=condition.stride,
            tau=condition.tau,
            temperature=self.temperature,
            timestep=self.timestep,
            duration=1000.0 * simulation.time,
            comment=f"  Simulation {simulation.name} of the campaign {self.name}, for model {condition.model}.",
            thermalize=True,
            seed=simulation.seed,
        )
