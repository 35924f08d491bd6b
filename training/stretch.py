"""Structures with a stretched O–H bond, labelled: what dynamics at ambient conditions does not show.

A model of liquid water that has never seen an O–H bond longer than 1.14 Å guesses there, and may find that a proton
shared by two molecules costs nothing. Here a hydrogen of a labelled structure is moved away from its oxygen, mostly
along its hydrogen bond, and the change of energy and forces comes from electronic structure of the molecules around it:

    E = E(structure) + E(cluster, stretched) - E(cluster)                        and so for the forces on the cluster

PBE0/def2-SVPD with density fitting, by pyscf. What is far away does not respond; so the differences are good to a few
per cent, where the model was wrong by electronvolts.

    python training/stretch.py train.xyz --output stretched.xyz
    cat train.xyz stretched.xyz > all.xyz

Stopped and started again with the same command, it goes on where it was.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase
import ase.io
import numpy as np
import numpy.typing as npt
from ase import units
from ase.calculators.singlepoint import SinglePointCalculator

from ipi_darkforces.cli import entry
from ipi_darkforces.diagnostics.reference import read_reference
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.training.recipes.data import as_atoms, write_frames

FUNCTIONAL, BASIS = "pbe0", "def2-svpd"
MOLECULES = 5  # in a cluster: donor, acceptor and their nearest neighbours
STRETCHES = 3  # of each bond that is chosen, so that they share the cluster they are compared with
SHORTEST = 1.05  # Å, of a stretched bond
LONGEST_FREE = 1.4  # Å, of one that points to no other oxygen
CLOSEST = 2.35  # Å, that donor and acceptor are brought to each other
ALONG = 0.75  # of the bonds are stretched along their hydrogen bond

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bond:
    """An O–H bond and what is around it.

    :param hydrogen: its index
    :param donor: index of its oxygen
    :param acceptor: index of the next nearest oxygen
    :param molecules: indices of the atoms of the molecules around, oxygens first; the donor's, the acceptor's, others
    """

    hydrogen: int
    donor: int
    acceptor: int
    molecules: list[npt.NDArray[np.intp]]

    @property
    def cluster(self) -> npt.NDArray[np.intp]:
        """Indices of all atoms around."""
        return np.concatenate(self.molecules)


def stretch(atoms: ase.Atoms, random: np.random.Generator) -> list[ase.Atoms]:
    """Stretched copies of a structure, labelled.

    :param atoms: liquid water with energy (eV) and forces (eV/Å), any order of atoms
    :return: `STRETCHES` copies with one bond stretched, energies in eV and forces in eV/Å
    :raises DarkforcesError: if a self-consistent field does not converge
    """
    bond = _choose(atoms, random)
    energy, forces = _cluster_labels(atoms, bond)
    labelled = []
    for _ in range(STRETCHES):
        stretched = atoms.copy()
        stretched.positions = _moved(atoms, bond, random)
        new_energy, new_forces = _cluster_labels(stretched, bond)
        changed = atoms.get_forces().copy()
        changed[bond.cluster] += new_forces - forces
        stretched.calc = SinglePointCalculator(
            stretched, energy=atoms.get_potential_energy() + new_energy - energy, forces=changed
        )
        labelled.append(stretched)
    return labelled


def _choose(atoms: ase.Atoms, random: np.random.Generator) -> Bond:
    oxygens, hydrogens = (np.flatnonzero(atoms.numbers == number) for number in (8, 1))
    distances = atoms.get_all_distances(mic=True)
    nearest = oxygens[np.argsort(distances[np.ix_(hydrogens, oxygens)], axis=1)]
    chosen = int(random.integers(len(hydrogens)))
    donor, acceptor = nearest[chosen, :2]
    rank = np.minimum(distances[oxygens, donor], distances[oxygens, acceptor] + 1e-6)
    around = [donor, acceptor, *(o for o in oxygens[np.argsort(rank)] if o not in (donor, acceptor))][:MOLECULES]
    molecules = [np.array([oxygen, *hydrogens[nearest[:, 0] == oxygen]]) for oxygen in around]
    return Bond(int(hydrogens[chosen]), int(donor), int(acceptor), molecules)


def _moved(atoms: ase.Atoms, bond: Bond, random: np.random.Generator) -> Array:
    """Positions with the bond stretched, towards the acceptor, which comes closer, or where it points."""
    positions = atoms.positions.copy()
    to_hydrogen, to_acceptor = atoms.get_distances(bond.donor, [bond.hydrogen, bond.acceptor], mic=True, vector=True)
    apart = float(np.linalg.norm(to_acceptor))
    direction = to_hydrogen / np.linalg.norm(to_hydrogen)
    longest = LONGEST_FREE
    if random.uniform() < ALONG:
        shift = random.uniform(0.0, max(0.0, min(0.4, apart - CLOSEST))) * to_acceptor / apart
        positions[bond.molecules[0]] += shift / 2.0
        positions[bond.molecules[1]] -= shift / 2.0
        apart -= float(np.linalg.norm(shift))
        longest = max(1.2, apart - 0.95)
    positions[bond.hydrogen] = positions[bond.donor] + random.uniform(SHORTEST, longest) * direction
    return positions


def _cluster_labels(atoms: ase.Atoms, bond: Bond) -> tuple[float, Array]:
    """Energy (eV) and forces (eV/Å) of the molecules around, alone."""
    from pyscf import dft, gto  # an extra, which help does without

    positions = np.concatenate(  # molecules as wholes, wherever the cell ends
        [
            atoms.get_distances(bond.donor, molecule[0], mic=True, vector=True)
            + atoms.get_distances(molecule[0], molecule, mic=True, vector=True)
            for molecule in bond.molecules
        ]
    )
    symbols = np.array(atoms.get_chemical_symbols())[bond.cluster]
    molecule = gto.M(atom=list(zip(symbols, positions.tolist(), strict=True)), basis=BASIS, verbose=0)
    field = dft.RKS(molecule, xc=FUNCTIONAL).density_fit()
    field.grids.level = 1
    energy = field.kernel()
    if not field.converged:
        raise DarkforcesError(f"{FUNCTIONAL}/{BASIS} does not converge for the molecules around atom {bond.hydrogen}")
    return energy * units.Hartree, -field.nuc_grad_method().kernel() * units.Hartree / units.Bohr


def sample(frames: Sequence[ase.Atoms], folder: Path, bonds: int, seed: int) -> list[ase.Atoms]:
    """Stretch the bonds whose structures are not in the folder yet; the structures of all."""
    from tqdm import tqdm

    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{bond:05d}.xyz" for bond in range(bonds)]
    for bond, file in enumerate(tqdm(files, desc="stretching", unit="bond")):
        if not file.exists():
            random = np.random.default_rng([seed, bond])
            write_frames(file, stretch(frames[int(random.integers(len(frames)))], random))
    return [atoms for file in files for atoms in ase.io.read(file, index=":")]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="training/stretch.py"
    )
    parser.add_argument("structures", type=Path, help="of liquid water, with energies and forces that ase reads")
    parser.add_argument("--energy-key", metavar="KEY", help="default: found, if there is only one that can be it")
    parser.add_argument("--forces-key", metavar="KEY", help="likewise")
    parser.add_argument("--output", type=Path, required=True, metavar="XYZ", help="where the structures go")
    parser.add_argument(
        "--bonds", type=int, default=40, help=f"number of bonds, {STRETCHES} structures each (default: 40)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default: %(default)s)")
    args = parser.parse_args()
    sys.exit(entry.run(lambda: _stretch_to_file(args)))


def _stretch_to_file(args: argparse.Namespace) -> None:
    if args.output.exists():
        raise DarkforcesError(f"'{args.output}' exists; give another --output")
    if args.bonds < 1:
        raise DarkforcesError(f"--bonds {args.bonds}: expected at least one")
    references = read_reference(args.structures, args.energy_key, args.forces_key, require_cell=True)
    for reference in references:
        if not {1, 8} <= set(reference.structure.species) or np.sum(reference.structure.species == 8) < MOLECULES:
            raise DarkforcesError(f"{reference.name} is not water: expected at least {MOLECULES} molecules of it")
    folder = args.output.with_suffix(".bonds")
    write_frames(args.output, sample([as_atoms(reference) for reference in references], folder, args.bonds, args.seed))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
