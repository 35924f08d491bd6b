"""Labelled geometries along dynamics, as they are kept on disk and trained on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from ..atomic import atomic_file
from ..errors import DarkforcesError
from ..models.structure import Structure


@dataclass(frozen=True)
class Trajectory:
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
        """One of the geometries."""
        return Structure(self.species, self.positions[frame], self.cell)

    def write(self, path: Path) -> None:
        """Write it: a whole file or none."""
        with atomic_file(path) as fresh, fresh.open("wb") as stream:
            np.savez(stream, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def read(cls, path: Path) -> Trajectory:
        """The trajectory in a file.

        :raises DarkforcesError: if the file is not one that `write` has made
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                values = {field.name: arrays[field.name] for field in fields(cls)}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise DarkforcesError(f"'{path}' holds no labels that can be read: remove it to make them anew") from error
        return cls(**{**values, "interval": float(values["interval"])})
