"""Predicted heating of the strides of multiple time stepping, by which an assessment chooses one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..diagnostics.stride_prediction import StridePrediction
from ..stats.estimates import Estimate

LONGEST = 16  # M


@dataclass(frozen=True)
class Strides:
    """The heating of each stride, predicted from one run under conservative forces; see `diagnostics.heating`.

    :param heating: K/ps without a thermostat, by M from 2
    :param excess_times: ps, by ensemble: the steady excess of temperature over the heating without a thermostat
    :param tau: fs, time constant of these thermostats
    :param time: ps, of the run
    """

    heating: Mapping[int, Estimate]
    excess_times: Mapping[str, float]
    tau: float
    time: float

    @classmethod
    def of(cls, prediction: StridePrediction) -> Strides:
        """Heating and thermostats of a prediction."""
        strides = prediction.strides[1:]
        return cls(
            {each.stride: each.rate for each in strides},
            prediction.excess_times,
            prediction.tau,
            prediction.time,
        )

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Strides:
        """Read what `as_json` has written."""
        return cls(
            {int(stride): Estimate(*values) for stride, values in found["heating_K_per_ps"].items()},
            found["excess_ps"],
            found["tau_fs"],
            found["picoseconds"],
        )

    def as_json(self) -> dict[str, object]:
        """JSON values: of estimates value, standard error and its degrees of freedom."""
        return {
            "heating_K_per_ps": {M: [each.value, each.error, each.freedom] for M, each in self.heating.items()},
            "excess_ps": dict(self.excess_times),
            "tau_fs": self.tau,
            "picoseconds": self.time,
        }

    def is_within(self, stride: int, limit: float) -> bool:
        """Tell whether a stride is certain to heat by less than a limit in K/ps."""
        found = self.heating[stride]
        return found.value + (found.margin() or 0.0) < limit

    def longest(self, limit: float) -> int | None:
        """The largest stride up to which all are certain to heat by less than a limit in K/ps; None without one."""
        longest = None
        for stride in sorted(self.heating):
            if not self.is_within(stride, limit):
                break
            longest = stride
        return longest
