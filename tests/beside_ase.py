"""A calculator served to i-PI beside the same one in ase's own molecular dynamics: all numbers must be the same."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase
import numpy as np
from ase import units
from ase.calculators.calculator import Calculator
from ase.md.verlet import VelocityVerlet
from ipi.scripting import read_output
from ipi_processes import Workplace, read_beads

from ipi_darkforces.models.structure import formula_from_species
from ipi_darkforces.simulate.compose import compose, write_start
from ipi_darkforces.simulate.recipe import Recipe

_PER_VOLUME = units.Bohr**3 / units.Hartree  # i-PI's pressure in atomic units, of one in eV/Å³
_OUTPUT = """<output prefix='run'>
    <properties filename='out' stride='1'> [ step, potential{electronvolt}, virial_md ] </properties>
    <checkpoint filename='state' stride='1' overwrite='False'/>
  </output>"""


@dataclass(frozen=True)
class Trajectory:
    """Energies, virials, positions and momenta at each step.

    :param energies: eV, shape (n_steps,)
    :param virials: eV, as xx, yy, zz, xy, xz, yz, shape (n_steps, 6)
    :param positions: Å, shape (n_steps, n_atoms, 3)
    :param momenta: in ase's unit, likewise
    """

    energies: np.ndarray
    virials: np.ndarray
    positions: np.ndarray
    momenta: np.ndarray


def with_ipi(workplace: Workplace, atoms: ase.Atoms, component: str, steps: int, timestep: float) -> Trajectory:
    """A few steps of NVE in fs; a driver of the workplace must serve the model."""
    folder = Path(tempfile.mkdtemp(dir=workplace.folder))
    write_start(atoms, folder / "start.chk")
    recipe = Recipe(
        "run", "nve", formula_from_species(atoms.numbers), "start.chk", timestep=timestep, duration=steps * timestep
    )
    text = re.sub(r"(?s)<output.*</output>", _OUTPUT, compose(recipe))
    (folder / "input.xml").write_text(text.replace("component: conservative", f"component: {component}"))
    ipi = workplace.ipi(folder / "input.xml")
    assert ipi.wait() == 0, ipi.said()
    values, _ = read_output(str(folder / "run.out"))
    states = sorted(folder.glob("run.state_*"), key=lambda path: int(path.name.rpartition("_")[2]))
    return Trajectory(
        values["potential"],
        values["virial_md"] / _PER_VOLUME * atoms.get_volume(),
        _per_atom(states, "q") * units.Bohr,
        _per_atom(states, "p") * np.sqrt(units.Hartree * units._me / units._amu),
    )


def _per_atom(states: Sequence[Path], tag: str) -> np.ndarray:
    return np.array([read_beads(path, tag).reshape(-1, 3) for path in states])


def with_ase(calculator: Calculator, atoms: ase.Atoms, steps: int, timestep: float) -> Trajectory:
    """The same in ase, with the centre of mass at rest, as i-PI has it."""
    moving = atoms.copy()
    moving.set_velocities(moving.get_velocities() - moving.get_momenta().sum(axis=0) / moving.get_masses().sum())
    moving.calc = calculator
    motion = VelocityVerlet(moving, timestep * units.fs)
    frames = []
    for _ in motion.irun(steps):
        virial = -moving.get_volume() * moving.get_stress(voigt=False)
        frames.append(
            (moving.get_potential_energy(), virial[(0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2)])
            + (moving.get_positions(), moving.get_momenta())
        )
    return Trajectory(*map(np.array, zip(*frames, strict=True)))


def assert_same(ours: Trajectory, theirs: Trajectory) -> None:
    """Compare to single precision; positions and momenta must have changed by more than that."""
    n_atoms = ours.positions.shape[1]
    assert len(ours.energies) == len(theirs.energies) > 2
    np.testing.assert_allclose(ours.energies, theirs.energies, rtol=1e-6, atol=1e-6 * n_atoms)
    np.testing.assert_allclose(ours.virials, theirs.virials, rtol=1e-4, atol=1e-4 * np.abs(theirs.virials).max())
    np.testing.assert_allclose(ours.positions, theirs.positions, rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours.momenta, theirs.momenta, rtol=0, atol=1e-4 * np.abs(theirs.momenta).max())
    assert np.abs(theirs.positions[-1] - theirs.positions[0]).max() > 1e-3
    assert np.abs(theirs.momenta[-1] - theirs.momenta[0]).max() > 1e-3 * np.abs(theirs.momenta).max()
