"""Heating by the impulses of multiple time stepping, predicted from one run under conservative forces.

An impulse of the slow forces every M steps of dt is the conservative force and a perturbation that oscillates with the
period τ = M dt and its fractions: over the steps n, h_n = M if M divides n, else 0, is 1 + Σ_{k=1}^{M-1} exp(2πikn/M).
What a perturbation h(t) f_slow takes up, linear response says from the equilibrium fluctuations of its power
w = f_slow · v: forces that depend on positions alone change the canonical distribution by β ∫ h w dt, so that
⟨h(t) w(t)⟩ = β ∫_0^∞ h(t) h(t-s) ⟨w(s) w(0)⟩ ds, whether or not the forces are the gradient of an energy (R. Kubo,
J. Phys. Soc. Jpn. 12, 570 (1957), section 2, for a general perturbation). Its mean over time is the heating::

    P(M) = β/2 Σ_{k=1}^{M-1} S(2πk/τ),    S(ω) = dt Σ_n ⟨w(n dt) w(0)⟩ cos(ω n dt)

without a parameter to be fitted. S is the two-sided power spectrum, periodic in 2π/dt: of the harmonics of the impulse
frequency, k and M - k are one. In the limit of short steps this is β Σ_{k≥1} S(2πk/τ). Each atom's part of it is the
cross-spectrum of its own power with that of all. Atoms far apart add noise and nothing else where vibrations are local,
as in liquids: summed over pairs of neighbours, errors of water are less than half. That is done only if the sum over
all pairs does not contradict it, as it would where vibrations are those of a whole crystal.

It holds where the perturbation is small and the vibrations forget their phase: not for a vibration so sharp that
impulses drive it as a parametric oscillator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
from scipy.sparse import csr_array

from ..analysis.drift import temperature_drift
from ..analysis.io.units import BOLTZMANN_EV
from ..stats.estimates import Estimate

# Resolves 170 cm⁻¹, less than the width of most bands of a liquid, and gives a dozen nearly independent pieces in 2 ps.
_SEGMENT = 0.3  # ps
_FEWEST_SEGMENTS = 4
# An interval that the truth is outside of so seldom contradicts, where fifteen strides are looked at.
_CONTRADICTED = 0.998
# Correlation of the spectra of neighbouring segments that overlap by half, with Hann's window: (1/6)² (P. D. Welch,
# IEEE Trans. Audio Electroacoust. 15, 70 (1967)).
_OVERLAPPING = 1.0 / 36.0
WAVENUMBER = 33.35640951981521  # cm⁻¹, of one oscillation in a ps


@dataclass(frozen=True)
class Power:
    """Power of the slow forces along a run under conservative forces.

    :param values: f_slow · v of each atom at every step, eV/ps, shape (n_steps, n_atoms)
    :param timestep: ps
    :param temperature: K, of the run
    :param species: atomic numbers, shape (n_atoms,)
    :param neighbours: 1 for each pair of neighbours and each atom with itself, else 0, shape (n_atoms, n_atoms)
    :param moving: part of the coordinates that are not fixed
    """

    values: np.ndarray
    timestep: float
    temperature: float
    species: np.ndarray
    neighbours: csr_array
    moving: float = 1.0


@dataclass(frozen=True)
class Heating:
    """Heating of one stride, without a thermostat.

    :param stride: M
    :param total: meV/atom/ps
    :param species: the part that each species takes up, by chemical symbol, meV/atom/ps of all atoms; adds up
    :param harmonics: cm⁻¹ of the harmonics of the impulse frequency up to half the frequency of steps, shape (n,)
    :param shares: meV/atom/ps, what each harmonic contributes, shape (n,)
    :param of_all_pairs: as the total, but from the power of all atoms, not that of neighbours, meV/atom/ps
    :param moving: part of the coordinates that are not fixed
    """

    stride: int
    total: Estimate
    species: dict[str, Estimate]
    harmonics: np.ndarray
    shares: np.ndarray
    of_all_pairs: Estimate
    moving: float = 1.0

    @property
    def rate(self) -> Estimate:
        """Drift of the temperature, K/ps; see `temperature_drift`."""
        return temperature_drift(self.total, self.moving)

    @property
    def dominant(self) -> float | None:
        """The harmonic that contributes most, cm⁻¹; None for a stride of 1, which has none."""
        return float(self.harmonics[self.shares.argmax()]) if len(self.shares) else None


def fewest_steps(timestep: float) -> int:
    """Steps that a run must have at least, for `heating` to know errors.

    :param timestep: ps
    """
    return (_FEWEST_SEGMENTS + 1) * _length(timestep) // 2 + 1


def heating(power: Power, strides: Sequence[int]) -> list[Heating]:
    """Heating of each stride, with errors from the scatter of the segments of the run.

    :param power: of at least `fewest_steps`
    :param strides: M of each
    """
    fractions = np.array(sorted({k / M for M in strides for k in range(1, M // 2 + 1)}))
    near, far = _cross_spectra(power, fractions)
    of_neighbours = [_of_stride(M, fractions, near, near + far, power) for M in strides]
    if all(_agrees(each) for each in of_neighbours):
        return of_neighbours
    return [_of_stride(M, fractions, near + far, near + far, power) for M in strides]


def _of_stride(M: int, fractions: np.ndarray, spectra: np.ndarray, of_all: np.ndarray, power: Power) -> Heating:
    k = np.arange(1, M // 2 + 1)
    own = np.searchsorted(fractions, k / M)
    weights = np.where(2 * k == M, 0.5, 1.0)[:, None]  # k and M - k are one
    parts = weights * spectra[:, own]
    by_species = {
        chemical_symbols[z]: _mean_of_segments(parts[:, :, i].sum(axis=1))
        for i, z in enumerate(np.unique(power.species))
    }
    return Heating(
        M,
        _mean_of_segments(parts.sum(axis=(1, 2))),
        by_species,
        WAVENUMBER * k / (M * power.timestep),
        parts.sum(axis=2).mean(axis=0),
        _mean_of_segments((weights * of_all[:, own]).sum(axis=(1, 2))),
        power.moving,
    )


def _agrees(of_neighbours: Heating) -> bool:
    """Tell whether the sum over all pairs leaves room for that over neighbours.

    Errors of a power spectrum are in proportion to it: one that is too small by chance has too small an error.
    """
    near, all_pairs = of_neighbours.total, of_neighbours.of_all_pairs
    if not all_pairs.error:
        return True
    margin = all_pairs.times(max(1.0, near.value / all_pairs.value)).margin(_CONTRADICTED)
    return margin is None or abs(near.value - all_pairs.value) <= margin


def spectrum(power: Power, most: float) -> tuple[np.ndarray, np.ndarray]:
    """Heating that an impulse frequency with a harmonic there gets from it: β S/N against wavenumber.

    :param most: cm⁻¹, where it ends
    :return: cm⁻¹ and meV/atom/ps, both of shape (n,)
    """
    length = _length(power.timestep)
    wavenumbers = np.arange(0.0, most, WAVENUMBER / (length * power.timestep))
    near, far = _cross_spectra(power, wavenumbers * power.timestep / WAVENUMBER)
    return wavenumbers, (near + far).sum(axis=2).mean(axis=0)


def _length(timestep: float) -> int:
    """Steps of a segment."""
    return max(16, round(_SEGMENT / timestep))


def _cross_spectra(power: Power, fractions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """β S/N of the power of each species with that of others, in segments that overlap by half, with Hann's window.

    :param fractions: frequencies, in those of the steps, shape (n_frequencies,)
    :return: with neighbours, and with all others, meV/atom/ps, both of shape (n_segments, n_frequencies, n_species)
    """
    length = _length(power.timestep)
    window = np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
    waves = np.exp(-2j * np.pi * np.outer(fractions, np.arange(length))) * window
    scale = 1000.0 * power.timestep / (np.sum(window**2) * BOLTZMANN_EV * power.temperature * len(power.species))
    members = (power.species[:, None] == np.unique(power.species)).astype(float)
    near, far = [], []
    for begin in range(0, len(power.values) - length + 1, length // 2):
        amplitudes = waves @ power.values[begin : begin + length]
        of_neighbours = (power.neighbours @ amplitudes.conj().T).T
        of_others = amplitudes.conj().sum(axis=1, keepdims=True) - of_neighbours
        near.append((amplitudes * of_neighbours).real @ members)
        far.append((amplitudes * of_others).real @ members)
    return scale * np.array(near), scale * np.array(far)


def _mean_of_segments(values: np.ndarray) -> Estimate:
    """Mean of what segments say (n,), which are independent but for the half that neighbours share."""
    n = len(values)
    error = values.std(ddof=1) * np.sqrt((1.0 + 2.0 * _OVERLAPPING) / n)
    return Estimate(float(values.mean()), float(error), n - 1.0)
