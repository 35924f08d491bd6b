"""Labelled geometries along dynamics, as they are kept on disk and trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from ase import units

from ..atomic import atomic_file
from ..errors import DarkforcesError
from ..models.structure import Structure


@dataclass(frozen=True)
class LabelledTrajectory:
    """Consecutive geometries of one system with the forces of a teacher.

    :param species: atomic numbers, shape (n_atoms,)
    :param cell: Å, as `Structure` has it, shape (3, 3)
    :param masses: u, infinite for atoms that do not move, shape (n_atoms,)
    :param positions: Å, shape (n_frames, n_atoms, 3)
    :param velocities: Å/ps, shape (n_frames, n_atoms, 3)
    :param forces: eV/Å, conservative, shape (n_frames, n_atoms, 3)
    :param interval: fs, between frames
    """

    species: np.ndarray
    cell: np.ndarray
    masses: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray
    forces: np.ndarray
    interval: float

    def __len__(self) -> int:
        return len(self.positions)

    def structure(self, frame: int) -> Structure:
        """Structure of a frame."""
        return Structure(self.species, self.positions[frame], self.cell)

    def momenta(self, frame: int) -> np.ndarray:
        """Momenta of a frame, in ase's units, zero for atoms that do not move, shape (n_atoms, 3)."""
        masses = np.where(np.isfinite(self.masses), self.masses, 0.0)[:, None]
        return np.asarray(masses * self.velocities[frame] / (1000.0 * units.fs))

    def without_first(self) -> LabelledTrajectory:
        """All geometries but the first."""
        return replace(self, positions=self.positions[1:], velocities=self.velocities[1:], forces=self.forces[1:])

    @classmethod
    def joined(cls, pieces: Sequence[LabelledTrajectory]) -> LabelledTrajectory:
        """Join trajectories that follow one another, of the same system."""
        return replace(
            pieces[0],
            positions=np.concatenate([piece.positions for piece in pieces]),
            velocities=np.concatenate([piece.velocities for piece in pieces]),
            forces=np.concatenate([piece.forces for piece in pieces]),
        )

    def write(self, path: Path) -> None:
        """Write the file atomically."""
        with atomic_file(path) as fresh, fresh.open("wb") as stream:
            np.savez(stream, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def read(cls, path: Path) -> LabelledTrajectory:
        """The trajectory in a file.

        :raises DarkforcesError: if the file is not one that `write` has made
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                values = {field.name: arrays[field.name] for field in fields(cls)}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise DarkforcesError(f"'{path}' holds no labels that can be read: remove it to make them anew") from error
        return cls(**{**values, "interval": float(values["interval"])})
