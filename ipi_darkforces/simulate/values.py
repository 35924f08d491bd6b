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


def _given(node: Input) -> Iterator[tuple[str, Any]]:
    """All parts that the text of an input gives, with the names of their tags or attributes."""
    named = [(name, getattr(node, name)) for name in (*node.attribs, *node.instancefields)]
    for name, held in (*named, *node.extra):
        if held._explicit:
            yield name, held
            yield from _given(held)


def _written(value: np.ndarray) -> str:
    return f"[ {', '.join(f'{each:g}' for each in value)} ]" if value.ndim else f"{value:g}"
