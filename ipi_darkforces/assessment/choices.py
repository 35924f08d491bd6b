"""Measured properties of each way to use a model's forces."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..campaign.findings import Finding, Findings
from ..stats.estimates import Estimate, json_of
from .strides import Strides


@dataclass(frozen=True)
class Choice:
    """A way to use a model's forces.

    :param forces: ``conservative``, ``direct`` or ``mts4``
    :param stride: M of multiple time stepping; None without
    :param nve: ps simulated without a thermostat
    :param svr: ps simulated with one; None if there is no such simulation
    :param exploded: which simulation did, when and how; None if none did
    :param temperature_drift: K/ps, of NVE: slope of the temperature
    :param drift: meV/atom/ps, of NVE: that of the conserved quantity
    :param heating: K/ps, the same as a drift of the temperature; see `analysis.drift.temperature_drift`
    :param predicted: K/ps, of a stride: the heating that is expected
    :param relative_drift: 1/ps, of NVE: the drift over the standard deviation of the kinetic energy
    :param milliseconds: wall time of a step of the fast forces, everything included; None if not known
    :param excess: K, with a thermostat: temperature above the target of ``all`` atoms and of species
    :param inequality: K, with a thermostat: temperature of the heaviest species above that of the lightest; None if
        there is one species. Without an error bar, as those of species, if it is too short for them to exchange energy
    """

    forces: str
    stride: int | None
    nve: float
    svr: float | None = None
    exploded: str | None = None
    temperature_drift: Estimate | None = None
    drift: Estimate | None = None
    heating: Estimate | None = None
    predicted: Estimate | None = None
    relative_drift: Estimate | None = None
    milliseconds: float | None = None
    excess: dict[str, Estimate] = field(default_factory=dict)
    inequality: Estimate | None = None

    @property
    def name(self) -> str:
        """Name in sentences."""
        return f"{self.forces} forces" if self.stride is None else f"multiple time stepping with M = {self.stride}"

    def as_json(self) -> dict[str, object]:
        """JSON values with standard errors, units in the names."""
        return {
            "forces": self.forces,
            "stride": self.stride,
            "nve_ps": self.nve,
            "svr_ps": self.svr,
            "exploded": self.exploded,
            "heating_K_per_ps": json_of(self.heating),
            "temperature_drift_K_per_ps": json_of(self.temperature_drift),
            "drift_meV_per_atom_per_ps": json_of(self.drift),
            "predicted_heating_K_per_ps": json_of(self.predicted),
            "drift_over_kinetic_deviation_per_ps": json_of(self.relative_drift),
            "milliseconds_per_step": self.milliseconds,
            "above_target_K": {name: estimate.as_json() for name, estimate in self.excess.items()},
            "heaviest_above_lightest_K": json_of(self.inequality),
        }


def choices(findings: Findings, strides: Strides | None) -> tuple[Choice, ...]:
    """Measured properties of all forces that were simulated, in order.

    :param strides: what is predicted of them
    """
    thermostatted = {finding.condition.forces: finding for finding in findings.thermostatted}
    heating = {} if strides is None else strides.heating
    return tuple(
        _choice(nve, thermostatted.get(nve.condition.forces), heating.get(nve.condition.stride or 1))
        for nve in findings.all
        if nve.condition.tau is None
    )


def _choice(nve: Finding, svr: Finding | None, predicted: Estimate | None) -> Choice:
    [simulation] = nve.measured
    stride = nve.condition.stride
    pace = simulation.ended.seconds_per_step
    excess = svr.excesses() if svr else {}
    return Choice(
        forces=nve.condition.forces,
        stride=stride,
        nve=simulation.ended.picoseconds,
        svr=svr.measured[0].ended.picoseconds if svr else None,
        exploded=_explosion(nve, "NVE") or (_explosion(svr, "SVR") if svr else None),
        temperature_drift=nve.temperature_slope,
        drift=nve.conserved_slope,
        heating=nve.heating,
        predicted=predicted,
        relative_drift=nve.relative_slope,
        milliseconds=None if pace is None else 1000.0 * pace / (stride or 1),
        excess={species: estimate for species, estimate in excess.items() if estimate is not None},
        inequality=svr.if_exchanged(svr.inequality) if svr else None,
    )


def _explosion(finding: Finding, ensemble: str) -> str | None:
    ended = finding.measured[0].ended
    return f"{ensemble} explodes after {ended.picoseconds:.2g} ps" if ended.unstable else None
