"""Elements of the labels that files give to atoms: ``O``, ``D``, ``O1``, ``H_1``, ``OW``, but not ``X`` or ``CD1``."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from ase.data import atomic_numbers
from ipi.utils.units import Elements

from ..errors import DarkforcesError

_ISOTOPES = {"D": "H", "T": "H"}
_WATER = {"OW": "O", "HW": "H"}
_NUMBERED = re.compile(r"([A-Za-z]+)(?:[^A-Za-z].*)?")  # O1, H_1, Fe3+


def symbol_or_label(label: str) -> str:
    """A bare symbol as it is spelt, whatever is in capitals; other labels as they are."""
    bare = label.capitalize()
    return bare if bare in atomic_numbers else label


def element_of(label: str) -> str | None:
    """The symbol of the element that a label plainly names; None if it does not.

    Upper and lower case are the same in a bare symbol, as for ase. With more than a symbol, two capitals can be an
    element or a place in a molecule (``CD1``), and are not plain.
    """
    bare = symbol_or_label(label)
    if bare != "X" and bare in atomic_numbers:
        return bare
    letters = _letters(label)
    if letters in _ISOTOPES:
        return _ISOTOPES[letters]
    if letters.upper() in _WATER:
        return _WATER[letters.upper()]
    symbol = letters.upper() if len(letters) == 1 else letters
    return symbol if symbol != "X" and symbol in atomic_numbers else None


def _letters(label: str) -> str:
    """Letters before a number or the like; none if anything else comes first."""
    match = _NUMBERED.fullmatch(label)
    return match[1] if match else ""


def elements_of(labels: Sequence[str]) -> list[str]:
    """The symbols of the elements of some atoms.

    :raises DarkforcesError: naming the first label that plainly names none
    """
    symbols = {label: element_of(label) for label in labels}
    for i, label in enumerate(labels):
        if symbols[label] is None:
            raise DarkforcesError(
                f"atom {i} has the label '{label}', which names no element plainly: expected a symbol such as O, "
                "perhaps with a number, or D"
            )
    return [str(symbols[label]) for label in labels]


def isotope_masses(labels: Sequence[str]) -> np.ndarray:
    """Masses of the atoms whose labels are those of isotopes, amu, as i-PI has them; NaN for others, shape (n_atoms,).

    Besides D and T i-PI has labels such as O17, which elsewhere mean the 17th oxygen: they are isotopes where i-PI
    knows all labels.
    """
    known = Elements.mass_list
    all_known = set(labels) <= set(known)
    masses = {}
    for label in set(labels) - set(atomic_numbers):
        isotope = label if all_known else _letters(label)
        if all_known or isotope in _ISOTOPES:
            masses[label] = float(known[isotope])
    return np.array([masses.get(label, np.nan) for label in labels], float)
