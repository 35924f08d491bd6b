"""Makes the structures of the materials in this folder: graphene, FCC aluminium, amorphous carbon.

    python inputs/make_materials.py graphene inputs/graphene.xyz
    python inputs/make_materials.py aluminium inputs/aluminium.xyz
    python inputs/make_materials.py carbon inputs/carbon.xyz            # needs the package sevenn

All are at about 300 K: crystals begin on their lattice with velocities of 600 K, of which half soon is potential
energy. The carbon is melted and quenched with SevenNet-0 and a Langevin thermostat, within 1 ps and hence with many
defects, which takes some minutes on one core. Afterwards, make_inputs.py brings what starts from them up to date.
"""

import argparse
from pathlib import Path

import ase
import ase.build
import ase.io
import numpy as np
from ase import units
from ase.md.langevin import Langevin

TEMPERATURE = 300.0  # K, of all of them
CARBON_DENSITY = 2.9  # g/cm³, of tetrahedral amorphous carbon
CARBON_ATOMS = 32
HOT = 6000.0  # K, above the melting point of carbon
TIMESTEP = 2.0  # fs, while quenching
MELTING, QUENCHING, SETTLING = 100, 250, 100  # steps


def graphene() -> ase.Atoms:
    """32 atoms; the sheet is 20 Å from its next image."""
    return on_lattice(ase.build.graphene(size=(4, 4, 1), vacuum=10.0))


def aluminium() -> ase.Atoms:
    """32 atoms."""
    return on_lattice(ase.build.bulk("Al", cubic=True).repeat(2))


def carbon() -> ase.Atoms:
    """Carbon from atoms at random places, well apart."""
    from sevenn.calculator import SevenNetCalculator
    from tqdm import tqdm

    random = np.random.default_rng(1)
    atoms = ase.Atoms(f"C{CARBON_ATOMS}", positions=apart(random), cell=[carbon_edge()] * 3, pbc=True)
    atoms.calc = SevenNetCalculator("7net-0")
    set_velocities(atoms, HOT, random)
    motion = Langevin(atoms, TIMESTEP * units.fs, temperature_K=HOT, friction=0.02 / units.fs, fixcm=False, rng=random)
    for step in tqdm(range(MELTING + QUENCHING + SETTLING), unit="step"):
        done = np.clip((step - MELTING) / QUENCHING, 0.0, 1.0)
        motion.set_temperature(temperature_K=HOT * (TEMPERATURE / HOT) ** done)
        motion.run(1)
    return at_rest(atoms, atoms.get_momenta())


def carbon_edge() -> float:
    """Å, of the cubic cell."""
    grams = CARBON_ATOMS * ase.data.atomic_masses[6] / units.kg * 1000.0
    return (grams / CARBON_DENSITY) ** (1 / 3) * 1e8


def apart(random: np.random.Generator, least: float = 1.3) -> np.ndarray:
    """Random positions in Å, none of them closer than `least` to another or its images."""
    edge = carbon_edge()
    places = np.empty((0, 3))
    while len(places) < CARBON_ATOMS:
        new = random.uniform(0.0, edge, 3)
        between = places - new
        between -= edge * np.round(between / edge)
        if np.all(np.linalg.norm(between, axis=1) > least):
            places = np.vstack([places, new])
    return places


def on_lattice(atoms: ase.Atoms) -> ase.Atoms:
    """A lattice with velocities of exactly that temperature."""
    set_velocities(atoms, 2 * TEMPERATURE, np.random.default_rng(1))
    start = at_rest(atoms, atoms.get_momenta())
    start.set_momenta(start.get_momenta() * np.sqrt(2 * TEMPERATURE / start.get_temperature()))
    return start


def set_velocities(atoms: ase.Atoms, temperature: float, random: np.random.Generator) -> None:
    """Draw momenta from the Maxwell-Boltzmann distribution at a temperature in K."""
    widths = np.sqrt(atoms.get_masses() * units.kB * temperature)
    atoms.set_momenta(widths[:, None] * random.normal(size=(len(atoms), 3)))


def at_rest(atoms: ase.Atoms, momenta: np.ndarray) -> ase.Atoms:
    """The start for i-PI, periodic in all directions, with the centre of mass at rest."""
    start = ase.Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    masses = start.get_masses()[:, None]
    start.set_momenta(momenta - masses * momenta.sum(axis=0) / masses.sum())
    return start


MATERIALS = {"graphene": graphene, "aluminium": aluminium, "carbon": carbon}


def main() -> None:
    """Make one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("material", choices=MATERIALS)
    parser.add_argument("output", type=Path, help="extended XYZ to write")
    args = parser.parse_args()
    ase.io.write(args.output, MATERIALS[args.material]())


if __name__ == "__main__":
    main()
