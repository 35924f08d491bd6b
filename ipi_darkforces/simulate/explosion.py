"""Detection of explosions: simulations far too hot, with a conserved quantity far off.

A system that starts cold, strained or far from equilibrium may become hot too, but the energy for that was there: its
conserved quantity stays what it was. Direct forces and thermostats may move the conserved quantity for ever, but the
temperature stays near the target. Both together are an explosion; so is a temperature at which no atoms hold together,
and what is not a number.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import ase.units
import numpy as np
from ipi.utils.io.inputs.io_xml import read_array, xml_node
from ipi.utils.units import unit_to_internal, unit_to_user

from ..errors import DarkforcesError
from ..models.structure import name_atoms
from .inputs import SimulationInput
from .progress import Progress
from .tree import descendants, text_of

TOO_HOT = 10.0  # times the temperature that it should have, or had
_ABSURD = 100.0  # likewise, whatever the conserved quantity says
_ROOM = 300.0  # K; colder simulations may become as hot as those at room temperature
_JUMP = 2.0  # times the average temperature, from which on it may be the beginning
_MEMORY = 100  # reports over which that average is taken
_FASTEST = 3  # atoms that are named at most
_FAR_FASTER = 10.0  # times the average kinetic energy, from which on they are
_TEMPERATURES = ("temperature", "t_start", "t_end")


@dataclass(frozen=True)
class Explosion:
    """An explosion, and when it began.

    :param seen: the report from which it was recognised
    :param expected: K, what the temperature should be, or was at the beginning
    :param calm: the last report at which all was well; None if there was none
    :param atoms: the fastest, as far as they stand out
    :param good: step of the state that was kept; 0 if there is only the start
    :param complaint: of the driver, if that was how it ended
    """

    seen: Progress
    expected: float
    calm: Progress | None
    atoms: str | None
    good: int
    complaint: str | None = None

    @property
    def text(self) -> str:
        """Description in one line."""
        text = f"exploded at step {self.seen.step} ({1e-3 * self.seen.time:.4g} ps): {self.seen.temperature:.3g} K"
        if self.expected < self.seen.temperature:
            text += f" instead of {self.expected:.3g} K"
        text += f", conserved quantity off by {self.seen.drift:.3g} eV"
        if self.complaint is not None:
            text += f"; then {self.complaint}"
        if self.calm is not None:
            text += f"; it began after step {self.calm.step} ({1e-3 * self.calm.time:.4g} ps)"
        return f"{text}; fastest: {self.atoms}" if self.atoms else text

    def as_json(self) -> dict[str, object]:
        """JSON values, units in the names."""
        seen, calm = self.seen, self.calm
        return {
            "step": seen.step,
            "picoseconds": 1e-3 * seen.time,
            "temperature_K": seen.temperature if math.isfinite(seen.temperature) else None,
            "conserved_change_eV": seen.drift if math.isfinite(seen.drift) else None,
            "began_after_step": None if calm is None else calm.step,
            "began_after_picoseconds": None if calm is None else 1e-3 * calm.time,
            "fastest_atoms": self.atoms,
            "last_good_step": self.good,
        }


class ExplosionWatch:
    """Looks at reports for the signs of an explosion.

    :param n_atoms: None if not known; then only the temperature counts
    """

    def __init__(self, simulation: SimulationInput, n_atoms: int | None):
        self._target = _highest_temperature(simulation.root)
        self._n_atoms = n_atoms
        self._first: Progress | None = None
        self._average = 0.0
        self._calm: Progress | None = None
        self._latest: Progress | None = None

    @property
    def seen(self) -> bool:
        """Tell whether there was any report."""
        return self._latest is not None

    @property
    def in_doubt(self) -> bool:
        """Tell whether the latest report may be one of the first of an explosion."""
        return self._latest is not self._calm

    def see(self, progress: Progress) -> bool:
        """Tell whether this is an explosion."""
        self._latest = progress
        if not (math.isfinite(progress.temperature) and math.isfinite(progress.drift)):
            return True
        if self._first is None:
            self._first = progress
            self._average = progress.temperature
        if progress.time == self._first.time:  # it has not moved yet, or it is no dynamics
            self._calm = progress
            return False
        if progress.temperature <= _JUMP * max(self._average, self._expected):
            self._calm = progress
        self._average += (progress.temperature - self._average) / _MEMORY
        return self._too_hot(progress)

    @property
    def _expected(self) -> float:
        """The expected temperature: that of the ensemble, or at the beginning."""
        return max(self._target, 0.0 if self._first is None else self._first.temperature)

    def _too_hot(self, progress: Progress) -> bool:
        reference = max(self._expected, _ROOM)
        if progress.temperature < TOO_HOT * reference:
            return False
        kinetic = math.inf if self._n_atoms is None else 1.5 * self._n_atoms * ase.units.kB * reference
        return abs(progress.drift) > kinetic or progress.temperature > _ABSURD * reference

    def explosion(self, atoms: str | None, good: int, complaint: str | None) -> Explosion:
        """The explosion, as of the latest report; see `Explosion`."""
        assert self._latest is not None  # or else nothing would have exploded
        return Explosion(self._latest, self._expected, self._calm, atoms, good, complaint)


def fastest_atoms(state: Path, species: np.ndarray | None) -> str | None:
    """The atoms that are much faster than others, in words; None if there are none, or the state cannot be read.

    :param state: a state of i-PI
    :param species: atomic numbers, shape (n_atoms,); None if they are not known
    """
    try:
        root = SimulationInput.read(state).root
        beads = next(descendants(root, "beads"))
        momenta, masses = (_array(beads, name) for name in ("p", "m"))
        kinetic = (momenta.reshape(-1, len(masses), 3) ** 2).sum(axis=2).max(axis=0) / (2.0 * masses)
    except (DarkforcesError, StopIteration, ValueError):
        return None
    order = np.argsort(np.where(np.isfinite(kinetic), kinetic, np.inf))[::-1][:_FASTEST]
    usual = np.median(kinetic[np.isfinite(kinetic)]) if np.isfinite(kinetic).any() else 0.0
    chosen = np.sort(order[~(kinetic[order] <= _FAR_FASTER * usual)])  # the median is of those not reached yet
    if not len(chosen):
        return None
    return f"atoms {', '.join(map(str, chosen))}" if species is None else name_atoms(chosen, species)


def _array(beads: xml_node, name: str) -> np.ndarray:
    return np.asarray(read_array(float, text_of(next(descendants(beads, name)))))


def _highest_temperature(root: xml_node) -> float:
    """The highest temperature that an input asks for, K; zero if there is none."""
    found = [0.0]
    for node in descendants(root, *_TEMPERATURES):
        with suppress(ValueError):  # a placeholder of a template
            unit = node.attribs.get("units", "atomic_unit")
            found.append(
                unit_to_user("temperature", "kelvin", unit_to_internal("temperature", unit, float(text_of(node))))
            )
    return max(found)
