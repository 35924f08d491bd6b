"""Errors of a model against reference data, differences of its direct and conservative forces, and its speed.

The last two decide together what multiple time stepping gains: a direct evaluation is cheap, and the less the direct
forces differ from the conservative ones, the larger the stride that stays stable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from ase.data import chemical_symbols

from ..errors import DarkforcesError, about
from ..models.model import ForceModel, Need
from ..models.result import Forces
from ..models.units import ENERGY_UNITS, FORCE_UNITS
from .reference import Reference

# TorchScript's first calls compile and are many times slower.
_WARM_UP = 5

# A slip of units shows as a constant factor between reference and prediction, to within this and to within the noise.
_TOLERANCE = 0.03
_CORRELATED = 0.9
_TOO_NOISY = 0.3  # relative error of the factor: neither a few energies nor bad ones can tell units apart


@dataclass(frozen=True)
class Errors:
    """Mean absolute error and root mean square error, in the same unit."""

    mae: float
    rmse: float

    @classmethod
    def of(cls, difference: np.ndarray) -> Errors:
        """Measure errors from differences of any shape, each component for itself."""
        return cls(float(np.mean(np.abs(difference))), float(np.sqrt(np.mean(difference**2))))


@dataclass(frozen=True)
class EnergyErrors:
    """Errors of energies, in meV/atom.

    :param total: predicted minus reference as they are
    :param mean: of predicted minus reference: data sets differ by a constant
    :param shifted: what is left after subtracting the mean
    """

    total: Errors
    mean: float
    shifted: Errors


@dataclass(frozen=True)
class ForceErrors:
    """Errors of forces per Cartesian component, in meV/Å.

    :param total: of all atoms
    :param elements: of the atoms of each element
    """

    total: Errors
    elements: dict[str, Errors]


@dataclass(frozen=True)
class EvaluationTime:
    """Milliseconds per structure, one structure at a time: median, first and third quartile."""

    median: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Accuracy:
    """Predictions of a model for reference data, and the reference.

    :param counts: atoms of each structure, shape (n_structures,)
    :param species: atomic numbers of all atoms, one structure after another, shape (n_atoms,)
    :param reference_energy: eV, shape (n_structures,)
    :param energy: eV, predicted, shape (n_structures,)
    :param reference_forces: eV/Å, shape (n_atoms, 3)
    :param conservative: eV/Å, predicted, shape (n_atoms, 3); None if the model does not provide it
    :param direct: likewise
    :param milliseconds: time of each evaluation, shape (n_structures,), by what was asked for
    """

    model: str
    counts: np.ndarray
    species: np.ndarray
    reference_energy: np.ndarray
    energy: np.ndarray
    reference_forces: np.ndarray
    conservative: np.ndarray | None
    direct: np.ndarray | None
    milliseconds: dict[Need, np.ndarray]

    @property
    def n_structures(self) -> int:
        """The number of structures."""
        return len(self.counts)

    @property
    def n_atoms(self) -> int:
        """The number of atoms in all structures together."""
        return len(self.species)

    @cached_property
    def energy_errors(self) -> EnergyErrors:
        """Errors of the energy per atom."""
        difference = 1000.0 * (self.energy - self.reference_energy) / self.counts
        mean = float(difference.mean())
        return EnergyErrors(Errors.of(difference), mean, Errors.of(difference - mean))

    @cached_property
    def conservative_errors(self) -> ForceErrors | None:
        """Conservative forces against the reference."""
        return self._force_errors(self.conservative, self.reference_forces)

    @cached_property
    def direct_errors(self) -> ForceErrors | None:
        """Direct forces against the reference."""
        return self._force_errors(self.direct, self.reference_forces)

    @cached_property
    def difference(self) -> ForceErrors | None:
        """Direct forces against conservative ones."""
        return self._force_errors(self.direct, self.conservative)

    @cached_property
    def timings(self) -> dict[Need, EvaluationTime]:
        """Timings by what was asked for."""
        quartiles = {need: np.percentile(values, [50, 25, 75]) for need, values in self.milliseconds.items()}
        return {need: EvaluationTime(*values.tolist()) for need, values in quartiles.items()}

    def _force_errors(self, one: np.ndarray | None, other: np.ndarray | None) -> ForceErrors | None:
        if one is None or other is None:
            return None
        difference = 1000.0 * (one - other)
        elements = {chemical_symbols[z]: Errors.of(difference[self.species == z]) for z in np.unique(self.species)}
        return ForceErrors(Errors.of(difference), elements)

    def as_json(self) -> dict[str, object]:
        """JSON values, units in the names; None for what the model does not provide."""
        forces = {
            "conservative_forces_meV_per_angstrom": self.conservative_errors,
            "direct_forces_meV_per_angstrom": self.direct_errors,
            "direct_minus_conservative_meV_per_angstrom": self.difference,
        }
        return {
            "model": self.model,
            "structures": self.n_structures,
            "atoms": self.n_atoms,
            "energy_meV_per_atom": asdict(self.energy_errors),
            **{key: None if errors is None else asdict(errors) for key, errors in forces.items()},
            "milliseconds_per_structure": {
                str(need).replace(", ", "_").replace(" forces", ""): asdict(timing)
                for need, timing in self.timings.items()
            },
        }


def measure(
    model: ForceModel, references: Sequence[Reference], progress: Callable[[int, int], None] | None = None
) -> Accuracy:
    """Evaluate a model on reference data, one structure at a time.

    Direct forces are asked for alone, for their time, and then together with energy and conservative forces: in two
    rounds, so that no structure is one that the model has just seen and still has the neighbours of.

    :param model: with conservative forces, direct forces or both
    :param references: at least one
    :param progress: called with the number of evaluations done and to be done
    :raises DarkforcesError: if the model does not know an element, or predicts NaN; the message names the structure
    """
    _check(model, references)
    rounds = [Need.DIRECT] if Need.DIRECT in model.forces else []
    if Need.CONSERVATIVE in model.forces:
        rounds.append(Need.ENERGY | model.forces)
    milliseconds: dict[Need, np.ndarray] = {}
    for i, need in enumerate(rounds):

        def report(done: int, before: int = i * len(references)) -> None:
            if progress is not None:
                progress(before + done, len(rounds) * len(references))

        results, milliseconds[need] = _timed(model, references, need, report)
    return _collect(model.name, references, results, milliseconds)


def _check(model: ForceModel, references: Sequence[Reference]) -> None:
    """Check what would fail after minutes."""
    if not model.forces:
        raise DarkforcesError(f"model '{model.name}' provides no forces to be judged; it provides {model.provides}")
    for reference in references:
        with about(reference.name):
            model.check_species(reference.structure.species)


def _timed(
    model: ForceModel, references: Sequence[Reference], need: Need, report: Callable[[int], None]
) -> tuple[list[Forces], np.ndarray]:
    """Predictions for all structures, and how many milliseconds each took."""
    results, milliseconds = [], []
    for i in range(_WARM_UP):
        _evaluate(model, references[i % len(references)], need)
    for done, reference in enumerate(references, start=1):
        start = time.perf_counter()
        results.append(_evaluate(model, reference, need))
        milliseconds.append(1000.0 * (time.perf_counter() - start))
        report(done)
    return results, np.array(milliseconds)


def _evaluate(model: ForceModel, reference: Reference, need: Need) -> Forces:
    with about(reference.name):
        return model.evaluate(reference.structure, need)


def _collect(
    name: str, references: Sequence[Reference], results: Sequence[Forces], milliseconds: dict[Need, np.ndarray]
) -> Accuracy:
    return Accuracy(
        name,
        np.array([len(reference.forces) for reference in references]),
        np.concatenate([reference.structure.species for reference in references]),
        np.array([reference.energy for reference in references]),
        np.array([forces.energy for forces in results]),
        np.concatenate([reference.forces for reference in references]),
        _joined([forces.conservative for forces in results]),
        _joined([forces.direct for forces in results]),
        milliseconds,
    )


def _joined(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    present = [array for array in arrays if array is not None]
    return np.concatenate(present) if present else None


def check_units(accuracy: Accuracy, energy_unit: str = "eV", force_unit: str = "eV/Angstrom") -> None:
    """Refuse reference data that differ from what the model predicts by the factor between two units, or by a sign.

    :param energy_unit: in which unit the reference energies were read
    :param force_unit: likewise for the forces
    :raises DarkforcesError: naming the unit that the data seem to have
    """
    predicted = accuracy.direct if accuracy.conservative is None else accuracy.conservative
    assert predicted is not None
    energy, reference_energy = _within_compositions(accuracy)
    slips = [
        _slip("forces", accuracy.reference_forces.ravel(), predicted.ravel(), FORCE_UNITS, force_unit),
        _slip("energies", reference_energy, energy, ENERGY_UNITS, energy_unit),
    ]
    found = [slip for slip in slips if slip is not None]
    if found:
        raise DarkforcesError("; ".join(found))


def _within_compositions(accuracy: Accuracy) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and reference energies in eV, relative to their means over structures of the same composition.

    Energies of different compositions differ by the energies of free atoms, of which every data set has its own.
    """
    structures = np.split(accuracy.species, np.cumsum(accuracy.counts)[:-1])
    compositions = np.array([hash(np.sort(species).tobytes()) for species in structures])
    energies = np.stack([accuracy.energy, accuracy.reference_energy])
    kept = []
    for composition in np.unique(compositions):
        same = energies[:, compositions == composition]
        kept.append(same - same.mean(axis=1, keepdims=True))
    predicted, reference = np.concatenate([k for k in kept if k.shape[1] > 1] or [np.zeros((2, 0))], axis=1)
    return predicted, reference


