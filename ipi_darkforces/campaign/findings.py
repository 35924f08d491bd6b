"""Results of the simulations of a campaign, seeds taken together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from ..analysis.motion import Motion
from ..analysis.structure import Correlations
from ..analysis.temperatures import ALL, EXCHANGED
from ..simulate.start import read_start
from ..stats import estimates as statistics
from ..stats.estimates import Estimate, json_of
from .matrix import Campaign, Condition
from .measured import Measured
from .seeds import combined, combined_motion, combined_structure, shared

_OF_EACH_ATOM = ("langevin", "gle")


@dataclass(frozen=True)
class Finding:
    """The results of all seeds of a condition; None for what is not known of all of them.

    :param measured: one for each seed
    :param target: K
    :param heavy, light: the heaviest and the lightest species; the same if there is only one
    :param discard: ps at the beginning of each simulation that do not count
    """

    condition: Condition
    measured: tuple[Measured, ...]
    target: float
    heavy: str
    light: str
    discard: float

    @property
    def exploded(self) -> tuple[float, ...]:
        """Times of explosions, ps."""
        return tuple(each.ended.picoseconds for each in self.measured if each.ended.unstable)

    def _over_seeds(self, value: Callable[[Measured], Estimate | None]) -> Estimate | None:
        values = [value(each) for each in self.measured]
        known = [each for each in values if each is not None]
        return combined(known, self._shared) if known and len(known) == len(values) else None

    @cached_property
    def _shared(self) -> float:
        """Part of the simulations that is the same sample in all of them."""
        return shared(min(each.ended.picoseconds for each in self.measured), self.discard)

    @cached_property
    def temperature_slope(self) -> Estimate | None:
        """Slope of the temperature, K/ps."""
        return self._over_seeds(lambda each: each.drift.temperature_slope if each.drift else None)

    @cached_property
    def conserved_slope(self) -> Estimate | None:
        """meV/atom/ps."""
        return self._over_seeds(lambda each: each.drift.conserved_slope if each.drift else None)

    @cached_property
    def heating(self) -> Estimate | None:
        """The drift of the conserved quantity as one of the temperature, K/ps; see `Drift.heating`."""
        return self._over_seeds(lambda each: each.drift.heating if each.drift else None)

    @cached_property
    def relative_slope(self) -> Estimate | None:
        """Drift of the conserved quantity over the standard deviation of the kinetic energy, 1/ps."""
        return self._over_seeds(lambda each: each.drift.relative_slope if each.drift else None)

    @cached_property
    def rms_difference(self) -> Estimate | None:
        """Root mean square of conservative less direct forces, meV/Å; None without multiple time stepping."""
        return self._over_seeds(lambda each: each.rms_difference)

    def excess(self, species: str) -> Estimate | None:
        """Temperature above the target, K, of ``all`` atoms or a species."""

        def of(each: Measured) -> Estimate | None:
            if each.temperatures is None or species not in each.temperatures.series:
                return None
            return statistics.mean(each.temperatures.series[species] - self.target)

        return self._over_seeds(of)

    @cached_property
    def inequality(self) -> Estimate | None:
        """Temperature of the heaviest species above that of the lightest, K."""

        def of(each: Measured) -> Estimate | None:
            if each.temperatures is None or self.heavy == self.light:
                return None
            series = each.temperatures.series
            return statistics.mean(series[self.heavy] - series[self.light])

        return self._over_seeds(of)

    def if_steady(self, found: Estimate | None) -> Estimate | None:
        """A value that is reached in the steady state of a thermostat.

        Without an error bar if simulations are shorter than 20 ps, or than ten of its time constants.
        """
        needed = max(EXCHANGED, 0.01 * (self.condition.tau or 0.0))
        if found is None or all(each.ended.picoseconds >= needed for each in self.measured):
            return found
        return Estimate(found.value, None)

    def if_exchanged(self, of_species: Estimate | None) -> Estimate | None:
        """A temperature of a species, or a difference of two, K.

        Without an error bar if simulations are too short for species to exchange energy; see `analysis.temperatures`.
        """
        long = all(each.ended.picoseconds >= EXCHANGED for each in self.measured)
        if of_species is None or long or self.condition.ensemble in _OF_EACH_ATOM:
            return of_species
        return Estimate(of_species.value, None)

    def excesses(self) -> dict[str, Estimate | None]:
        """Temperatures above the target, K, of all atoms and of species, with error bars as far as these are known."""
        above = {name: self.excess(name) for name in self.species}
        return {name: each if name == ALL else self.if_exchanged(each) for name, each in above.items()}

    @cached_property
    def diffusion(self) -> Estimate | None:
        """Diffusion coefficient of the heaviest species from ω → 0, Å²/ps."""

        def of(each: Measured) -> Estimate | None:
            return each.motion.spectra.diffusion[self.heavy] if each.motion else None

        return self._over_seeds(of)

    @cached_property
    def diffusion_from_displacements(self) -> Estimate | None:
        """Diffusion coefficient of the heaviest species, Å²/ps."""

        def of(each: Measured) -> Estimate | None:
            displacements = each.motion.displacements if each.motion else None
            return displacements.diffusion[self.heavy] if displacements else None

        return self._over_seeds(of)

    @cached_property
    def peak_height(self) -> Estimate | None:
        """First peak of the radial distribution of the heaviest species."""

        def of(each: Measured) -> Estimate | None:
            function = each.structure and each.structure.functions.get(f"g_{self.heavy}{self.heavy}")
            return function.peak.height if function and function.peak else None

        return self._over_seeds(of)

    @property
    def species(self) -> tuple[str, ...]:
        """Groups whose temperatures are given: all atoms and, of several species, the heaviest and the lightest."""
        return (ALL,) if self.heavy == self.light else (ALL, self.heavy, self.light)

    def as_json(self) -> dict[str, object]:
        """JSON values with standard errors, units in the names."""
        return {
            "thermostat": self.condition.thermostat,
            "forces": self.condition.forces,
            "seeds": len(self.measured),
            "unstable_after_ps": list(self.exploded),
            "temperature_drift_K_per_ps": json_of(self.temperature_slope),
            "conserved_drift_meV_per_atom_per_ps": json_of(self.conserved_slope),
            "rms_difference_meV_per_A": json_of(self.rms_difference),
            "above_target_K": {name: json_of(excess) for name, excess in self.excesses().items()},
            "heaviest_above_lightest_K": json_of(self.if_exchanged(self.inequality)),
            "diffusion_A2_per_ps": json_of(self.diffusion),
            "diffusion_from_displacements_A2_per_ps": json_of(self.diffusion_from_displacements),
            "first_peak_height": json_of(self.peak_height),
        }

    def motion(self, name: str) -> Motion | None:
        """The motion averaged over all seeds, for pictures."""
        found = [each.motion for each in self.measured if each.motion is not None]
        return combined_motion(found, name, self._shared) if found else None

    def structure(self, name: str) -> Correlations | None:
        """The structure averaged over all seeds, for pictures."""
        found = [each.structure for each in self.measured if each.structure is not None]
        return combined_structure(found, name, self._shared) if found else None


@dataclass(frozen=True)
class Findings:
    """The results of a campaign for one model."""

    model: str
    all: tuple[Finding, ...]

    def with_ensemble(self, ensemble: str) -> tuple[Finding, ...]:
        """Findings with a kind of thermostat, or ``nve``."""
        return tuple(finding for finding in self.all if finding.condition.ensemble == ensemble)

    @property
    def thermostatted(self) -> tuple[Finding, ...]:
        """Findings that have a target temperature."""
        return tuple(finding for finding in self.all if finding.condition.tau is not None)

    @property
    def reference(self) -> Finding | None:
        """Conservative forces with SVR, as in the paper, or else NVE: these hardly disturb the dynamics."""
        gentle = [*self.with_ensemble("svr"), *self.with_ensemble("nve")]
        return next((finding for finding in gentle if finding.condition.forces == "conservative"), None)


def by_model(campaign: Campaign, measured: Sequence[Measured]) -> tuple[Findings, ...]:
    """Everything, model by model.

    :param measured: those simulations that have ended
    """
    start = read_start(campaign.structure)
    moving = np.setdiff1d(np.arange(3 * len(start.atoms)), start.fixed) // 3
    symbols = sorted(set(start.atoms[moving].get_chemical_symbols()), key=lambda s: atomic_masses[atomic_numbers[s]])
    made = []
    for condition in campaign.conditions:
        seeds = tuple(each for each in measured if each.simulation.condition == condition)
        if seeds:
            made.append(Finding(condition, seeds, campaign.temperature, symbols[-1], symbols[0], campaign.discard))
    labels = dict.fromkeys(finding.condition.label for finding in made)
    return tuple(Findings(label, tuple(f for f in made if f.condition.label == label)) for label in labels)
