"""Pairs of geometries with their forces, as batches for metatrain's PET."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..models.neighbors.search import CPU, search
from .labels import LabelledTrajectory


@dataclass(frozen=True)
class Batch:
    """Pairs of geometries, of which the two of each pair follow one another.

    :param inputs: of metatrain's `PETBackend`
    :param cells: Å, shape (n_geometries, 3, 3)
    :param owners: the geometry of each atom, shape (n_atoms,)
    :param forces: eV/Å, shape (n_atoms, 3)
    :param weights: of atoms, see `weights`, shape (n_atoms,)
    """

    inputs: dict[str, torch.Tensor]
    cells: torch.Tensor
    owners: torch.Tensor
    forces: torch.Tensor
    weights: torch.Tensor


def weights(masses: np.ndarray) -> np.ndarray:
    """Weights of the forces on atoms in the loss: 1/m, with a mean of 1, shape (n_atoms,).

    The power of an error of the forces on an atom is in proportion to its thermal velocity, and its square to 1/m.
    """
    inverse = 1.0 / masses
    return np.asarray(inverse / inverse.mean())


def random_pairs(
    trajectories: Sequence[LabelledTrajectory], number: int, lag: float, rng: np.random.Generator
) -> list[tuple[LabelledTrajectory, int, int]]:
    """Pairs of frames of the same trajectory, anywhere in all of them: with each, the numbers of both frames.

    :param lag: fs between the two
    """
    steps = [max(1, min(len(each) - 1, round(lag / each.interval))) for each in trajectories]
    starts = np.array([len(each) - step for each, step in zip(trajectories, steps, strict=True)], float)
    chosen = rng.choice(len(trajectories), number, p=starts / starts.sum())
    firsts = [int(rng.integers(starts[which])) for which in chosen]
    return [(trajectories[k], first, first + steps[k]) for k, first in zip(chosen, firsts, strict=True)]


def batch(pairs: Sequence[tuple[LabelledTrajectory, int, int]], backend: Any, rng: np.random.Generator) -> Batch:
    """Make a batch of pairs, each rotated, and perhaps inverted, at random.

    :param backend: metatrain's `PETBackend`
    """
    frames = [(trajectory, frame) for trajectory, *both in pairs for frame in both]
    turns = np.repeat([_rotation(rng) for _ in pairs], 2, axis=0)
    centres, neighbours, shifts, positions, cells, forces = [], [], [], [], [], []
    first = 0
    for (trajectory, frame), turn in zip(frames, turns, strict=True):
        structure = trajectory.structure(frame)
        inside = structure.positions - structure.positions.mean(axis=0)
        found, images = search(inside, structure.cell, structure.periodic, backend.cutoff, CPU)
        centres += [found[:, 0] + first, found[:, 1] + first]
        neighbours += [found[:, 1] + first, found[:, 0] + first]
        shifts += [images, -images]
        positions.append(inside @ turn)
        cells.append(structure.cell @ turn)
        forces.append(trajectory.forces[frame] @ turn)
        first += len(inside)
    sizes = [len(trajectory.species) for trajectory, _ in frames]
    owners = torch.from_numpy(np.repeat(np.arange(len(frames)), sizes))
    cells_tensor = _single(cells)
    inputs = backend.preprocess(
        _single(np.concatenate(positions)),
        torch.from_numpy(np.concatenate(centres)),
        torch.from_numpy(np.concatenate(neighbours)),
        torch.from_numpy(np.concatenate([trajectory.species for trajectory, _ in frames]).astype(np.int64)),
        cells_tensor,
        torch.from_numpy(np.concatenate(shifts).astype(np.int64)),
        owners,
        1.0,
    )
    counted = np.concatenate([weights(trajectory.masses) for trajectory, _ in frames])
    return Batch(inputs, cells_tensor, owners, _single(np.concatenate(forces)), _single(counted))


def _single(values: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def _rotation(rng: np.random.Generator) -> np.ndarray:
    """An orthogonal matrix, uniformly distributed, half of them with an inversion."""
    matrix, upper = np.linalg.qr(rng.normal(size=(3, 3)))
    return np.asarray(matrix * np.sign(np.diag(upper)))
