"""Choice of the loop that takes the fast steps of an input, before i-PI is started: the resident one, or i-PI's own.

`resident.make_resident` decides once more, of what i-PI has made of the input.
"""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO

from ipi.inputs.system import InputSystem
from ipi.utils.io.inputs.io_xml import xml_node

from .inputs import SimulationInput
from .tree import child, descendants, forces_in, write

NO_DYNAMICS = "it is no dynamics at constant volume"
FIXED_AND_BEADS = "atoms are fixed, and there are beads"
BIASED = "there is a bias, and no multiple time stepping"
CONTRACTED = "forces are contracted to fewer beads"
OTHER_FORCES = "not all forces are those of one model of ours"
DIFFERENT_SYSTEMS = "systems differ in their dynamics, beads or forces"


def many_levels(n: int) -> str:
    """The reason that there are n levels."""
    return f"there are {n} levels of multiple time stepping"


def why_not_resident(simulation: SimulationInput) -> str | None:
    """Say why i-PI has to take the fast steps of an input itself; None if the resident loop can."""
    systems, ours = _systems(simulation), _our_forcefields(simulation)
    with redirect_stdout(StringIO()):
        reasons = (_in_the_way_of(*each, ours) for each in systems)
        reason = next((each for each in reasons if each is not None), None)
        if reason is None and len({_shared(*each) for each in systems}) > 1:
            return DIFFERENT_SYSTEMS
    return reason


def is_at_constant_pressure(simulation: SimulationInput) -> bool:
    """Tell whether it is one system of classical atoms at constant pressure, under forces of ours.

    Each fast step changes the cell too, by i-PI's barostats: i-PI takes it, but without sockets in less time.
    """
    systems, ours = _systems(simulation), _our_forcefields(simulation)
    with redirect_stdout(StringIO()):
        return all(
            len(systems) == 1
            and system.motion.mode.fetch() == "dynamics"
            and system.motion.dynamics.mode.fetch() in ("npt", "nst")
            and _beads(system) == 1
            and {force.attribs.get("forcefield") for force in forces_in(node, "forces")} <= ours
            for node, system in systems
        )


def _systems(simulation: SimulationInput) -> list[tuple[xml_node, InputSystem]]:
    """All systems, each as it stands in the input and as i-PI understands it."""
    nodes = [node for kind, node in simulation.root.fields if kind == "system"]
    return list(zip(nodes, simulation.systems, strict=True))


def _our_forcefields(simulation: SimulationInput) -> set[str]:
    """Names of the forcefields that we serve, without others around them."""
    return {forcefield.name for forcefield in simulation.socket_forcefields() if not forcefield.wrapped}


def _in_the_way_of(node: xml_node, system: InputSystem, ours: set[str]) -> str | None:
    motion, dynamics = system.motion, system.motion.dynamics
    if motion.mode.fetch() != "dynamics" or dynamics.mode.fetch() not in ("nve", "nvt"):
        return NO_DYNAMICS
    beads, levels = _beads(system), len(dynamics.nmts.fetch())
    if beads > 1 and len(motion.fixatoms.fetch()) + len(motion.fixatoms_dof.fetch()):
        return FIXED_AND_BEADS
    if levels > 2:
        return many_levels(levels)
    if levels < 2 and any(child(bias, "force") is not None for bias in descendants(node, "bias")):
        return BIASED
    forces = list(forces_in(node, "forces"))
    if any(0 < int(force.attribs.get("nbeads", "0")) < beads for force in forces):
        return CONTRACTED
    if not {force.attribs.get("forcefield") for force in forces} <= ours:
        return OTHER_FORCES
    return None


def _shared(node: xml_node, system: InputSystem) -> tuple[object, ...]:
    """Properties that systems have to share to be advanced together; their numbers of atoms are those of the forces."""
    dynamics = system.motion.dynamics
    values = [each.fetch() for each in (dynamics.mode, dynamics.splitting, dynamics.timestep, system.motion.fixcom)]
    forces = (write(force, "force") for force in forces_in(node, "forces"))
    return (*values, *dynamics.nmts.fetch(), _beads(system), *forces)


def _beads(system: InputSystem) -> int:
    return max(int(system.initialize.nbeads.fetch()), int(system.beads.nbeads.fetch()))
