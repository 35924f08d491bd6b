"""The one interface that every model implements, and what all models share: checks, counters, net force removal."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Flag, auto
from typing import Any, overload

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from ..errors import DarkforcesError
from .device_forces import DeviceForces
from .jacobian import FiniteDifferences, Jacobian
from .result import Forces
from .structure import Structure, name_atoms


class Need(Flag):
    """Results that can be asked of a model, combined by ``|``.

    >>> import ipi_darkforces as dark
    >>> dark.Need.ENERGY | dark.Need.DIRECT in dark.load_model("pet-nc").provides
    True
    """

    ENERGY = auto()
    CONSERVATIVE = auto()
    DIRECT = auto()
    VIRIAL = auto()
    UNCERTAINTY = auto()
    ENSEMBLE = auto()

    def __str__(self) -> str:
        return ", ".join(_NAMES[need] for need in Need if need in self) or "nothing"


_NAMES = {
    Need.ENERGY: "energy",
    Need.CONSERVATIVE: "conservative forces",
    Need.DIRECT: "direct forces",
    Need.VIRIAL: "virial",
    Need.UNCERTAINTY: "uncertainty",
    Need.ENSEMBLE: "energy ensemble",
}


FORCE_KINDS = {"conservative": Need.CONSERVATIVE, "direct": Need.DIRECT}


@dataclass
class Passes:
    """The number of passes through the network, counted in structures: a batch of four is four passes."""

    forward: int = 0
    backward: int = 0


REMARK = "remark on model"  # by which a remark is found in what a program has said


class ForceModel(ABC):
    """A model that turns structures into energies and forces.

    Subclasses implement `_evaluate`; everybody else calls `evaluate`.

    :param name: what the user calls the model
    :param provides: what the model can be asked for
    :param species: atomic numbers that the model knows; None if it takes any
    :param remove_net_force: whether the mean of the direct forces is subtracted, and for structures that are not
        periodic their net torque too, as the paper does (section 3.2)

    >>> import ipi_darkforces as dark
    >>> model = dark.load_model("pet-c")
    >>> print(model.name, "provides", model.provides)
    pet-c provides energy, conservative forces, virial
    """

    # Arguments of `load_model` that load it again, in another process and from any folder; None if there are none.
    loaded: dict[str, Any] | None = None
    goes_on = False  # whether it serves a simulation that was let start before: checks then only warn
    remarks: tuple[str, ...] = ()  # what users should know of how it is evaluated, one line each
    evaluates_together = True  # whether both kinds of forces cost less together than one after the other

    def __init__(self, name: str, provides: Need, species: frozenset[int] | None, remove_net_force: bool = True):
        self.name = name
        self.provides = provides
        self.species = species
        self.remove_net_force = remove_net_force
        self.passes = Passes()
        self._known = b""  # the atoms that were checked last: a simulation always has the same

    @property
    def epsilon(self) -> float:
        """Relative rounding error of the precision in which forces are computed."""
        return float(np.finfo(np.float64).eps)

    @property
    def models(self) -> Sequence[ForceModel]:
        """The models that it consists of: both of a pair, or itself."""
        return (self,)

    @property
    def forces(self) -> Need:
        """The kinds of forces that it has."""
        return self.provides & (Need.CONSERVATIVE | Need.DIRECT)

    @property
    def provides_direct_virial(self) -> bool:
        """Tell whether direct forces come with a virial of their own, from a stress that is predicted as such."""
        return False

    @abstractmethod
    def _evaluate(self, structures: Sequence[Structure], need: Need) -> list[Forces]:
        """Compute; `need` is within `provides`, structures are finite and of known species."""

    def _evaluate_in_turn(self, structures: Sequence[Structure], need: Need) -> Iterator[list[Forces]]:
        """Results in one piece or two; see `evaluate_in_turn`."""
        yield self._evaluate(structures, need)

    @overload
    def evaluate(self, structures: Sequence[Structure | Atoms], need: Need | None = None) -> list[Forces]: ...

    @overload
    def evaluate(self, structures: Structure | Atoms, need: Need | None = None) -> Forces: ...

    def evaluate(
        self, structures: Structure | Atoms | Sequence[Structure | Atoms], need: Need | None = None
    ) -> Forces | list[Forces]:
        """Energies and forces of one structure, or of several at once.

        CONSERVATIVE and DIRECT asked for together cost one forward and one backward pass.

        :param structures: a `Structure` or `ase.Atoms`, or a sequence of them: a batch may mix sizes and compositions
        :param need: what to compute; VIRIAL goes with the kind of force that is asked for. Default: all that the model
            provides
        :return: the `Forces` of one structure; for a sequence, a list in the same order
        :raises DarkforcesError: if the model cannot do it, does not know an element, or if positions or results are
            NaN or infinite; the message says which atoms

        >>> import ase.build, ipi_darkforces as dark
        >>> forces = dark.load_model("pet-m").evaluate(ase.build.molecule("H2O"))
        >>> forces.conservative.shape, forces.direct.shape
        ((3, 3), (3, 3))
        """
        if isinstance(structures, Structure | Atoms):
            forces: Forces = self.evaluate([structures], need)[0]
            return forces
        batch = [_structure(each) for each in structures]
        if not batch:
            return []
        *_, results = self.evaluate_in_turn(batch, self.provides if need is None else need)
        return results

    def evaluate_in_turn(self, structures: Sequence[Structure], need: Need) -> Iterator[list[Forces]]:
        """Evaluate as `evaluate` does, but yield what is known earlier first.

        Direct forces are known before the backward pass; asked for both kinds, some models give them first, without the
        conservative ones. The backward pass begins when the next results are asked for.

        :raises DarkforcesError: as `evaluate`, when results are asked for
        """
        self.check_request(structures, need)
        yield from self._checked_in_turn(structures, need)

    def evaluator(self, structures: Sequence[Structure], need: Need) -> Callable[[Sequence[np.ndarray]], list[Forces]]:
        """Make an evaluator of structures whose positions change: all else is checked here, once.

        :param structures: whose atoms and cells they have
        :param need: what to compute
        :return: what `evaluate` gives, as a function of positions that follow from finite forces: Å, shape
            (n_structures, n_atoms, 3)
        :raises DarkforcesError: as `evaluate`; from what is returned, for results that are NaN or infinite
        """
        self.check_request(structures, need)

        def evaluate(positions: Sequence[np.ndarray]) -> list[Forces]:
            moved = [structure.moved(each) for structure, each in zip(structures, positions, strict=True)]
            *_, results = self._checked_in_turn(moved, need)
            return results

        return evaluate

    def on_device(self, structures: Sequence[Structure]) -> DeviceForces | None:
        """Direct forces as tensors, for time steps that are taken where they are computed.

        :param structures: whose atoms and cells they have
        :return: None from models that do not compute that way, or not of these structures
        :raises DarkforcesError: see `evaluate`
        """
        return None

    def _checked_in_turn(self, structures: Sequence[Structure], need: Need) -> Iterator[list[Forces]]:
        ahead = False
        for results in self._evaluate_in_turn(structures, need):
            self.passes.forward += 0 if ahead else len(structures)
            ahead = True
            if results[0].conservative is not None:
                self.passes.backward += len(structures)
            if self.remove_net_force and Need.DIRECT in need:
                results = [
                    replace(forces, direct=without_net_force(of_kind(Need.DIRECT, forces), structure))
                    for forces, structure in zip(results, structures, strict=True)
                ]
            for forces, structure in zip(results, structures, strict=True):
                self._check_finite(forces, structure)
            yield results

    def jacobian(self, structure: Structure, kind: Need) -> Jacobian:
        """The Jacobian of the forces as they are served: without net force if it is removed.

        From finite differences; models that know their derivatives do better.

        :param kind: CONSERVATIVE or DIRECT
        :raises DarkforcesError: see `evaluate`
        """

        def forces(geometries: list[np.ndarray]) -> list[np.ndarray]:
            structures = [replace(structure, positions=positions) for positions in geometries]
            return [of_kind(kind, result) for result in self.evaluate(structures, kind)]

        forces([structure.positions])  # what cannot be evaluated is said here, as it would be with derivatives
        return FiniteDifferences(forces, structure.positions, self.epsilon)

    def check_request(self, structures: Sequence[Structure], need: Need) -> None:
        """Raise a DarkforcesError for what cannot be evaluated: missing forces, unknown elements, bad positions."""
        self.check_need(need)
        for structure in structures:
            structure.check()
            self.check_species(structure.species)

    def check_need(self, need: Need) -> None:
        """Raise a DarkforcesError, naming what the model has, if it lacks something of `need`."""
        if need not in self.provides:
            missing = need & ~self.provides
            raise DarkforcesError(f"model '{self.name}' does not provide {missing}; it provides {self.provides}")

    def check_species(self, species: np.ndarray) -> None:
        """Raise a DarkforcesError, naming the elements, if the model does not know some of `species` (n_atoms,)."""
        if self.species is None or species.tobytes() == self._known:
            return
        unknown = set(np.unique(species).tolist()) - self.species
        if unknown:
            raise DarkforcesError(
                f"model '{self.name}' does not know {_elements(unknown)}; it knows {_elements(self.species)}"
            )
        self._known = species.tobytes()

    def _check_finite(self, forces: Forces, structure: Structure) -> None:
        if not math.isfinite(forces.energy):
            raise DarkforcesError(f"model '{self.name}' predicts an energy that is NaN or infinite: {forces.energy}")
        for kind in ("conservative", "direct"):
            values = getattr(forces, kind)
            if values is None or np.isfinite(values).all():
                continue
            atoms = name_atoms(np.flatnonzero(~np.isfinite(values).all(axis=1)), structure.species)
            raise DarkforcesError(f"model '{self.name}' predicts {kind} forces that are NaN or infinite for {atoms}")
        others = {
            "a virial": (forces.virial, forces.direct_virial),
            "an uncertainty": (forces.uncertainty,),
            "an energy ensemble": (forces.ensemble,),
        }
        for what, arrays in others.items():
            if any(values is not None and not np.isfinite(values).all() for values in arrays):
                raise DarkforcesError(f"model '{self.name}' predicts {what} that is NaN or infinite")


def of_kind(kind: Need, forces: Forces) -> np.ndarray:
    """The conservative or the direct forces, which must have been asked for, eV/Å, shape (n_atoms, 3)."""
    values = {Need.CONSERVATIVE: forces.conservative, Need.DIRECT: forces.direct}[kind]
    assert values is not None
    return values


def _structure(given: Structure | Atoms) -> Structure:
    if isinstance(given, Atoms):
        return Structure.from_ase(given)
    if not isinstance(given, Structure):
        raise DarkforcesError(f"{given!r:.80} cannot be evaluated: expected ase.Atoms or a Structure")
    return given


def _elements(numbers: set[int] | frozenset[int]) -> str:
    return ", ".join(chemical_symbols[number] for number in sorted(numbers))


def without_net_force(forces: np.ndarray, structure: Structure) -> np.ndarray:
    """Forces less their mean and, for structures that are not periodic, without net torque, eV/Å, (n_atoms, 3)."""
    # A product with ones: numpy takes several times as long to add up rows of three numbers.
    forces = forces - (np.ones(len(forces), forces.dtype) @ forces) / float(len(forces))
    return forces if structure.cell.any() else _without_net_torque(forces, structure.positions)


def _without_net_torque(forces: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Subtract the smallest forces (n, 3) that carry the torque: f_i = a × r_i, a = I⁻¹ τ, I the unit-mass inertia."""
    r = positions - positions.mean(axis=0)
    torque = np.cross(r, forces).sum(axis=0)
    inertia = np.eye(3) * (r**2).sum() - r.T @ r
    # A linear molecule has no inertia about its axis, nor a torque: the pseudo-inverse leaves that direction alone.
    return forces - np.cross(np.linalg.pinv(inertia, hermitian=True) @ torque, r)
