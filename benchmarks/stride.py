"""Heating of multiple time stepping, measured: NVE runs of several strides from several equilibrated starts.

    python benchmarks/stride.py measure FOLDER --model pet-m --structure inputs/water.xyz --strides 8 10 12 --time 5

Every run is one file in FOLDER, written when it is complete; a call that was interrupted goes on where it was. A start
is a Langevin run of 1 ps under conservative forces, each with other random numbers. For each start there is one
conservative run with both kinds of forces at every step, for the prediction, and one run of each stride.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary

import ipi_darkforces as dark
from ipi_darkforces.models.pair import PairModel

TIMESTEP = 0.5  # fs
EQUILIBRATION = 1.0  # ps
FRICTION_TIME = 100.0  # fs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["measure"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="pet-m", help="of the fast forces, and of the slow ones unless --slow")
    parser.add_argument("--slow", help="model of the conservative forces")
    parser.add_argument("--structure", default="inputs/water.xyz")
    parser.add_argument("--temperature", type=float, default=300.0, help="K")
    parser.add_argument("--starts", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--strides", type=int, nargs="+", default=[8, 10, 12])
    parser.add_argument("--time", type=float, default=5.0, help="ps of each run of a stride")
    parser.add_argument("--both-time", type=float, default=2.0, help="ps of the run with both kinds of forces")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    fast = dark.load_model(arguments.model)
    model = fast if arguments.slow is None else PairModel(fast, dark.load_model(arguments.slow), "pair")
    atoms = ase.io.read(arguments.structure)
    for start in arguments.starts:
        measure_start(start, atoms, model, arguments)


def measure_start(start: int, atoms: Atoms, model: dark.ForceModel, arguments: argparse.Namespace) -> None:
    """Equilibrate one start, then run both kinds of forces and every stride from there, as far as files are missing."""
    folder = arguments.folder
    place = folder / f"start{start}.npz"
    if not place.exists():
        save(place, **equilibrated(atoms, model, arguments.temperature, seed=start))
    state = np.load(place)
    atoms = atoms.copy()
    atoms.positions = state["positions"]
    atoms.set_momenta(state["momenta"])
    for stride, time in [(1, arguments.both_time), *((stride, arguments.time) for stride in arguments.strides)]:
        place = folder / f"start{start}-stride{stride}.npz"
        if not place.exists():
            save(place, **nve(atoms.copy(), model, stride, time))
            print(place, flush=True)


def equilibrated(atoms: Atoms, model: dark.ForceModel, temperature: float, seed: int) -> dict[str, np.ndarray]:
    """Positions and momenta after a Langevin run under conservative forces."""
    atoms = atoms.copy()
    generator = np.random.default_rng(seed)
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=generator)
    Stationary(atoms)
    atoms.calc = dark.Calculator(model, forces="conservative")
    dynamics = Langevin(
        atoms,
        TIMESTEP * units.fs,
        temperature_K=temperature,
        friction=1.0 / (FRICTION_TIME * units.fs),
        rng=generator,
    )
    dynamics.run(round(1000.0 * EQUILIBRATION / TIMESTEP))
    Stationary(atoms, preserve_temperature=False)
    return {"positions": atoms.positions, "momenta": atoms.get_momenta()}


def nve(atoms: Atoms, model: dark.ForceModel, stride: int, time: float) -> dict[str, np.ndarray]:
    """Potential and kinetic energy at every outer step; with a stride of 1 also velocities and both kinds of forces."""
    dynamics = dark.MultipleTimeStepping(atoms, stride * TIMESTEP * units.fs, stride=stride, fast=model)
    masses = atoms.get_masses()
    potential, kinetic, of_species = [], [], []
    positions, velocities, conservative, direct = [], [], [], []
    for _ in range(round(1000.0 * time / TIMESTEP / stride)):
        dynamics.run(1)
        velocity = atoms.get_velocities()
        of_atoms = 0.5 * masses * (velocity**2).sum(axis=1)
        potential.append(atoms.get_potential_energy())
        kinetic.append(of_atoms.sum())
        of_species.append([of_atoms[atoms.numbers == number].sum() for number in np.unique(atoms.numbers)])
        if stride == 1:
            state, slow = dynamics._last
            positions.append(atoms.positions.astype(np.float32))
            velocities.append(velocity.astype(np.float32))
            conservative.append((state.forces + slow).astype(np.float32))
            direct.append(state.forces.astype(np.float32))
    found = {"potential": potential, "kinetic": kinetic, "of_species": of_species, "stride": stride}
    if stride == 1:
        found |= {"positions": positions, "velocities": velocities, "conservative": conservative, "direct": direct}
        found |= {"numbers": atoms.numbers, "masses": masses, "cell": atoms.cell.array}
    return {name: np.asarray(values) for name, values in found.items()}


def save(place: Path, **arrays: np.ndarray) -> None:
    """Write a file of arrays, whole or not at all."""
    partial = place.with_suffix(".partial.npz")
    np.savez(partial, **arrays)
    os.replace(partial, place)


if __name__ == "__main__":
    main()
