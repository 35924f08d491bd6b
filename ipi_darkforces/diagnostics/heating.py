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
cross-spectrum of its own power with that of all.

It holds where the perturbation is small and the vibrations forget their phase: not for a vibration so sharp that
impulses drive it as a parametric oscillator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from ..analysis.units import BOLTZMANN_EV
from ..stats.estimates import Estimate

# Resolves 170 cm⁻¹, less than the width of most bands of a liquid, and gives a dozen nearly independent pieces in 2 ps.
_SEGMENT = 0.3  # ps
_FEWEST_SEGMENTS = 4
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
    :param moving: part of the coordinates that are not fixed
    """

    values: np.ndarray
    timestep: float
    temperature: float
    species: np.ndarray
    moving: float = 1.0


@dataclass(frozen=True)
class Heating:
    """Heating of one stride, without a thermostat.

    :param stride: M
    :param total: meV/atom/ps
    :param species: the part that each species takes up, by chemical symbol, meV/atom/ps of all atoms; adds up
    :param harmonics: cm⁻¹ of the harmonics of the impulse frequency up to half the frequency of steps, shape (n,)
    :param shares: meV/atom/ps, what each harmonic contributes, shape (n,)
    :param moving: part of the coordinates that are not fixed
    """

    stride: int
    total: Estimate
    species: dict[str, Estimate]
    harmonics: np.ndarray
    shares: np.ndarray
    moving: float = 1.0

    @property
    def rate(self) -> Estimate:
        """K/ps: the drift of the temperature, by 3 k_B for each atom that moves."""
        return self.total.times(1e-3 / (3.0 * BOLTZMANN_EV * self.moving))

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
    fractions = sorted({(k / M) for M in strides for k in range(1, M // 2 + 1)})
    elements = np.unique(power.species)
    spectra = _cross_spectra(power, np.array(fractions), elements)
    scale = 1000.0 / (BOLTZMANN_EV * power.temperature * len(power.species))
    found = []
    for M in strides:
        k = np.arange(1, M // 2 + 1)
        own = np.searchsorted(fractions, k / M)
        weights = np.where(2 * k == M, 0.5, 1.0)  # k and M - k are one
        parts = scale * weights[None, :, None] * spectra[:, own]
        shares = parts.sum(axis=2).mean(axis=0)
        by_species = {
            chemical_symbols[z]: _mean_of_segments(parts[:, :, i].sum(axis=1)) for i, z in enumerate(elements)
        }
        harmonics = WAVENUMBER * k / (M * power.timestep)
        total = _mean_of_segments(parts.sum(axis=(1, 2)))
        found.append(Heating(M, total, by_species, harmonics, shares, power.moving))
    return found


def spectrum(power: Power, most: float) -> tuple[np.ndarray, np.ndarray]:
    """Heating that an impulse frequency with a harmonic there gets from it: β S/N against wavenumber.

    :param most: cm⁻¹, where it ends
    :return: cm⁻¹ and meV/atom/ps, both of shape (n,)
    """
    length = _length(power.timestep)
    wavenumbers = np.arange(0.0, most, WAVENUMBER / (length * power.timestep))
    values = _cross_spectra(power, wavenumbers * power.timestep / WAVENUMBER, np.unique(power.species))
    scale = 1000.0 / (BOLTZMANN_EV * power.temperature * len(power.species))
    return wavenumbers, scale * values.sum(axis=2).mean(axis=0)


def _length(timestep: float) -> int:
    """Steps of a segment."""
    return max(16, round(_SEGMENT / timestep))


def _cross_spectra(power: Power, fractions: np.ndarray, elements: np.ndarray) -> np.ndarray:
    """Of the power of each species with that of all, in segments that overlap by half, with Hann's window.

    :param fractions: frequencies, in those of the steps, shape (n_frequencies,)
    :param elements: atomic numbers, shape (n_species,)
    :return: eV²/ps, shape (n_segments, n_frequencies, n_species)
    """
    length = _length(power.timestep)
    window = np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
    waves = np.exp(-2j * np.pi * np.outer(fractions, np.arange(length))) * window
    sums = np.stack([power.values[:, power.species == z].sum(axis=1) for z in elements], axis=1)
    begins = range(0, len(sums) - length + 1, length // 2)
    amplitudes = np.array([waves @ sums[begin : begin + length] for begin in begins])
    products = (amplitudes * amplitudes.sum(axis=2, keepdims=True).conj()).real
    return products * power.timestep / np.sum(window**2)


def _mean_of_segments(values: np.ndarray) -> Estimate:
    """Mean of what segments say (n,), which are independent but for the half that neighbours share."""
    n = len(values)
    error = values.std(ddof=1) * np.sqrt((1.0 + 2.0 * _OVERLAPPING) / n)
    return Estimate(float(values.mean()), float(error), n - 1.0)
