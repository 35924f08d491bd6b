"""Velocity autocorrelation, its spectrum, and diffusion.

Conventions. Velocities and positions are relative to the centre of mass of all atoms. The velocity autocorrelation
function of a species s is weighted by mass and given as a temperature,

    c_vv(t) = Σ_{i∈s} m_i ⟨v_i(0)·v_i(t)⟩ / (3 k_B (N_s - M_s / M)),

where M_s / M, the share of the species in the total mass, is its share of the three degrees of freedom of the centre of
mass: c_vv(0) is the kinetic temperature of the species (i-PI's convention with ``fixcom``). Where atoms are fixed, only
the others count, relative to these, and how many of their coordinates move takes the place of 3 (N_s - M_s / M).
``all`` is all atoms; since its degrees of freedom count alike, it is the density of vibrational states of a harmonic
system. The paper (section 4.4, figure 3) does not say whether its velocities are weighted: for one species it makes no
difference.

The spectrum ĉ_vv is the one-sided Fourier transform against the wavenumber ν̃ = ω / (2π c), in K cm, so that
∫_0^∞ ĉ_vv dν̃ = c_vv(0) = T, of frames weighted by the square of Hann's window. Its limit at zero gives the diffusion
coefficient of a species of mass m,

    D = 1/3 ∫_0^∞ ⟨v(0)·v(t)⟩ dt = k_B / (4 c m) ĉ_vv(0)      (velocities per atom, D. Frenkel and B. Smit,
                                                              Understanding Molecular Simulation, eq. 4.4.11)

which is also a sixth of the slope of the mean squared displacement (eq. 4.4.9 there). Both are relative to the centre
of mass, which makes them smaller by 1/N for N independent particles, and not corrected for the size of the cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.constants
import scipy.fft

from ..stats import estimates as statistics
from ..stats.batches import curve_errors, estimate, standard_errors, widening
from ..stats.estimates import Estimate, json_of
from . import peaks
from .frames import CM2_PER_S, species_in, with_errors, with_interval
from .io.trajectory import Block
from .io.units import BOLTZMANN
from .segments import SHORTEST, average_segments, degrees
from .temperatures import ALL

LIGHT = scipy.constants.c * 1e-10  # cm/ps

LONGEST = 16.0  # ps, of a segment
# Nothing vibrates much faster than O-H (cm⁻¹), in steps by the mass of the lightest atom (amu).
FASTEST = ((1.5, 4000.0), (3.0, 3000.0))
# Share of the kinetic energy in the upper tenth of the spectrum that tells that faster motion was folded in.
FOLDED = 0.03
# Share of c_vv(0), on average over some lags, that counts as nothing.
DECAYED = 0.01
# Share of c_vv(0) in which noise hides whether it has decayed.
NOISY = 0.03
# Share of c_vv(0) on average over the last quarter of the lags, signs and all, that is not nothing.
LEFT = 0.02
# Share of the lags within which c_vv must have decayed for the limit at zero to be known.
UNDECAYED = 0.75


@dataclass(frozen=True)
class Spectra:
    """Velocity autocorrelation of a run and what follows from it; conventions as in the docstring of the module.

    :param rows: what the rows of the arrays are: ``all``, then each species
    :param wavenumbers: cm⁻¹, shape (n,)
    :param spectrum: ĉ_vv in K cm, shape (n_rows, n)
    :param spectrum_errors: standard errors (see `curve_errors`), NaN if not known, shape (n_rows, n)
    :param lags: ps, shape (m,)
    :param correlation: c_vv in K, shape (n_rows, m)
    :param correlation_errors: standard errors (see `curve_errors`), NaN if not known, shape (n_rows, m)
    :param temperatures: K, for each row, the mean over all frames; c_vv(0), the area of the spectrum, is one in which
        frames in the middle of a segment count more
    :param diffusion: Å²/ps, from ω → 0, for each species
    :param bands: cm⁻¹, positions of the bands of each row by their names (see `peaks`); None for those not seen
    :param duration: of the trajectory, ps
    :param interval: between frames, ps
    :param segment: length of the stretches of time whose spectra are averaged, ps
    :param n_segments: how many of them there were; neighbours overlap by half
    :param remarks: what a reader must know
    """

    name: str
    rows: tuple[str, ...]
    wavenumbers: np.ndarray
    spectrum: np.ndarray
    spectrum_errors: np.ndarray
    lags: np.ndarray
    correlation: np.ndarray
    correlation_errors: np.ndarray
    temperatures: dict[str, Estimate]
    diffusion: dict[str, Estimate]
    bands: dict[str, dict[str, Estimate | None]]
    duration: float
    interval: float
    segment: float
    n_segments: int
    remarks: tuple[str, ...]

    @property
    def resolution(self) -> float:
        """Width of a sharp line in the spectrum, at half its height, in cm⁻¹: that of the Hann window."""
        return _resolution(self.segment)

    def as_json(self) -> dict[str, object]:
        """JSON values with standard errors, units in the names; the curves are in `columns`."""
        return {
            "name": self.name,
            "picoseconds": self.duration,
            "interval_ps": self.interval,
            "segment_ps": self.segment,
            "segments": self.n_segments,
            "resolution_per_cm": self.resolution,
            "temperature_K": {row: value.as_json() for row, value in self.temperatures.items()},
            "diffusion_A2_per_ps": {row: value.as_json() for row, value in self.diffusion.items()},
            "diffusion_cm2_per_s": {row: value.times(CM2_PER_S).as_json() for row, value in self.diffusion.items()},
            "bands_per_cm": {
                row: {name: json_of(band) for name, band in bands.items()} for row, bands in self.bands.items()
            },
            "remarks": list(self.remarks),
        }

    def columns(self) -> dict[str, np.ndarray]:
        """The spectrum, for CSV: arrays of one length by their names, with units."""
        return {
            "wavenumber_per_cm": self.wavenumbers,
            **with_errors(self.rows, self.spectrum, self.spectrum_errors, "K_cm"),
        }

    def correlation_columns(self) -> dict[str, np.ndarray]:
        """The autocorrelation function, for CSV: arrays of one length by their names, with units."""
        return {"lag_ps": self.lags, **with_errors(self.rows, self.correlation, self.correlation_errors, "K")}


def spectra(
    name: str,
    blocks: Iterable[Block],
    symbols: Sequence[str] | np.ndarray,
    masses: np.ndarray,
    moving: np.ndarray | None = None,
) -> Spectra:
    """Velocity autocorrelation and its spectrum by Welch's method: Hann window, segments that overlap by half.

    Segments are as long as leaves at least eight of them, 16 ps at most; a long segment resolves narrow lines and
    comes close to ω = 0, many segments have small error bars. Each is padded by zeros to twice its length, so that the
    inverse transform of its spectrum, divided by the autocorrelation of the window, is c_vv without any bias
    (Wiener-Khinchin).

    :param blocks: velocities in Å/ps at even intervals
    :param symbols: chemical symbol of each atom, shape (n_atoms,)
    :param masses: amu, shape (n_atoms,)
    :param moving: how many coordinates of each atom move, where others are fixed, shape (n_atoms,); None: no atoms are
        fixed
    :raises DarkforcesError: for less than 32 frames, uneven intervals, NaN, or lists of atoms that do not match
    """
    interval, blocks = with_interval(blocks)
    rows = (ALL, *species_in(symbols))
    collected, series = average_segments(blocks, symbols, masses, moving, max(SHORTEST, round(LONGEST / interval)))
    power = collected.batches.mean
    means = collected.batches.means
    wavenumbers = scipy.fft.rfftfreq(collected.padded, interval * LIGHT)
    density = 2.0 * LIGHT * interval / collected.window_energy
    n_lags = collected.length // 2

    def correlation(values: np.ndarray) -> np.ndarray:
        return scipy.fft.irfft(values, collected.padded)[..., :n_lags] / collected.window_correlation[:n_lags]

    errors, freedom = standard_errors(means)
    average, averages = correlation(power), np.array([correlation(batch) for batch in means])
    at_zero, undecayed = _limits_at_zero(average, averages, interval)
    folding = _folding(interval, wavenumbers, power[0], masses)
    remarks: tuple[str, ...] = (folding,) if folding else ()
    if np.isnan(errors).any():
        remarks += ("too short for error bars",)
    if undecayed[1:].any():
        slow = ", ".join(row for row, still in zip(rows[1:], undecayed[1:], strict=True) if still)
        remarks += (f"c_vv of {slow} has not decayed within {n_lags * interval:.3g} ps: too short for D from ω → 0",)
    return Spectra(
        name=name,
        rows=rows,
        wavenumbers=wavenumbers,
        spectrum=density * power,
        spectrum_errors=density * widening(freedom) * errors,
        lags=interval * np.arange(n_lags),
        correlation=average,
        correlation_errors=curve_errors(averages),
        temperatures=dict(zip(rows, map(statistics.mean, series), strict=True)),
        diffusion={
            row: value.times(_diffusion_per_density(row, symbols, masses, moving))
            for row, value in zip(rows[1:], at_zero[1:], strict=True)
        },
        bands={
            row: {} if folding else _bands(wavenumbers, power[i], means[:, i], interval * collected.length, symbols)
            for i, row in enumerate(rows)
        },
        duration=interval * (series.shape[1] - 1),
        interval=interval,
        segment=interval * collected.length,
        n_segments=collected.batches.count,
        remarks=remarks,
    )


def _resolution(segment: float) -> float:
    """Resolution in cm⁻¹ of a segment in ps."""
    return 1.44 / (segment * LIGHT)


def _bands(
    wavenumbers: np.ndarray,
    power: np.ndarray,
    means: np.ndarray,
    segment: float,
    symbols: Sequence[str] | np.ndarray,
) -> dict[str, Estimate | None]:
    spectrum = peaks.Sampled(wavenumbers, power, means, _resolution(segment))
    return {name: peaks.position(spectrum, band) for name, band in peaks.bands_of(symbols).items()}


def _limits_at_zero(average: np.ndarray, averages: np.ndarray, interval: float) -> tuple[list[Estimate], np.ndarray]:
    """ĉ_vv at ω → 0 of each row, in K cm; and for which rows it is not known, as c_vv has not decayed, shape (n_rows,).

    :param average: c_vv in K, shape (n_rows, n_lags)
    :param averages: the same of each batch, shape (n_batches, n_rows, n_lags)
    """
    n_lags = average.shape[1]
    decay = [_decay(*pair) for pair in zip(average, standard_errors(averages)[0], strict=True)]
    windows = np.array([_window(each, n_lags) for each in decay])
    values = _at_zero(average, windows, interval)
    errors, freedom = standard_errors(_at_zero(averages, windows, interval))
    # What comes after the last lag is missing from the limit at zero, and no spread between segments shows it.
    # Vibrations that do not decay cancel.
    left = np.abs(average[:, -(n_lags // 4) :].mean(axis=1)) > LEFT * average[:, 0]
    undecayed = left & (np.array(decay) > UNDECAYED * n_lags)
    errors = np.where(undecayed, np.nan, errors)
    return [estimate(*pair, freedom) for pair in zip(values, errors, strict=True)], undecayed


def _at_zero(correlation: np.ndarray, windows: np.ndarray, interval: float) -> np.ndarray:
    """ĉ_vv at ω → 0 in K cm, shape (..., n_rows), from c_vv in K up to half a segment, shape (..., n_rows, m).

    The window of the segments would take from c_vv before it has decayed, and smear out what the spectrum is at ω = 0
    over the first wavenumbers.

    :param windows: for each row, see `_window`, shape (n_rows, m)
    """
    both = np.where(np.arange(windows.shape[1]) > 0, 2.0, 1.0) * windows  # and negative times
    return 2.0 * LIGHT * interval * np.einsum("...rm,rm->...r", correlation, both)


def _decay(correlation: np.ndarray, errors: np.ndarray) -> int:
    """The lag from which on c_vv, shape (m,), is down to a hundredth of c_vv(0) or lost in its noise; m if it is not.

    By a running mean of its size (D. N. Politis, J. Nonparametr. Stat. 15, 517 (2003)). Where there is too much noise,
    it is not known: m, too.

    :param errors: standard errors of c_vv, NaN if not known, shape (m,)
    """
    m = len(correlation)
    several = max(1, m // 16)
    noise = 2.0 * float(np.nan_to_num(errors[m // 2 :]).mean())
    if noise > NOISY * correlation[0]:
        return m
    size = np.convolve(np.abs(correlation), np.full(several, 1.0 / several), mode="valid")
    decayed = np.flatnonzero(size < max(DECAYED * correlation[0], noise))
    return max(several, int(decayed[0])) if len(decayed) else m


def _window(decay: int, m: int) -> np.ndarray:
    """Window in which c_vv is integrated, shape (m,): in full until it has decayed, then less and less to twice that.

    It falls smoothly, so that vibrations that have not decayed cancel (D. N. Politis and J. P. Romano, J. Time Ser.
    Anal. 16, 67 (1995)).
    """
    flat = max(1, min(decay, m // 2))
    return 0.5 + 0.5 * np.cos(np.pi * np.clip(np.arange(m) / flat - 1.0, 0.0, 1.0))


def _diffusion_per_density(
    row: str, symbols: Sequence[str] | np.ndarray, masses: np.ndarray, moving: np.ndarray | None
) -> float:
    """D / ĉ_vv(0) of a species, in Å²/ps/(K cm): per atom again, without the share of the centre of mass."""
    of_row = np.asarray(symbols) == row
    return float(BOLTZMANN / (4.0 * LIGHT) * degrees(of_row, masses, moving) / masses[of_row].sum())


def _folding(interval: float, wavenumbers: np.ndarray, power: np.ndarray, masses: np.ndarray) -> str | None:
    """A remark if there is motion that is too fast for the interval between frames; None otherwise."""
    nyquist = 0.5 / (interval * LIGHT)
    sampled = f"velocities every {1000 * interval:.3g} fs resolve motion up to {nyquist:.0f} cm⁻¹"
    fastest = next((fastest for mass, fastest in FASTEST if masses.min() < mass), 0.0)
    folded = power[wavenumbers > 0.9 * nyquist].sum() / power.sum()
    if nyquist < fastest:
        return f"{sampled}, but the lightest atoms move at up to {fastest:.0f} cm⁻¹: peaks are folded"
    if folded > FOLDED:
        return f"{sampled}, but {100 * folded:.0f} % of the energy is at the end of this range: faster is folded"
    return None
