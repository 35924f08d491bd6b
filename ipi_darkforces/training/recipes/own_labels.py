"""Structures labelled by a model itself: short hot and strained dynamics, branching off from those of a data set.

A model's conservative forces are labels that cost no electronic structure. Its direct forces can be trained to match
them on as many structures as one cares to sample (the paper, section 3.5), and it is this match, not the error against
the reference, that decides which stride of multiple time stepping is stable. So the sample is wider than what will be
simulated: every branch starts from another structure, is strained, and is thermalised at a temperature of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import ase
import ase.io
import numpy as np
from ase import units
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from ...errors import DarkforcesError, one_line
from ...models.structure_file import read_frames
from .data import write_frames

TIMESTEP = 1.0 * units.fs
FRICTION = 0.05 / units.fs  # strong: new temperatures arrive within a few steps, dynamics is of no interest
INTERVAL = 20  # steps between structures that are kept
STRAIN = 0.02  # standard deviation of each element of the strain tensor
EXPLODED = 10.0  # times the temperature that was asked for


def sample(
    calculator: Calculator,
    starts: Sequence[ase.Atoms],
    folder: Path,
    branches: int,
    keep: int = 5,
    temperatures: tuple[float, float] = (200.0, 600.0),
    seed: int = 0,
) -> list[ase.Atoms]:
    """Run the branches that are not in the folder yet.

    :param calculator: gives conservative forces
    :param starts: structures to branch off from
    :param folder: gets a file for each finished branch
    :param keep: structures of each branch, 20 fs apart
    :param temperatures: K, lowest and highest
    :return: the structures of all branches with energies (eV) and forces (eV/Å)
    :raises DarkforcesError: if the dynamics explodes
    """
    from tqdm import tqdm

    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{branch:05d}.xyz" for branch in range(branches)]
    for branch, file in enumerate(tqdm(files, desc="sampling", unit="branch")):
        if not file.exists():
            random = np.random.default_rng([seed, branch])
            write_frames(file, _branch(calculator, starts, keep, temperatures, random))
    return [atoms for file in files for atoms in ase.io.read(file, index=":")]


def _branch(
    calculator: Calculator,
    starts: Sequence[ase.Atoms],
    keep: int,
    temperatures: tuple[float, float],
    random: np.random.Generator,
) -> list[ase.Atoms]:
    atoms = starts[int(random.integers(len(starts)))].copy()
    deviation = random.normal(scale=STRAIN, size=(3, 3))
    atoms.set_cell(atoms.cell @ (np.eye(3) + (deviation + deviation.T) / 2.0), scale_atoms=True)
    atoms.calc = calculator
    temperature = random.uniform(*temperatures)
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=random)
    dynamics = Langevin(atoms, TIMESTEP, temperature_K=temperature, friction=FRICTION, rng=random)
    kept = []
    for _ in range(keep):
        for _ in dynamics.irun(INTERVAL):
            if not atoms.get_temperature() < EXPLODED * temperature:
                raise DarkforcesError(
                    f"dynamics at {temperature:.0f} K explodes: the model cannot label structures yet; train it longer"
                )
        kept.append(labelled(atoms))
    return kept


def label(calculator: Calculator, frames: Sequence[ase.Atoms]) -> list[ase.Atoms]:
    """Copies of structures that carry energies (eV) and forces (eV/Å) of a calculator as labels."""
    from tqdm import tqdm

    copies = []
    for atoms in tqdm(frames, desc="labelling", unit="structure"):
        copy = atoms.copy()
        copy.calc = calculator
        copies.append(labelled(copy))
    return copies


def labelled(atoms: ase.Atoms) -> ase.Atoms:
    """A copy, without velocities, that carries the energy (eV) and forces (eV/Å) of its calculator as labels."""
    copy = ase.Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    forces = atoms.get_forces(apply_constraint=False)  # of fixed atoms too
    copy.calc = SinglePointCalculator(copy, energy=atoms.get_potential_energy(), forces=forces)
    return copy


def sample_to_file(model: Path, structures: Path, output: Path, branches: int, seed: int) -> None:
    """Run `sample` with an exported model, and write the structures; the same call goes on with one that was stopped.

    :param model: exported, conservative forces
    :param structures: a file of structures to branch off from
    :param output: extended XYZ, with a folder beside it while sampling is going on
    :raises DarkforcesError: if what is given cannot be used, or the dynamics explodes
    """
    if output.exists():
        raise DarkforcesError(f"'{output}' exists; give another --output")
    from metatomic_ase import MetatomicCalculator  # not for help

    folder = output.with_suffix(".branches")
    try:
        calculator = MetatomicCalculator(model)
    except Exception as error:  # torch's readers raise anything on a file that they cannot read
        raise DarkforcesError(f"model '{model}' cannot be read: {one_line(error)}") from error
    starts = list(read_frames(structures, "structure file"))
    write_frames(output, sample(calculator, starts, folder, branches, seed=seed))
    shutil.rmtree(folder)
