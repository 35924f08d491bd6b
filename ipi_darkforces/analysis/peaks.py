"""Bands of a spectrum: their positions, with errors.

The position of a band is that of the highest maximum in its range, after smoothing by a Gaussian that is narrow for the
bands of a liquid but has noise average out. It is interpolated by a parabola through the logarithms, which is exact for
a Gaussian, and its error is that of the jackknife over the segments of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage

from ..stats.batches import estimate, standard_errors
from ..stats.estimates import Estimate

# cm⁻¹: where the bands of water and of other molecules with O-H are, as solids, liquids or gases.
WATER_BANDS = {"libration": (300.0, 1200.0), "bend": (1300.0, 2000.0), "O–H stretch": (2600.0, 4200.0)}
ANY_BAND = {"highest peak": (0.0, np.inf)}
# Standard deviation of the Gaussian, cm⁻¹.
SMOOTHING = 30.0
# A maximum is a band if it rises above the valleys beside it by this part of its height, and by as many errors, and is
# not lost in the tail of the highest: of so many maxima there, some are high by chance.
_PROMINENCE = 0.05
_ERRORS = 5.0
_TAIL = 0.005
# Fewer segments say nothing about the error of a position; nor do segments that resolve less than this (cm⁻¹): they are
# too short to outlive what shifts a band, and all of a short run may lie to the same side.
_ENOUGH = 8
_RESOLVED = 70.0


@dataclass(frozen=True)
class Sampled:
    """A spectrum and what it was averaged from.

    :param wavenumbers: cm⁻¹, shape (n,)
    :param values: shape (n,)
    :param means: of batches, shape (n_batches, n)
    :param resolution: cm⁻¹
    """

    wavenumbers: np.ndarray
    values: np.ndarray
    means: np.ndarray
    resolution: float


def bands_of(symbols: Sequence[str] | np.ndarray) -> dict[str, tuple[float, float]]:
    """The bands that atoms with these symbols are expected to have: name, and range in cm⁻¹."""
    return WATER_BANDS if {"O", "H"} <= set(map(str, symbols)) else ANY_BAND


def position(spectrum: Sampled, band: tuple[float, float]) -> Estimate | None:
    """Position of the band, in cm⁻¹; None if it is not seen, or the spectrum does not resolve it.

    :param band: range in cm⁻¹
    """
    if spectrum.resolution > 0.5 * (band[1] - band[0]):
        return None
    values, means = _smoothed(spectrum, spectrum.values), _smoothed(spectrum, spectrum.means)
    top = _highest(spectrum.wavenumbers, values, means, band)
    if top is None:
        return None
    found = _interpolated(spectrum.wavenumbers, values, top)
    n = len(means)
    if n < _ENOUGH or spectrum.resolution > _RESOLVED:
        return Estimate(found, None)
    # Other maxima in the range do not count: they may be higher without one of the batches.
    near = np.flatnonzero(np.abs(spectrum.wavenumbers - found) <= max(3.0 * SMOOTHING, spectrum.resolution))
    without = (n * means.mean(axis=0) - means) / (n - 1)
    tops = [near[0] + int(np.argmax(each[near])) for each in without]
    positions = [_interpolated(spectrum.wavenumbers, each, at) for each, at in zip(without, tops, strict=True)]
    # As many values as batches, that deviate from their mean by 1/(n - 1) of what the batches would.
    error, freedom = standard_errors((n - 1) * np.array(positions))
    return estimate(found, float(error), freedom)


def _smoothed(spectrum: Sampled, values: np.ndarray) -> np.ndarray:
    width = SMOOTHING / (spectrum.wavenumbers[1] - spectrum.wavenumbers[0])
    return scipy.ndimage.gaussian_filter1d(values, width, axis=-1, mode="nearest")


def _highest(wavenumbers: np.ndarray, values: np.ndarray, means: np.ndarray, band: tuple[float, float]) -> int | None:
    """Index of the highest maximum in the range that is no noise."""
    from scipy.signal import find_peaks  # half a second to import, for one question of many

    tops, properties = find_peaks(values, prominence=0.0)
    errors, _ = standard_errors(means)
    least = np.maximum(_PROMINENCE * values[tops], _ERRORS * np.nan_to_num(errors[tops]))
    inside = (wavenumbers[tops] >= band[0]) & (wavenumbers[tops] <= band[1])
    good = tops[inside & (properties["prominences"] >= least) & (values[tops] > _TAIL * values.max())]
    return int(good[np.argmax(values[good])]) if len(good) else None


def _interpolated(wavenumbers: np.ndarray, values: np.ndarray, top: int) -> float:
    """Place of the maximum of the parabola through the logarithms of three neighbours."""
    if not 0 < top < len(values) - 1:
        return float(wavenumbers[top])
    left, middle, right = np.log(values[top - 1 : top + 2])
    curvature = left - 2.0 * middle + right
    shift = 0.5 * (left - right) / curvature if curvature < 0 else 0.0
    return float(wavenumbers[top] + np.clip(shift, -0.5, 0.5) * (wavenumbers[1] - wavenumbers[0]))
