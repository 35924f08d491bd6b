"""Frames at even intervals, relative to the centre of mass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np

from ..errors import DarkforcesError
from .io.trajectory import Block

CM2_PER_S = 1e-4  # of one Å²/ps
# Double precision numbers to keep in memory at a time: 128 MiB.
MEMORY = 2**24


def with_interval(blocks: Iterable[Block]) -> tuple[float, Iterator[Block]]:
    """The interval between frames in ps, and all of the blocks again.

    That it stays the same, and that values are finite, is what ``Trajectory.blocks(regular=True)`` sees to.

    :raises DarkforcesError: if there are less than two frames
    """
    iterator = iter(blocks)
    first: list[Block] = []
    times = np.empty(0)
    while len(times) < 2:
        block = next(iterator, None)
        if block is None:
            raise DarkforcesError(f"the trajectory has {len(times)} frame(s): expected at least two")
        first.append(block)
        times = np.concatenate([times, block.times])
    return float(times[1] - times[0]), chain(first, iterator)


def relative(values: np.ndarray, masses: np.ndarray, held: bool = False) -> np.ndarray:
    """Velocities or unwrapped positions (n, n_atoms, 3) relative to the centre of mass.

    A single atom stays as it is: nothing would be left of it. So do atoms that move relative to fixed ones.

    :param held: whether there are fixed atoms
    """
    if len(masses) == 1 or held:
        return values
    return values - np.tensordot(values, masses / masses.sum(), (1, 0))[:, None, :]


def species_in(symbols: Sequence[str] | np.ndarray) -> tuple[str, ...]:
    """Each species once, in the order of the file."""
    return tuple(dict.fromkeys(str(symbol) for symbol in symbols))


def check_atoms(n_atoms: int, symbols: Sequence[str] | np.ndarray, masses: np.ndarray) -> None:
    """Raise a DarkforcesError unless there is a symbol and a mass (amu) for each atom."""
    if not n_atoms == len(symbols) == len(masses):
        raise DarkforcesError(
            f"{len(symbols)} symbols and {len(masses)} masses were given for {n_atoms} atoms: expected one of each"
        )
    unknown = species_in(np.asarray(symbols)[~(np.asarray(masses) > 0)])
    if unknown:
        raise DarkforcesError(f"the mass of {', '.join(unknown)} is not known: expected one for each atom")


def with_errors(rows: Sequence[str], values: np.ndarray, errors: np.ndarray, unit: str) -> dict[str, np.ndarray]:
    """Curves (n_rows, n) and their standard errors for CSV, by names that end in the unit."""
    columns = {}
    for row, value, error in zip(rows, values, errors, strict=True):
        columns[f"{row}_{unit}"] = value
        columns[f"{row}_error_{unit}"] = error
    return columns
