"""The resident inner loop: i-PI's fast steps, advanced where the model is.

Between two impulses of the slow forces nothing but positions, momenta and fast forces changes. i-PI takes these steps
one by one, each with a request to a forcefield and a cascade of dependent quantities. Here they are taken on plain
arrays, by `inner_loop.velocity_verlet`, and i-PI's beads get the result. All else stays i-PI's: thermostats, kicks of
the slow forces, outputs, the conserved quantity, checkpoints. Its own requests find what was computed here.

All beads of all systems take a step together, and are evaluated as one batch. Between the kicks i-PI moves beads as
free ring polymers.

i-PI's integrators (``ipi.engine.motion.dynamics``) propagate each level of multiple time stepping by ``mtsprop``, or by
its halves ``mtsprop_ba`` and ``mtsprop_ab``, between which ``baoab`` has the thermostat. The classes here replace them
for the innermost level, let the integrator of each system do everything else, and inherit in which order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from ipi.engine.forcefields import FFDirect
from ipi.engine.motion.dynamics import DummyIntegrator, Dynamics, NVEIntegrator, NVTIntegrator
from ipi.engine.simulation import Simulation
from ipi.engine.system import System
from ipi.utils.depend import dstrip

from ..serve.along import Along
from ..serve.pes import DarkforcesDriver
from .inner_loop import Drift, State, velocity_verlet
from .loop import BIASED, CONTRACTED, DIFFERENT_SYSTEMS, FIXED_AND_BEADS, NO_DYNAMICS, OTHER_FORCES, many_levels


def make_resident(simulation: Simulation) -> str | None:
    """Let the fast steps of a simulation be taken here.

    :param simulation: that i-PI has read, with our plugin as its forcefields
    :return: why that is not done, and i-PI takes them itself; None if it is done
    """
    reason = _what_is_in_the_way(simulation)
    if reason is None:
        motions = [system.motion for system in simulation.syslist]
        together = _ResidentNVE(motions) if motions[0].enstype == "nve" else _ResidentNVT(motions)
        together.bind(motions[0])
        motions[0].integrator = together
        for other in motions[1:]:  # which the first one advances too
            other.integrator = DummyIntegrator()
    return reason


def _what_is_in_the_way(simulation: Simulation) -> str | None:
    reasons = (_in_the_way_of(system) for system in simulation.syslist)
    reason = next((each for each in reasons if each is not None), None)
    if reason is None and len({_shared(system) for system in simulation.syslist}) > 1:
        return DIFFERENT_SYSTEMS
    return reason


def _in_the_way_of(system: System) -> str | None:
    motion = system.motion
    if type(motion) is not Dynamics or type(motion.integrator) not in (NVEIntegrator, NVTIntegrator):
        return NO_DYNAMICS
    if len(motion.fixatoms_dof) and system.beads.nbeads > 1:
        return FIXED_AND_BEADS
    if len(motion.nmts) > 2:
        return many_levels(len(motion.nmts))
    if len(motion.ensemble.bcomp) and len(motion.nmts) == 1:
        return BIASED
    if any(component.nbeads != system.beads.nbeads for component in system.forces.mforces):
        return CONTRACTED
    fields = [component.ff for component in system.forces.mforces]
    drivers = [field.driver for field in fields if type(field) is FFDirect]
    # By its methods: i-PI loads the file of a plugin once more, so that its classes are others than ours.
    ours = [driver for driver in drivers if hasattr(driver, DarkforcesDriver.goes_with.__name__)]
    every_atom = all(field.active[0] == -1 for field in fields)
    if len(ours) < len(fields) or not every_atom or not all(driver.goes_with(ours[0]) for driver in ours):
        return OTHER_FORCES
    return None


def _shared(system: System) -> tuple[object, ...]:
    """Properties that systems have to share to be advanced together."""
    motion = system.motion
    forces = [(id(each.ff), each.weight, *each.mts_weights) for each in system.forces.mforces]
    dynamics = motion.enstype, motion.splitting, motion.dt, *motion.nmts, motion.fixcom
    return (*dynamics, system.beads.nbeads, system.beads.natoms, *forces)


class _ResidentNVE(NVEIntegrator):
    """The innermost level of integrators without a thermostat, at constant volume.

    Arrays of positions, momenta and forces here have the shape (n_systems, n_beads, n_atoms, 3).

    :param motions: of the systems
    """

    def __init__(self, motions: Sequence[Dynamics]):
        super().__init__()
        self._integrators = [motion.integrator for motion in motions]
        self._model = _Forces(motions)
        self._all_beads = [motion.beads for motion in motions]
        self._masses = np.array([dstrip(beads.m) for beads in self._all_beads])[:, None]
        self._mass = self._masses.sum(axis=(1, 2)) * motions[0].beads.nbeads
        self._ones = np.ones(motions[0].beads.nbeads * motions[0].beads.natoms)
        self._taken_out = np.zeros(len(motions))  # energy of the centres of mass

    def pstep(self, level: int = 0) -> None:
        """Kick all systems by the forces of a level."""
        for integrator in self._integrators:
            integrator.pstep(level)

    def pconstraints(self) -> None:
        """Let all systems keep their constraints."""
        for integrator in self._integrators:
            integrator.pconstraints()

    def mtsprop(self, index: int) -> None:
        """Propagate a level by all its steps."""
        if index < self.nmtslevels - 1:
            super().mtsprop(index)
        else:
            self._advance(int(self.nmts[index]), slow_next=True)

    def mtsprop_ba(self, index: int) -> None:
        """Propagate a level by the first half of its steps; of an odd number, the last one by half."""
        if index < self.nmtslevels - 1:
            super().mtsprop_ba(index)
            return
        self._advance(int(self.nmts[index]) // 2)
        if self.nmts[index] % 2:
            positions, momenta = self._state()
            momenta = self._kicked(momenta, self._model.here(positions))
            self._set(*self._half_drifted(positions, momenta))

    def mtsprop_ab(self, index: int) -> None:
        """Propagate a level by the second half of its steps."""
        if index < self.nmtslevels - 1:
            super().mtsprop_ab(index)
            return
        steps = int(self.nmts[index]) // 2
        if self.nmts[index] % 2:
            positions, momenta = self._half_drifted(*self._state())
            forces = self._model.fast(positions) if steps else self._model.fast_before_slow(positions)
            self._set(positions, self._kicked(momenta, forces))
        self._advance(steps, slow_next=True)

    def _advance(self, steps: int, slow_next: bool = False) -> None:
        """Advance by whole steps.

        :param slow_next: whether i-PI asks for the slow forces after them, which are best evaluated with the fast ones
        """
        if not steps:
            return
        positions, momenta = self._state()
        state = State(positions, momenta, self._model.here(positions))
        last = self._model.fast_before_slow if slow_next else self._model.fast
        for fast, count in ((self._model.fast, steps - 1), (last, 1)):
            state = velocity_verlet(
                state, self._masses, 2.0 * self._half, count, fast, self._without_drift, self._drifted
            )
        self._set(state.positions, state.momenta)

    @property
    def _half(self) -> float:
        """Half of a fast step, in atomic units."""
        return float(dstrip(self.pdt)[-1])

    def _state(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions and momenta."""
        shape = len(self._all_beads), self.beads.nbeads, -1, 3
        positions = np.array([dstrip(beads.q) for beads in self._all_beads])
        momenta = np.array([dstrip(beads.p) for beads in self._all_beads])
        return positions.reshape(shape), momenta.reshape(shape)

    def _set(self, positions: np.ndarray, momenta: np.ndarray) -> None:
        for beads, q, p in zip(self._all_beads, positions, momenta, strict=True):
            beads.q, beads.p = q.reshape(len(q), -1), p.reshape(len(p), -1)
        for integrator, energy in zip(self._integrators, self._taken_out.tolist(), strict=True):
            integrator.ensemble.eens += energy
        self._taken_out[:] = 0.0

    @property
    def _drifted(self) -> Drift | None:
        """Positions and momenta after free motion for a whole step; None for free particles."""
        if self.beads.nbeads == 1:
            return None
        return lambda positions, momenta: self._half_drifted(*self._half_drifted(positions, momenta))

    def _half_drifted(self, positions: np.ndarray, momenta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions and momenta after free motion for half of a step: of ring polymers, as i-PI has it."""
        if self.beads.nbeads == 1:
            return positions + self._half * momenta / self._masses[..., None], momenta
        self._set(positions, momenta)
        for integrator in self._integrators:
            integrator.qcstep()
            integrator.nm.free_qstep()
        return self._state()

    def _kicked(self, momenta: np.ndarray, forces: np.ndarray) -> np.ndarray:
        return self._without_drift(momenta + self._half * forces)

    def _without_drift(self, momenta: np.ndarray) -> np.ndarray:
        """Take the momentum of the centre of mass out, if i-PI is to, and its energy into the conserved quantity."""
        if not self.fixcom:
            return momenta
        # A product with ones: numpy takes several times as long to add up rows of three numbers.
        velocity = (self._ones @ momenta.reshape(len(momenta), -1, 3)) / self._mass[:, None]
        self._taken_out += 0.5 * self._mass * np.einsum("ij,ij->i", velocity, velocity)
        return momenta - self._masses[..., None] * velocity[:, None, None]


class _ResidentNVT(_ResidentNVE, NVTIntegrator):
    """With i-PI's thermostats, at its places."""

    def tstep(self) -> None:
        """Let the thermostats of all systems act, in their order."""
        for integrator in self._integrators:
            integrator.tstep()


class _Forces:
    """Fast forces of all systems, from the model in this process.

    Zero where atoms are fixed; hartree/bohr. Arrays have the shape (n_systems, n_beads, n_atoms, 3).

    :param motions: of the systems
    """

    def __init__(self, motions: Sequence[Dynamics]):
        components = motions[0].forces.mforces
        level = len(motions[0].nmts) - 1
        self._drivers = [component.ff.driver for component in components]
        self._weights = [component.weight * _of_level(component.mts_weights, level) for component in components]
        self._fast_weights = [weight for weight in self._weights if weight]
        self._cells = [motion.cell for motion in motions]
        fixed = [motion.fixatoms_dof for motion in motions]
        self._fixed = [(system, coordinates) for system, coordinates in enumerate(fixed) if len(coordinates)]
        self._along: Along | None = None
        self._positions: np.ndarray = np.empty(0)
        self._forces: np.ndarray = np.empty(0)

    def here(self, positions: np.ndarray) -> np.ndarray:
        """The fast forces where i-PI has the atoms; if they are not known yet, it has asked for them, or will ask."""
        if not np.array_equal(positions, self._positions):
            replicas = _of_replicas(positions)
            asked = [weight != 0.0 for weight in self._weights]
            cells = np.repeat([dstrip(cell.h) for cell in self._cells], positions.shape[1], axis=0)
            self._along = self._along or Along(self._drivers, asked, cells, replicas)
            fast = [driver for driver, acts in zip(self._drivers, asked, strict=True) if acts]
            found = [[forces for _, forces, *_ in each.compute([*cells], [*replicas])] for each in fast]
            self._remember(positions, zip(*found, strict=True), self._fast_weights)
        return self._forces

    def fast(self, positions: np.ndarray) -> np.ndarray:
        """The fast forces."""
        assert self._along is not None
        return self._remember(positions, self._along.fast(_of_replicas(positions)), self._fast_weights)

    def fast_before_slow(self, positions: np.ndarray) -> np.ndarray:
        """The fast forces, in one evaluation with the slow ones, for which i-PI asks next."""
        assert self._along is not None
        return self._remember(positions, self._along.all(_of_replicas(positions)), self._weights)

    def _remember(
        self, positions: np.ndarray, found: Iterable[Sequence[np.ndarray]], weights: Sequence[float]
    ) -> np.ndarray:
        summed = [sum(w * f for w, f in zip(weights, each, strict=True) if w) for each in found]
        forces: np.ndarray = np.array(summed).reshape(positions.shape)
        for system, fixed in self._fixed:
            forces[system].reshape(forces.shape[1], -1)[:, fixed] = 0.0
        self._positions, self._forces = positions, forces
        return forces


def _of_replicas(positions: np.ndarray) -> np.ndarray:
    """Positions of all beads of all systems in a row, shape (n_replicas, n_atoms, 3)."""
    return positions.reshape(-1, *positions.shape[2:])


def _of_level(weights: np.ndarray, level: int) -> float:
    """The weight of a component at a level; without any, it acts at the outermost."""
    if len(weights) == 0:
        return float(level == 0)
    return float(weights[level]) if len(weights) > level else 0.0
