"""The state to which i-PI goes back when a step is not finished, stored after each step.

i-PI stores the whole of a simulation anew. At constant volume most of that stays as it is: forcefields, outputs, cells,
names and masses. Only what changes is stored here, and RESTART is the same.
"""

from __future__ import annotations

from ipi.engine.outputs import CheckpointOutput
from ipi.engine.simulation import Simulation
from ipi.utils.depend import dstrip


class RestartState(CheckpointOutput):
    """i-PI's RESTART of a simulation at constant volume.

    :param simulation: after i-PI has bound it
    """

    def __init__(self, simulation: Simulation):
        super().__init__("RESTART", 1, True, 0)  # as i-PI has it
        self._counts: list[int] | None = None
        # These change by themselves, and forcefields of a bias may: <ffrotations> draws random numbers.
        biased = any(len(system.ensemble.bcomp) for system in simulation.syslist)
        self._changes_otherwise = simulation.smotion is not None or biased
        self.bind(simulation)

    def store(self) -> None:
        """Store what has changed since the last time."""
        simulation = self.simul
        # Numbers of checkpoints so far: they stand among the outputs.
        counts = [output.step for output in simulation.outtemplate if isinstance(output, CheckpointOutput)]
        if counts != self._counts or self._changes_otherwise:
            super().store()
            self._counts = counts
            return
        self.status.step.store(simulation.step)
        if any(system.motion.enstype != "nve" for system in simulation.syslist):  # thermostats draw random numbers
            self.status.prng.store(simulation.prng)
        held = [stored for kind, stored in self.status.extra if kind == "system"]
        for stored, system in zip(held, simulation.syslist, strict=True):
            stored.ensemble.store(system.ensemble)
            stored.motion.store(system.motion)
            stored.beads.q.store(dstrip(system.beads.q))
            stored.beads.p.store(dstrip(system.beads.p))
