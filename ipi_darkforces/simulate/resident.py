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

from collections.abc import Sequence

import numpy as np
from ipi.engine.forcefields import FFDirect
from ipi.engine.motion.dynamics import DummyIntegrator, Dynamics, NVEIntegrator, NVTIntegrator
from ipi.engine.simulation import Simulation
from ipi.engine.system import System
from ipi.utils.depend import dstrip

from .inner_loop import Drift, FastForces, State, velocity_verlet
from .loop import BIASED, CONTRACTED, DIFFERENT_SYSTEMS, FIXED_AND_BEADS, NO_DYNAMICS, OTHER_FORCES, many_levels
from .resident_forces import ResidentForces
from .restart_state import RestartState


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
        if len(motions) == 1:
            simulation.threading = False  # a thread to wait for costs more than all else that i-PI does in a step
        simulation.chk = RestartState(simulation)
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
    # i-PI loads the file of a plugin once more, so that its classes are others than ours: isinstance does not tell.
    ours = [driver for driver in drivers if hasattr(driver, "goes_with")]
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
        self._model = ResidentForces(motions)
        self._all_beads = [motion.beads for motion in motions]
        self._masses = self._model.masses
        self._taken_out = np.zeros(len(motions))  # energy of centres of mass, until i-PI's ensembles get it

    def pstep(self, level: int = 0) -> None:
        """Kick all systems by the forces of a level."""
        for integrator in self._integrators:
            integrator.pstep(level)

    def pconstraints(self) -> None:
        """Let all systems keep their constraints."""
        for integrator in self._integrators:
            integrator.pconstraints()

    def mtsprop(self, index: int) -> None:
        """Propagate a level by all its steps, as i-PI does by its two halves, between which there is nothing."""
        if index == self.nmtslevels - 1:
            self._advance(int(self.nmts[index]), slow_next=True)
            return
        for _ in range(int(self.nmts[index])):
            self.pstep(index)
            self.pconstraints()
            self.mtsprop(index + 1)
            self.pstep(index)
            self.pconstraints()

    def mtsprop_ba(self, index: int) -> None:
        """Propagate a level by the first half of its steps; of an odd number, the last one by half."""
        if index < self.nmtslevels - 1:
            super().mtsprop_ba(index)
            return
        self._advance(int(self.nmts[index]) // 2)
        if self.nmts[index] % 2:
            positions, momenta = self._state()
            momenta = momenta + self._half * self._model.here(positions)
            self._note_kicks(1)
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
            self._note_kicks(1)
            self._set(positions, momenta + self._half * forces)
        self._advance(steps, slow_next=True)

    def _advance(self, steps: int, slow_next: bool = False) -> None:
        """Advance by whole steps.

        :param slow_next: whether i-PI asks for the slow forces after them, which are best evaluated with the fast ones
        """
        if not steps:
            return
        positions, momenta = self._state()
        state = State(positions, momenta, self._model.here(positions))
        self._note_kicks(1)
        state = self._fast_steps(state, steps - slow_next)
        if slow_next:
            state = self._one_by_one(state, 1, self._model.fast_before_slow)
        self._note_kicks(-1)  # the last forces act once more at the beginning of the next steps
        self._set(state.positions, state.momenta)

    def _fast_steps(self, state: State[np.ndarray], steps: int) -> State[np.ndarray]:
        """Advance by whole steps that nothing but the fast forces is needed for: on their device, if they have one."""
        if steps and self.beads.nbeads == 1:
            advanced = self._model.advance(state, 2.0 * self._half, steps)
            if advanced is not None:
                state, net_force_energy = advanced
                self._taken_out += 2 * self._half**2 * net_force_energy
                return state
        return self._one_by_one(state, steps, self._model.fast)

    def _one_by_one(self, state: State[np.ndarray], steps: int, fast: FastForces) -> State[np.ndarray]:
        return velocity_verlet(state, self._masses, 2.0 * self._half, steps, self._kicking(fast), self._drifted)

    def _kicking(self, fast: FastForces) -> FastForces:
        """The same forces, noted as those of two kicks: at the end of one step and the beginning of the next."""

        def noted(positions: np.ndarray) -> np.ndarray:
            forces = fast(positions)
            self._note_kicks(2)
            return forces

        return noted

    def _note_kicks(self, number: int) -> None:
        """Note the energy that i-PI takes out with the momentum of the centre of mass after each of these kicks.

        After half of a step, h, a net force F would have given it the momentum P = h F, and the energy P²/2M.
        """
        self._taken_out += number * self._half**2 * self._model.net_force_energy

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
    def _drifted(self) -> Drift[np.ndarray] | None:
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


class _ResidentNVT(_ResidentNVE, NVTIntegrator):
    """With i-PI's thermostats, at its places."""

    def tstep(self) -> None:
        """Let the thermostats of all systems act, in their order."""
        for integrator in self._integrators:
            integrator.tstep()
