"""ase calculators for tests: ase's own potential for metals, and what it becomes in less careful hands.

Factories, to be named as ``ase:tests/calculators.py:rotated``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from ipi_darkforces import Structure

FILE = Path(__file__)


class Changed(Calculator):
    """The results of another calculator, changed on their way.

    :param change: of a dictionary of results
    :param counter: a file that gets a byte longer with each evaluation
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, base: Calculator, change: Callable[[dict[str, Any]], None], counter: str | None = None):
        super().__init__()
        self._base = base
        self._change = change
        self._counter = counter

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if self._counter is not None:
            with Path(self._counter).open("a") as stream:
                stream.write(".")
        self.results = {name: self._base.get_property(name, atoms) for name in self.implemented_properties}
        self._change(self.results)


def emt(counter: str | None = None) -> Calculator:
    """EMT as it is, with its calls counted."""
    return Changed(EMT(), lambda results: None, counter)


def rotated(angle: float = 0.02, counter: str | None = None) -> Calculator:
    """Turn every force about z: the gradient of nothing, nearly that of the energy."""

    def change(results: dict[str, Any]) -> None:
        results["forces"] = results["forces"] @ turn(angle).T

    return Changed(EMT(), change, counter)


def pushed(force: float = 0.05) -> Calculator:
    """A constant force on the first atom along x, eV/Å, besides: the net force is not zero."""

    class Pushed(EMT):
        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            self.results["energy"] -= force * self.atoms.positions[0, 0]
            self.results["forces"][0, 0] += force

    return Pushed()


def scaled(energies: float = 1.0, by: float = 1.0, stress: float = 1.0) -> Calculator:
    """Energies, forces and stress, each by its factor: in other units, or with another sign."""

    def change(results: dict[str, Any]) -> None:
        for name in ("energy", "free_energy"):
            results[name] = energies * results[name]
        results["forces"] = by * results["forces"]
        results["stress"] = stress * results["stress"]

    return Changed(EMT(), change)


def single_precision(offset: float = -1000.0, noise: float = 0.0) -> Calculator:
    """Rounded as a network in single precision does, with a large energy, and with noise on the forces.

    :param noise: relative, of forces, as that of matrix products with ten bits
    """
    random = np.random.default_rng(1)

    def change(results: dict[str, Any]) -> None:
        for name in ("energy", "free_energy"):
            results[name] = np.float32(results[name] + offset)
        noisy = (1.0 + noise * random.normal(size=results["forces"].shape)) * results["forces"]
        results["forces"] = noisy.astype(np.float32)

    return Changed(EMT(), change)


def without(name: str, said: bool = True) -> Calculator:
    """Without one of its properties; said in advance, or only when it is asked for."""

    def change(results: dict[str, Any]) -> None:
        del results[name]

    calculator = Changed(EMT(), change)
    if said:
        calculator.implemented_properties = [other for other in calculator.implemented_properties if other != name]
        calculator._change = lambda results: None
    return calculator


def misshapen(name: str) -> Calculator:
    """A calculator one of whose results has one dimension too few, or one too many."""

    def change(results: dict[str, Any]) -> None:
        results[name] = np.ravel(results[name])[:5]

    return Changed(EMT(), change)


def on_a_device(device: str, dtype: str = "float32") -> Calculator:
    """Raise an error with device and precision."""
    raise RuntimeError(f"{dtype} on {device}")


def broken() -> Calculator:
    """A calculator that cannot be made, with an error as long as that of weights of another model."""
    raise RuntimeError("Error(s) in loading state_dict for Model:\n\tsize mismatch for a: " + "b, " * 500)


def no_calculator() -> str:
    """Something that is no calculator."""
    return "emt"


def turn(angle: float) -> np.ndarray:
    """Rotation about z, shape (3, 3)."""
    return np.array([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]])


def copper(displacement: float = 0.05) -> ase.Atoms:
    """32 atoms, not quite in their places."""
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.rattle(displacement, seed=1)
    return atoms


def as_structure(atoms: ase.Atoms) -> Structure:
    """Convert atoms for a `ForceModel`."""
    return Structure.from_ase(atoms)


class Unhinged(EMT):
    """Forces that are much too strong after so many evaluations, so that a simulation explodes."""

    def __init__(self, after: int):
        super().__init__()
        self._left = after

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self._left -= 1
        if self._left < 0:
            self.results["forces"] = 200.0 * self.results["forces"]


def unhinged(after: int) -> Calculator:
    """A factory of `Unhinged`, for specifications of models."""
    return Unhinged(after)


def failing(every: int) -> Calculator:
    """A calculator that gives up at every so many evaluations, as others do where they do not converge."""
    asked = 0

    def change(results: dict[str, Any]) -> None:
        nonlocal asked
        asked += 1
        if asked % every == 0:
            raise RuntimeError("not converged")

    return Changed(EMT(), change)


BARRIER = 0.425, 0.349, 20.0  # eV, Å, eV/Å²


class Barrier(Calculator):
    """A barrier of Eckart along x around the middle of the cell, and springs across: V₀/cosh²(x/a) + k (y² + z²)/2."""

    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        height, width, across = BARRIER
        positions = self.atoms.positions - self.atoms.cell.sum(axis=0) / 2.0
        x, y, z = positions.T
        energy = height / np.cosh(x / width) ** 2 + 0.5 * across * (y**2 + z**2)
        self.results = {"energy": float(energy.sum()), "forces": -barrier_gradient(positions)}


def barrier_gradient(positions: np.ndarray) -> np.ndarray:
    """Gradient of the energy of `Barrier`, eV/Å, at positions from its middle, Å, both (n, 3)."""
    height, width, across = BARRIER
    gradient = across * positions
    x = positions[:, 0] / width
    gradient[:, 0] = -2.0 * height / width * np.tanh(x) / np.cosh(x) ** 2
    return gradient
