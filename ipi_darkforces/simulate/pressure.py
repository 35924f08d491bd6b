"""Pressures as people write them."""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from io import StringIO

from ipi.utils.units import UnitMap, unit_to_internal, unit_to_user

from ..errors import DarkforcesError

_QUANTITY = re.compile(r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*(\S*)\s*")
_SYMBOLS = {
    "": "bar",
    "kbar": "kilobar",
    "Pa": "pascal",
    "kPa": "kilopascal",
    "MPa": "megapascal",
    "GPa": "gigapascal",
    "atm": "atmosphere",
}


def pressure_in_bar(text: str) -> float:
    """A pressure with its unit, or without one in bar: ``1``, ``0.5GPa``, ``1 atm``.

    :raises DarkforcesError: if it is something else
    """
    found = _QUANTITY.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        unit = _SYMBOLS.get(found[2], found[2])
        with redirect_stdout(StringIO()):  # i-PI prints all units that it knows
            internal = unit_to_internal("pressure", unit, float(found[1]))
        return float(unit_to_user("pressure", "bar", internal))
    except (KeyError, TypeError, ValueError) as error:
        known = ", ".join(["bar", *list(_SYMBOLS)[1:], *list(UnitMap["pressure"])[-2:]])
        raise DarkforcesError(
            f"'{text}' is not a pressure: expected a number, and a unit if not bar: {known}"
        ) from error
