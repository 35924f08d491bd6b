"""Conversion of i-PI's units to those of the analysis: ps, Å, Å/ps, K, eV, amu, Å³, g/cm³, bar."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO

import numpy as np
from ipi.utils.units import Constants, Elements, unit_to_internal, unit_to_user

from ...errors import DarkforcesError, one_line
from ...models.labels import element_of

_OURS = {
    "time": "picosecond",
    "length": "angstrom",
    "temperature": "kelvin",
    "energy": "electronvolt",
    "volume": "angstrom3",
    "density": "g/cm3",
    "pressure": "bar",
}
# K; the constants of i-PI, so that results agree with its own to the last digits. amu Å²/ps² for each kelvin.
BOLTZMANN = float(
    Constants.kb
    / Constants.amu
    * unit_to_internal("temperature", "kelvin", 1.0)
    * (unit_to_user("length", "angstrom", 1.0) / unit_to_user("time", "picosecond", 1.0)) ** 2
)
BOLTZMANN_EV = float(
    Constants.kb * unit_to_internal("temperature", "kelvin", 1.0) * unit_to_user("energy", "electronvolt", 1.0)
)


def factor_from_ipi(dimension: str, unit: str | None) -> float:
    """The value of one of i-PI's units in ours.

    :param dimension: as i-PI calls it: ``time``, ``length``, ``velocity``, ``temperature``, ``energy``, ``volume``,
        ``density`` or ``pressure``
    :param unit: by i-PI's name; None for atomic units
    :raises DarkforcesError: if i-PI does not know the unit
    """
    if unit is not None and unit == _OURS.get(dimension):
        return 1.0
    try:
        with redirect_stdout(StringIO()):  # i-PI prints its tables
            internal = unit_to_internal(dimension, unit or "atomic_unit", 1.0)
    except (KeyError, TypeError, ValueError) as error:
        raise DarkforcesError(f"i-PI has no unit '{unit}' of {dimension}: {one_line(error)}") from error
    if dimension == "velocity":
        return float(internal * factor_from_ipi("length", None) / factor_from_ipi("time", None))
    return float(unit_to_user(dimension, _OURS[dimension], internal))


def masses_of(labels: np.ndarray) -> np.ndarray:
    """The masses that i-PI gives to atoms with these labels or else to their elements, amu; NaN if neither is known."""
    known = Elements.mass_list
    of = {label: known.get(label, known.get(element_of(label) or "", np.nan)) for label in set(labels.tolist())}
    return np.array([of[label] for label in labels], float)


def amu(masses: np.ndarray) -> np.ndarray:
    """Masses in amu, from i-PI's atomic units."""
    return masses / Constants.amu
