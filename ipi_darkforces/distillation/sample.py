"""Dynamics of a teacher, every geometry of which is a label.

Langevin dynamics by velocity Verlet under the teacher's forces or, faster, by multiple time stepping with a student as
the fast forces: the teacher is then evaluated every M steps only, and each of its evaluations is of a geometry that is
further away. Either way every evaluation of the teacher is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import ase
import numpy as np
from ase import units
from ase.constraints import FixAtoms

from ..errors import DarkforcesError
from ..models.model import ForceModel, Need, of_kind
from ..models.motion import check_motion
from ..models.structure import Structure
from ..simulate.inner_loop import State, outer_step, velocity_verlet
from ..training.labels import LabelledTrajectory

EXPLODED = 4.0  # times the temperature of the thermostat
_PS = 1000.0 * units.fs  # in ase's unit of time


@dataclass(frozen=True)
class System:
    """Atoms between two time steps, for dynamics.

    :param structure: where they are
    :param masses: u, infinite for atoms that do not move, shape (n_atoms,)
    """

    structure: Structure
    masses: np.ndarray

    @classmethod
    def of(cls, atoms: ase.Atoms) -> System:
        """The same atoms, of which those that `FixAtoms` holds do not move.

        :raises DarkforcesError: for other constraints, see `check_motion`, or if fewer than two atoms move
        """
        others = [type(each).__name__ for each in atoms.constraints if not isinstance(each, FixAtoms)]
        if others:
            raise DarkforcesError(f"the constraint {others[0]} is not kept here: expected FixAtoms or none")
        check_motion(atoms)
        masses = atoms.get_masses().astype(float)
        for constraint in atoms.constraints:
            masses[constraint.index] = np.inf
        if np.isfinite(masses).sum() < 2:
            raise DarkforcesError("there are not enough atoms that move: expected at least two")
        return cls(Structure.from_ase(atoms), masses)

    @property
    def freedom(self) -> int:
        """Degrees of freedom; without a fixed atom, the centre of mass rests."""
        moving = np.isfinite(self.masses)
        return 3 * int(moving.sum()) - (3 if moving.all() else 0)

    def momenta(self, temperature: float, rng: np.random.Generator) -> np.ndarray:
        """Draw thermal momenta without drift, in ase's units, shape (n_atoms, 3)."""
        finite = np.where(np.isfinite(self.masses), self.masses, 0.0)[:, None]
        return self.without_drift(np.sqrt(finite * units.kB * temperature) * rng.normal(size=(len(finite), 3)))

    def without_drift(self, momenta: np.ndarray) -> np.ndarray:
        """Subtract the motion of the centre of mass, unless atoms are fixed."""
        if not np.isfinite(self.masses).all():
            return momenta
        return momenta - self.masses[:, None] * momenta.sum(axis=0) / self.masses.sum()

    def temperature(self, momenta: np.ndarray) -> float:
        """Kinetic temperature, K."""
        return float(np.sum(momenta**2 / self.masses[:, None]) / (self.freedom * units.kB))

    def deformed(self, deformation: np.ndarray) -> System:
        """The same atoms in a cell that is deformed with them.

        :param deformation: of vectors that are rows, shape (3, 3)
        """
        cell, positions = self.structure.cell @ deformation, self.structure.positions @ deformation
        return replace(self, structure=replace(self.structure, cell=cell, positions=positions))


def follow(
    teacher: ForceModel,
    system: System,
    frames: int,
    *,
    temperature: float,
    timestep: float,
    rng: np.random.Generator,
    momenta: np.ndarray | None = None,
    friction_time: float | None = 0.1,
    fast: ForceModel | None = None,
    stride: int = 1,
    report: Callable[[], None] = lambda: None,
) -> tuple[LabelledTrajectory, np.ndarray, str | None]:
    """Dynamics, for as many frames as the teacher is asked for.

    :param teacher: provides conservative forces
    :param system: where it starts
    :param temperature: K
    :param timestep: fs, of the fast forces
    :param momenta: to begin with, in ase's units; None for thermal ones
    :param friction_time: ps, of the thermostat; None for none
    :param fast: provides the fast forces of multiple time stepping; None for the teacher alone
    :param stride: M
    :param report: called for each frame
    :return: what there is up to an error, momenta at its end, and the error: of the teacher, or an explosion
    """
    structure, masses = system.structure, system.masses
    renewed = 0.0 if friction_time is None else 1.0 - np.exp(-2.0 * stride * timestep / (1000.0 * friction_time))
    inverse = 1.0 / masses[:, None]
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    conservative = np.empty(0)

    def slow(positions: np.ndarray) -> np.ndarray:
        nonlocal conservative
        at = replace(structure, positions=positions)
        conservative = of_kind(Need.CONSERVATIVE, teacher.evaluate(at, Need.CONSERVATIVE))
        return conservative

    def quick(positions: np.ndarray) -> np.ndarray:
        assert fast is not None
        return of_kind(Need.DIRECT, fast.evaluate(replace(structure, positions=positions), Need.DIRECT))

    def both(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        forces = quick(positions)
        return forces, slow(positions) - forces

    error = None
    state = State(structure.positions, system.momenta(temperature, rng) if momenta is None else momenta, np.empty(0))
    try:
        impulse = np.zeros_like(state.positions)
        first = slow(state.positions)
        if fast is not None:
            first = quick(state.positions)
            impulse = conservative - first
        state = replace(state, forces=first)
        while True:
            kept.append((state.positions, state.momenta * inverse * _PS, conservative))
            report()
            if len(kept) == frames:
                break
            if fast is None:
                state = velocity_verlet(state, masses, timestep * units.fs, 1, slow)
            else:
                state, impulse = outer_step(state, impulse, masses, timestep * units.fs, stride, quick, both)
            state = replace(state, momenta=_thermalized(system, state.momenta, renewed, temperature, rng))
            if not system.temperature(state.momenta) < EXPLODED * temperature:
                raise DarkforcesError(f"the dynamics at {temperature:.0f} K explodes")
    except DarkforcesError as failure:
        error = str(failure)
    return _labelled(system, kept, timestep * (1 if fast is None else stride)), state.momenta, error


def _thermalized(
    system: System, momenta: np.ndarray, renewed: float, temperature: float, rng: np.random.Generator
) -> np.ndarray:
    """Momenta of which a part, by their squares, is replaced by thermal noise (Langevin)."""
    noise = system.momenta(temperature, rng)
    thermal = np.sqrt(1.0 - renewed) * momenta + np.sqrt(renewed) * noise
    return system.without_drift(np.where(np.isfinite(system.masses)[:, None], thermal, 0.0))


def _labelled(
    system: System, frames: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], interval: float
) -> LabelledTrajectory:
    """A trajectory of frames of positions, velocities and forces, perhaps none."""
    structure = system.structure
    positions, velocities, forces = (
        np.array([frame[i] for frame in frames]).reshape(-1, *structure.positions.shape) for i in range(3)
    )
    return LabelledTrajectory(
        structure.species, structure.cell, system.masses, positions, velocities, forces.astype(np.float32), interval
    )
