"""Dynamics under conservative forces in which both kinds of forces are known at every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import ase
import numpy as np
from ase import units
from ase.neighborlist import neighbor_list
from scipy.sparse import csr_array

from ..errors import DarkforcesError
from ..models.fixed import fixed_atoms
from ..models.model import ForceModel, Need, of_kind
from ..models.motion import check_motion
from ..models.structure import Structure
from ..simulate.inner_loop import State, velocity_verlet
from .heating import Power
from .stability import Stability, stability

_FRICTION_TIME = 0.1  # ps, of the Langevin thermostat before the run
_FRAMES_EVERY = 2.0  # fs, of the velocities that are kept: resolves the O-H stretch, with a period of 9 fs
_TIMINGS = 5
_NEIGHBOURS = 3.5  # Å: bonds, hydrogen bonds, and the first shell of metals
_HOTTER = 3.0  # times its temperature: a run that exploded


@dataclass(frozen=True)
class Costs:
    """Wall time of evaluations, s, all measured in turn on the same structure.

    :param direct: of direct forces
    :param both: of both kinds together
    :param conservative: of conservative forces
    """

    direct: float
    both: float
    conservative: float

    def relative(self, stride: int) -> float:
        """Cost of a step with a stride, in that of conservative forces."""
        if stride == 1:
            return 1.0
        return ((stride - 1) * self.direct + self.both) / (stride * self.conservative)


class ConservativeRun:
    """Dynamics under conservative forces, without a thermostat but for the equilibration; units of ase inside.

    :param model: provides both kinds of forces
    :param atoms: masses, momenta and `FixAtoms`, the only constraint that is kept; not changed
    :param structure: the same atoms, for the model
    :param timestep: fs
    :param rng: for the equilibration
    :raises DarkforcesError: for other constraints, see `check_motion`, or if fewer than two atoms move
    """

    def __init__(
        self, model: ForceModel, atoms: ase.Atoms, structure: Structure, timestep: float, rng: np.random.Generator
    ):
        fixed = fixed_atoms(atoms, "here")
        check_motion(atoms)
        self.masses = atoms.get_masses()
        self._moving = np.ones(len(atoms), bool)
        self._moving[fixed] = False
        self._model = model
        self._structure = structure
        self._timestep = timestep
        self._rng = rng
        self._freedom = 3 * int(self._moving.sum()) - (3 if self._moving.all() else 0)
        if self._freedom <= 0:
            raise DarkforcesError("there are not enough atoms that move: expected at least two")
        momenta = atoms.get_momenta()
        momenta[fixed] = 0.0
        self._state = State(structure.positions, momenta, np.zeros_like(momenta))
        self._began = False

    @property
    def masses_of_moving(self) -> np.ndarray:
        """Masses of the atoms that move, u, shape (n_moving,)."""
        return self.masses[self._moving]

    def thermalize(self, temperature: float) -> None:
        """Draw momenta, without drift of the centre of mass."""
        deviations = np.sqrt(units.kB * temperature * self.masses[:, None])
        momenta = np.where(self._moving[:, None], deviations * self._rng.normal(size=(len(self.masses), 3)), 0.0)
        self._state = replace(self._state, momenta=self._without_drift(momenta))

    def change_masses(self, masses: np.ndarray) -> None:
        """Go on with other masses and momenta that are as likely: of the same kinetic energy."""
        momenta = self._state.momenta * np.sqrt(masses / self.masses)[:, None]
        self.masses = masses
        self._state = replace(self._state, momenta=self._without_drift(momenta))

    def equilibrate(self, temperature: float, steps: int, report: Callable[[int], None]) -> None:
        """Langevin dynamics."""
        keeps = np.exp(-self._timestep / (1000.0 * _FRICTION_TIME))
        deviations = np.sqrt((1.0 - keeps**2) * units.kB * temperature * self.masses[:, None])
        for step in range(steps):
            self._step(self._conservative)
            noise = np.where(self._moving[:, None], deviations * self._rng.normal(size=(len(self.masses), 3)), 0.0)
            momenta = keeps * self._state.momenta + noise
            self._state = replace(self._state, momenta=self._without_drift(momenta))
            report(step + 1)
        self._check_temperature(temperature)

    def follow(self, steps: int, report: Callable[[int], None]) -> tuple[Power, np.ndarray, float]:
        """The run: power of the slow forces, velocities now and then, Å and ase's time, and how often, ps."""
        every = max(1, round(_FRAMES_EVERY / self._timestep))
        try:
            powers, kinetic = np.empty((steps, len(self.masses))), np.empty(steps)
        except MemoryError as error:
            raise DarkforcesError(f"{steps} steps of {len(self.masses)} atoms take too much memory") from error
        velocities = []
        slow = np.empty(0)

        def both(positions: np.ndarray) -> np.ndarray:
            nonlocal slow
            forces = self._model.evaluate(self._at(positions), Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT)
            conservative = of_kind(Need.CONSERVATIVE, forces)
            slow = conservative - of_kind(Need.DIRECT, forces)
            return conservative

        beginning, middle = self._temperature() or 1.0, self._state.positions
        for step in range(steps):
            self._step(both)
            velocity = self._state.momenta / self.masses[:, None]
            powers[step] = (slow * velocity).sum(axis=1) * 1000.0 * units.fs
            kinetic[step] = self._temperature()
            if step % every == 0:
                velocities.append(velocity[self._moving].astype(np.float32))
                self._check_temperature(beginning)
            if step == steps // 2:
                middle = self._state.positions
            report(step + 1)
        moving = float(self._moving.mean())
        power = Power(
            powers,
            self._timestep / 1000.0,
            float(kinetic.mean()),
            self._structure.species,
            neighbours(self._at(middle)),
            moving,
        )
        return power, np.array(velocities), every * self._timestep / 1000.0

    def costs(self) -> Costs:
        """Time of evaluations, the shortest of several: whatever else the machine does only adds to it."""
        needs = (Need.DIRECT, Need.CONSERVATIVE | Need.DIRECT, Need.CONSERVATIVE)
        times = np.empty((_TIMINGS, len(needs)))
        for row in times:
            for i, need in enumerate(needs):
                # A little further: some models remember where they were.
                self._state = replace(self._state, positions=self._state.positions + 1e-4)
                began = perf_counter()
                self._model.evaluate(self._at(self._state.positions), need)
                row[i] = perf_counter() - began
        return Costs(*times.min(axis=0).tolist())

    def stability(self, strides: Sequence[int], report: Callable[[int], None]) -> tuple[Stability, ...]:
        """Stability of strides where the atoms are now; see `stability.stability`."""
        here = self._at(self._state.positions)
        return tuple(stability(self._model, here, self.masses, self._moving, self._timestep, strides, report))

    def _step(self, forces: Callable[[np.ndarray], np.ndarray]) -> None:
        if not self._began:
            self._state = replace(self._state, forces=self._conservative(self._state.positions))
            self._began = True
        masses = np.where(self._moving, self.masses, np.inf)
        state = velocity_verlet(self._state, masses, self._timestep * units.fs, 1, forces)
        state.momenta[~self._moving] = 0.0
        self._state = state

    def _conservative(self, positions: np.ndarray) -> np.ndarray:
        return of_kind(Need.CONSERVATIVE, self._model.evaluate(self._at(positions), Need.CONSERVATIVE))

    def _at(self, positions: np.ndarray) -> Structure:
        return replace(self._structure, positions=positions)

    def _without_drift(self, momenta: np.ndarray) -> np.ndarray:
        if not self._moving.all():
            return momenta
        return momenta - self.masses[:, None] * momenta.sum(axis=0) / self.masses.sum()

    def _temperature(self) -> float:
        """Kinetic temperature, K."""
        kinetic = 0.5 * np.sum(self._state.momenta**2 / self.masses[:, None])
        return float(2.0 * kinetic / (self._freedom * units.kB))

    def _check_temperature(self, expected: float) -> None:
        """Raise a DarkforcesError above three times the expected temperature: the theory is about equilibrium."""
        if not self._temperature() < _HOTTER * expected:
            raise DarkforcesError(
                f"the run under conservative forces heats from {expected:.0f} to {self._temperature():.0f} K: expected "
                "an equilibrated structure and a time step that suits it"
            )


def neighbours(structure: Structure) -> csr_array:
    """1 for each pair of atoms within 3.5 Å and each atom with itself, else 0, shape (n_atoms, n_atoms)."""
    n = len(structure.species)
    atoms = ase.Atoms(structure.species, structure.positions, cell=structure.cell, pbc=structure.periodic)
    first, second = neighbor_list("ij", atoms, _NEIGHBOURS)
    pairs = np.unique(np.stack([np.append(first, np.arange(n)), np.append(second, np.arange(n))]), axis=1)
    return csr_array((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), shape=(n, n))
