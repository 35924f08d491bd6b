"""Any ase calculator as a `ForceModel`.

ase does not know whether forces are the gradient of an energy or predicted as such: who chooses the calculator says it,
and it is checked at the first geometry, see `consistency`. The energy is the one that forces are meant to be the
gradient of: ``free_energy`` where a calculator has both.

Nothing here needs more than numpy and ase, so that a calculator can be served from its own environment, which need not
have the packages of other models, nor allow them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.geometry import wrap_positions
from ase.stress import voigt_6_to_full_3x3_stress

from ..errors import DarkforcesError, one_line
from .consistency import check, check_virial, measure, slope_of_virial
from .model import ForceModel, Need, of_kind
from .result import Forces
from .structure import Structure

_OPTIONAL = ("stress", "free_energy")
_LONGEST = 300  # characters of what another library has to say
log = logging.getLogger(__name__)


class CalculatorModel(ForceModel):
    """An ase calculator.

    :param calculator: gives at least energy and forces
    :param name: what the user calls it
    :param kind: what its forces are: CONSERVATIVE or DIRECT
    :param species: see `ForceModel`
    :param remove_net_force: see `ForceModel`; only of direct forces
    :param wrap: whether it gets positions inside the cell, which keep their digits in single precision however far
        atoms diffuse; not for calculators that know molecules by the order of their atoms and want them whole
    :raises DarkforcesError: if it is no calculator, or has no energy or no forces
    """

    def __init__(
        self,
        calculator: Any,
        name: str,
        kind: Need = Need.CONSERVATIVE,
        species: frozenset[int] | None = None,
        remove_net_force: bool = True,
        wrap: bool = False,
    ):
        properties = _properties(calculator, name)
        self._calculator = calculator
        self._kind = kind
        self._wrap = wrap
        self._checked = False
        self._single_precision = False
        self._energy_name = "free_energy" if "free_energy" in properties else "energy"
        provides = Need.ENERGY | kind
        if "stress" in properties:
            provides |= Need.VIRIAL
        super().__init__(name, provides, species, remove_net_force)

    @property
    def epsilon(self) -> float:
        """Relative rounding error of the precision in which forces are computed, as far as the first ones showed it."""
        return float(np.finfo(np.float32 if self._single_precision else np.float64).eps)

    @property
    def provides_direct_virial(self) -> bool:
        """Tell whether the calculator has a stress, where its forces are direct."""
        return self._kind is Need.DIRECT and Need.VIRIAL in self.provides

    def _evaluate(self, structures: Sequence[Structure], need: Need) -> list[Forces]:
        results = [self._evaluate_one(structure, need) for structure in structures]
        if need & self._kind and not self._checked:
            self._checked = True
            self._single_precision = _in_single_precision(of_kind(self._kind, results[0]))
            self._check_kind(structures[0])
            if results[0].virial is not None and structures[0].volume:
                self._check_virial(structures[0])
        return results

    def _check_kind(self, structure: Structure) -> None:
        """Tell whether forces are what they are said to be, around the geometry for which the first ones were asked."""

        def evaluate(geometries: Sequence[np.ndarray]) -> list[tuple[float, np.ndarray]]:
            results = [self._evaluate_one(replace(structure, positions=p), self._kind) for p in geometries]
            return [(result.energy, of_kind(self._kind, result)) for result in results]

        found = measure(evaluate, structure.positions)
        try:
            check(found, self.name, self._kind)
        except DarkforcesError as error:
            if not self.goes_on:
                raise
            log.warning("%s; the simulation goes on, as it was begun with them", error)

    def _check_virial(self, structure: Structure) -> None:
        """Tell whether a conservative virial belongs to the energy, likewise."""

        def evaluate(strain: np.ndarray) -> tuple[float, np.ndarray]:
            strained = replace(structure, positions=structure.positions @ strain, cell=structure.cell @ strain)
            result = self._evaluate_one(strained, Need.VIRIAL)
            assert result.virial is not None
            return result.energy, result.virial

        check_virial(slope_of_virial(evaluate), self.name)

    def _evaluate_one(self, structure: Structure, need: Need) -> Forces:
        positions = structure.positions
        if self._wrap and structure.periodic.any():
            positions = wrap_positions(positions, structure.cell, structure.periodic)
        atoms = Atoms(structure.species, positions, cell=structure.cell, pbc=structure.periodic)
        # What costs most comes first: many calculators then know the rest.
        virial = self._virial(atoms, structure) if Need.VIRIAL in need else None
        forces = self._property("forces", atoms, (len(atoms), 3)) if need & self._kind else None
        energy = self._energy(atoms)
        if self._kind is Need.DIRECT:
            return Forces(energy, direct=forces, direct_virial=virial)
        return Forces(energy, conservative=forces, virial=virial)

    def _virial(self, atoms: Atoms, structure: Structure) -> np.ndarray | None:
        if not structure.volume:  # nothing to act against; and calculators raise an error or give NaN
            return np.zeros((3, 3))
        try:
            stress = np.asarray(self._raw("stress", atoms), dtype=np.float64)
        except PropertyNotImplementedError:  # some calculators speak for all of their models
            log.warning("model '%s' has no stress after all: for constant volume only, without pressures", self.name)
            self.provides &= ~Need.VIRIAL
            return None
        if stress.shape == (6,):
            stress = voigt_6_to_full_3x3_stress(stress)
        if stress.shape != (3, 3):
            raise self._misshapen("stress", stress.shape, "(6,) or (3, 3)")
        return -0.5 * structure.volume * (stress + stress.T)

    def _energy(self, atoms: Atoms) -> float:
        try:
            return float(self._property(self._energy_name, atoms, ()))
        except PropertyNotImplementedError:  # it is free energies that may be missing
            self._energy_name = "energy"
            return self._energy(atoms)

    def _property(self, name: str, atoms: Atoms, shape: tuple[int, ...]) -> np.ndarray:
        values = np.asarray(self._raw(name, atoms), dtype=np.float64)
        if values.shape != shape:
            raise self._misshapen(name, values.shape, str(shape))
        return values

    def _misshapen(self, name: str, shape: tuple[int, ...], expected: str) -> DarkforcesError:
        return DarkforcesError(f"model '{self.name}' gives {name} of shape {shape}: expected {expected}")

    def _raw(self, name: str, atoms: Atoms) -> Any:
        try:
            return self._calculator.get_property(name, atoms)
        except PropertyNotImplementedError:
            if name in _OPTIONAL:
                raise
            raise DarkforcesError(f"model '{self.name}' gives no {name}") from None
        except Exception as error:  # calculators raise anything on what they cannot compute
            log.debug("model '%s' failed", self.name, exc_info=True)
            raise DarkforcesError(
                f"model '{self.name}' cannot compute the {name.replace('_', ' ')} of {atoms.get_chemical_formula()}: "
                f"{shortened(error)}"
            ) from error


def _in_single_precision(forces: np.ndarray) -> bool:
    """Tell whether these are numbers in single precision, whatever they are stored as."""
    return bool(forces.any()) and np.array_equal(forces, forces.astype(np.float32))


def _properties(calculator: Any, name: str) -> Sequence[str]:
    properties = getattr(calculator, "implemented_properties", None)
    if properties is None or not callable(getattr(calculator, "get_property", None)):
        raise DarkforcesError(f"model '{name}' is {type(calculator).__name__}: expected an ase calculator")
    for needed in ("energy", "forces"):
        if needed not in properties:
            raise DarkforcesError(f"model '{name}' gives no {needed}; it gives {', '.join(properties)}")
    return list(properties)


def shortened(error: Exception) -> str:
    """The message of an error in a calculator's package, shortened."""
    text = f"{type(error).__name__}: {one_line(error)}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
