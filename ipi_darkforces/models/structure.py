"""Structures, as models take them: elements, positions, cell. Units: Å."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeAlias

import ase
import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from ase.formula import parse
from ase.symbols import Symbols

from ..errors import DarkforcesError

# Two nuclei are never this close, and neither are an atom and its own periodic image.
SMALLEST_WIDTH = 1.0
# Far more than any simulation has; what is larger is a mistake, and would take all memory.
MOST_ATOMS = 2_000_000
_MOST_OF_ONE = 1.0  # Å, that a coordinate counts for in a distance of geometries

_RUN = re.compile("([A-Z][a-z]?)([0-9]*)")
# An element, a part and how often it is repeated, or parts that follow one another; as in ase.formula.
_Tree: TypeAlias = "str | tuple[_Tree, int] | list[_Tree]"
_WITHOUT_UNITS = re.compile("(?:[A-Z][a-z]?[0-9]*)+")
_LONGEST_WITH_UNITS = 10_000  # characters
_LONGEST_QUOTE = 80  # characters of what was given, in a message


@dataclass(frozen=True)
class Structure:
    """Atoms in a cell.

    :param species: atomic numbers, shape (n_atoms,)
    :param positions: Å, double precision, need not be wrapped into the cell, shape (n_atoms, 3)
    :param cell: Å, one cell vector per row, shape (3, 3). A vector of zeros means that the structure is not periodic
        along it (the convention of i-PI's own metatomic driver).
    :param charge: of all atoms together, e; for models that ask for it
    :param spin_multiplicity: 2 S + 1, likewise

    >>> import numpy as np, ipi_darkforces as dark
    >>> hydrogen = dark.Structure(np.array([1, 1]), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.74]]), np.zeros((3, 3)))
    >>> dark.load_model("pet-m").evaluate(hydrogen).direct.shape
    (2, 3)
    """

    species: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    charge: float = 0.0
    spin_multiplicity: float = 1.0

    @classmethod
    def from_ase(cls, atoms: ase.Atoms) -> Structure:
        """Convert ase.Atoms: periodic along the cell vectors for which `pbc` says so.

        Charge and spin multiplicity are what `atoms.info` has as ``charge`` and as ``spin_multiplicity`` or ``spin``,
        as for metatomic's calculator.

        :raises DarkforcesError: if they are no numbers
        """
        cell = np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)
        charge, multiplicity = _number(atoms, 0.0, "charge"), _number(atoms, 1.0, "spin_multiplicity", "spin")
        return cls(atoms.numbers.astype(np.int32), np.array(atoms.positions, dtype=float), cell, charge, multiplicity)

    @cached_property
    def periodic(self) -> np.ndarray:
        """Tell whether the structure repeats along each cell vector, shape (3,)."""
        return np.asarray(np.any(self.cell != 0.0, axis=1))

    @property
    def key(self) -> bytes:
        """Bytes that two structures share exactly if they are the same to the last bit; made anew each time."""
        state = (self.charge, self.spin_multiplicity)
        added = b"" if state == (0, 1) else repr(state).encode()
        return self.positions.tobytes() + self.cell.tobytes() + self.species.tobytes() + added

    @cached_property
    def volume(self) -> float:
        """Volume of the cell in Å³; zero unless all three directions are periodic."""
        return float(abs(np.linalg.det(self.cell)))

    def moved(self, positions: np.ndarray) -> Structure:
        """The same atoms at other positions, Å, shape (n_atoms, 3)."""
        return Structure(self.species, positions, self.cell, self.charge, self.spin_multiplicity)

    def check(self) -> None:
        """Raise a DarkforcesError that names atoms or cell vectors that cannot be used.

        :raises DarkforcesError: for NaN or infinite positions or cell, a cell that is (nearly) flat, or no atoms
        """
        if not len(self.species):
            raise DarkforcesError("the structure has no atoms: expected at least one")
        if not np.isfinite(self.positions).all():
            bad = np.flatnonzero(~np.isfinite(self.positions).all(axis=1))
            raise DarkforcesError(f"positions are NaN or infinite for {name_atoms(bad, self.species)}")
        _check_cell(self.cell.tobytes())


def _number(atoms: ase.Atoms, default: float, *names: str) -> float:
    """The first of these that `atoms.info` has."""
    given = next((atoms.info[name] for name in names if name in atoms.info), default)
    try:
        return float(given)
    except (TypeError, ValueError) as error:
        raise DarkforcesError(f"the structure's {names[0]} is {str(given)[:40]!r}: expected a number") from error


def square_distances(some: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Square distances of geometries: mean squares of the differences of coordinates.

    No coordinate counts for more than 1 Å: i-PI may move atoms to the other side of the cell.

    :param some: Å, shape (..., n_atoms, 3)
    :param positions: Å, shape (n_atoms, 3)
    :return: Å², shape (...)
    """
    squares: np.ndarray = np.minimum(np.square(some - positions), _MOST_OF_ONE**2).mean(axis=(-2, -1))
    return squares


