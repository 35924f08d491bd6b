"""Other masses of hydrogen atoms: deuterium, and hydrogen mass repartitioning."""

from __future__ import annotations

import ase
import numpy as np
from ase.neighborlist import natural_cutoffs, neighbor_list

from ..errors import DarkforcesError

DEUTERIUM = 2.014  # u
_ROUNDING = 1e-3  # u, of masses in files


def with_hydrogen_mass(atoms: ase.Atoms, mass: float, repartition: bool) -> np.ndarray:
    """Masses where hydrogen atoms have another one, u, shape (n_atoms,).

    :param repartition: take what they gain from the atoms they are bonded to (K. A. Feenstra, B. Hess and
        H. J. C. Berendsen, J. Comput. Chem. 20, 786 (1999)); a molecule keeps its mass
    :raises DarkforcesError: if there are no hydrogen atoms, they have more mass than that, one is bonded to none, or
        another atom becomes lighter than they are
    """
    masses, hydrogen = atoms.get_masses(), atoms.numbers == 1
    if not hydrogen.any():
        raise DarkforcesError("there are no hydrogen atoms whose mass could be changed")
    heaviest = masses[hydrogen].max()
    if not heaviest - _ROUNDING < mass < np.inf:
        raise DarkforcesError(f"hydrogen atoms have {heaviest:g} u and cannot be given {mass:g} u: expected more")
    gained = np.where(hydrogen, mass - masses, 0.0)
    if repartition:
        first, second, lengths = neighbor_list("ijd", atoms, natural_cutoffs(atoms, mult=1.25))
        bonds = [(d, i, j) for i, j, d in zip(first, second, lengths, strict=True) if hydrogen[i] and not hydrogen[j]]
        nearest = {i: j for _, i, j in sorted(bonds, reverse=True)}
        alone = sorted(set(np.flatnonzero(hydrogen).tolist()) - set(nearest))
        if alone:
            raise DarkforcesError(f"hydrogen atom {alone[0]} is bonded to no other element that could give it mass")
        for i, j in nearest.items():
            gained[j] -= gained[i]
    masses = masses + gained
    if masses.min() < min(mass, 1.0) or masses[~hydrogen].min(initial=np.inf) < mass:
        raise DarkforcesError(
            f"hydrogen atoms of {mass:g} u leave atoms of {masses.min():.3g} u beside them: expected less"
        )
    return masses
