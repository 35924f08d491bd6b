"""Choice of the loop that takes the fast steps of an input, before i-PI is started: the resident one, or i-PI's own.

`resident.make_resident` decides once more, of what i-PI has made of the input.
"""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO

from .inputs import SimulationInput
from .tree import child, descendants

NO_DYNAMICS = "it is no dynamics at constant volume"
FIXED_AND_BEADS = "atoms are fixed, and there are beads"
BIASED = "there is a bias"
CONTRACTED = "forces are contracted to fewer beads"
OTHER_FORCES = "not all forces are those of one model of ours"


def several_systems(n: int) -> str:
    """The reason that there are n systems."""
    return f"there are {n} systems"


def many_levels(n: int) -> str:
    """The reason that there are n levels."""
    return f"there are {n} levels of multiple time stepping"


def why_not_resident(simulation: SimulationInput) -> str | None:
    """Say why i-PI has to take the fast steps of an input itself; None if the resident loop can."""
    systems = [node for kind, node in simulation.root.fields if kind == "system"]
    if len(systems) != 1:
        return several_systems(len(systems))
    [system] = systems
    [parsed] = [held for kind, held in simulation.parsed.extra if kind == "system"]
    with redirect_stdout(StringIO()):
        motion, dynamics = parsed.motion, parsed.motion.dynamics
        if motion.mode.fetch() != "dynamics" or dynamics.mode.fetch() not in ("nve", "nvt"):
            return NO_DYNAMICS
        beads = max(int(parsed.initialize.nbeads.fetch()), int(parsed.beads.nbeads.fetch()))
        fixed, levels = len(motion.fixatoms.fetch()) + len(motion.fixatoms_dof.fetch()), len(dynamics.nmts.fetch())
    if fixed and beads > 1:
        return FIXED_AND_BEADS
    if any(child(bias, "force") is not None for bias in descendants(system, "bias")):
        return BIASED
    if levels > 2:
        return many_levels(levels)
    ours = {forcefield.name for forcefield in simulation.socket_forcefields() if not forcefield.wrapped}
    forces = [force for group in descendants(system, "forces") for force in descendants(group, "force")]
    if any(0 < int(force.attribs.get("nbeads", "0")) < beads for force in forces):
        return CONTRACTED
    if not {force.attribs.get("forcefield") for force in forces} <= ours:
        return OTHER_FORCES
    return None
