"""Molecules and crystals that ase builds, for models of many elements."""

from __future__ import annotations

from collections.abc import Iterator

import ase
import numpy as np
from ase.build import bulk
from ase.collections import g2
from ase.data import chemical_symbols, reference_states

from ..models.structure import Structure

_QM9 = {1, 6, 7, 8, 9}  # atomic numbers
_FEWEST = 8  # atoms in the cell of a crystal
_LATTICES = ("fcc", "bcc", "hcp", "diamond")
# Lattice constants at room temperature, Å (C. Kittel, Introduction to Solid State Physics; R. W. G. Wyckoff, Crystal
# Structures). They need not be exact, as crystals are strained anyway.
_COMPOUNDS = {
    "rocksalt": {"LiF": 4.03, "NaCl": 5.64, "KBr": 6.60, "MgO": 4.21, "CaO": 4.81, "TiN": 4.24, "PbS": 5.94},
    "zincblende": {"SiC": 4.36, "BN": 3.62, "AlP": 5.46, "GaAs": 5.65, "InSb": 6.48, "ZnS": 5.41, "CuCl": 5.42},
    "cesiumchloride": {"CsCl": 4.12, "CsI": 4.57, "NiAl": 2.89},
    "fluorite": {"CaF2": 5.46, "BaF2": 6.20, "CeO2": 5.41},
}


def molecules() -> Iterator[tuple[str, Structure]]:
    """Molecules of the g2 set that could be in QM9: three atoms or more of H, C, N, O, F, no unpaired electron."""
    for name in g2.names:
        atoms = g2[name]
        if (
            len(atoms) > 2
            and _QM9.issuperset(atoms.numbers.tolist())
            and not atoms.get_initial_magnetic_moments().any()
        ):
            yield name, Structure.from_ase(atoms)


def crystals() -> Iterator[tuple[str, Structure]]:
    """Elements in the lattices that ase knows of them, and compounds of two elements, 8 to 12 atoms in the cell."""
    for symbol, state in zip(chemical_symbols, reference_states, strict=True):
        if state is not None and state["symmetry"] in _LATTICES and "basis" not in state:
            lattice = state["symmetry"]
            yield f"{symbol} ({lattice})", _repeated(bulk(symbol, cubic=lattice != "hcp"))
    for lattice, constants in _COMPOUNDS.items():
        for formula, constant in constants.items():
            yield f"{formula} ({lattice})", _repeated(bulk(formula, lattice, a=constant, cubic=True))


def _repeated(atoms: ase.Atoms) -> Structure:
    """Repeat a crystal as often as needed, along the shortest cell vector first."""
    while len(atoms) < _FEWEST:
        along = np.ones(3, dtype=int)
        along[np.argmin(atoms.cell.lengths().round(6))] = 2
        atoms = atoms * along
    return Structure.from_ase(atoms)
