"""Recipes for simulations of the user's own structure."""

from __future__ import annotations

from dataclasses import dataclass

from ..split.split import Component

ENSEMBLES = ("nve", "langevin", "svr", "gle")


@dataclass(frozen=True)
class Recipe:
    """The recipe for a simulation.

    :param name: prefix of its outputs
    :param ensemble: ``nve``, ``langevin``, ``svr`` or ``gle``
    :param species: the elements in the order of the atoms, as a formula
    :param start: file name of the i-PI checkpoint to start from, see `write_start`
    :param fixed: coordinates (3 atom + axis) that do not move
    :param pbc: along which cell vectors the structure is periodic: ``TTF``
    :param component: ``conservative`` or ``direct`` forces; with a stride, both are used
    :param stride: M of multiple time stepping: the slow forces act every M-th step; None for no splitting
    :param tau: fs, time constant of the thermostat (for the GLE: of the friction on fast motions)
    :param temperature: K
    :param timestep: fs, for the fast forces
    :param duration: fs
    :param comment: what it shows, for people
    :param thermalize: draw velocities at `temperature` instead of those in `start`
    :param seed: of i-PI's random numbers
    """

    name: str
    ensemble: str
    species: str
    start: str
    fixed: tuple[int, ...] = ()
    pbc: str = "TTT"
    component: Component = Component.CONSERVATIVE
    stride: int | None = None
    tau: float | None = None
    temperature: float = 300.0
    timestep: float = 0.5
    duration: float = 2000.0
    comment: str = ""
    thermalize: bool = False
    seed: int = 31415

    @property
    def step(self) -> float:
        """Length of one i-PI step in fs: with multiple time stepping, of M steps of the fast forces."""
        return self.timestep * (self.stride or 1)
