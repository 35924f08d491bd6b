"""Settings of a client of i-PI: its atoms, and the component of the forces that it gets.

The same keys can stand on the command line (``-o component=fast,species=(OH2)64``) and in the `<parameters>` of an i-PI
input, where i-PI hands them on to its drivers. The command line comes first, then the input, then the defaults.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from ..errors import DarkforcesError
from ..models.model import ForceModel, Need
from ..models.registry.specification import Option
from ..models.structure import Structure, species_from_formula
from ..models.structure_file import read_atoms
from ..split.component import Component, ComponentForces
from ..split.monitor import Watch, checked_limit

log = logging.getLogger(__name__)
# What i-PI adds: an <ffdirect> without <parameters> puts it into those of all forcefields that have none.
_OF_IPI = {"verbosity"}
_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True)
class Settings:
    """The settings given for a client; None where nothing was.

    :param component: ``conservative``, ``direct``, ``fast`` or ``slow``
    :param species: the elements in the order of the atoms, as a formula: ``O64H128``, ``(OH2)64``
    :param template: a structure file of i-PI or that ase reads, from which the elements are taken, instead of `species`
    :param pbc: along which vectors of i-PI's cell the atoms are periodic: ``TTF`` for a slab, ``FFF`` for a molecule
    :param energy_ensemble: whether i-PI gets the energies of the model's ensemble too, as ``committee_pot``
    :param uncertainty_threshold: eV; if given, i-PI gets the uncertainty of each atom's energy, as
        ``energy_uncertainty``, and there is a warning if one of them is larger. Both as in i-PI's own driver
    """

    component: str | None = None
    species: str | None = None
    template: str | None = None
    pbc: str | None = None
    energy_ensemble: str | None = None
    uncertainty_threshold: str | None = None

    @classmethod
    def parsed(cls, given: dict[str, str], where: str) -> Settings:
        """Make settings of keys and values.

        :raises DarkforcesError: for a key that is not known; `where` says where it stood
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(given) - known)
        if unknown:
            raise DarkforcesError(f"{unknown[0]!r} in {where} is not known: expected {', '.join(sorted(known))}")
        return cls(**{key: str(value) for key, value in given.items()})

    @classmethod
    def from_ipi(cls, given: dict[str, str], where: str) -> Settings:
        """Read the `<parameters>` of a forcefield, to which i-PI may have added keys of its own.

        :raises DarkforcesError: see `parsed`
        """
        ours = {key: value for key, value in given.items() if key not in _OF_IPI}
        if len(ours) < len(given):
            log.debug("ignored in %s: %s", where, ", ".join(sorted(set(given) - set(ours))))
        return cls.parsed(ours, where)

    @classmethod
    def separated(
        cls, given: dict[str, Option], takes: Callable[[str], bool], where: str
    ) -> tuple[Settings, dict[str, Option]]:
        """Make settings of keys and values, and return those that are not ours.

        :param takes: whether the model may have an option of that name
        :raises DarkforcesError: see `parsed`
        """
        known = {field.name for field in fields(cls)}
        ours = {key: str(value) for key, value in given.items() if key in known or not takes(key)}
        return cls.parsed(ours, where), {key: value for key, value in given.items() if key not in ours}

    def completed(self, fallback: Settings) -> Settings:
        """Take from `fallback` what is not set."""
        given = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        if "template" in given or "species" in given:  # they say the same thing: the first to say it is heard
            fallback = replace(fallback, species=None, template=None)
        return replace(fallback, **given)

    def elements(self, folder: Path = Path()) -> np.ndarray | None:
        """Atomic numbers (n_atoms,), as far as anything was said; a template is looked for in `folder`.

        :raises DarkforcesError: if the formula or the template cannot be read
        """
        if self.template is not None:
            if not self.template:
                raise DarkforcesError("the name of the template is empty: expected a file of structures")
            template = folder / self.template
            if template.exists() and not template.is_file():  # to read a pipe or a device might take for ever
                raise DarkforcesError(f"template '{template}' is not a file")
            return Structure.from_ase(read_atoms(template, "template")).species
        return None if self.species is None else species_from_formula(self.species)

    def resolved(self, model: ForceModel) -> Role:
        """The role of the client, checked against the model.

        :raises DarkforcesError: if the elements are not known to us or to the model, or the model cannot serve the
            component
        """
        component = Component.default_for(model) if self.component is None else Component.named(self.component)
        component.check(model)
        species = self.elements()
        if species is None:
            raise DarkforcesError(
                "which elements are these? i-PI sends positions only: put species: O64H128 or template: FILE into the "
                "<parameters> of the forcefield, or give --species or --template to i-pi-darkdriver"
            )
        model.check_species(species)
        extras, threshold = self._extras(model)
        return Role(component, species, self._periodic(), extras, threshold)

    def _extras(self, model: ForceModel) -> tuple[Need, float]:
        """Outputs that i-PI gets in its extras, and the threshold for warnings."""
        extras, threshold = Need(0), math.inf
        if self.energy_ensemble is not None:
            if self.energy_ensemble.lower() not in _TRUTH:
                raise DarkforcesError(f"energy_ensemble {self.energy_ensemble!r} is not known: expected True or False")
            extras |= Need.ENSEMBLE if _TRUTH[self.energy_ensemble.lower()] else Need(0)
        if self.uncertainty_threshold is not None:
            threshold = checked_limit(self.uncertainty_threshold, "uncertainty_threshold", "eV")
            extras |= Need.UNCERTAINTY
        model.check_need(extras)
        return extras, threshold

    def _periodic(self) -> np.ndarray | None:
        if self.pbc is None:
            return None
        if not re.fullmatch("[TF]{3}", self.pbc):
            raise DarkforcesError(f"pbc {self.pbc!r} is not known: expected T or F for each cell vector, such as TTF")
        return np.array([letter == "T" for letter in self.pbc])


@dataclass(frozen=True)
class Role:
    """The role of a client: its atoms, and its component of the forces.

    :param component: which one it serves
    :param species: atomic numbers, shape (n_atoms,)
    :param periodic: along which vectors of i-PI's cell, shape (3,); None: all of them
    :param extras: see `Request`
    :param threshold: eV, of the uncertainty of an atom's energy, beyond which there is a warning
    """

    component: Component
    species: np.ndarray
    periodic: np.ndarray | None = None
    extras: Need = Need(0)
    threshold: float = math.inf

    def check_size(self, n_atoms: int) -> None:
        """Raise a DarkforcesError if i-PI has another number of atoms than the template."""
        if n_atoms != len(self.species):
            raise DarkforcesError(f"i-PI sends {n_atoms} atoms but the template (or species) has {len(self.species)}")

    def watch(self, watch: Watch, found: ComponentForces) -> None:
        """Show results to what watches this client."""
        if found.disagreement is not None:
            watch.see(found.disagreement, self.species)
        if found.uncertainty is not None:
            watch.warn_of_uncertainty(found.uncertainty, self.species, self.threshold)
