"""The resident inner loop: i-PI's fast steps, advanced where the model is.

Between two impulses of the slow forces nothing but positions, momenta and fast forces changes. i-PI takes these steps
one by one, each with a request to a forcefield and a cascade of dependent quantities. Here they are taken on plain
arrays, by `inner_loop.velocity_verlet`, and i-PI's beads get the result; several beads are evaluated as one batch, and
between the kicks i-PI moves them as free ring polymers. All else stays i-PI's: thermostats, kicks of the slow forces,
outputs, the conserved quantity, checkpoints. Its own requests find what was computed here.

i-PI's integrators (``ipi.engine.motion.dynamics``) propagate each level of multiple time stepping by ``mtsprop``, or by
its halves ``mtsprop_ba`` and ``mtsprop_ab``, between which ``baoab`` has the thermostat. The classes here replace them
for the innermost level, and inherit everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from ipi.engine.forcefields import FFDirect
from ipi.engine.motion.dynamics import Dynamics, NVEIntegrator, NVTIntegrator
from ipi.engine.simulation import Simulation
from ipi.utils.depend import dstrip

from ..serve.along import Along
from ..serve.pes import DarkforcesDriver
from .inner_loop import Drift, State, velocity_verlet
from .loop import BIASED, CONTRACTED, FIXED_AND_BEADS, NO_DYNAMICS, OTHER_FORCES, many_levels, several_systems


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
        return several_systems(len(simulation.syslist))
    [system] = simulation.syslist
    motion = system.motion
    if type(motion) is not Dynamics or type(motion.integrator) not in (NVEIntegrator, NVTIntegrator):
        return NO_DYNAMICS
    if len(motion.fixatoms_dof) and system.beads.nbeads > 1:
        return FIXED_AND_BEADS
    if motion.ensemble.has_bias:
        return BIASED
    if len(motion.nmts) > 2:
        return many_levels(len(motion.nmts))
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


class _ResidentNVE(NVEIntegrator):
    """The innermost level of an integrator without a thermostat, at constant volume.

    Arrays of positions, momenta and forces here have the shape (n_beads, n_atoms, 3).
    """

    def bind(self, motion: Dynamics) -> None:
        """Refer to the parts of the simulation, as i-PI's integrators do."""
        super().bind(motion)
        self._model = _Forces(motion)
        self._masses = dstrip(self.beads.m).copy()
        self._mass = float(self._masses.sum()) * self.beads.nbeads
        self._taken_out = 0.0  # energy of the centre of mass

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
        shape = self.beads.nbeads, -1, 3
        return dstrip(self.beads.q).reshape(shape), dstrip(self.beads.p).reshape(shape)

    def _set(self, positions: np.ndarray, momenta: np.ndarray) -> None:
        self.beads.q = positions.reshape(self.beads.nbeads, -1)
        self.beads.p = momenta.reshape(self.beads.nbeads, -1)
        self.ensemble.eens += self._taken_out
        self._taken_out = 0.0

    @property
    def _drifted(self) -> Drift | None:
        """Positions and momenta after free motion for a whole step; None for free particles."""
        if self.beads.nbeads == 1:
            return None
        return lambda positions, momenta: self._half_drifted(*self._half_drifted(positions, momenta))

    def _half_drifted(self, positions: np.ndarray, momenta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions and momenta after free motion for half of a step: of ring polymers, as i-PI has it."""
        if self.beads.nbeads == 1:
            return positions + self._half * momenta / self._masses[:, None], momenta
        self._set(positions, momenta)
        self.qcstep()
        self.nm.free_qstep()
        positions, momenta = self._state()
        return positions.copy(), momenta.copy()

    def _kicked(self, momenta: np.ndarray, forces: np.ndarray) -> np.ndarray:
        return self._without_drift(momenta + self._half * forces)

    def _without_drift(self, momenta: np.ndarray) -> np.ndarray:
        """Take the momentum of the centre of mass out, if i-PI is to, and its energy into the conserved quantity."""
        if not self.fixcom:
            return momenta
        velocity = np.add.reduce(momenta, axis=(0, 1)) / self._mass
        x, y, z = velocity.tolist()
        self._taken_out += 0.5 * self._mass * (x * x + y * y + z * z)
        return momenta - self._masses[:, None] * velocity


class _ResidentNVT(_ResidentNVE, NVTIntegrator):
    """With i-PI's thermostats, at its places."""


class _Forces:
    """Fast forces of a system, from the model in this process.

    Zero where atoms are fixed; hartree/bohr. Arrays have the shape (n_beads, n_atoms, 3).

    :param motion: of the system
    """

    def __init__(self, motion: Dynamics):
        components = motion.forces.mforces
        level = len(motion.nmts) - 1
        self._drivers = [component.ff.driver for component in components]
        self._weights = [component.weight * _of_level(component.mts_weights, level) for component in components]
        self._fast_weights = [weight for weight in self._weights if weight]
        self._cell = motion.cell
        self._fixed = motion.fixatoms_dof
        self._along: Along | None = None
        self._positions = self._forces = np.empty(0)

    def here(self, positions: np.ndarray) -> np.ndarray:
        """The fast forces where i-PI has the atoms; if they are not known yet, it has asked for them, or will ask."""
        if not np.array_equal(positions, self._positions):
            cell, asked = dstrip(self._cell.h), [w != 0.0 for w in self._weights]
            self._along = self._along or Along(self._drivers, asked, cell, positions)
            fast = [driver for driver, acts in zip(self._drivers, asked, strict=True) if acts]
            found = [[forces for _, forces, *_ in each.compute([cell] * len(positions), [*positions])] for each in fast]
            # A copy: what i-PI gave is its own array, which it changes.
            self._remember(positions.copy(), zip(*found, strict=True), self._fast_weights)
        return self._forces

    def fast(self, positions: np.ndarray) -> np.ndarray:
        """The fast forces."""
        assert self._along is not None
        return self._remember(positions, self._along.fast(positions), self._fast_weights)

    def fast_before_slow(self, positions: np.ndarray) -> np.ndarray:
        """The fast forces, in one evaluation with the slow ones, for which i-PI asks next."""
        assert self._along is not None
        return self._remember(positions, self._along.all(positions), self._weights)

    def _remember(
        self, positions: np.ndarray, found: Iterable[Sequence[np.ndarray]], weights: Sequence[float]
    ) -> np.ndarray:
        forces = np.array([sum(w * f for w, f in zip(weights, each, strict=True) if w) for each in found])
        forces.reshape(len(forces), -1)[:, self._fixed] = 0.0
        self._positions, self._forces = positions, forces
        return forces


def _of_level(weights: np.ndarray, level: int) -> float:
    """The weight of a component at a level; without any, it acts at the outermost."""
    if len(weights) == 0:
        return float(level == 0)
    return float(weights[level]) if len(weights) > level else 0.0
