"""Ring-polymer contraction of the slow force: what it does to the quantum kinetic energy and the pressure of a model.

    darkforces run inputs/pimd-mts4-contracted.xml --model pet-m --time 0.1 --output pimd
    python benchmarks/contraction.py pet-m pimd --slow-beads 4 8 16

Takes the configurations of all beads that runs have left (i-PI's positions), the first of each run, at which beads are
still together, left out. For each it evaluates conservative and direct forces of all beads and of contracted ring
polymers, and prints the centroid virial estimators of kinetic energies of species, and of the pressure without a
direct stress: what conservative forces of all beads give, and how far the others are from that, with standard errors
over configurations. The table in `docs/ensembles.md` is made with it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import ase
import numpy as np
from ase import units
from ipi.utils.nmtransform import nm_rescale
from tqdm import tqdm

import ipi_darkforces as dark
from ipi_darkforces.analysis.io.formats import open_trajectories
from ipi_darkforces.models.model import ForceModel
from ipi_darkforces.stats.rows import aligned

KINDS = ("conservative", "direct")
Forces = tuple[np.ndarray, np.ndarray, float]  # conservative and direct ones (n_beads, 3 n_atoms), and the mean virial


def configurations(folder: Path) -> Iterator[list[ase.Atoms]]:
    """Positions of all beads at each time but the first."""
    beads = [open_trajectories(path)[0].blocks() for path in sorted(folder.glob("*.pos_*.xyz"))]
    species = open_trajectories(min(folder.glob("*.pos_*.xyz")))[0].species
    for blocks in zip(*beads, strict=False):
        for i in range(1, min(len(block.values) for block in blocks)):
            yield [ase.Atoms(species, block.values[i], cell=block.cells[i], pbc=True) for block in blocks]


def evaluated(model: ForceModel, beads: Sequence[ase.Atoms]) -> Forces:
    """Forces in eV/Å, and the trace of the virial in eV."""
    found = [model.evaluate(atoms) for atoms in beads]
    conservative, direct = (np.array([getattr(each, kind).ravel() for each in found]) for kind in KINDS)
    return conservative, direct, float(np.mean([np.trace(each.virial) for each in found]))


def estimators(beads: Sequence[ase.Atoms], forces: np.ndarray, virial: float, kelvin: float) -> dict[str, float]:
    """Kinetic energies of species in meV/atom, and the pressure in kbar."""
    first, positions = beads[0], np.array([atoms.positions.ravel() for atoms in beads])
    work = ((positions - positions.mean(axis=0)) * forces).reshape(len(beads), -1, 3).sum(axis=2).mean(axis=0)
    symbols = np.array(first.get_chemical_symbols())
    kinetic = 1.5 * units.kB * kelvin - 0.5 * work
    pressure = (2.0 * kinetic.sum() + virial) / (3.0 * first.get_volume())
    found = {f"K({symbol}) / meV": 1000.0 * kinetic[symbols == symbol].mean() for symbol in dict.fromkeys(symbols)}
    return found | {"pressure / kbar": pressure / (1000.0 * units.bar)}


def contracted(
    model: ForceModel, beads: Sequence[ase.Atoms], slow_beads: int, direct: np.ndarray
) -> tuple[np.ndarray, float]:
    """Direct forces of all beads with the slow ones of a contracted ring polymer, and the virial of that."""
    change = nm_rescale(len(beads), slow_beads)
    fewer = []
    for positions in change.b1tob2(np.array([atoms.positions.ravel() for atoms in beads])):
        atoms = beads[0].copy()
        atoms.positions = positions.reshape(-1, 3)
        fewer.append(atoms)
    slow, fast, virial = evaluated(model, fewer)
    return direct + change.b2tob1(slow - fast), virial


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="as in darkforces run")
    parser.add_argument("runs", nargs="+", type=Path, help="folders of path integrals with positions of all beads")
    parser.add_argument("--slow-beads", nargs="+", type=int, default=[4, 8, 16], help="(default: 4 8 16)")
    parser.add_argument("--temperature", type=float, default=300.0, help="K (default: %(default)g)")
    parser.add_argument("--json", action="store_true", help="print everything for machines")
    args = parser.parse_args()
    model = dark.load_model(args.model)
    found: dict[str, list[dict[str, float]]] = {}
    for beads in tqdm([each for run in args.runs for each in configurations(run)], unit="configuration"):
        conservative, direct, virial = evaluated(model, beads)
        forces = {"conservative": (conservative, virial), "direct": (direct, virial)}
        forces |= {f"{n} slow beads": contracted(model, beads, n, direct) for n in args.slow_beads}
        for name, (each, its_virial) in forces.items():
            found.setdefault(name, []).append(estimators(beads, each, its_virial, args.temperature))
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        print(aligned([row(name, values, found["conservative"]) for name, values in found.items()]))


def row(name: str, values: list[dict[str, float]], exact: list[dict[str, float]]) -> dict[str, str]:
    """Means with standard errors; of all but the first, of the difference to it."""
    line = {"forces": name if values is exact else f"{name}, less that"}
    for title in exact[0]:
        series = np.array([each[title] for each in values])
        series = series if values is exact else series - np.array([each[title] for each in exact])
        error = series.std(ddof=1) / np.sqrt(len(series)) if len(series) > 1 else np.nan
        line[title] = f"{series.mean():.2f} ± {error:.2f}"
    return line


if __name__ == "__main__":
    main()
