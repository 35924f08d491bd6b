"""Small i-PI inputs for ase's own potential, which loads quickly, and the command that runs them."""

from __future__ import annotations

import sys
from pathlib import Path

import ase
import numpy as np
from ase import units
from ase.build import bulk

from ipi_darkforces.simulate.compose import write_start

MODEL = "ase:ase.calculators.emt:EMT"
DYNAMICS = (
    "<motion mode='dynamics'><dynamics mode='nve'><timestep units='femtosecond'> {:g} </timestep></dynamics></motion>"
)
N_ATOMS = 4


def crystal(temperature: float = 300.0) -> ase.Atoms:
    """Four atoms of aluminium near their places, with velocities."""
    atoms = bulk("Al", cubic=True)
    random = np.random.default_rng(3)
    atoms.positions += 0.02 * random.normal(size=(N_ATOMS, 3))
    velocities = random.normal(size=(N_ATOMS, 3)) * np.sqrt(units.kB * temperature / atoms.get_masses())[:, None]
    atoms.set_velocities(velocities - velocities.mean(axis=0))
    return atoms


def write_input(
    folder: Path,
    motion: str = DYNAMICS.format(1.0),
    steps: int = 100_000,
    more: str = "",
    temperature: float = 300.0,
) -> Path:
    """Write an i-PI input and its start.

    :param more: XML for `<simulation>`
    :param temperature: K, of the velocities
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_start(crystal(temperature), folder / "start.chk")
    path = folder / "al.xml"
    path.write_text(
        f"""\
<simulation verbosity='low'>
  <output prefix='al'>
    <properties filename='out' stride='1'> [ step, time{{picosecond}}, potential{{electronvolt}} ] </properties>
    <checkpoint filename='chk' stride='10' overwrite='True'/>
  </output>
  <total_steps> {steps} </total_steps>{more}
  <prng><seed> 1 </seed></prng>
  <ffsocket name='al' mode='unix' pbc='False'>
    <address> al </address> <parameters> {{ species: Al4 }} </parameters>
  </ffsocket>
  <system>
    <initialize nbeads='1'><file mode='chk'> start.chk </file></initialize>
    <forces><force forcefield='al'/></forces>
    <ensemble><temperature units='kelvin'> 300 </temperature></ensemble>
    {motion}
  </system>
</simulation>
"""
    )
    return path


def command(path: Path, folder: Path, *options: str, model: str = MODEL) -> list[str]:
    """``darkforces run`` with an input, in a folder."""
    start = [sys.executable, "-m", "ipi_darkforces.cli.main", "run", str(path)]
    return [*start, "--model", model, "--output", str(folder), *options]
