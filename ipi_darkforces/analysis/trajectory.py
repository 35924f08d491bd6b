"""Trajectories as analysis sees them: blocks of frames, in ps and Å, whoever wrote the file and however large it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

Quantity = Literal["positions", "velocities"]
# Told how many of how many bytes have been read.
Progress = Callable[[int, int], None]
# Told, in one line, what is wrong with a file of which a part can be used.
Notice = Callable[[str], None]


@dataclass(frozen=True)
class Block:
    """Successive frames of a trajectory, few enough to be held in memory.

    :param times: ps, increasing, also from block to block, shape (n,)
    :param values: positions in Å as written (i-PI does not wrap them into the cell) or velocities in Å/ps,
        shape (n, n_atoms, 3)
    :param cells: Å, one cell vector per row, zeros if there is no cell, shape (n, 3, 3)
    """

    times: np.ndarray
    values: np.ndarray
    cells: np.ndarray


@dataclass(frozen=True)
class Trajectory:
    """Positions or velocities of a run, in a file.

    :param path: the file
    :param species: chemical symbols in the order of the atoms (i-PI's labels), shape (n_atoms,)
    :param quantity: ``positions`` or ``velocities``
    :param interval: between the first two frames, ps; None if there is only one
    """

    path: Path
    species: np.ndarray
    quantity: Quantity
    interval: float | None

    def blocks(
        self, progress: Progress | None = None, notice: Notice | None = None, regular: bool = False
    ) -> Iterator[Block]:
        """Read the file, block by block.

        Where the file is damaged, the frames that are whole are given and `notice` is told file and line.

        :param progress: told how far it is
        :param notice: told what is wrong with the file; by default it is logged as a warning
        :param regular: stop, with a notice, before the first frame that is not `interval` after the one before it;
            else the frames have their true times, whatever these are
        :raises DarkforcesError: if there is not one whole frame
        """
        raise NotImplementedError