def _slip(kind: str, reference: np.ndarray, predicted: np.ndarray, factors: dict[str, float], unit: str) -> str | None:
    """The likely mistake behind reference values (n,) that are proportional to predicted ones (n,), in words."""
    if len(reference) < 3 or not predicted.any() or not reference.any():
        return None
    slope = float(reference @ predicted / (predicted @ predicted))
    correlation = float(reference @ predicted / np.sqrt((predicted @ predicted) * (reference @ reference)))
    if abs(correlation) < _CORRELATED:
        return None
    # The error of the prediction makes the slope too small, by the square of the correlation if all of it does.
    noise = 2.0 * np.sqrt((1.0 - min(1.0, correlation**2)) / (len(reference) - 2))
    if noise > _TOO_NOISY:
        return None
    lowest = abs(slope) * (1.0 - _TOLERANCE - noise)
    highest = abs(slope) * (1.0 + _TOLERANCE + noise) / correlation**2
    ratios = {name: factors[unit] / factor for name, factor in factors.items()}
    fitting = [name for name, ratio in ratios.items() if lowest <= ratio <= highest]
    actual = min(fitting, key=lambda name: abs(np.log(ratios[name] / abs(slope))), default=None)
    if actual is None or (actual == unit and slope > 0):
        return None
    return _in_words(kind, slope, correlation, unit, actual)


def _in_words(kind: str, slope: float, correlation: float, given: str, actual: str) -> str:
    message = f"the reference {kind} are {slope:.4g} times the predicted ones (correlation {correlation:.3f})"
    meanings, advice = [], []
    if slope < 0:
        meanings.append("gradients instead of forces" if kind == "forces" else "of the wrong sign")
        advice.append("turn their sign in the data")
    if actual != given:
        meanings.append(f"in {actual} instead of {given}")
        advice.append(f"give --{'force' if kind == 'forces' else 'energy'}-unit {actual}")
    return f"{message}: they seem to be {' and '.join(meanings)}; {' and '.join(advice)}"
