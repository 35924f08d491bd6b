"""Values in an i-PI input: whether they can be read, and whether they can be.

i-PI's classes look at units and options when a value is used, and seldom at ranges: a time step of zero runs, and one
in an unknown unit ends i-PI when everything has been started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
from ipi.inputs.motion.dynamics import InputDynamics
from ipi.inputs.system import InputSystem
from ipi.utils.inputvalue import Input, InputArray, InputAttribute, InputValue

from ..errors import DarkforcesError, one_line

_PLAIN = (InputAttribute.fetch, InputValue.fetch, InputArray.fetch)
_UNSET = -1.0  # i-PI's temperature where there is none
# By tag or attribute: what a value has to be, in words and as a test of the number as it is written.
_LIMITS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "timestep": ("more than 0", lambda value: value > 0.0),
    "temperature": ("at least 0", lambda value: (value >= 0.0) | (value == _UNSET)),
    "pressure": ("a finite number", lambda value: ~np.isinf(value)),  # NaN is i-PI's pressure where there is none
    "tau": ("at least 0", lambda value: value >= 0.0),
    "nmts": ("at least 1", lambda value: value >= 1),
    "nbeads": ("at least 0", lambda value: value >= 0),
    "batch_size": ("at least 1", lambda value: value >= 1),
    "stride": ("at least 1", lambda value: value >= 1),
}


def check_readable(parsed: Input) -> None:
    """Raise a DarkforcesError for values that i-PI's classes refuse when they are used."""
    with redirect_stdout(StringIO()):  # i-PI prints all units that it knows
        for name, held in _given(parsed):
            try:
                held.check()
                if type(held).fetch in _PLAIN:
                    held.fetch()
            except Exception as error:  # i-PI's classes raise anything on what they cannot read
                raise DarkforcesError(f"<{name}>: {one_line(error)}") from error


def check_ranges(parsed: Input) -> None:
    """Raise a DarkforcesError for numbers with which there is no simulation."""
    for name, held in _given(parsed):
        expected, holds = _LIMITS.get(name, ("", None))
        if holds is None or not isinstance(held, InputAttribute):
            continue
        value = np.asarray(held.value)
        if value.dtype.kind in "fi" and not (np.all(holds(value)) and not np.isposinf(value).any()):
            raise DarkforcesError(f"{name} is {_written(value)}: expected {expected}")


def check_ensemble(system: InputSystem) -> None:
    """Raise a DarkforcesError for a system without what its beads or its dynamics need.

    The mass of a barostat and the springs of ring polymers are proportional to the temperature.
    """
    temperature, stress = float(system.ensemble.temperature.fetch()), system.ensemble.stress.fetch()
    beads = int((system.initialize if system.initialize._explicit else system.beads).nbeads.fetch())
    needs = {"number of beads, at least 1": beads > 0}
    for dynamics in _dynamics(system):
        mode, barostat = dynamics.mode.fetch(), dynamics.barostat.mode.fetch()
        of = f" for dynamics of mode '{mode}'"
        if beads > 1:
            needs["<temperature> above 0 for several beads"] = temperature > 0.0
        if mode in ("nvt", "nvt-cc", "sc"):
            needs[f"<temperature>{of}"] = temperature >= 0.0
        elif mode in ("npt", "nst", "scnpt"):
            needs[f"<temperature> above 0{of}"] = temperature > 0.0
            needs[f"<barostat> with its mode{of}"] = barostat != "dummy"
            given = np.isfinite(stress if mode == "nst" else system.ensemble.pressure.fetch())
            needs[f"<{'stress' if mode == 'nst' else 'pressure'}>{of}"] = bool(np.all(given))
            if barostat == "anisotropic":
                needs["<h0>, the reference cell, in the anisotropic <barostat>"] = dynamics.barostat.h0._explicit
    for what, there in needs.items():
        if not there:
            raise DarkforcesError(f"expected a {what}")


def _dynamics(system: InputSystem) -> Iterator[InputDynamics]:
    motions = [system.motion, *(held for kind, held in system.motion.extra if kind == "motion")]
    return (motion.dynamics for motion in motions if motion.mode.fetch() == "dynamics")


def _given(node: Input) -> Iterator[tuple[str, Any]]:
    """All parts that the text of an input gives, with the names of their tags or attributes."""
    named = [(name, getattr(node, name)) for name in (*node.attribs, *node.instancefields)]
    for name, held in (*named, *node.extra):
        if held._explicit:
            yield name, held
            yield from _given(held)


def _written(value: np.ndarray) -> str:
    return f"[ {', '.join(f'{each:g}' for each in value)} ]" if value.ndim else f"{value:g}"
