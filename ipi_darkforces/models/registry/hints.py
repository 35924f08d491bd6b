"""Suggestions for names that are not those of a model."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from importlib.util import find_spec

from .specification import CALCULATOR, MODEL_FILES

_NEAR = 0.7  # of 1, how alike two names must be
# Calculators of other packages, by the names under which people know them.
_ELSEWHERE = {
    "tblite": "tblite.ase:TBLite",
    "xtb": "xtb.ase.calculator:XTB",
    "dftd3": "dftd3.ase:DFTD3",
    "gpaw": "gpaw:GPAW",
}


def meant(name: str, names: Sequence[str]) -> str | None:
    """A name or an ase calculator that is near; None if nothing is."""
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=_NEAR)
    near += [each for each in names if name and each.startswith(name.lower())]
    return calculator(name) or next(iter(near), None)


def calculator(name: str) -> str | None:
    """The specification of an ase calculator that was named by its class, module or package; None if there is none.

    ``EMT``, ``emt``, ``ase.calculators.emt`` and ``ase:emt`` are all ``ase:ase.calculators.emt:EMT``.
    """
    bare = name.removeprefix(CALCULATOR)
    if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+:[A-Za-z_]\w*", bare) and not name.startswith(CALCULATOR):
        return f"{CALCULATOR}{bare}"
    known = {**_of_ase(), **_ELSEWHERE}
    is_path = "/" in bare or bare.endswith(MODEL_FILES)
    for word in () if is_path else (bare, *re.split(r"[.:]", bare)[::-1]):
        for key, place in known.items():
            if word.lower() in (key, place.rpartition(":")[2].lower()):
                return f"{CALCULATOR}{place}"
    return None


def _of_ase() -> dict[str, str]:
    """Calculators that come with ase, by the names of their modules."""
    from ase.calculators.calculator import special
    from ase.calculators.names import names

    return {
        name: f"ase.calculators.{name}:{special.get(name, name.title())}"
        for name in names
        if find_spec(f"ase.calculators.{name}") is not None
    }
