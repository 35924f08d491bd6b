"""Predicted heating of every stride of multiple time stepping: as a table, in sentences, and as advice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import printable
from ..stats.estimates import Estimate
from .conservative_run import Costs
from .heating import Heating
from .stability import Stability

ENSEMBLES = {"nve": "NVE", "langevin": "Langevin", "svr": "SVR", "gle": "GLE"}
_BANDS = (  # by the wavenumber over that of the stretch, for structures of O and H
    (0.42, "librations"),
    (0.54, "bend"),
    (0.78, "bend and libration"),
    (1.2, "stretch"),
    (1.6, "stretch and bend"),
    (2.2, "stretch overtone"),
    (2.7, "wing of the stretch overtone"),
    (np.inf, "beyond the stretch overtone"),
)


@dataclass(frozen=True)
class StridePrediction:
    """Heating of every stride of a model's multiple time stepping, for one system.

    :param model: its name
    :param species: atomic numbers, shape (n_atoms,)
    :param masses: u, by chemical symbol, the mean
    :param timestep: fs, of the fast forces
    :param time: ps, of the run under conservative forces
    :param temperature: K, of that run
    :param strides: heating of each stride from 1
    :param costs: of evaluations
    :param tau: fs, time constant of the thermostats for which the excess is given
    :param excess_times: ps, by ensemble: steady excess of temperature over the heating without a thermostat
    :param fastest: cm⁻¹, the highest peak in the spectrum of the velocities
    :param spectrum: cm⁻¹ and meV/atom/ps, shape (2, n): what a harmonic of the impulse frequency contributes there
    :param stability: of each stride, at the last structure of the run; None unless it was asked for
    """

    model: str
    species: np.ndarray
    masses: dict[str, float]
    timestep: float
    time: float
    temperature: float
    strides: tuple[Heating, ...]
    costs: Costs
    tau: float
    excess_times: dict[str, float]
    fastest: float
    spectrum: np.ndarray
    stability: tuple[Stability, ...] | None = None

    def __str__(self) -> str:
        return self._table() if self.stability is None else f"{self._table()}\n\n{self._stability(self.stability)}"

    __repr__ = __str__

    def excess(self, stride: Heating, ensemble: str) -> Estimate:
        """Steady excess of temperature with a thermostat, K; for ``nve`` the drift, K/ps."""
        return stride.rate if ensemble == "nve" else stride.rate.times(self.excess_times[ensemble])

    def longest(self, ensemble: str, allowed: float) -> Heating:
        """The largest stride up to which all are certain to heat by less.

        :param ensemble: ``nve``, ``langevin``, ``svr`` or ``gle``
        :param allowed: K, or K/ps for ``nve``, that the 95 % interval of the excess must stay below
        """
        longest = self.strides[0]
        for stride in self.strides[1:]:
            excess = self.excess(stride, ensemble)
            if excess.value + (excess.margin() or 0.0) > allowed:
                break
            longest = stride
        return longest

    def band(self, wavenumber: float) -> str:
        """The vibrations whose beats or overtones have this wavenumber: named for water, else by the fastest one."""
        ratio = wavenumber / self.fastest
        if set(self.species.tolist()) == {1, 8}:
            return next(name for limit, name in _BANDS if ratio < limit)
        if ratio < 1.2:
            return "vibrations"
        return "overtones of vibrations" if ratio < 2.2 else "beyond overtones of vibrations"

    def as_json(self) -> dict[str, object]:
        """JSON values, units in the names."""
        return {
            "model": self.model,
            "atoms": len(self.species),
            "masses_u": self.masses,
            "timestep_fs": self.timestep,
            "picoseconds": self.time,
            "temperature_K": self.temperature,
            "tau_fs": self.tau,
            "fastest_vibration_per_cm": self.fastest,
            "milliseconds": {name: 1000.0 * value for name, value in vars(self.costs).items()},
            "strides": [self._stride_as_json(stride) for stride in self.strides],
            "stability": None if self.stability is None else [each.as_json() for each in self.stability],
            "spectrum_per_cm": self.spectrum[0].tolist(),
            "spectrum_meV_per_atom_per_ps": self.spectrum[1].tolist(),
        }

    def _stride_as_json(self, stride: Heating) -> dict[str, object]:
        return {
            "stride": stride.stride,
            "relative_cost": self.costs.relative(stride.stride),
            "heating_meV_per_atom_per_ps": stride.total.as_json(),
            "heating_of_species_meV_per_atom_per_ps": {name: each.as_json() for name, each in stride.species.items()},
            "heating_K_per_ps": stride.rate.as_json(),
            "excess_K": {name: self.excess(stride, name).as_json() for name in self.excess_times},
            "harmonics_per_cm": stride.harmonics.tolist(),
            "heating_of_harmonics_meV_per_atom_per_ps": stride.shares.tolist(),
        }

    def advice(self, allowed: float) -> str:
        """The longest stride for each ensemble, in sentences.

        :param allowed: see `longest`
        """
        lines = []
        for name, title in ENSEMBLES.items():
            longest = self.longest(name, allowed)
            unit = "K/ps" if name == "nve" else "K"
            with_tau = "" if name == "nve" else f", tau {self.tau:g} fs"
            limit = f"{title}{with_tau}, at most {allowed:g} {unit}:"
            what = self.excess(longest, name).text(unit)
            if longest.stride == 1:
                lines.append(f"{limit} none; conservative forces at every step")
            else:
                cost = self.costs.relative(longest.stride)
                resonant = 0 if self.stability is None else self.stability[longest.stride - 1].growing
                warning = f"; {resonant} vibration{'s grow' if resonant > 1 else ' grows'}" if resonant else ""
                if cost >= 1.0:
                    warning += "; no stride up to it saves time"
                lines.append(
                    f"{limit} M = {longest.stride} ({what}), at {cost:.0%} of the cost of conservative forces{warning}"
                )
        return "\n".join(lines)

    def _table(self) -> str:
        masses = ", ".join(f"{symbol} {mass:.4g} u" for symbol, mass in self.masses.items())
        symbols = list(self.masses)
        lines = [
            f"{printable(self.model)}: {len(self.species)} atoms ({masses}), {self.time:g} ps at "
            f"{self.temperature:.0f} K, fast steps of {self.timestep:g} fs",
            "",
            f"     impulses        heating without thermostat       too hot, tau {self.tau:g} fs, K",
            f"  M  every, fs  cost    meV/atom/ps      K/ps   {'Langevin':>8} {'SVR':>7} {'GLE':>7}   "
            + " ".join(f"{f'to {symbol}':>5}" for symbol in symbols)
            + "   mostly through",
        ]
        for each in self.strides:
            excess = [self.excess(each, name).value for name in ("langevin", "svr", "gle")]
            parts = [each.species[s].value / each.total.value if each.total.value else 0.0 for s in symbols]
            through = "" if each.dominant is None else f"{self.band(each.dominant)}, {each.dominant:.0f} cm⁻¹"
            lines.append(
                f"{each.stride:>3} {each.stride * self.timestep:>10g} "
                f"{self.costs.relative(each.stride):>5.2f}  "
                f"{each.total.fixed(3, width=6)} {each.rate.value:>6.2f}   "
                f"{excess[0]:>8.2g} {excess[1]:>7.2g} {excess[2]:>7.2g}   "
                + " ".join(f"{part:>5.0%}" for part in parts)
                + f"   {through}"
            )
        return "\n".join(lines)

    def _stability(self, stability: Sequence[Stability]) -> str:
        lines = [
            "growing vibrations, frozen at the last structure",
            "  M   |lambda|  growth, 1/ps  how many   the worst",
        ]
        for each in stability[1:]:
            through = " and ".join(f"{self.band(w)}, {w:.0f} cm⁻¹" for w in each.wavenumbers)
            lines.append(
                f"{each.stride:>3} {each.modulus:>10.4f} {each.growth:>13.2f} {each.growing:>9}   {through}".rstrip()
            )
        return "\n".join(lines)
