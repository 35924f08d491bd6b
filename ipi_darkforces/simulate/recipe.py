"""Recipes for simulations of the user's own structure."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, pi, sin

from ..errors import DarkforcesError, check_positive
from ..split.component import Component

ENSEMBLES = ("nve", "langevin", "svr", "gle")  # of classical atoms
PILE = "pile"  # of path integrals
NPT = "npt"  # constant pressure, with any of these thermostats
DEFAULT_TAU = 100.0  # fs, of the thermostats of path integrals and of constant pressure
_KELVIN = 1e-15 * 1.380649e-23 / 1.054571817e-34  # k_B/ħ, 1/(fs K); scipy and ase take long to import
MOST_STEPS = 1e12  # years, at 0.1 ms a step
PATH_INTEGRALS = (PILE, "nve")  # ensembles of several beads


@dataclass(frozen=True)
class Barostat:
    """A constant pressure.

    :param pressure: bar
    :param tau: fs, time constant of the cell, and of the thermostat that the cell has
    :param anisotropic: whether all lengths and angles of the cell change by themselves, or only its volume
    """

    pressure: float = 1.0
    tau: float = 500.0
    anisotropic: bool = False


@dataclass(frozen=True)
class Recipe:
    """The recipe for a simulation.

    :param name: prefix of its outputs
    :param ensemble: ``nve``, or the thermostat: ``langevin``, ``svr`` or ``gle``; of several beads, ``nve`` or ``pile``
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
    :param barostat: for a constant pressure; None for a constant volume
    :param beads: of the ring polymers of a path integral; 1 for classical atoms
    :param slow_beads: of the ring polymers on which slow forces act (ring-polymer contraction); None for all of them
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
    barostat: Barostat | None = None
    beads: int = 1
    slow_beads: int | None = None

    @property
    def step(self) -> float:
        """Length of one i-PI step in fs: with multiple time stepping, of M steps of the fast forces."""
        return self.timestep * (self.stride or 1)

    @property
    def fastest_driven_period(self) -> float:
        """Period in fs of the fastest normal mode of free ring polymers on which slow forces act.

        The modes of P beads have angular frequencies ω_k = 2 P k_B T/ħ sin(π k/P); contraction to P' beads keeps those
        up to k = P'/2. Impulses drive a mode whose half period is not longer than the time between them.
        """
        highest = (self.slow_beads or self.beads) // 2
        frequency = 2.0 * self.beads * _KELVIN * self.temperature * sin(pi * highest / self.beads)
        return 2.0 * pi / frequency if frequency else inf

    def check(self) -> None:
        """Raise a DarkforcesError for what is not known, does not go together, or cannot be."""
        _check_beads(self)
        _check_ensemble(self)
        if self.ensemble != "nve" and self.tau is None:
            raise DarkforcesError(f"ensemble '{self.ensemble}' needs the time constant of its thermostat, in fs: --tau")
        if self.ensemble == "nve" and self.tau is not None:
            raise DarkforcesError(
                f"ensemble 'nve' has no thermostat, whose time constant --tau {self.tau:g} would be: expected another "
                "--ensemble, or no --tau"
            )
        numbers = {"timestep": (self.timestep, "fs"), "temperature": (self.temperature, "K"), "tau": (self.tau, "fs")}
        if self.barostat is not None:
            _check_barostat(self)
            numbers["barostat-tau"] = (self.barostat.tau, "fs")
        if self.seed < 0:
            raise DarkforcesError(f"--seed {self.seed} cannot be used: expected a number, at least 0")
        for name, (value, unit) in numbers.items():
            check_positive(f"--{name}", value, unit)


def check_steps(time: float, step: float, what: str) -> None:
    """Raise a DarkforcesError for more steps than can be meant.

    :param time: ps
    :param step: fs
    :param what: what is so long, as it was given
    """
    steps = 1000.0 * time / step
    if steps > MOST_STEPS:
        raise DarkforcesError(f"{what} has {steps:.2g} steps of {step:g} fs: expected at most {MOST_STEPS:.0e}")


def _check_ensemble(recipe: Recipe) -> None:
    known: tuple[str, ...] = ENSEMBLES if recipe.beads == 1 else PATH_INTEGRALS
    if recipe.ensemble in known:
        return
    if recipe.beads == 1 and recipe.ensemble == PILE:
        raise DarkforcesError(f"'{PILE}' is the thermostat of path integrals: expected --beads P beside it")
    if recipe.barostat is not None:
        known = tuple(name for name in known if name != "nve")
    what = "ensemble" if recipe.barostat is None else "thermostat"
    of = "" if recipe.beads == 1 else f" for {recipe.beads} beads"
    raise DarkforcesError(f"{what} '{recipe.ensemble}' is not known{of}: expected {', '.join(known)}")


def _check_beads(recipe: Recipe) -> None:
    if recipe.beads < 1:
        raise DarkforcesError(f"--beads {recipe.beads} is not a number of beads: expected at least 1")
    if recipe.slow_beads is None:
        return
    if recipe.beads == 1:
        raise DarkforcesError(f"--slow-beads {recipe.slow_beads} is for path integrals: expected --beads P beside it")
    if recipe.stride is None:
        raise DarkforcesError(
            f"--slow-beads {recipe.slow_beads} is for the slow forces of multiple time stepping: expected --mts M too"
        )
    if not 1 <= recipe.slow_beads <= recipe.beads:
        raise DarkforcesError(
            f"--slow-beads {recipe.slow_beads} cannot be used: expected 1 to {recipe.beads}, the number of all beads"
        )


def _check_barostat(recipe: Recipe) -> None:
    assert recipe.barostat is not None
    if recipe.ensemble == "nve":
        raise DarkforcesError("a constant pressure needs a thermostat too: expected one, and not nve")
    if not isfinite(recipe.barostat.pressure):
        raise DarkforcesError(f"--pressure {recipe.barostat.pressure:g} cannot be used: expected a number")
    if recipe.pbc != "TTT":
        raise DarkforcesError(
            f"a constant pressure needs a structure that is periodic along all of its cell vectors, but it is so along "
            f"{recipe.pbc}; expected another --ensemble"
        )
    if recipe.fixed:
        raise DarkforcesError(
            "a constant pressure moves all atoms with the cell, but some are fixed; expected another --ensemble, or a "
            "structure without constraints"
        )