@lru_cache(maxsize=64)  # cells seldom change from one step to the next
def _check_cell(data: bytes) -> None:
    cell = np.frombuffer(data).reshape(3, 3)
    if not np.isfinite(cell).all():
        raise DarkforcesError(f"the cell is NaN or infinite: {cell.tolist()} Å")
    vectors = cell[np.any(cell != 0.0, axis=1)]
    if len(vectors):
        # The width along a vector is what it has beyond the plane of the others: 1/norm of the reciprocal vector.
        independent = np.linalg.matrix_rank(vectors) == len(vectors)
        widths = 1.0 / np.linalg.norm(np.linalg.pinv(vectors), axis=0) if independent else np.zeros(1)
        if widths.min() < SMALLEST_WIDTH:
            raise DarkforcesError(
                f"the cell is too small: {widths.min():.3g} Å wide, expected at least {SMALLEST_WIDTH} Å "
                f"(cell vectors, Å: {np.round(vectors, 4).tolist()})"
            )


def name_atoms(indices: np.ndarray, species: np.ndarray) -> str:
    """Atoms in words: "atom 3 (O), atom 17 (H) and 4 more", counted from zero as ase and i-PI do."""
    named = ", ".join(f"atom {i} ({chemical_symbols[species[i]]})" for i in indices[:5])
    return named if len(indices) <= 5 else f"{named} and {len(indices) - 5} more"


def species_from_formula(formula: str) -> np.ndarray:
    """Atomic numbers in order, from a formula such as ``O64H128`` or ``(OH2)64``; D and T are hydrogen.

    :raises DarkforcesError: if the formula cannot be read, or has more atoms than any simulation
    """
    try:
        tree = _parsed(re.sub("[DT](?![a-z])", "H", formula))
        n_atoms = _count(tree)
        if not n_atoms:
            raise ValueError("no atoms")
        if n_atoms > MOST_ATOMS:
            raise DarkforcesError(
                f"species {formula[:_LONGEST_QUOTE]!r} has too many atoms: expected at most {MOST_ATOMS}"
            )
        return _written_out(tree)
    except (KeyError, ValueError, IndexError, RecursionError) as error:
        raise DarkforcesError(
            f"species {formula[:_LONGEST_QUOTE]!r} is not a formula: expected the elements in the order of the atoms, "
            "such as O64H128 or (OH2)64"
        ) from error


def _parsed(formula: str) -> _Tree:
    """A formula as ase's tree; nothing is written out before it is known how much that is.

    ase's parser takes a time that grows with the square of the length, which matters for long formulas of disorder:
    these have no parentheses.
    """
    if _WITHOUT_UNITS.fullmatch(formula):
        return [(symbol, int(count or 1)) for symbol, count in _RUN.findall(formula)]
    if len(formula) > _LONGEST_WITH_UNITS:
        raise ValueError("too long")
    tree: _Tree = parse(formula)
    return tree


def _count(tree: _Tree) -> int:
    if isinstance(tree, str):
        return 1
    if isinstance(tree, tuple):
        return _count(tree[0]) * tree[1]
    return sum(map(_count, tree))


def _written_out(tree: _Tree) -> np.ndarray:
    if isinstance(tree, str):
        return np.array([atomic_numbers[tree]], np.int32)
    if isinstance(tree, tuple):
        return np.tile(_written_out(tree[0]), tree[1])
    runs = [(part, 1) if isinstance(part, str) else part for part in tree]
    elements = [atomic_numbers[run[0]] for run in runs if isinstance(run[0], str)]
    if len(elements) == len(runs):
        return np.repeat(np.array(elements, np.int32), np.array([run[1] for run in runs], np.int64))
    return np.concatenate([_written_out(part) for part in tree])


def formula_from_species(species: np.ndarray) -> str:
    """The shortest formula that lists the atoms in order: a repeated unit where there is one, ``(OH2)64``."""
    n = len(species)
    for length in range(1, n + 1):
        if n % length == 0 and np.array_equal(np.tile(species[:length], n // length), species):
            break
    unit = str(Symbols(species[:length]))
    repeats = n // length
    if repeats == 1:
        return unit
    return f"({unit}){repeats}" if length > 1 else f"{unit}{repeats}"
