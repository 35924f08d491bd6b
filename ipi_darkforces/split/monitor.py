"""Monitor of the difference between conservative and direct forces in multiple time stepping."""

from __future__ import annotations

import logging
import time

import numpy as np

from ..errors import DarkforcesError
from ..models.structure import name_atoms
from .disagreement import Disagreement

log = logging.getLogger(__name__)

# eV/Å on one atom, by default. Slow forces act as kicks: with 2 fs between them, one of 1 eV/Å changes the velocity of
# a hydrogen atom by 0.02 Å/fs, which is more than its thermal one at 300 K.
TOO_FAR = 1.0
EVERY = 60.0  # seconds between reports
_WORSE = 2.0  # by which factor it must get worse before it is worth another warning


class Watch:
    """Watches one client.

    :param who: whose simulation it is, for messages
    :param too_far: eV/Å, of the difference on one atom, beyond which there is a warning
    """

    def __init__(self, who: str, too_far: float = TOO_FAR):
        self._who = who
        self._too_far = self._warn_at = too_far
        self._uncertain = 0.0  # eV, an uncertainty of which was warned
        self._next_report = time.monotonic() + EVERY

    def see(self, seen: Disagreement, species: np.ndarray) -> None:
        """Warn if there is a reason to, and say how it is from time to time.

        :param seen: what it is now
        :param species: atomic numbers, shape (n_atoms,)
        """
        self.warn(seen, species)
        if time.monotonic() > self._next_report:
            self._next_report = time.monotonic() + EVERY
            log.info("%s: %s", self._who, in_words(seen, species))

    def warn(self, seen: Disagreement, species: np.ndarray) -> None:
        """Warn if there is a reason to: when it is too far for the first time, and when it is twice as far as then."""
        if seen.largest > self._warn_at:
            log.warning("%s: %s", self._who, too_far_apart(seen, species, self._too_far))
            self._warn_at = _WORSE * seen.largest

    def warn_of_uncertainty(self, uncertainty: np.ndarray, species: np.ndarray, threshold: float) -> None:
        """Warn when the energy of an atom is too uncertain for the first time, and when it is twice as bad as then.

        :param uncertainty: eV, shape (n_atoms,)
        :param species: atomic numbers, shape (n_atoms,)
        :param threshold: eV
        """
        largest = float(uncertainty.max())
        if largest > max(threshold, _WORSE * self._uncertain):
            worst = name_atoms(np.array([uncertainty.argmax()]), species)
            log.warning(
                "%s: the energy of %s has an uncertainty of %.3g eV, more than %.3g eV: the model may not know such "
                "structures",
                *(self._who, worst, largest, threshold),
            )
            self._uncertain = largest


def checked_limit(given: float | str, name: str, unit: str = "eV/Å") -> float:
    """A number above zero that was given under this name; raises a DarkforcesError if it is none."""
    try:
        limit = float(given)
    except ValueError:
        limit = 0.0
    if not limit > 0.0:
        raise DarkforcesError(f"{name} {given} cannot be used: expected {unit}, more than zero")
    return limit


def in_words(seen: Disagreement, species: np.ndarray) -> str:
    """A disagreement in one line."""
    worst = name_atoms(np.array([seen.worst]), species)
    return (
        f"conservative and direct forces differ by {1000.0 * seen.rms:.0f} meV/Å (rms), by {seen.largest:.2g} eV/Å on "
        f"{worst}; work of direct forces so far {1000.0 * seen.work / len(species):+.3g} meV/atom"
    )


def too_far_apart(seen: Disagreement, species: np.ndarray, limit: float) -> str:
    """The warning for forces that are too far apart, in one line."""
    worst = name_atoms(np.array([seen.worst]), species)
    return (
        f"conservative and direct forces differ by {seen.largest:.3g} eV/Å on {worst}, more than {limit:.3g} eV/Å: the "
        "model may not know such structures, and the simulation may explode; a shorter stride is safer"
    )
