"""Power spectra of velocities, averaged over overlapping segments of a trajectory (Welch's method)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import scipy.fft

from ..errors import DarkforcesError
from ..stats.batches import Batches
from .frames import MEMORY, check_atoms, relative, species_in
from .io.trajectory import Block
from .io.units import BOLTZMANN

# A number of segments from which the spread between them is known well enough.
ENOUGH_SEGMENTS = 8
SHORTEST = 32  # frames


def average_segments(
    blocks: Iterable[Block],
    symbols: Sequence[str] | np.ndarray,
    masses: np.ndarray,
    moving: np.ndarray | None,
    longest: int,
) -> tuple[Segments, np.ndarray]:
    """Power spectra of the longest segments of which there are enough, and temperatures (n_rows, n_frames) in K.

    How long the trajectory is shows only at its end: several lengths are followed at once, and the shorter ones given
    up when a longer one has enough segments.
    """
    running: list[Segments] = []
    temperatures: list[np.ndarray] = []
    for block in blocks:
        if not temperatures:
            check_atoms(block.values.shape[1], symbols, masses)
            weights = _weights(symbols, masses, moving)
            longest = max(SHORTEST, min(longest, MEMORY // (3 * len(masses))))
            lengths = [longest]
            while lengths[-1] > SHORTEST:
                lengths.append(max(SHORTEST, lengths[-1] // 2))
            running = [Segments(length, weights) for length in lengths]
        velocities = relative(block.values, masses, moving is not None).reshape(len(block.times), -1)
        temperatures.append(weights @ np.square(velocities).T)
        for i, segments in enumerate(running):
            segments.add(velocities)
            if segments.batches.count >= ENOUGH_SEGMENTS:
                del running[i + 1 :]
                break
    series = np.concatenate(temperatures, axis=1)
    with_segments = [segments for segments in running if segments.batches.count]
    if not with_segments:
        raise DarkforcesError(
            f"the trajectory has {series.shape[1]} frames: expected at least {SHORTEST} for a spectrum"
        )
    enough = [segments for segments in with_segments if segments.batches.count >= ENOUGH_SEGMENTS]
    return (enough or with_segments[-1:])[0], series


class Segments:
    """Power spectra of overlapping segments of one length of the trajectory.

    :param length: in frames
    :param weights: of the squared velocities in each row, shape (n_rows, 3 n_atoms)
    """

    def __init__(self, length: int, weights: np.ndarray):
        self.length = length
        self.batches = Batches()
        self.padded = 2 * scipy.fft.next_fast_len(length, real=True)
        self._window = np.hanning(length + 1)[:-1]
        self.window_energy = float(np.square(self._window).sum())
        self.window_correlation = scipy.fft.irfft(np.abs(scipy.fft.rfft(self._window, self.padded)) ** 2, self.padded)
        self._weights = weights
        # Segments of one component lie together: that is how they are transformed.
        self._buffer = np.empty((weights.shape[1], length))
        self._filled = 0

    def add(self, velocities: np.ndarray) -> None:
        """Successive frames, shape (n, 3 n_atoms)."""
        start = 0
        while start < len(velocities):
            frames = velocities[start : start + self.length - self._filled]
            self._buffer[:, self._filled : self._filled + len(frames)] = frames.T
            self._filled += len(frames)
            start += len(frames)
            if self._filled == self.length:
                self.batches.add(self._power())
                half = self.length // 2
                self._buffer[:, : self.length - half] = self._buffer[:, half:].copy()
                self._filled = self.length - half

    def _power(self) -> np.ndarray:
        """Squared transforms of the segment, summed over the components of each row, shape (n_rows, n_wavenumbers)."""
        power = np.zeros((len(self._weights), self.padded // 2 + 1))
        # Few components at a time: the transforms stay in the cache.
        for start in range(0, len(self._buffer), 16):
            part = slice(start, start + 16)
            transform = scipy.fft.rfft(self._buffer[part] * self._window, self.padded, axis=1)
            power += self._weights[:, part] @ (np.square(transform.real) + np.square(transform.imag))
        return power


def _weights(symbols: Sequence[str] | np.ndarray, masses: np.ndarray, moving: np.ndarray | None) -> np.ndarray:
    """Factors from squared velocities in Å²/ps² to temperatures, shape (n_rows, 3 n_atoms)."""
    rows = [np.ones(len(masses), dtype=bool), *(np.asarray(symbols) == s for s in species_in(symbols))]
    weights = [np.where(row, masses, 0.0) / (3.0 * BOLTZMANN * degrees(row, masses, moving)) for row in rows]
    return np.repeat(np.array(weights), 3, axis=1)


def degrees(of_row: np.ndarray, masses: np.ndarray, moving: np.ndarray | None) -> float:
    """A third of the degrees of freedom of some of the atoms, N_s - M_s / M; see `spectra`."""
    if moving is not None:
        return float(moving[of_row].sum() / 3.0)
    return float(of_row.sum() - (masses[of_row].sum() / masses.sum() if len(masses) > 1 else 0.0))
