"""The stages of an assessment, each announced with the time that is left for all of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter

import ase
import numpy as np

from ..campaign.matrix import NVE
from ..diagnostics.stride import EQUILIBRATION
from ..models.model import ForceModel, Need
from ..models.structure import Structure
from .plan import SVR_LONGER, AssessmentPlan

ASYMMETRY, WORK, STRIDES = "lambda", "work along a closed path", "heating of strides"
_STARTING = 4.0  # s, of i-PI and the driver
_BESIDE_MODEL = 0.002  # s of each step
_STRIDE = 8  # M of the multiple time stepping whose time is estimated


class Stages:
    """Announcements on stderr: which stage begins, of how many, and the time that is left.

    :param seconds: that each stage is expected to take, in order; None where that cannot be known
    """

    def __init__(self, seconds: Mapping[str, float | None]):
        self._left = dict(seconds)
        self._total = len(seconds)
        self._begun = 0

    def begin(self, name: str) -> None:
        """Announce a stage; those that come before it are done."""
        while self._left and name in self._left and next(iter(self._left)) != name:
            self._left.pop(next(iter(self._left)))
        self._begun = max(self._begun + 1, self._total - len(self._left) + 1)
        left = _in_words(sum(each or 0.0 for each in self._left.values()))
        after = "after it" if self._left.get(name, 0.0) is None else "left"
        of = f" of {self._total}" if self._begun <= self._total else ""
        print(f"{self._begun}{of}: {name}; about {left} {after}", file=sys.stderr, flush=True)


def simulation_name(ensemble: str, forces: str) -> str:
    """The name of the stage in which a simulation is run; strides are one, whichever is chosen."""
    return f"{ensemble.upper()}, {'multiple time stepping' if forces.startswith('mts') else f'{forces} forces'}"


def estimated_seconds(
    plan: AssessmentPlan, model: ForceModel, atoms: ase.Atoms, structure: Structure, predicted: float
) -> dict[str, float | None]:
    """Seconds that each stage takes, from the times of evaluations.

    :param atoms: that all start from
    :param structure: the same, for the model
    :param predicted: ps, of the run from which strides are predicted
    """
    steps = 1000.0 * plan.time / plan.timestep
    direct = _seconds(model, structure, Need.DIRECT)
    found: dict[str, float | None] = {ASYMMETRY: None, WORK: None}
    if Need.CONSERVATIVE not in plan.provides:
        found[simulation_name(NVE, "direct")] = _STARTING + steps * direct
        if plan.thermostatted:
            found[simulation_name("svr", "direct")] = _STARTING + SVR_LONGER * steps * direct
        return found
    conservative = _seconds(model, structure, Need.CONSERVATIVE)
    both = _seconds(model, structure, Need.CONSERVATIVE | Need.DIRECT)
    split = direct + (both - direct) / _STRIDE
    predicted += 0.0 if np.any(atoms.get_momenta()) else EQUILIBRATION
    found[STRIDES] = 1000.0 * predicted / plan.timestep * both
    for ensemble, longer, costs in (
        (NVE, 1.0, {"conservative": conservative, "direct": direct}),
        ("svr", SVR_LONGER, {"direct": direct}),
        (NVE, 1.0, {"mts": split}),
        ("svr", SVR_LONGER, {"mts": split}),
    ):
        for forces, cost in costs.items() if plan.thermostatted or ensemble == NVE else ():
            found[simulation_name(ensemble, forces)] = _STARTING + longer * steps * cost
    return found


def _seconds(model: ForceModel, structure: Structure, need: Need) -> float:
    """Time of a step, of which an evaluation is the larger part; the first evaluation prepares things."""
    model.evaluate(structure, need)
    began = perf_counter()
    model.evaluate(replace(structure, positions=structure.positions + 1e-4), need)
    return perf_counter() - began + _BESIDE_MODEL


def _in_words(seconds: float) -> str:
    if seconds < 90.0:
        return f"{max(seconds, 1.0):.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 5400.0 else f"{seconds / 3600.0:.1f} h"
