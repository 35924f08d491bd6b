"""An i-PI input for the user's own structure."""

from __future__ import annotations

import logging
import re
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import ase
import numpy as np
from ipi.utils.units import UnitMap, unit_to_internal, unit_to_user

from ..errors import DarkforcesError
from ..models.structure import formula_from_species
from ..split.component import Component
from .compose import compose, write_start
from .hydrogen_mass import with_hydrogen_mass
from .recipe import DEFAULT_TAU, PILE, Barostat, Recipe
from .start import letters, read_start, say_where_periodic

logger = logging.getLogger(__name__)
_QUANTITY = re.compile(r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*(\S*)\s*")
_SYMBOLS = {
    "": "bar",
    "kbar": "kilobar",
    "Pa": "pascal",
    "kPa": "kilopascal",
    "MPa": "megapascal",
    "GPa": "gigapascal",
    "atm": "atmosphere",
}


def write_input(
    structure: Path,
    folder: Path,
    ensemble: str | None = None,
    component: Component = Component.CONSERVATIVE,
    stride: int | None = None,
    tau: float | None = None,
    temperature: float = Recipe.temperature,
    timestep: float = Recipe.timestep,
    barostat: Barostat | None = None,
    beads: int = 1,
    slow_beads: int | None = None,
    hydrogen_mass: float | None = None,
    repartition: bool = False,
    seed: int | None = None,
) -> Path:
    """Write an i-PI input for a structure, and the checkpoint that it starts from.

    :param structure: a file with the structure, with momenta or without; then i-PI draws random ones
    :param folder: that both files are written to
    :param ensemble: see `Recipe`; at constant pressure, the thermostat. None for ``nve``, at constant pressure ``svr``,
        and ``pile`` for several beads
    :param tau: fs, see `Recipe`; None for 100 fs with ``pile`` and at constant pressure
    :param component, stride, temperature, timestep, barostat, beads, slow_beads: see `Recipe`
    :param hydrogen_mass, repartition: u, see `with_hydrogen_mass`; None for the masses that the structure has
    :param seed: of random numbers; None for always the same ones
    :raises DarkforcesError: if the file is no structure that i-PI can take, and see `Recipe.check`
    """
    if repartition and hydrogen_mass is not None and beads > 1:
        raise DarkforcesError(
            f"--hmr {hydrogen_mass:g} is for classical atoms: averages of quantum nuclei depend on their masses; "
            "expected no --beads"
        )
    if ensemble is None:
        ensemble = PILE if beads > 1 else "nve" if barostat is None else "svr"
    if tau is None and ensemble != "nve" and (ensemble == PILE or barostat is not None):
        tau = DEFAULT_TAU
    start = read_start(structure)
    say_where_periodic(start, structure)
    atoms = start.atoms
    if hydrogen_mass is not None:
        set_hydrogen_mass(atoms, hydrogen_mass, repartition)
    recipe = Recipe(
        name="",
        ensemble=ensemble,
        species=formula_from_species(atoms.numbers),
        start="",
        fixed=start.fixed,
        pbc=letters(atoms.pbc),
        component=component,
        stride=stride,
        tau=tau,
        temperature=temperature,
        timestep=timestep,
        comment=f"  Written by darkforces run for {structure.name}.",
        thermalize=not atoms.has("momenta") or beads > 1,
        barostat=barostat,
        beads=beads,
        slow_beads=slow_beads,
        seed=Recipe.seed if seed is None else seed,
    )
    hydrogens = "" if hydrogen_mass is None else f"-{'hmr' if repartition else 'H'}{hydrogen_mass:g}"
    drawn = "" if seed is None else f"-seed{seed}"
    # The name becomes part of file names and of lists in i-PI's XML.
    name = re.sub(r"[^\w.-]", "_", f"{structure.stem}-{_label(recipe)}{hydrogens}{drawn}")
    recipe = replace(recipe, name=name, start=f"{name}.start.chk")
    path = folder / f"{name}.xml"
    path.write_text(compose(recipe))
    _warn_of_driven_modes(recipe)
    write_start(atoms, folder / recipe.start)
    return path


def _warn_of_driven_modes(recipe: Recipe) -> None:
    period = recipe.fastest_driven_period
    if recipe.beads > 1 and recipe.stride is not None and recipe.step > 0.5 * period:
        logger.warning(
            "slow forces act every %g fs on ring polymers with modes of a period of %.2g fs, and drive these: expected "
            "--slow-beads %d or so, or a stride that is shorter",
            recipe.step,
            period,
            max(1, recipe.beads // 8),
        )


def _label(recipe: Recipe) -> str:
    """The ensemble and the forces: ``svr10-direct``, ``npt-svr100-mts4``, ``pile100-32beads-mts4-4slow``."""
    pressure = "" if recipe.barostat is None else "npt-"
    thermostat = "" if recipe.tau is None else f"{recipe.tau:g}"
    beads = "" if recipe.beads == 1 else f"-{recipe.beads}beads"
    forces = f"mts{recipe.stride}" if recipe.stride else recipe.component.value
    slow = "" if recipe.slow_beads is None else f"-{recipe.slow_beads}slow"
    return f"{pressure}{recipe.ensemble}{thermostat}{beads}-{forces}{slow}"


def set_hydrogen_mass(atoms: ase.Atoms, mass: float, repartition: bool) -> None:
    """Give hydrogen atoms another mass, u, see `with_hydrogen_mass`; each atom keeps its kinetic energy."""
    before = atoms.get_masses()
    masses = with_hydrogen_mass(atoms, mass, repartition)
    atoms.set_masses(masses)
    if atoms.has("momenta"):
        atoms.arrays["momenta"] *= np.sqrt(masses / before)[:, None]


def pressure_in_bar(text: str) -> float:
    """A pressure with its unit, or without one in bar: ``1``, ``0.5GPa``, ``1 atm``.

    :raises DarkforcesError: if it is something else
    """
    found = _QUANTITY.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        unit = _SYMBOLS.get(found[2], found[2])
        with redirect_stdout(StringIO()):  # i-PI prints all units that it knows
            internal = unit_to_internal("pressure", unit, float(found[1]))
        return float(unit_to_user("pressure", "bar", internal))
    except (KeyError, TypeError, ValueError) as error:
        known = ", ".join(["bar", *list(_SYMBOLS)[1:], *list(UnitMap["pressure"])[-2:]])
        raise DarkforcesError(
            f"'{text}' is not a pressure: expected a number, and a unit if not bar: {known}"
        ) from error
