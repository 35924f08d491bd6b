"""Makes a structure for the inputs in this folder to start from, out of nothing but the bundled model.

    python inputs/make_start.py inputs/water.xyz
    python inputs/make_start.py inputs/water-16.xyz --molecules 16 --time 2

Molecules on a lattice, at random orientations, are equilibrated at 300 K with conservative forces and a Langevin
thermostat (τ = 200 fs), which takes about 20 minutes on two cores for 64 of them and 8 ps. Afterwards, make_inputs.py
and tests/trajectories/make_references.py bring what depends on it up to date.
"""

import argparse
import tempfile
from pathlib import Path

import ase
import ase.io
import numpy as np
from ase.build import bulk, molecule
from scipy.spatial.transform import Rotation

from ipi_darkforces.models.structure import formula_from_species
from ipi_darkforces.models.structure_file import read_atoms
from ipi_darkforces.simulate.compose import compose, write_start
from ipi_darkforces.simulate.inputs import SimulationInput
from ipi_darkforces.simulate.recipe import Recipe
from ipi_darkforces.simulate.run import ModelChoice, Outcome, run

SPACING = 12.4447 / 4  # Å, of a simple cubic lattice at the density of the model's training data
LATTICES = {64: ("sc", 4, 1), 16: ("bcc", 2, 2)}  # by molecules: kind, cells along an edge, molecules in a cell


def lattice(molecules: int) -> ase.Atoms:
    """Molecules on a cubic lattice, first all oxygens and then all hydrogens."""
    kind, along_edge, in_cell = LATTICES[molecules]
    edge = SPACING * in_cell ** (1 / 3)
    places = bulk("O", kind, a=edge, cubic=True).repeat(along_edge).positions + 0.5 * edge / in_cell
    rotations = Rotation.from_quat(np.random.default_rng(1).normal(size=(molecules, 4)))
    oxygens, hydrogens = [], []
    for place, rotation in zip(places, rotations, strict=True):
        shape = molecule("H2O").positions
        atoms = rotation.apply(shape - shape[0]) + place
        oxygens.append(atoms[0])
        hydrogens.extend(atoms[1:])
    species = f"O{molecules}H{2 * molecules}"
    return ase.Atoms(species, positions=np.array(oxygens + hydrogens), cell=[edge * along_edge] * 3, pbc=True)


def equilibrated(atoms: ase.Atoms, picoseconds: float, folder: Path) -> Outcome:
    """Run i-PI from `atoms`, in `folder`."""
    from tqdm import tqdm  # help needs none of it

    write_start(atoms, folder / "lattice.chk")
    recipe = Recipe(
        name="equilibration",
        ensemble="langevin",
        species=formula_from_species(atoms.numbers),
        start="lattice.chk",
        tau=200.0,
        duration=1000.0 * picoseconds,
        thermalize=True,
    )
    (folder / "equilibration.xml").write_text(compose(recipe))
    simulation = SimulationInput.read(folder / "equilibration.xml")
    with tqdm(total=simulation.total_steps, unit="step") as bar:
        return run(
            simulation,
            ModelChoice("pet-m"),
            folder / "run",
            watch=lambda progress, _: bar.update(progress.step - bar.n),
        )


def structure_of(restart: Path) -> ase.Atoms:
    """Positions and momenta in i-PI's RESTART, with the centre of mass at rest."""
    atoms = read_atoms(restart, "RESTART")
    momenta, masses = atoms.get_momenta(), atoms.get_masses()[:, None]
    atoms.set_momenta(momenta - masses * momenta.sum(axis=0) / masses.sum())
    return atoms


def main() -> None:
    """Make a start."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="extended XYZ to write")
    parser.add_argument("--molecules", type=int, choices=LATTICES, default=64, help="(default: %(default)s)")
    parser.add_argument("--time", type=float, default=8.0, metavar="PS", help="of equilibration (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        outcome = equilibrated(lattice(args.molecules), args.time, Path(scratch))
        if outcome.interrupted:
            raise SystemExit("stopped; nothing was written")
        ase.io.write(args.output, structure_of(outcome.folder / "RESTART"))


if __name__ == "__main__":
    main()
