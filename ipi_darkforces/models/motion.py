"""Masses and momenta with which atoms can move."""

from __future__ import annotations

import ase
import numpy as np

from ..errors import DarkforcesError


def check_motion(atoms: ase.Atoms) -> None:
    """Raise a DarkforcesError for atoms of no mass, or whose masses or momenta are not finite."""
    masses, momenta = atoms.get_masses(), atoms.get_momenta()
    for i in np.flatnonzero(~((masses > 0.0) & np.isfinite(masses))):
        raise DarkforcesError(f"atom {i} ({atoms.symbols[i]}) has {masses[i]:g} u; expected more")
    for i in np.flatnonzero(~np.isfinite(momenta).all(axis=1)):
        raise DarkforcesError(f"the velocity of atom {i} ({atoms.symbols[i]}) is NaN or infinite")
