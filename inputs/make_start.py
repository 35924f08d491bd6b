"""Makes a structure for the inputs in this folder to start from, out of nothing but the bundled model.

    python inputs/make_start.py inputs/water.xyz
    python inputs/make_start.py inputs/water-16.xyz --molecules 16 --time 12

Molecules on a lattice, at random orientations, are equilibrated at 300 K with MTS-4 and a Langevin thermostat
(τ = 200 fs), which takes about 20 minutes on two cores for 64 of them and 8 ps. Few molecules are now too hot, now too
cold, and so are their vibrations, for picoseconds: the structure is that of a moment in the second half at which
neither is the case, see `typical_moment`. (water.xyz is older: the last moment of 8 ps with conservative forces.)
Afterwards, make_inputs.py and tests/trajectories/make_references.py bring what depends on it up to date.
"""

import argparse
import tempfile
from pathlib import Path

import ase
import ase.io
import numpy as np
from ase.build import bulk, molecule
from scipy.ndimage import uniform_filter1d
from scipy.spatial.transform import Rotation

from ipi_darkforces.analysis.io.formats import ASE_VELOCITY, open_trajectories
from ipi_darkforces.analysis.io.table import Table, read_table
from ipi_darkforces.analysis.io.trajectory import Timing
from ipi_darkforces.models.structure import formula_from_species
from ipi_darkforces.models.structure_file import read_atoms
from ipi_darkforces.simulate.compose import compose, write_start
from ipi_darkforces.simulate.inputs import SimulationInput
from ipi_darkforces.simulate.recipe import Recipe
from ipi_darkforces.simulate.run import ModelChoice, Outcome, run

SPACING = 12.4447 / 4  # Å, of a simple cubic lattice at the density of the model's training data
LATTICES = {64: ("sc", 4, 1), 16: ("bcc", 2, 2)}  # by molecules: kind, cells along an edge, molecules in a cell
WINDOW = 0.2  # ps
POSITIONS_EVERY = 20.0  # fs, as in the inputs


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
        stride=4,
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


def typical_moment(properties: Table) -> float:
    """The time in ps, in the second half, at which temperatures and energy are nearest to those of equilibrium.

    Deviations of temperatures of species, each the mean over 0.2 ps around a moment, from 300 K, and of the energy at
    the moment from its mean, all in standard deviations. Only moments of which positions are written count.
    """
    late = properties.after(0.5 * properties.time[-1])
    width = round(WINDOW / (late.time[1] - late.time[0]))
    deviations = [(late.columns["potential"] + late.columns["kinetic_md"])]
    deviations[0] = deviations[0] - deviations[0].mean()
    for species in "OH":
        deviations.append(uniform_filter1d(late.columns[f"temperature({species})"], width) - 300.0)
    total = sum((each / each.std()) ** 2 for each in deviations)
    inside = slice(width // 2, -(width // 2))
    written = np.isclose(np.remainder(1000.0 * late.time[inside] + 1e-6, POSITIONS_EVERY), 0.0, atol=1e-3)
    return float(late.time[inside][np.argmin(np.where(written, total[inside], np.inf))])


def structure_at(folder: Path, moment: float, timestep: float | None) -> ase.Atoms:
    """Positions and momenta at a time in ps, with the centre of mass at rest."""
    timing = Timing(timestep)
    atoms = read_atoms(folder / "lattice.chk", "lattice")
    atoms.positions = values_at(folder / "equilibration.pos_0.xyz", moment, timing)
    atoms.set_velocities(values_at(folder / "equilibration.vel_0.xyz", moment, timing) / ASE_VELOCITY)
    momenta, masses = atoms.get_momenta(), atoms.get_masses()[:, None]
    atoms.set_momenta(momenta - masses * momenta.sum(axis=0) / masses.sum())
    return atoms


def values_at(trajectory: Path, moment: float, timing: Timing) -> np.ndarray:
    """A frame of a trajectory."""
    for block in open_trajectories(trajectory, timing)[0].blocks():
        (found,) = np.nonzero(np.isclose(block.times, moment, atol=1e-5))
        if len(found):
            return block.values[found[0]]
    raise SystemExit(f"{trajectory} has no frame at {moment} ps")


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
        properties = read_table(outcome.folder / "equilibration.out", print)
        ase.io.write(args.output, structure_at(outcome.folder, typical_moment(properties), properties.timestep))


if __name__ == "__main__":
    main()
