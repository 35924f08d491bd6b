"""Checks of a model against what multiple time stepping and i-PI take for granted.

Energies and both kinds of forces are compared with what they must be: a gradient, the same in another order of the
atoms, elsewhere in space, or in a batch. Nothing is compared with reference data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms

from ..errors import DarkforcesError
from ..models.consistency import measure, slope_of_virial
from ..models.model import ForceModel, Need
from ..models.result import Forces
from ..models.structure import Structure

# Times the relative rounding error: of energies, as sums over atoms, and of forces, as sums over neighbours and layers.
_ROUNDING_OF_ENERGY = 20.0
_ROUNDING = 2000.0
_VIRIAL = 0.02  # relative difference to the derivative of the energy, from differences of energies
_DISPLACEMENT = 0.01  # Å, of the other geometries in a batch


@dataclass(frozen=True)
class Check:
    """A deviation from what must be, and the largest that is allowed.

    :param name: what is compared
    :param deviation: in `unit`
    :param tolerance: in `unit`, what rounding explains
    :param unit: ``eV``, ``eV/Å``, or empty for relative ones
    """

    name: str
    deviation: float
    tolerance: float
    unit: str

    @property
    def passed(self) -> bool:
        """Tell whether the deviation is allowed; NaN is not."""
        return self.deviation <= self.tolerance

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.name}: {self.deviation:.2g}{unit}, at most {self.tolerance:.2g}"


def check_model(model: ForceModel, atoms: Structure | Atoms) -> list[Check]:
    """Check energies, forces and virial of a model for a structure.

    What is checked, as far as the model provides it: shapes; conservative forces against differences of energies, sign
    and unit of direct forces, the virial against energies of strained cells; and that nothing depends on the order of
    the atoms, on where in space they are, on which periodic image of an atom is given, or on what else is in a batch.

    :param model: in any precision; with ``dtype="float64"`` the checks are sharper
    :param atoms: a structure that the model knows, of two atoms or more
    :return: the checks, all passed
    :raises DarkforcesError: if one of them has not; the message has all that have not

    >>> import ase.build, ipi_darkforces as dark
    >>> from ipi_darkforces.testing import check_model
    >>> water = ase.build.molecule("H2O", cell=[9, 9, 9], pbc=True)
    >>> checks = check_model(dark.load_model("pet-m", dtype="float64"), water)
    >>> [check.name for check in checks if "gradient" in check.name]
    ['conservative forces against the gradient of the energy', 'virial against the gradient of the energy']
    """
    structure = Structure.from_ase(atoms) if isinstance(atoms, Atoms) else atoms
    if len(structure.species) < 2:
        raise DarkforcesError(f"a structure of {len(structure.species)} atoms cannot tell: expected two or more")
    checks = list(_checks(model, structure))
    failed = [str(check) for check in checks if not check.passed]
    if failed:
        raise DarkforcesError(f"model '{model.name}' fails {len(failed)} of {len(checks)} checks: {'; '.join(failed)}")
    return checks


def _checks(model: ForceModel, structure: Structure) -> Iterator[Check]:
    found = model.evaluate(structure)
    _check_shapes(model, found, len(structure.species))
    if Need.CONSERVATIVE in model.provides and Need.ENERGY in model.provides:
        yield from _gradient(model, structure)
    if Need.DIRECT in model.provides and Need.ENERGY in model.provides:
        yield from _size_of_direct(model, structure)
    if Need.VIRIAL in model.provides and Need.CONSERVATIVE in model.provides and structure.volume:
        yield from _virial(model, structure)
    random = np.random.default_rng(0)
    order = random.permutation(len(structure.species))
    permuted = Structure(structure.species[order], structure.positions[order], structure.cell)
    yield from _compared("another order of the atoms", model, found, model.evaluate(permuted), order)
    moved = replace(structure, positions=structure.positions + np.array([0.37, -1.21, 2.53]))
    yield from _compared("another place", model, found, model.evaluate(moved))
    if structure.periodic.any():
        images = random.integers(-2, 3, size=structure.positions.shape) @ structure.cell
        yield from _compared(
            "other periodic images",
            model,
            found,
            model.evaluate(replace(structure, positions=structure.positions + images)),
        )
    shaken = structure.positions + random.normal(0.0, _DISPLACEMENT, structure.positions.shape)
    batch = model.evaluate([replace(structure, positions=shaken), structure, permuted])
    yield from _compared("a batch", model, found, batch[1])


def _check_shapes(model: ForceModel, found: Forces, n_atoms: int) -> None:
    """Raise a DarkforcesError for results that are missing or of another shape."""
    expected = {
        Need.CONSERVATIVE: ("conservative", (n_atoms, 3)),
        Need.DIRECT: ("direct", (n_atoms, 3)),
        Need.VIRIAL: ("virial" if Need.CONSERVATIVE in model.provides else "direct_virial", (3, 3)),
    }
    for need, (name, shape) in expected.items():
        values = getattr(found, name)
        if need in model.provides and (values is None or values.shape != shape):
            given = "nothing" if values is None else f"shape {values.shape}"
            raise DarkforcesError(f"model '{model.name}' gives {given} for '{name}': expected shape {shape}")


def _energies_and_forces(
    model: ForceModel, structure: Structure, geometries: Sequence[np.ndarray], kind: Need
) -> list[tuple[float, np.ndarray]]:
    name = "conservative" if kind is Need.CONSERVATIVE else "direct"
    results = (model.evaluate(replace(structure, positions=each), Need.ENERGY | kind) for each in geometries)
    return [(each.energy, getattr(each, name)) for each in results]


def _gradient(model: ForceModel, structure: Structure) -> Iterator[Check]:
    found = measure(lambda all: _energies_and_forces(model, structure, all, Need.CONSERVATIVE), structure.positions)
    if found is not None:
        name = "conservative forces against the gradient of the energy"
        yield Check(name, found.difference, found.tolerance, "")
        yield Check("work of conservative forces on a closed path", abs(found.work), found.least_work, "eV")


def _size_of_direct(model: ForceModel, structure: Structure) -> Iterator[Check]:
    """Direct forces need not be the gradient, but resemble it; if not, a sign or a unit is wrong."""
    found = measure(lambda all: _energies_and_forces(model, structure, all, Need.DIRECT), structure.positions)
    if found is not None:
        name = "sign and unit of direct forces, beside the energy"
        yield Check(name, abs(found.slope - 1.0) if found.misfit else 0.0, 0.0, "")


def _virial(model: ForceModel, structure: Structure) -> Iterator[Check]:
    def strained(matrix: np.ndarray) -> tuple[float, np.ndarray]:
        of = replace(structure, positions=structure.positions @ matrix, cell=structure.cell @ matrix)
        result = model.evaluate(of, Need.ENERGY | Need.CONSERVATIVE | Need.VIRIAL)
        assert result.virial is not None
        return result.energy, result.virial

    slope = slope_of_virial(strained)
    if slope is not None:
        yield Check("virial against the gradient of the energy", abs(slope - 1.0), _VIRIAL, "")


def _compared(
    name: str, model: ForceModel, found: Forces, other: Forces, order: np.ndarray | slice = np.s_[:]
) -> Iterator[Check]:
    """Compare with what must be the same.

    :param order: of the atoms in `other`
    """
    rounding = _ROUNDING * model.epsilon
    if Need.ENERGY in model.provides:
        deviation, size = abs(other.energy - found.energy), max(1.0, abs(found.energy))
        yield Check(f"energy in {name}", deviation, _ROUNDING_OF_ENERGY * model.epsilon * size, "eV")
    for kind in ("conservative", "direct"):
        expected, values = getattr(found, kind), getattr(other, kind)
        if expected is not None:
            deviation, size = float(np.abs(values - expected[order]).max()), float(np.abs(expected).max())
            yield Check(f"{kind} forces in {name}", deviation, rounding * max(1.0, size), "eV/Å")
