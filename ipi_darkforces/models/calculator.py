"""A model as an ase calculator, on the same fast path that serves i-PI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from ..errors import DarkforcesError
from .model import FORCE_KINDS, Need, of_kind
from .registry.load import ModelLike, as_model
from .result import Forces
from .structure import Structure


class Calculator(AseCalculator):
    """An ase calculator that gives the forces of a model.

    Energies in eV, forces in eV/Å, shape (n_atoms, 3), stresses in eV/Å³, shape (6,), in ase's order and sign. Direct
    forces have a stress only where the model predicts one; otherwise asking for it raises ase's
    `PropertyNotImplementedError`, since the derivative of the energy does not belong to them.

    :param model: the model, loaded or as `load_model` takes it; several calculators may share one that is loaded
    :param forces: ``conservative`` (minus the gradient of the energy; the default if the model has them) or ``direct``
        (two to three times cheaper, but they heat dynamics and may keep optimisations from converging)
    :param stress: which kind of forces the stress belongs to; default: `forces`. The conservative stress of direct
        forces takes a backward pass
    :raises DarkforcesError: if the model does not provide such forces, or there is no such kind

    >>> import ase.build, ipi_darkforces as dark
    >>> atoms = ase.build.molecule("H2O", cell=[12, 12, 12], pbc=True)
    >>> atoms.calc = dark.Calculator(dark.load_model("pet-m"), forces="direct")
    >>> atoms.get_forces().shape
    (3, 3)
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, model: ModelLike, *, forces: str | None = None, stress: str | None = None):
        model = as_model(model)
        if forces is None:
            forces = "conservative" if Need.CONSERVATIVE in model.provides else "direct"
        stress = forces if stress is None else stress
        for name, given in (("forces", forces), ("stress", stress)):
            if given not in FORCE_KINDS:
                verb = "are" if name == "forces" else "is"
                raise DarkforcesError(f"{name} '{given}' {verb} not known: expected {' or '.join(FORCE_KINDS)}")
        super().__init__()
        self.model = model
        self.kind = FORCE_KINDS[forces]
        self._stress_kind = FORCE_KINDS[stress]
        model.check_need(self.kind | self._stress_kind)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Evaluate the model; ase calls this when a property is asked for that is not known."""
        super().calculate(atoms, properties, system_changes)
        need = Need.ENERGY | self.kind
        if "stress" in properties:
            need |= self._stress_kind | (Need.VIRIAL & self.model.provides)
        structure = Structure.from_ase(self.atoms)
        self.take(self.model.evaluate(structure, need), structure)
        if "stress" in properties and "stress" not in self.results:
            raise PropertyNotImplementedError(
                f"model '{self.model.name}' has no stress of {self._stress_kind} for this structure"
            )

    def take(self, forces: Forces, structure: Structure) -> None:
        """Keep what was computed for a structure, in ase's terms."""
        self.results: dict[str, Any] = {
            "energy": forces.energy,
            "free_energy": forces.energy,
            "forces": of_kind(self.kind, forces),
        }
        virial = forces.virial if self._stress_kind is Need.CONSERVATIVE else forces.direct_virial
        if virial is not None and structure.volume:
            self.results["stress"] = full_3x3_to_voigt_6_stress(-virial / structure.volume)
