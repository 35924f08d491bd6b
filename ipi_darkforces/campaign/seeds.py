"""Averages over simulations that differ by their seeds, with errors from within and from between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import special

from ..analysis.motion import Motion
from ..analysis.structure import Correlations, Function
from ..stats.batches import widening
from ..stats.estimates import Estimate

# Seeds that differ as much as this, or more, by chance once in a hundred times, have errors that are too small.
_DISAGREEMENT = 0.01
# ps for which a liquid remembers how its molecules were placed.
_REMEMBERED = 1.0


def shared(picoseconds: float, discard: float) -> float:
    """Part of a simulation, 0 to 1, that is the same sample in all seeds: they start from the same positions.

    :param picoseconds: its length
    :param discard: ps at its beginning that do not count
    """
    left = _REMEMBERED - discard
    return left / max(picoseconds - discard, left) if left > 0.0 else 0.0


def combined(estimates: Sequence[Estimate], shared: float = 0.0) -> Estimate:
    """The average of estimates of the same, equally good by design.

    Its error is that of the estimates, which is known from many values. Where they do not know it, or their scatter
    is more than it allows (χ²), it is the standard error of their scatter, with as many degrees of freedom as there are
    estimates but one. Of n estimates, each with a variance of σ², the average has (1 - s) σ²/n + s σ² if a part s of
    it is common to all; they scatter with (1 - s) σ², and say nothing about errors if all is common.

    :param estimates: at least one
    :param shared: the part that is common to all, 0 to 1
    """
    n = len(estimates)
    if n == 1:
        return estimates[0]
    values = np.array([each.value for each in estimates])
    growth = _growth(n, shared)
    scatter = Estimate(float(values.mean()), None)
    if shared < 1.0:
        error = float(values.std(ddof=1) / np.sqrt((1.0 - shared) * n))
        scatter = Estimate(scatter.value, growth * error, n - 1.0)
    errors = np.array([np.nan if each.error is None else each.error for each in estimates])
    if not (errors > 0.0).all():
        return scatter
    squares = errors**2
    within = growth * float(np.sqrt(squares.sum())) / n
    chance = special.chdtrc(n - 1, np.square((values - values.mean()) / errors).sum())
    if chance < _DISAGREEMENT:
        return scatter
    # Welch and Satterthwaite
    unsure = float((squares**2 / [each.freedom for each in estimates]).sum())
    return Estimate(scatter.value, within, float(squares.sum()) ** 2 / unsure if unsure > 0.0 else np.inf)


def combined_motion(motions: Sequence[Motion], name: str, shared: float = 0.0) -> Motion:
    """Average spectra, autocorrelation functions and displacements, of those that are as long as the first.

    :param shared: see `combined`
    """
    first = motions[0].spectra
    same = [each for each in motions if each.spectra.spectrum.shape == first.spectrum.shape]
    spectra = [each.spectra for each in same]
    spectrum, spectrum_errors = _curve(
        [each.spectrum for each in spectra], [each.spectrum_errors for each in spectra], shared
    )
    correlation, correlation_errors = _curve(
        [each.correlation for each in spectra], [each.correlation_errors for each in spectra], shared
    )
    average = replace(
        first,
        name=name,
        spectrum=spectrum,
        spectrum_errors=spectrum_errors,
        correlation=correlation,
        correlation_errors=correlation_errors,
        temperatures={
            row: combined([each.temperatures[row] for each in spectra], shared) for row in first.temperatures
        },
        diffusion={row: combined([each.diffusion[row] for each in spectra], shared) for row in first.diffusion},
    )
    moved = [each.displacements for each in same if each.displacements is not None]
    if not moved:
        return Motion(average, None)
    squares, errors = _curve([each.squares for each in moved], [each.errors for each in moved], shared)
    diffusion = {row: combined([each.diffusion[row] for each in moved], shared) for row in moved[0].diffusion}
    return Motion(average, replace(moved[0], name=name, squares=squares, errors=errors, diffusion=diffusion))


def combined_structure(structures: Sequence[Correlations], name: str, shared: float = 0.0) -> Correlations:
    """Average functions of distance; their peaks are left out, as those of averages are not averages of peaks.

    :param shared: see `combined`
    """
    first = structures[0]
    functions = {}
    for key in first.functions:
        found = [each.functions[key] for each in structures if key in each.functions]
        values, errors = _curve([each.values for each in found], [each.errors for each in found], shared)
        functions[key] = Function(values, errors, None)
    return replace(first, name=name, functions=functions, n_frames=sum(each.n_frames for each in structures))


def _curve(values: Sequence[np.ndarray], errors: Sequence[np.ndarray], shared: float) -> tuple[np.ndarray, np.ndarray]:
    """Average of curves (...), and its errors: those of the curves or, where these are not known, of their scatter.

    :param shared: see `combined`
    """
    n = len(values)
    if n == 1:
        return values[0], errors[0]
    within = np.sqrt(np.square(errors).sum(axis=0)) / n
    independent = (1.0 - shared) * n
    scatter = np.std(values, axis=0, ddof=1) * widening(n - 1) / np.sqrt(independent) if shared < 1.0 else np.nan
    return np.mean(values, axis=0), _growth(n, shared) * np.where(np.isnan(within), scatter, within)


def _growth(n: int, shared: float) -> float:
    """Error of an average of n estimates over that of independent ones; see `combined`."""
    return float(np.sqrt(1.0 + (n - 1.0) * shared))
