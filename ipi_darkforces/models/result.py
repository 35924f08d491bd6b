"""Results of a model for one structure."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Forces:
    """Results for one structure; None for what was not asked for. All in double precision.

    :param energy: eV
    :param conservative: eV/Å, minus the gradient of the energy, shape (n_atoms, 3)
    :param direct: eV/Å, predicted as such, shape (n_atoms, 3)
    :param virial: eV, minus the derivative of the energy with respect to a strain, symmetric, shape (3, 3);
        the sign of i-PI: positive when the system pushes outwards
    :param direct_virial: eV, minus the volume times the directly predicted stress, symmetric, shape (3, 3); None for
        models without direct stress
    :param direct_energy: eV, what belongs to the direct forces where they are those of another model; None otherwise
    :param uncertainty: eV, standard deviation of each atom's part of the energy, shape (n_atoms,)
    :param ensemble: eV, energies that members of an ensemble of models predict, shape (n_members,)

    >>> import ase.build, ipi_darkforces as dark
    >>> forces = dark.load_model("pet-m").evaluate(ase.build.molecule("H2O"), dark.Need.ENERGY | dark.Need.DIRECT)
    >>> forces.direct.shape, forces.conservative
    ((3, 3), None)
    """

    energy: float
    conservative: np.ndarray | None = None
    direct: np.ndarray | None = None
    virial: np.ndarray | None = None
    direct_virial: np.ndarray | None = None
    direct_energy: float | None = None
    uncertainty: np.ndarray | None = None
    ensemble: np.ndarray | None = None

    def merged(self, newer: Forces) -> Forces:
        """Both results for the same structure in one: what `newer` has, completed by what only `self` has.

        The energy is that of conservative forces, where one of both has them.
        """
        values = {}
        for field in fields(self):
            value = getattr(newer, field.name)
            values[field.name] = getattr(self, field.name) if value is None else value
        if newer.conservative is None and self.conservative is not None:
            values["energy"] = self.energy
        return Forces(**values)
