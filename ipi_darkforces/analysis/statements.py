"""Results in plain words, each compared with what is expected.

A value agrees with what is expected if that lies in its 95 % interval (Student's t): by chance, one of twenty does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from ..stats.estimates import Estimate
from .averages import Averages
from .drift import Drift
from .motion import Motion
from .structure import Correlations, difference
from .temperatures import ALL, Temperatures

# A drift by more than these standard deviations of what drifts is there, whether or not its error is known.
_OBVIOUS = 5.0
# Of a curve, one value in twenty is off by two standard errors by chance. Curves differ if one in ten is.
_OFF = 0.1


class Agreement(IntEnum):
    """The result of a comparison with what is expected; of several, the highest counts."""

    MEASURED = 0  # nothing to compare with
    AGREES = 1
    UNKNOWN = 2
    SLIGHT = 3
    DIFFERS = 4


@dataclass(frozen=True)
class Statement:
    """A sentence about a result, and its verdict."""

    text: str
    verdict: Agreement


def of_drift(result: Drift) -> list[Statement]:
    """Tell whether temperature and conserved quantity stay what they are."""
    found = [_of_temperature_slope(result)]
    if result.conserved_slope is not None:
        found.append(_of_conserved_slope(result, result.conserved_slope))
    return found


def _of_temperature_slope(result: Drift) -> Statement:
    slope = result.temperature_slope
    if not np.isfinite(slope.value):
        return Statement("The run is too short to know the slope of the temperature.", Agreement.UNKNOWN)
    line = slope.value * (result.time - result.time.mean())
    scatter = float((result.temperature - result.temperature.mean() - line).std())
    rises = f"The temperature {'rises' if slope.value > 0 else 'falls'} by {_size(slope, 'K/ps')}"
    if _is_zero(slope):
        return Statement(f"The temperature is steady: its slope is {slope.brief('K/ps')}.", Agreement.AGREES)
    if slope.error is not None:
        return Statement(f"{rises}, {_errors_off(slope, 0.0)} from none.", Agreement.DIFFERS)
    if np.ptp(line) > _OBVIOUS * scatter:
        ratio = np.ptp(line) / scatter
        return Statement(
            f"{rises}: over the run, that is {_brief(ratio)} times its standard deviation.", Agreement.DIFFERS
        )
    return Statement(f"The slope of the temperature is {slope.brief('K/ps')}.", Agreement.UNKNOWN)


def _of_conserved_slope(result: Drift, slope: Estimate) -> Statement:
    unit = f"{result.energy_unit}/ps"
    if not np.isfinite(slope.value):
        return Statement("The run is too short to know the drift of the conserved quantity.", Agreement.UNKNOWN)
    if _is_zero(slope):
        return Statement(f"No drift of the conserved quantity is seen: {slope.brief(unit)}.", Agreement.AGREES)
    drifts = f"The conserved quantity {'rises' if slope.value > 0 else 'falls'} by {_size(slope, unit)}"
    if slope.error is not None:
        drifts += f", {_errors_off(slope, 0.0)} from none"
    if result.relative_slope is None:
        return Statement(f"{drifts}.", Agreement.UNKNOWN if slope.error is None else Agreement.DIFFERS)
    change = abs(result.relative_slope.value) * float(np.ptp(result.time))
    drifts += f"; over the run, that is {_brief(change)} times the standard deviation of the kinetic energy."
    if slope.error is None and change <= _OBVIOUS:
        return Statement(drifts, Agreement.UNKNOWN)
    return Statement(drifts, Agreement.SLIGHT if change < 1.0 else Agreement.DIFFERS)


def of_temperatures(result: Temperatures) -> list[Statement]:
    """Tell whether temperatures are those of the thermostat, and the same for all species."""
    if result.target is None:
        means = ", ".join(f"{_name(species)} = {mean.brief('K')}" for species, mean in result.means.items())
        found = [Statement(f"{means}; no thermostat says what it should be.", Agreement.MEASURED)]
    else:
        found = [_against_target(species, mean, result.target) for species, mean in result.means.items()]
    if len(result.series) > 2:
        found.append(_equipartition(result))
    return found


def _name(species: str) -> str:
    return "T" if species == ALL else f"T({species})"


def _against_target(species: str, mean: Estimate, target: float) -> Statement:
    found = f"{_name(species)} = {mean.brief('K')}"
    if mean.error is None:
        return Statement(f"{found}; it should be {target:g} K.", Agreement.UNKNOWN)
    off = f"{_errors_off(mean, target)} {'above' if mean.value > target else 'below'}"
    if _is_zero(mean, target):
        return Statement(f"{found} agrees with {target:g} K: {off}.", Agreement.AGREES)
    return Statement(f"{found} is not {target:g} K: {off}.", Agreement.DIFFERS)


def _equipartition(result: Temperatures) -> Statement:
    off = result.above_all
    listed = ", ".join(f"{species} by {mean.brief('K')}" for species, mean in off.items())
    if any(mean.error is not None and not _is_zero(mean) for mean in off.values()):
        return Statement(f"Energy is not shared evenly: {listed} above the mean of all atoms.", Agreement.DIFFERS)
    if any(mean.error is None for mean in off.values()):
        return Statement(
            f"Whether energy is shared evenly is not known: {listed} above the mean of all atoms.", Agreement.UNKNOWN
        )
    return Statement(f"Energy is shared evenly: {listed} above the mean of all atoms.", Agreement.AGREES)


def of_motion(result: Motion) -> list[Statement]:
    """Tell whether both routes find the same diffusion, and where the bands are."""
    moved = {} if result.displacements is None else result.displacements.diffusion
    found = [_of_diffusion(species, one, moved.get(species)) for species, one in result.spectra.diffusion.items()]
    for species, bands in result.spectra.bands.items():
        seen = ", ".join(f"{name} at {at.brief('cm⁻¹')}" for name, at in bands.items() if at is not None)
        if seen and species != ALL:
            found.append(Statement(f"Bands of {species}: {seen}.", Agreement.MEASURED))
    return found


def _of_diffusion(species: str, spectral: Estimate, moved: Estimate | None) -> Statement:
    unit = "Å²/ps"
    text = f"D({species}) = {spectral.brief(unit)} from the spectrum at ω → 0"
    if moved is None:
        verdict = Agreement.UNKNOWN if spectral.error is None else Agreement.MEASURED
        return Statement(f"{text}; there is nothing from displacements to compare it with.", verdict)
    text += f", {moved.brief(unit)} from displacements"
    agree = _agree(spectral, moved)
    if agree is None:
        return Statement(f"{text}.", Agreement.UNKNOWN)
    if agree:
        return Statement(f"{text}: they agree.", Agreement.AGREES)
    return Statement(f"{text}: they differ.", Agreement.DIFFERS)


def of_structure(result: Correlations, reference: Correlations | None) -> list[Statement]:
    """Positions of the first peaks, and agreement of the functions with those of the reference.

    :param reference: None if there is nothing to compare with
    """
    peaks = [
        f"{key} at {function.peak.position.brief('Å')}, {function.peak.height.brief('high')}"
        for key, function in result.functions.items()
        if function.peak is not None
    ]
    found = [Statement(f"First peaks: {'; '.join(peaks)}.", Agreement.MEASURED)] if peaks else []
    if reference is not None:
        common = [key for key in result.functions if key in reference.functions]
        found += [_against_reference(result, reference, key) for key in common]
    return found


def _against_reference(result: Correlations, reference: Correlations, key: str) -> Statement:
    change = difference(result, reference, key)
    known = np.isfinite(change.values) & (change.errors > 0.0)
    if not (known.any() and _is_long(result) and _is_long(reference)):
        return Statement(f"{key}: too short to compare with {reference.name}.", Agreement.UNKNOWN)
    off = float(np.mean(np.abs(change.values[known]) > 2.0 * change.errors[known]))
    verdict = Agreement.AGREES if off <= _OFF else Agreement.DIFFERS
    relation = "agrees with" if verdict is Agreement.AGREES else "differs from"
    return Statement(
        f"{key} {relation} that of {reference.name}: off by more "
        f"than two standard errors at {100 * off:.0f} % of distances (5 % are expected by chance).",
        verdict,
    )


def _is_long(result: Correlations) -> bool:
    """Tell whether errors are to be trusted: in curves, the noise of counting hides how slowly a liquid changes."""
    return all(each.peak is None or each.peak.position.error is not None for each in result.functions.values())


def of_averages(result: Averages, reference: Averages | None) -> list[Statement]:
    """The averages, and whether they agree with those of the reference.

    :param reference: None if there is nothing to compare with
    """
    found = []
    for title, mean in result.means.items():
        text = f"The mean of {title} is {mean.brief(result.units[title])}"
        if title.startswith("K") and result.classical and result.units[title] == "meV/atom":
            text += f", {mean.value / result.classical:.2f} times that of classical atoms"
        other = None if reference is None else reference.means.get(title)
        found.append(_against_average(text, mean, other, reference.name if reference else ""))
    return found


def _against_average(text: str, mean: Estimate, other: Estimate | None, name: str) -> Statement:
    if other is None:
        return Statement(f"{text}.", Agreement.UNKNOWN if mean.error is None else Agreement.MEASURED)
    agree = _agree(mean, other)
    if agree is None:
        return Statement(f"{text}; too short to compare with {name}.", Agreement.UNKNOWN)
    if agree:
        return Statement(f"{text}: it agrees with that of {name}.", Agreement.AGREES)
    return Statement(f"{text}: it differs from that of {name}.", Agreement.DIFFERS)


def _agree(one: Estimate, other: Estimate) -> bool | None:
    """Tell whether two estimates agree within the 95 % interval of their difference; None if one has no interval."""
    margins = one.margin(), other.margin()
    if margins[0] is None or margins[1] is None:
        return None
    return bool(abs(one.value - other.value) <= np.hypot(margins[0], margins[1]))


def _is_zero(estimate: Estimate, expected: float = 0.0) -> bool:
    """Tell whether what is expected is in the 95 % interval; never without an error."""
    margin = estimate.margin()
    return margin is not None and abs(estimate.value - expected) <= margin


def _size(estimate: Estimate, unit: str) -> str:
    """Text without the sign, which is in words."""
    return Estimate(abs(estimate.value), estimate.error, estimate.freedom).brief(unit)


def _errors_off(estimate: Estimate, expected: float) -> str:
    number = abs(estimate.errors_from(expected) or 0.0)
    return f"{_brief(number)} standard errors"


def _brief(number: float) -> str:
    return f"{number:.2g}" if number < 10.0 else f"{number:.0f}"
