"""The resident inner loop: i-PI's fast steps, advanced where the model is.

Between two impulses of the slow forces nothing but positions, momenta and fast forces changes. i-PI takes these steps
one by one, each with a request to a forcefield and a cascade of dependent quantities. Here they are taken on plain
arrays, by `inner_loop.velocity_verlet`, and i-PI's beads get the result. All else stays i-PI's: thermostats, kicks of
the slow forces, outputs, the conserved quantity, checkpoints. Its own requests find what was computed here.

i-PI's integrators (``ipi.engine.motion.dynamics``) propagate each level of multiple time stepping by ``mtsprop``, or by
its halves ``mtsprop_ba`` and ``mtsprop_ab``, between which ``baoab`` has the thermostat. The classes here replace them
for the innermost level, and inherit everything else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ipi.engine.forcefields import FFDirect
from ipi.engine.motion.dynamics import Dynamics, NVEIntegrator, NVTIntegrator
from ipi.engine.simulation import Simulation
from ipi.utils.depend import dstrip

from ..serve.pes import DarkforcesDriver, forces_together
from .inner_loop import State, velocity_verlet


def make_resident(simulation: Simulation) -> str | None:
    """Let the fast steps of a simulation be taken here.

    :param simulation: that i-PI has read, with our plugin as its forcefields
    :return: why that is not done, and i-PI takes them itself; None if it is done
    """
    reason = _what_is_in_the_way(simulation)
    if reason is None:
        motion = simulation.syslist[0].motion
        motion.integrator = _ResidentNVE() if motion.enstype == "nve" else _ResidentNVT()
        motion.integrator.bind(motion)
    return reason


def _what_is_in_the_way(simulation: Simulation) -> str | None:
    if len(simulation.syslist) != 1:
        return f"there are {len(simulation.syslist)} systems"
    [system] = simulation.syslist
    motion = system.motion
    if type(motion) is not Dynamics or type(motion.integrator) not in (NVEIntegrator, NVTIntegrator):
        return "it is no dynamics at constant volume"
    if system.beads.nbeads != 1:
        return f"there are {system.beads.nbeads} beads"
    if motion.ensemble.has_bias:
        return "there is a bias"
    if len(motion.nmts) > 2:
        return f"there are {len(motion.nmts)} levels of multiple time stepping"
    fields = [component.ff for component in system.forces.mforces]
    drivers = [field.driver for field in fields if type(field) is FFDirect]
    # By its methods: i-PI loads the file of a plugin once more, so that its classes are others than ours.
    ours = [driver for driver in drivers if hasattr(driver, DarkforcesDriver.shares_model_with.__name__)]
    if len(ours) < len(fields) or not all(driver.shares_model_with(ours[0]) for driver in ours):
        return "not all forces are those of one model of ours"
    return None


class _ResidentNVE(NVEIntegrator):
    """The innermost level of an integrator without a thermostat, for one classical system at constant volume."""

    def bind(self, motion: Dynamics) -> None:
        """Refer to the parts of the simulation, as i-PI's integrators do."""
        super().bind(motion)
        self._model = _Forces(motion)
        self._masses = dstrip(self.beads.m).copy()
        self._mass = float(self._masses.sum())
        self._shares = (self._masses / self._mass)[:, None]
        self._ones = np.ones(len(self._masses))

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
            momenta = self._kicked(momenta, self._model.fast(positions))
            self._set(self._drifted(positions, momenta), momenta)

    def mtsprop_ab(self, index: int) -> None:
        """Propagate a level by the second half of its steps."""
        if index < self.nmtslevels - 1:
            super().mtsprop_ab(index)
            return
        steps = int(self.nmts[index]) // 2
        if self.nmts[index] % 2:
            positions, momenta = self._state()
            positions = self._drifted(positions, momenta)
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
        state = State(positions, momenta, self._model.fast(positions))
        timestep, last = 2.0 * self._half, self._model.fast_before_slow if slow_next else self._model.fast
        state = velocity_verlet(state, self._masses, timestep, steps - 1, self._model.fast, self._without_drift)
        state = velocity_verlet(state, self._masses, timestep, 1, last, self._without_drift)
        self._set(state.positions, state.momenta)

    @property
    def _half(self) -> float:
        """Half of a fast step, in atomic units."""
        return float(dstrip(self.pdt)[-1])

    def _state(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions and momenta, shape (n_atoms, 3) both."""
        return dstrip(self.beads.q).reshape(-1, 3), dstrip(self.beads.p).reshape(-1, 3)

    def _set(self, positions: np.ndarray, momenta: np.ndarray) -> None:
        self.beads.q = positions.reshape(1, -1)
        self.beads.p = momenta.reshape(1, -1)

    def _drifted(self, positions: np.ndarray, momenta: np.ndarray) -> np.ndarray:
        return positions + self._half * momenta / self._masses[:, None]

    def _kicked(self, momenta: np.ndarray, forces: np.ndarray) -> np.ndarray:
        return self._without_drift(momenta + self._half * forces)

    def _without_drift(self, momenta: np.ndarray) -> np.ndarray:
        """Take the momentum of the centre of mass out, if i-PI is to, and its energy into the conserved quantity."""
        if not self.fixcom:
            return momenta
        total = self._ones @ momenta
        self.ensemble.eens += 0.5 * float(total @ total) / self._mass
        return momenta - self._shares * total


class _ResidentNVT(_ResidentNVE, NVTIntegrator):
    """With i-PI's thermostats, at its places."""


class _Forces:
    """Fast forces of a system, from the model in this process.

    :param motion: of the system
    """

    def __init__(self, motion: Dynamics):
        components = motion.forces.mforces
        self._all = [component.ff.driver for component in components]
        level = len(motion.nmts) - 1
        weights = [component.weight * _of_level(component.mts_weights, level) for component in components]
        self._weights = [weight for weight in weights if weight]
        self._fast = [driver for driver, weight in zip(self._all, weights, strict=True) if weight]
        self._is_fast = [bool(weight) for weight in weights]
        self._cell = motion.cell
        self._moving = np.ones((motion.beads.natoms, 3))
        self._moving.reshape(-1)[motion.fixatoms_dof] = 0.0
        self._positions = self._forces = np.empty(0)

    def fast(self, positions: np.ndarray) -> np.ndarray:
        """The fast forces at these positions, hartree/bohr, zero where atoms are fixed, shape (n_atoms, 3)."""
        if not np.array_equal(positions, self._positions):
            at_start = not len(self._positions)  # for which i-PI has asked, or will ask
            self._remember(positions, forces_together(self._fast, dstrip(self._cell.h), positions, keep=at_start))
        return self._forces

    def fast_before_slow(self, positions: np.ndarray) -> np.ndarray:
        """The fast forces, in one evaluation with the slow ones, which i-PI asks for next; as `fast`."""
        found = forces_together(self._all, dstrip(self._cell.h), positions, keep=True)
        self._remember(positions, [each for each, is_fast in zip(found, self._is_fast, strict=True) if is_fast])
        return self._forces

    def _remember(self, positions: np.ndarray, found: Sequence[np.ndarray]) -> None:
        total = sum(weight * each for weight, each in zip(self._weights, found, strict=True))
        # A copy: what i-PI gave is its own array, which it changes.
        self._positions, self._forces = positions.copy(), self._moving * total


def _of_level(weights: np.ndarray, level: int) -> float:
    """The weight of a component at a level; without any, it acts at the outermost."""
    if len(weights) == 0:
        return float(level == 0)
    return float(weights[level]) if len(weights) > level else 0.0
