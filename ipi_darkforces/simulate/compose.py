"""Writing i-PI inputs, and the checkpoints that they start from.

i-PI has no way to share a block between inputs, so all of them come from the one template below.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ase
import numpy as np
from ase.data import chemical_symbols
from ipi import ipi_global_settings
from ipi.engine.beads import Beads
from ipi.engine.cell import Cell
from ipi.inputs.beads import InputBeads
from ipi.inputs.cell import InputCell
from ipi.utils.inputvalue import Input
from ipi.utils.units import unit_to_internal

from ..models.structure import species_from_formula
from ..serve.address import DEFAULT_NAME
from ..split.component import Component
from .recipe import PILE, Recipe
from .tree import number

FULL_PRECISION = "%21.13e"  # i-PI writes its RESTART in the precision of its outputs

# Strides in fs: often enough for what is computed from them. Velocities every 2 fs resolve the O-H stretch, which has
# a period of 9 fs.
_PROPERTIES_EVERY = 4.0
_VELOCITIES_EVERY = 2.0
_POSITIONS_EVERY = 20.0
_CHECKPOINTS_EVERY = 500.0

MEMORY = 50.0  # fs, of the GLE; modes slower than this are spared


def compose(recipe: Recipe) -> str:
    """The i-PI input for a recipe.

    :raises DarkforcesError: see `Recipe.check`
    """
    recipe.check()
    return f"""\
<!--
{recipe.comment.replace("--", "- -")}
-->
<simulation verbosity='low' floatformat='{FULL_PRECISION}'>
  <output prefix='{recipe.name}'>
    <properties filename='out' stride='{_stride(_PROPERTIES_EVERY, recipe)}'>
      [ {_properties(recipe)} ]
    </properties>
    <trajectory filename='vel' stride='{_stride(_VELOCITIES_EVERY, recipe)}'> {_velocities_of(recipe)} </trajectory>
    <trajectory filename='pos' stride='{_stride(_POSITIONS_EVERY, recipe)}'> positions{{angstrom}} </trajectory>
    <checkpoint filename='chk' stride='{_stride(_CHECKPOINTS_EVERY, recipe)}' overwrite='True'/>
  </output>
  <total_steps> {round(recipe.duration / recipe.step)} </total_steps>
  <prng> <seed> {recipe.seed} </seed> </prng>
{_forcefields(recipe)}
  <system>
    <initialize nbeads='{recipe.beads}'>
      <file mode='chk'> {recipe.start} </file>{_velocities(recipe)}
    </initialize>
    <forces>
{_forces(recipe)}
    </forces>
    <ensemble> <temperature units='kelvin'> {number(recipe.temperature)} </temperature>{_pressure(recipe)} </ensemble>
    <motion mode='dynamics'>{_fixed(recipe)}
      <dynamics mode='{_mode(recipe)}'>
        <timestep units='femtosecond'> {number(recipe.step)} </timestep>{_nmts(recipe)}{_baths(recipe)}
      </dynamics>
    </motion>
  </system>
</simulation>
"""


def _stride(every: float, recipe: Recipe) -> int:
    return max(1, round(every / recipe.step))


def _properties(recipe: Recipe) -> str:
    symbols = dict.fromkeys(chemical_symbols[z] for z in species_from_formula(recipe.species))  # each once, in order
    temperatures = [f"temperature({symbol}){{kelvin}}" for symbol in symbols] if len(symbols) > 1 else []
    energies = [f"{name}{{electronvolt}}" for name in ("conserved", "potential", "kinetic_md")]
    names = ["step", "time{femtosecond}", *energies, "temperature{kelvin}", *temperatures]
    quantum = recipe.beads > 1
    if quantum:
        arguments = ["", *(f"({symbol})" for symbol in symbols)] if len(symbols) > 1 else [""]
        names += [f"kinetic_cv{argument}{{electronvolt}}" for argument in arguments]
    if recipe.barostat is not None:
        names += ["volume{angstrom3}", "density{g/cm3}", f"pressure_{'cv' if quantum else 'md'}{{bar}}"]
        names += ["cell_abcABC"] if recipe.barostat.anisotropic else []
    return ", ".join(names)


def _velocities_of(recipe: Recipe) -> str:
    """Velocities of what moves as atoms do: of several beads, the centroids."""
    return "velocities" if recipe.beads == 1 else "v_centroid"


def _components(recipe: Recipe) -> list[Component]:
    return [recipe.component] if recipe.stride is None else [Component.SLOW, Component.FAST]


def _forcefields(recipe: Recipe) -> str:
    several = len(_components(recipe)) > 1
    pbc = "" if recipe.pbc == "TTT" else f", pbc: {recipe.pbc}"
    return "\n".join(
        f"""\
  <ffsocket name='{component.value}' mode='unix' pbc='False'>
    <address> {DEFAULT_NAME}{f"-{component.value}" if several else ""} </address>
    <parameters> {{ component: {component.value}, species: {recipe.species}{pbc} }} </parameters>\
{_batch(recipe, component)}
  </ffsocket>"""
        for component in _components(recipe)
    )


def _beads(recipe: Recipe, component: Component) -> int:
    """The number of beads on which a component acts."""
    return recipe.slow_beads or recipe.beads if component is Component.SLOW else recipe.beads


def _batch(recipe: Recipe, component: Component) -> str:
    """Let i-PI send all beads in one message."""
    beads = _beads(recipe, component)
    return "" if beads == 1 else f"\n    <batch_size> {beads} </batch_size>"


def _forces(recipe: Recipe) -> str:
    weights = {
        Component.SLOW: " <mts_weights> [ 1, 0 ] </mts_weights> ",
        Component.FAST: " <mts_weights> [ 0, 1 ] </mts_weights> ",
    }
    lines = []
    for component in _components(recipe):
        beads = _beads(recipe, component)
        contracted = "" if beads == recipe.beads else f" nbeads='{beads}'"
        lines.append(f"      <force forcefield='{component.value}'{contracted}>{weights.get(component, '')}</force>")
    return "\n".join(lines)


def _velocities(recipe: Recipe) -> str:
    if not recipe.thermalize:
        return ""
    return f"\n      <velocities mode='thermal' units='kelvin'> {number(recipe.temperature)} </velocities>"


def _fixed(recipe: Recipe) -> str:
    """Whole atoms as such, for those who read the input."""
    atoms = sorted({coordinate // 3 for coordinate in recipe.fixed})
    if not atoms:
        return ""
    if len(recipe.fixed) == 3 * len(atoms):
        return f"\n        <fixatoms> {atoms} </fixatoms>"
    return f"\n        <fixatoms_dof> {sorted(recipe.fixed)} </fixatoms_dof>"


def _nmts(recipe: Recipe) -> str:
    return "" if recipe.stride is None else f"\n        <nmts> [ 1, {recipe.stride} ] </nmts>"


def _mode(recipe: Recipe) -> str:
    """i-PI's name of the ensemble."""
    if recipe.barostat is not None:
        return "npt"
    return "nve" if recipe.ensemble == "nve" else "nvt"


