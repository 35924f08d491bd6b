"""Conversion between i-PI's atomic units and our eV and Å, with i-PI's own constants.

The same conversions, in the same order, as in i-PI's own drivers, so that results agree to the last digits.
"""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
from ipi.utils.units import unit_to_internal

from ..errors import DarkforcesError
from ..models.structure import Structure
from ..split.component import ComponentForces
from .protocol import Reply

# i-PI multiplies by these to get internal units, and divides by them to leave them.
ANGSTROM = unit_to_internal("length", "angstrom", 1.0)
ELECTRONVOLT = unit_to_internal("energy", "electronvolt", 1.0)
EV_PER_ANGSTROM = unit_to_internal("force", "ev/ang", 1.0)


def structure_from_ipi(
    cell: np.ndarray, positions: np.ndarray, species: np.ndarray, periodic: np.ndarray | None = None
) -> Structure:
    """A structure from what i-PI sends.

    :param cell: bohr, cell vectors as columns, shape (3, 3)
    :param positions: bohr, shape (n_atoms, 3)
    :param species: atomic numbers, shape (n_atoms,)
    :param periodic: along which cell vectors, shape (3,); None: all that are not zero
    :raises DarkforcesError: if the cell is left-handed and periodic, and that of the simulation
    """
    mask = None if periodic is None else np.asarray(periodic, bool).tobytes()
    return Structure(species, np.ascontiguousarray(positions / ANGSTROM), _cell_from_ipi(cell.tobytes(), mask))


@lru_cache(maxsize=64)  # cells seldom change from one step to the next; the same array is seen to be the same at once
def _cell_from_ipi(data: bytes, periodic: bytes | None) -> np.ndarray:
    cell = np.ascontiguousarray(np.frombuffer(data).reshape(3, 3).T / ANGSTROM)
    if periodic is not None:
        cell[~np.frombuffer(periodic, bool)] = 0.0
    with np.errstate(all="ignore"):  # what is not finite is found by the driver
        volume = np.linalg.det(cell)
    if volume < 0.0 and _is_simulated(cell):
        raise DarkforcesError(
            f"i-PI's cell is left-handed (volume {volume:.1f} Å³), and i-PI makes pressures of the wrong sign of that: "
            "let it start from a right-handed one, for which the signs of all cell vectors can be changed"
        )
    return cell


def _is_simulated(cell: np.ndarray) -> bool:
    """Tell whether a left-handed cell can be that of a simulation, and not a reflection that `<ffrotations>` undoes.

    i-PI keeps the first vector of its cells along x and the second in the xy plane. What a random rotation has
    reflected is turned as well, and what is only inverted has all vectors reversed.

    :param cell: one cell vector per row, shape (3, 3)
    """
    return not np.triu(cell, 1).any() and bool((np.diag(cell) > 0.0).any())


def reply_to_ipi(found: ComponentForces) -> Reply:
    """Convert the results for a structure to i-PI's units."""
    return Reply(
        found.energy * ELECTRONVOLT,
        found.forces * EV_PER_ANGSTROM,
        found.virial * ELECTRONVOLT,
        _extras(found),
    )


def _extras(found: ComponentForces) -> str:
    """Extras for i-PI, as JSON: energies in hartree, by the names that its own driver has for them."""
    parts = [] if found.disagreement is None else [found.disagreement.as_json()]
    for name, energies in (("energy_uncertainty", found.uncertainty), ("committee_pot", found.ensemble)):
        if energies is not None:
            parts.append(json.dumps({name: (energies * ELECTRONVOLT).tolist()}))
    return "{" + ", ".join(part[1:-1] for part in parts) + "}" if parts else ""
