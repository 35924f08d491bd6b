"""Reference data: structures with the energies and forces that a model is judged against, or trained on.

Data sets call their labels what they like and give them in what units they like, and a slip in either is not an error
that anything later would notice: a model trained on hartree/bohr is merely 51 times too soft. So names are found among
those in use but never guessed between two, and `suspicious` says what looks like a slip of units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase
import numpy as np
from ase import units
from ase.data import atomic_numbers, covalent_radii
from ase.neighborlist import neighbor_list

from ..errors import DarkforcesError
from ..models.structure import Structure, name_atoms
from ..models.structure_file import read_frames
from ..models.units import ENERGY_UNITS, FORCE_UNITS
from .structures import as_structure

# What the labels are called where no name is given; upper and lower case are the same.
_ENERGY_KEYS = frozenset(
    {"energy", "total_energy", "totalenergy", "tot_energy", "totenergy", "etot", "e_tot", "potential_energy"}
    | {"pot_energy", "dft_energy", "energy_dft", "ref_energy", "energy_ref", "reference_energy", "qm_energy"}
)
_FORCE_KEYS = frozenset(
    {"forces", "force", "dft_forces", "dft_force", "forces_dft", "ref_forces", "ref_force", "forces_ref"}
    | {"reference_forces", "qm_forces"}
)

ORDINARY_FORCES = (0.03, 30.0)  # eV/Å, root mean square per component; thermal motion of most things gives about 1

# Shortest distances, in units of the sum of the covalent radii, are about one where atoms are bonded. Where all of a
# structure's are within 20 % of one of these factors instead, this is what its positions seem to be.
_LENGTH_SLIPS = {
    units.Angstrom / units.Bohr: "in bohr",
    units.Bohr / units.Angstrom: "in Å and converted from bohr nevertheless",
    units.Angstrom / units.nm: "in nm",
}
_TOLERANCE = 1.2
_REACH = _TOLERANCE * units.Angstrom / units.Bohr
_NOBLE_GASES = [atomic_numbers[symbol] for symbol in ("He", "Ne", "Ar", "Kr", "Xe", "Rn")]  # have no bonds to measure
_STRUCTURES_LOOKED_AT = 20


@dataclass(frozen=True)
class Reference:
    """A structure and what is known about it.

    :param structure: its atoms and cell
    :param energy: eV
    :param forces: eV/Å, shape (n_atoms, 3)
    :param name: where it is from, for messages: "structure 3 in 'val.xyz'"
    """

    structure: Structure
    energy: float
    forces: np.ndarray
    name: str


def read_reference(
    path: str | Path,
    energy_key: str | None = None,
    forces_key: str | None = None,
    energy_unit: str = "eV",
    force_unit: str = "eV/Angstrom",
    require_cell: bool = False,
) -> list[Reference]:
    """All structures in a file, with their energies and forces.

    :param path: extended XYZ, or anything else that ase reads; positions in Å
    :param energy_key: what the energies are called in the file; None: found among the names in use
    :param forces_key: likewise for the forces
    :param energy_unit: that of the file, one of `ENERGY_UNITS`
    :param force_unit: that of the file, one of `FORCE_UNITS`
    :param require_cell: refuse structures that are not periodic in all three directions
    :raises DarkforcesError: if the file or a label is missing, cannot be read, has the wrong shape or is not finite;
        the message says which file and which structure, counted from zero
    """
    electronvolts = _unit("energy", energy_unit, ENERGY_UNITS)
    electronvolts_per_angstrom = _unit("force", force_unit, FORCE_UNITS)
    references: list[Reference] = []
    for i, atoms in enumerate(read_frames(Path(path), "data file")):
        name = f"structure {i} in '{path}'"
        structure = as_structure(atoms, name, require_cell)
        labels = _labels(atoms)
        # Names are those of the first structure: what changes them halfway also changes what they mean.
        energy_key = energy_key or _find_key("energy", _ENERGY_KEYS, _scalars(labels), name)
        forces_key = forces_key or _find_key("forces", _FORCE_KEYS, _per_atom(labels, len(atoms)), name)
        energy = _label(labels, energy_key, "energy", (), list(_scalars(labels)), name)
        forces = _label(labels, forces_key, "forces", (len(atoms), 3), list(_per_atom(labels, len(atoms))), name)
        _check_forces(forces, structure, name)
        references.append(
            Reference(structure, float(energy) * electronvolts, forces * electronvolts_per_angstrom, name)
        )
    if not references:
        raise DarkforcesError(f"data file '{path}' is empty: it has no structures")
    return references


def _unit(kind: str, name: str, known: dict[str, float]) -> float:
    if name not in known:
        raise DarkforcesError(f"{kind} unit '{name}' is not known: expected {', '.join(known)}")
    return known[name]


def _labels(atoms: ase.Atoms) -> dict[str, np.ndarray]:
    """Everything in the file that has a name; ase keeps some of it as the results of a calculator."""
    results = {} if atoms.calc is None else atoms.calc.results
    values = {**atoms.info, **atoms.arrays, **results}
    return {key: np.asarray(value) for key, value in values.items() if key not in ("numbers", "positions")}


def _scalars(labels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key: value for key, value in labels.items() if value.shape == () and value.dtype.kind in "fiu"}


def _per_atom(labels: dict[str, np.ndarray], n_atoms: int) -> dict[str, np.ndarray]:
    return {key: value for key, value in labels.items() if value.shape[:1] == (n_atoms,) and value.dtype.kind in "fiu"}


def _find_key(kind: str, candidates: frozenset[str], labels: dict[str, np.ndarray], name: str) -> str:
    option = _option(kind)
    found = [key for key in labels if key.lower() in candidates]
    if not found:
        raise DarkforcesError(f"{name} has no {kind} under a usual name; {_there_are(list(labels), option)}")
    if len(found) > 1:
        raise DarkforcesError(f"{name} has {kind} under several names: {', '.join(found)}; choose one with {option}")
    return found[0]


def _label(
    labels: dict[str, np.ndarray], key: str, kind: str, shape: tuple[int, ...], others: list[str], name: str
) -> np.ndarray:
    """The values of one label, checked; `others` are the names that could be meant instead."""
    if key not in labels:
        raise DarkforcesError(f"{name} has no '{key}'; {_there_are(others, _option(kind))}")
    values = labels[key]
    if values.dtype.kind not in "fiu":
        raise DarkforcesError(f"the {kind} '{key}' of {name} cannot be read as numbers: {str(values)[:60]!r}")
    if values.shape != shape:
        expected = f"shape {shape}" if shape else "one number"
        raise DarkforcesError(f"the {kind} '{key}' of {name} have shape {values.shape}: expected {expected}")
    if not shape and not np.isfinite(values):
        raise DarkforcesError(f"the {kind} '{key}' of {name} is NaN or infinite")
    return values.astype(float)


def _check_forces(forces: np.ndarray, structure: Structure, name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(forces).all(axis=1))
    if len(bad):
        raise DarkforcesError(f"the forces of {name} are NaN or infinite for {name_atoms(bad, structure.species)}")


def _option(kind: str) -> str:
    return f"--{kind}-key"


def _there_are(keys: list[str], option: str) -> str:
    return f"there are: {', '.join(keys)}; choose with {option}" if keys else "there is nothing that could be meant"


def suspicious(references: Sequence[Reference]) -> str | None:
    """A likely slip of units, in one line; None if there is none.

    For those who have no model to compare with; with one, `accuracy.check_units` knows better.
    """
    found = [unusual_forces(references), atoms_too_close(references), atoms_too_far(references)]
    return "; ".join(message for message in found if message is not None) or None


def unusual_forces(references: Sequence[Reference]) -> str | None:
    """Warning of forces so small or large that they could be in another unit than eV/Å."""
    rms = float(np.sqrt(np.mean(np.concatenate([reference.forces for reference in references]) ** 2)))
    smallest, largest = ORDINARY_FORCES
    if smallest <= rms <= largest:
        return None
    if rms == 0.0:
        return "the forces are all zero"
    message = f"the forces have a root mean square of {rms:.3g} eV/Å"
    others = {unit: rms * factor for unit, factor in FORCE_UNITS.items() if unit != "eV/Angstrom"}
    unit = min(others, key=lambda unit: abs(np.log(others[unit])))
    if not smallest <= others[unit] <= largest:
        return f"{message}, and {smallest:g} to {largest:g} eV/Å would be ordinary"
    return f"{message}; that would be {others[unit]:.2f} eV/Å if they were in {unit}: give --force-unit {unit}"


def atoms_too_close(references: Sequence[Reference]) -> str | None:
    """Warning of atoms that overlap, as if positions were in a longer unit than Å."""
    return _length_slip(references, {factor: meaning for factor, meaning in _LENGTH_SLIPS.items() if factor < 1.0})


def atoms_too_far(references: Sequence[Reference]) -> str | None:
    """Warning of atoms without bonds, as if positions were in a shorter unit than Å; some structures are like that."""
    return _length_slip(references, {factor: meaning for factor, meaning in _LENGTH_SLIPS.items() if factor > 1.0})


def _length_slip(references: Sequence[Reference], slips: dict[float, str]) -> str | None:
    some = np.unique(np.linspace(0, len(references) - 1, _STRUCTURES_LOOKED_AT).astype(int))
    shortest = [ratio for i in some if (ratio := _shortest_distance(references[i].structure)) is not None]
    if not shortest:
        return None
    typical = float(np.median(shortest))
    for factor, meaning in slips.items():
        if 1.0 / _TOLERANCE < typical / factor < _TOLERANCE:
            return (
                f"the shortest distances between atoms are {typical:.2f} times what their covalent radii make one "
                f"expect: positions and cell seem to be {meaning}, expected Å"
            )
    return None


def _shortest_distance(structure: Structure) -> float | None:
    """The shortest distance in units of the sum of two covalent radii; None if no atom is anywhere near another."""
    bonding = ~np.isin(structure.species, _NOBLE_GASES)
    species, positions = structure.species[bonding], structure.positions[bonding]
    if len(species) == 0:
        return None
    radii = covalent_radii[species]
    # Nearest first: in nm there are millions of pairs within the last. And blown up: ase sorts atoms into bins of at
    # least 3 Å. vesin would do without such care, but loads torch, which nothing may before `load_model`.
    for reach, scale in ((0.15, 7.0), (0.7, 1.5), (_REACH, 1.0)):
        atoms = ase.Atoms(species, scale * positions, cell=scale * structure.cell, pbc=structure.periodic)
        i, j, distances = neighbor_list("ijd", atoms, scale * reach * radii)
        if len(distances):
            return float(np.min(distances / (radii[i] + radii[j]))) / scale
    return None
