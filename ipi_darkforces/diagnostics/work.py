"""Work of forces along a closed path: zero if they are conservative (paper, equation 5 and appendix D).

W = ∮ f · dr = ∫ f · (dr/ds) ds, over the parameter s from 0 to 1. The power f · dr/ds is periodic, and its mean over
evenly spaced points, the trapezoidal rule, converges faster than any power of their number where it is smooth
(L. N. Trefethen and J. A. C. Weideman, SIAM Rev. 56, 385 (2014)). So does the work up to each point, which comes from
the Fourier series of the power, integrated term by term. Points are doubled, keeping those that are there, until this
does not change any more; how much it changed the last time is the error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import DarkforcesError
from ..models.model import FORCE_KINDS, ForceModel, Need, of_kind
from .closed_path import ClosedPath

_FEWEST_POINTS = 16
_MOST_POINTS = 1024
_BATCH = 8


@dataclass(frozen=True)
class Work:
    """The work of one kind of forces along a path.

    :param cumulative: eV, from the beginning to each point and, last, to the end, shape (n_points + 1,)
    :param error: eV, by how much it changed, at most, when the points were doubled the last time
    """

    cumulative: np.ndarray
    error: float

    @property
    def total(self) -> float:
        """Work along the whole path, eV."""
        return float(self.cumulative[-1])


@dataclass(frozen=True)
class Loop:
    """A model on a closed path.

    :param path: what moves
    :param parameters: where the forces were evaluated and, last, the end, shape (n_points + 1,)
    :param energy: eV, of the model, relative to the beginning, at the same places
    :param works: by the kind of forces, ``conservative`` or ``direct``, as far as the model has them
    :param tolerance: eV, the error that was asked for
    """

    model: str
    path: str
    parameters: np.ndarray
    energy: np.ndarray
    works: dict[str, Work]
    tolerance: float

    @property
    def points(self) -> int:
        """The number of evaluations."""
        return len(self.parameters) - 1

    @property
    def converged(self) -> bool:
        """Tell whether all errors are within the tolerance."""
        return all(work.error <= self.tolerance for work in self.works.values())

    @property
    def energy_mismatch(self) -> float | None:
        """Largest difference of the conservative work from minus the change of the energy, eV: a check of both."""
        conservative = self.works.get("conservative")
        return None if conservative is None else float(np.abs(conservative.cumulative + self.energy).max())

    def as_json(self) -> dict[str, object]:
        """JSON values, units in the names."""
        return {
            "model": self.model,
            "path": self.path,
            "points": self.points,
            "converged": self.converged,
            "tolerance_meV": 1000.0 * self.tolerance,
            "work_meV": {kind: 1000.0 * work.total for kind, work in self.works.items()},
            "error_meV": {kind: 1000.0 * work.error for kind, work in self.works.items()},
            "energy_mismatch_meV": None if self.energy_mismatch is None else 1000.0 * self.energy_mismatch,
            "parameter": self.parameters.tolist(),
            "energy_eV": self.energy.tolist(),
            "cumulative_work_eV": {kind: work.cumulative.tolist() for kind, work in self.works.items()},
        }


def integrate(
    model: ForceModel,
    path: ClosedPath,
    tolerance: float = 1e-4,
    report: Callable[[int], None] = lambda done: None,
) -> Loop:
    """The work of all forces that the model has, to within the tolerance or as well as 1024 evaluations allow.

    :param model: with conservative forces, direct forces or both
    :param tolerance: eV
    :param report: called with the number of evaluations that are done
    :raises DarkforcesError: if the model has no forces, does not know an element, or predicts NaN
    """
    if not model.forces:
        raise DarkforcesError(f"model '{model.name}' provides no forces to do work; it provides {model.provides}")
    kinds = [kind for kind, flag in FORCE_KINDS.items() if flag in model.forces]
    n = _FEWEST_POINTS
    powers, energies = _along(model, path, kinds, np.arange(n) / n, report)
    cumulative = np.array([cumulative_integral(power) for power in powers])
    errors = np.full(len(kinds), np.inf)
    while errors.max() > tolerance and n < _MOST_POINTS:
        between = _along(model, path, kinds, (np.arange(n) + 0.5) / n, report, before=n)
        powers, energies = (_interleaved(*pair) for pair in zip((powers, energies), between, strict=True))
        n *= 2
        coarse, cumulative = cumulative, np.array([cumulative_integral(power) for power in powers])
        errors = np.abs(cumulative[:, ::2] - coarse).max(axis=1)
    works = {kind: Work(c, e) for kind, c, e in zip(kinds, cumulative, errors.tolist(), strict=True)}
    energies = np.append(energies, energies[0]) - energies[0]
    return Loop(model.name, path.name, np.arange(n + 1) / n, energies, works, tolerance)


def _interleaved(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Values (..., n) at points, and those halfway to the next ones, in order (..., 2 n)."""
    return np.stack([old, new], axis=-1).reshape(*old.shape[:-1], -1)


def _along(
    model: ForceModel,
    path: ClosedPath,
    kinds: list[str],
    parameters: np.ndarray,
    report: Callable[[int], None],
    before: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Power of each kind of forces, eV, shape (n_kinds, n), and the energy, eV, shape (n,)."""
    powers, energies = np.empty((len(kinds), len(parameters))), np.empty(len(parameters))
    for begin in range(0, len(parameters), _BATCH):
        batch = slice(begin, begin + _BATCH)
        structures, velocities = path.structures(parameters[batch])
        results = model.evaluate(structures, Need.ENERGY | model.forces)
        energies[batch] = [result.energy for result in results]
        for i, kind in enumerate(kinds):
            forces = np.array([of_kind(FORCE_KINDS[kind], result)[path.moving] for result in results])
            powers[i, batch] = np.sum(forces * velocities, axis=(1, 2))
        report(before + min(begin + _BATCH, len(parameters)))
    return powers, energies


def cumulative_integral(values: np.ndarray) -> np.ndarray:
    """∫ from 0 to s of a function with period 1.

    :param values: of the function at s = 0, 1/n, 2/n, ..., shape (n,)
    :return: at the same places and at s = 1, shape (n + 1,)
    """
    n = len(values)
    mean = values.mean()
    frequencies = 2j * np.pi * np.fft.rfftfreq(n, 1.0 / n)
    coefficients = np.fft.rfft(values - mean)
    coefficients[1:] /= frequencies[1:]
    if n % 2 == 0:
        coefficients[-1] = 0.0  # half of it belongs to a sine that vanishes at all the points
    periodic = np.fft.irfft(coefficients, n)
    return mean * np.arange(n + 1) / n + np.append(periodic, periodic[0]) - periodic[0]