def _pressure(recipe: Recipe) -> str:
    if recipe.barostat is None:
        return ""
    return f" <pressure units='bar'> {number(recipe.barostat.pressure)} </pressure>"


def _baths(recipe: Recipe) -> str:
    return _thermostat(recipe) + _barostat(recipe)


def _barostat(recipe: Recipe) -> str:
    if recipe.barostat is None:
        return ""
    tau = f"<tau units='femtosecond'> {number(recipe.barostat.tau)} </tau>"
    return f"""
        <barostat mode='{"flexible" if recipe.barostat.anisotropic else "isotropic"}'>
          {tau} <thermostat mode='langevin'> {tau} </thermostat>
        </barostat>"""


def _thermostat(recipe: Recipe) -> str:
    if recipe.ensemble == "nve":
        return ""
    assert recipe.tau is not None
    if recipe.ensemble == "gle":
        matrix = ", ".join(f"{1e15 * value:.6e}" for value in high_pass_friction(recipe.tau, MEMORY).ravel())
        return f"""
        <thermostat mode='gle'>
          <A shape='(2, 2)' units='hertz*rad'> [ {matrix} ] </A>
        </thermostat>"""
    mode = "pile_l" if recipe.ensemble == PILE else recipe.ensemble
    return f"""
        <thermostat mode='{mode}'> <tau units='femtosecond'> {number(recipe.tau)} </tau> </thermostat>"""


def high_pass_friction(tau: float, memory: float) -> np.ndarray:
    """Drift matrix of a generalized Langevin thermostat that acts on fast motions and spares slow ones.

    With one auxiliary momentum the friction kernel is K(t) = 2 δ(t)/τ - (c/(τ τ_m)) exp(-|t|/τ_m), so that the friction
    at angular frequency ω is (1 - c/(1 + ω² τ_m²))/τ: nearly 1/τ where ω τ_m » 1, as for vibrations and librations of
    water, and only (1 - c)/τ for diffusion. The matrix is positive definite for c < 1, and the noise that belongs to it
    samples the canonical ensemble (Ceriotti, Bussi, Parrinello, J. Chem. Theory Comput. 6, 1170 (2010), eqs. 6 to 9).

    :param tau: τ, time constant of the friction on fast motions, in any unit of time
    :param memory: τ_m, in the same unit
    :return: A for i-PI's `<thermostat mode='gle'>`, in 1/unit, shape (2, 2)
    """
    sparing = 0.98  # c
    coupling = np.sqrt(sparing / (tau * memory))
    return np.array([[1.0 / tau, coupling], [coupling, 1.0 / memory]])


def write_start(atoms: ase.Atoms, path: Path) -> None:
    """Write positions, momenta, masses and cell as an i-PI checkpoint, for `<file mode='chk'>`.

    :param atoms: turned as i-PI wants it, see `read_start`; without momenta, the atoms start at rest
    """
    beads = Beads(len(atoms), 1)
    beads.names = np.array(atoms.get_chemical_symbols())
    beads.m = unit_to_internal("mass", "dalton", atoms.get_masses())
    beads.q = unit_to_internal("length", "angstrom", atoms.positions.ravel())
    beads.p = unit_to_internal("momentum", "ase", atoms.get_momenta().ravel())
    cell = Cell(unit_to_internal("length", "angstrom", atoms.cell.array.T))
    with _full_precision():
        text = _stored(InputBeads(), beads, "beads") + _stored(InputCell(), cell, "cell")
    forces = "<forces><force forcefield=''/></forces>"  # i-PI's reader expects some
    path.write_text(f"<simulation><system>{text}{forces}<motion mode='dynamics'/></system></simulation>\n")


def _stored(form: Input, value: object, tag: str) -> str:
    form.store(value)
    return str(form.write(tag))


@contextmanager
def _full_precision() -> Iterator[None]:
    """i-PI keeps the format of all numbers that it writes in one global place."""
    before = ipi_global_settings["floatformat"]
    ipi_global_settings["floatformat"] = FULL_PRECISION
    try:
        yield
    finally:
        ipi_global_settings["floatformat"] = before
