"""Closed paths in the space of all positions, along which conservative forces do no work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase.data import atomic_masses, chemical_symbols
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from ..errors import DarkforcesError
from ..models.structure import Structure, name_atoms
from ..models.structure_file import read_frames
from .bonds import bonded_atoms, nearest_images
from .structures import as_structure

# How much a molecule is stretched and compressed on its way.
_STRAIN = 0.04
# Angles at which the room around a turning molecule is measured, and its path is described.
_ANGLES = 36
# Å; a trajectory that ends this close to its beginning is closed: files have no more digits than that.
_CLOSED = 1e-3
_FEWEST_FRAMES = 4


@dataclass(frozen=True)
class ClosedPath:
    """A path that ends where it began.

    :param name: what moves, for people
    :param start: the structure at its beginning
    :param moving: indices of the atoms that move, shape (n_moving,)
    :param at: their positions, Å, shape (n, n_moving, 3), and the derivatives of these, for n values of a parameter
        that goes from 0 to 1
    """

    name: str
    start: Structure
    moving: np.ndarray
    at: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

    def structures(self, parameters: np.ndarray) -> tuple[list[Structure], np.ndarray]:
        """The structures at these values of the parameter (n,), and the velocities there, Å, shape (n, n_moving, 3)."""
        positions, velocities = self.at(parameters)
        structures = []
        for moved in positions:
            everything = self.start.positions.copy()
            everything[self.moving] = moved
            structures.append(replace(self.start, positions=everything))
        return structures, velocities


def turning_molecule(structure: Structure, name: str, atom: int | None = None) -> ClosedPath:
    """Closed path of a molecule that turns once about the axis of its largest moment of inertia, deformed on the way.

    Seen from the molecule, its atoms move along the other two axes, ± 4 % of what they are away from its centre: one is
    stretched when the other is compressed. All other atoms stay where they are.

    :param structure: with at least one molecule and something around it
    :param atom: one of the molecule's atoms, counted from zero; None: the molecule with the most room to turn in
    :raises DarkforcesError: if there is no such atom, or no molecule that can turn
    """
    molecules = bonded_atoms(structure)
    if atom is None:
        candidates = [m for m in molecules if 1 < len(m) < len(structure.species)]
        if not candidates:
            raise DarkforcesError(
                f"{name} has no molecule to turn, with other atoms around it (bonds by covalent radii): expected a "
                "liquid or a molecular crystal; or give a path of your own with --path"
            )
        molecule = max(candidates, key=lambda m: _room(structure, m))
    else:
        molecule = _molecule_of(structure, name, molecules, atom)
    return ClosedPath(_described(structure, molecule), structure, molecule, _turning(structure, molecule))


def _molecule_of(structure: Structure, name: str, molecules: list[np.ndarray], atom: int) -> np.ndarray:
    n = len(structure.species)
    if not 0 <= atom < n:
        raise DarkforcesError(f"{name} has no atom {atom}: expected 0 to {n - 1}")
    molecule = next(m for m in molecules if atom in m)
    if not 1 < len(molecule) < n:
        alone = "bonded to none of the others" if len(molecule) == 1 else "of a molecule that is all there is"
        raise DarkforcesError(
            f"{name_atoms(np.array([atom]), structure.species)} of {name} is {alone}: expected one of a molecule that "
            "can turn among others; or give a path of your own with --path"
        )
    return molecule


def _turning(structure: Structure, molecule: np.ndarray) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Positions and their derivatives, given the parameter."""
    # Whole, although it may lie across the boundary: seen from its first atom.
    first = structure.positions[molecule[0]]
    offsets = nearest_images(structure.positions[molecule] - first, structure)
    masses = atomic_masses[structure.species[molecule]]
    centre = masses @ offsets / masses.sum()
    shape = offsets - centre
    inertia = np.eye(3) * np.sum(masses * np.sum(shape**2, axis=1)) - (shape.T * masses) @ shape
    one, other, axis = np.linalg.eigh(inertia)[1].T  # by growing moment of inertia
    strain = _STRAIN * (np.outer(one, one) - np.outer(other, other))
    turn = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])

    def at(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        angles = 2.0 * np.pi * parameters
        rotations = Rotation.from_rotvec(np.outer(angles, axis)).as_matrix()
        sines, cosines = np.sin(angles)[:, None, None], np.cos(angles)[:, None, None]
        deformed = shape + sines * (shape @ strain)
        positions = np.einsum("nab,nib->nia", rotations, deformed)
        velocities = np.einsum("ab,nib->nia", turn, positions)
        velocities += np.einsum("nab,nib->nia", rotations, cosines * (shape @ strain))
        return first + centre + positions, 2.0 * np.pi * velocities

    return at


def _room(structure: Structure, molecule: np.ndarray) -> float:
    """The shortest distance to any other atom on the whole path, Å."""
    positions, _ = _turning(structure, molecule)(np.arange(_ANGLES) / _ANGLES)
    first = structure.positions[molecule[0]]
    # The nearest images as seen from the molecule, which is smaller than the cell.
    others = first + nearest_images(np.delete(structure.positions, molecule, axis=0) - first, structure)
    return float(cKDTree(others).query(positions.reshape(-1, 3))[0].min())


def _described(structure: Structure, molecule: np.ndarray) -> str:
    atoms = ", ".join(f"{chemical_symbols[structure.species[i]]} {i}" for i in molecule[:6])
    more = ", ..." if len(molecule) > 6 else ""
    return f"the molecule of {atoms}{more} turns; {_room(structure, molecule):.2f} Å to the nearest other atom"


def read_path(file: Path) -> ClosedPath:
    """A closed path through the frames of a trajectory: a periodic cubic spline.

    Atoms may have been wrapped into the cell in between: each moves to the nearest image of where it is next. The
    parameter is proportional to the length of the way in the space of all positions.

    :param file: at least four frames, of which the last is the same as the first
    :raises DarkforcesError: if it cannot be read, frames do not belong together, or the path is not closed
    """
    frames = [
        as_structure(atoms, f"structure {i} in '{file}'") for i, atoms in enumerate(read_frames(file, "path file"))
    ]
    if len(frames) < _FEWEST_FRAMES:
        raise DarkforcesError(
            f"path file '{file}' has {len(frames)} structures: expected at least {_FEWEST_FRAMES}, the last the same "
            "as the first"
        )
    start = frames[0]
    for i, frame in enumerate(frames):
        if not np.array_equal(frame.species, start.species):
            raise DarkforcesError(f"structure {i} in '{file}' has other atoms than the first")
        if not np.allclose(frame.cell, start.cell, rtol=0.0, atol=1e-6):
            raise DarkforcesError(f"structure {i} in '{file}' has another cell than the first: expected a fixed one")
    positions = _unwrapped(frames)
    _check_closed(positions, start, file)
    moving = np.flatnonzero(np.ptp(positions, axis=0).max(axis=1) > 0.0)
    lengths = np.sqrt(np.sum(np.diff(positions, axis=0) ** 2, axis=(1, 2)))
    kept = np.concatenate([[True], lengths > 0.0])
    way = np.concatenate([[0.0], np.cumsum(lengths)])[kept]
    if kept.sum() < _FEWEST_FRAMES:
        raise DarkforcesError(f"path file '{file}' goes nowhere: expected structures that differ from each other")
    points = positions[kept][:, moving]
    points[-1] = points[0]
    spline = CubicSpline(way / way[-1], points, bc_type="periodic")
    return ClosedPath(f"{len(frames)} frames of {file.name}", start, moving, lambda s: (spline(s), spline(s, 1)))


def _unwrapped(frames: list[Structure]) -> np.ndarray:
    """Positions without jumps across the boundary, Å, shape (n_frames, n_atoms, 3)."""
    positions = [frames[0].positions]
    for frame in frames[1:]:
        positions.append(positions[-1] + nearest_images(frame.positions - positions[-1], frame))
    return np.array(positions)


def _check_closed(positions: np.ndarray, start: Structure, file: Path) -> None:
    gaps = np.linalg.norm(positions[-1] - positions[0], axis=1)
    furthest = np.array([np.argmax(gaps)])
    if gaps.max() > _CLOSED:
        raise DarkforcesError(
            f"the path in '{file}' is not closed: {name_atoms(furthest, start.species)} ends {gaps.max():.3g} Å from "
            "where it began; expected the last structure to be the same as the first"
        )
