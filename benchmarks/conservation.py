"""Is energy conserved by the fast path as well as by the exported model, across many searches for neighbours?

    python benchmarks/conservation.py                  # 24 atoms, 10 000 steps of 0.5 fs: a quarter of an hour
    python benchmarks/conservation.py --steps 500      # to try it

NVE of eight water molecules in a periodic cell, with conservative forces, from the same start and with the same
integrator: with each implementation in single precision, and with the fast one in double precision, whose fluctuations
are the integrator's own. Drift is the slope of the total energy, with an error bar that accounts for time correlation;
fluctuations are those around that line. The first tenth of the steps does not count.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
from ase.data import atomic_masses
from ase.units import fs, kB
from tqdm import tqdm

from ipi_darkforces import ForceModel, Need, Structure, load_model
from ipi_darkforces.models.neighbors.verlet import VerletList
from ipi_darkforces.stats.slopes import slope

TIME_STEP = 0.5 * fs
TEMPERATURE = 300.0
CELL = 6.21  # Å: 1 g/cm³
MOLECULE = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
# Of each: backend, precision
PATHS = {
    "fast": ("auto", "float32"),
    "exported": ("metatomic", "float32"),
    "fast, double precision": ("auto", "float64"),
}


def main() -> None:
    """Simulate, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pet-m", help="a name or a path of a model (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=10_000, help="of each simulation (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print everything for machines")
    args = parser.parse_args()
    searches = count_searches()
    results = {}
    with tqdm(total=len(PATHS) * args.steps, disable=None, unit="step") as bar:
        for name, (backend, dtype) in PATHS.items():
            bar.set_description(name)
            before = len(searches)
            energies = simulate(load_model(args.model, backend=backend, dtype=dtype), args.steps, bar)
            results[name] = energies, len(searches) - before
    if args.json:
        print(json.dumps({name: energies.tolist() for name, (energies, _) in results.items()}))
        return
    for name, (energies, found) in results.items():
        print(f"{name}: {in_words(energies)}" + (f", {found} searches for neighbours" if found else ""))


def count_searches() -> list[None]:
    """A list that grows with each search of the fast path."""
    searches: list[None] = []
    search = VerletList.__init__

    def counted(self: VerletList, *options: Any) -> None:
        searches.append(None)
        search(self, *options)

    VerletList.__init__ = counted  # type: ignore[method-assign]
    return searches


def simulate(model: ForceModel, steps: int, bar: tqdm) -> np.ndarray:
    """The total energy after each step, eV per atom: velocity Verlet."""
    structure = start()
    masses = atomic_masses[structure.species, None]
    velocities = np.random.default_rng(1).normal(0.0, np.sqrt(kB * TEMPERATURE / masses), structure.positions.shape)
    energy, forces = evaluate(model, structure)
    totals = np.empty(steps)
    for i in range(steps):
        velocities += 0.5 * TIME_STEP * forces / masses
        structure = Structure(structure.species, structure.positions + TIME_STEP * velocities, structure.cell)
        energy, forces = evaluate(model, structure)
        velocities += 0.5 * TIME_STEP * forces / masses
        totals[i] = energy + 0.5 * float((masses * velocities**2).sum())
        bar.update()
    return totals / len(structure.positions)


def start() -> Structure:
    """Molecules on a grid, each turned at random."""
    random = np.random.default_rng(0)
    turned = [MOLECULE @ np.linalg.qr(random.normal(size=(3, 3)))[0] for _ in range(8)]
    places = 0.5 * CELL * np.array(list(np.ndindex(2, 2, 2)))
    positions = np.concatenate([molecule + place for molecule, place in zip(turned, places, strict=True)])
    return Structure(np.array([8, 1, 1] * 8, np.int32), positions, CELL * np.eye(3))


def evaluate(model: ForceModel, structure: Structure) -> tuple[float, np.ndarray]:
    """Energy, eV, and conservative forces, eV/Å."""
    (result,) = model.evaluate([structure], Need.ENERGY | Need.CONSERVATIVE)
    assert result.conservative is not None
    return result.energy, result.conservative


def in_words(energies: np.ndarray) -> str:
    """Drift and fluctuations, of eV per atom after each step."""
    energies = 1e3 * energies[len(energies) // 10 :]
    times = TIME_STEP / fs * 1e-3 * np.arange(len(energies))
    drift = slope(times, energies)
    around = (energies - np.polyval(np.polyfit(times, energies, 1), times)).std()
    return f"drift {drift.text('meV/atom/ps')}, fluctuations {around:.4f} meV/atom"


if __name__ == "__main__":
    main()
