"""PET models of the sizes that upet publishes, with random weights: our way beside i-PI's own, times and numbers.

    python benchmarks/upet.py                           # XS and S, 192 atoms of water, 256 of copper: 10 minutes
    python benchmarks/upet.py --check --sizes xs s m    # the same energies, forces and virials?

The time that a model takes does not depend on its weights, so random ones will do. Hyperparameters are those of upet's
documentation and of "Pushing the limits of unconstrained machine-learned interatomic potentials" (arXiv:2601.16195),
table IV. What these leave out, the widths of atoms, feed-forward networks and heads, is such that XS and S have as many
parameters as published, 4.5 and 25.9 million.

Both drivers are the classes that i-PI loads into its process for `<ffdirect>`: `ipi.pes.metatomic`, with the exported
model, and `ipi_darkforces.serve.pes`. They get the same positions, those of a simulation at 300 K with steps of 0.5 fs,
and take turns of eight steps in one process. Times are process times of the CPU, so that what else a machine does
matters little. MTS-8 is eight evaluations of direct forces and one of conservative ones for theirs, and what our split
makes of that for ours. The table goes to docs/performance_history.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import torch
from ase import units
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from beside_ipi import spread
from ipi.pes.metatomic import MetatomicDriver
from metatrain.pet import PET
from metatrain.utils.architectures import get_default_hypers
from metatrain.utils.data import DatasetInfo
from metatrain.utils.data.target_info import get_energy_target_info, get_generic_target_info
from tqdm import tqdm

import ipi_darkforces as dark
from ipi_darkforces import Need, Structure
from ipi_darkforces.machine import processor
from ipi_darkforces.models.metatomic import MetatomicModel
from ipi_darkforces.models.pet.packed import PetModel
from ipi_darkforces.models.registry.export import exported
from ipi_darkforces.models.structure import formula_from_species
from ipi_darkforces.serve.pes import DarkforcesDriver
from ipi_darkforces.split.shared import shared_split

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- what upet.py wrote begins here -->", "<!-- and ends here -->"
KINDS = ("conservative", "direct", "MTS-8")
STRIDE = 8
STEP = 0.5  # fs
WARM_UP = 2  # turns that do not count


@dataclass(frozen=True)
class Size:
    """A size of upet's: width of pairs, layers of message passing, of attention in each, cutoff in Å, neighbours."""

    width: int
    layers: int
    attention: int
    cutoff: float
    neighbours: int

    def hypers(self, method: str) -> dict[str, Any]:
        """Hyperparameters by metatrain's names."""
        return {
            "d_pet": self.width,
            "d_node": 4 * self.width,
            "d_feedforward": 2 * self.width,
            "d_head": self.width,
            "num_gnn_layers": self.layers,
            "num_attention_layers": self.attention,
            "cutoff": self.cutoff,
            "num_neighbors_adaptive": self.neighbours,
            "adaptive_cutoff_method": method,
            # Checkpoints from before there was a choice have the grid, and one width for both purposes.
            "cutoff_width_adaptive": 0.5 if method == "grid" else 1.0,
        }


SIZES = {
    "xs": Size(128, 2, 1, 7.5, 8),
    "s": Size(256, 3, 1, 8.0, 16),
    "m": Size(384, 3, 2, 8.5, 24),
    "l": Size(512, 4, 2, 9.0, 32),
    "xl": Size(640, 5, 3, 10.0, 40),
}


def water(atoms: int) -> ase.Atoms:
    """Liquid water, of 192 atoms or 768."""
    return ase.io.read(ROOT / "inputs" / "water.xyz").repeat({192: (1, 1, 1), 768: (1, 2, 2)}[atoms])


def copper() -> ase.Atoms:
    """256 atoms."""
    return bulk("Cu", cubic=True).repeat((4, 4, 4))


SYSTEMS: dict[str, Callable[[], ase.Atoms]] = {
    "water-192": lambda: water(192),
    "water-768": lambda: water(768),
    "copper-256": copper,
}


def main() -> None:
    """Measure, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["xs", "s"], choices=SIZES, help="(default: xs s)")
    parser.add_argument("--systems", nargs="+", default=["water-192", "copper-256"], choices=SYSTEMS)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS, help="(default: all)")
    parser.add_argument("--method", default="grid", choices=["grid", "solver"], help="(default: %(default)s)")
    parser.add_argument("--turns", type=int, default=8, help="of each side (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="compare numbers, on six structures, and measure nothing")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "docs" / "performance_history.md", help="(default: %(default)s)"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="upet") as scratch:
        os.environ["XDG_CACHE_HOME"] = scratch
        checkpoints = {size: checkpoint(Path(scratch), SIZES[size], args.method, size) for size in args.sizes}
        if args.check:
            for size, path in checkpoints.items():
                for line in compare(path):
                    print(f"{size:3} {line}", flush=True)
            return
        rows = []
        cases = [(system, size, kind) for system in args.systems for size in args.sizes for kind in args.kinds]
        trajectories = {system: trajectory(SYSTEMS[system](), args.turns + WARM_UP) for system in args.systems}
        for system, size, kind in tqdm(cases, disable=None):
            ours, theirs = measure(checkpoints[size], trajectories[system], kind)
            ratios = theirs / ours
            rows.append(
                f"| {system} | {size.upper()} | {kind} | {spread(ours)} | {spread(theirs)} | {spread(ratios, 2)} |"
            )
            tqdm.write(rows[-1], file=sys.stderr)
    put(rows, args.output)


def checkpoint(folder: Path, size: Size, method: str, name: str) -> Path:
    """A random model with an energy, direct forces and a direct stress, for all elements up to nobelium."""
    torch.manual_seed(0)
    cartesian = {"quantity": "", "sample_kind": "atom", "num_subtargets": 1, "description": ""}
    force = cartesian | {"unit": "eV/Angstrom", "type": {"cartesian": {"rank": 1}}}
    stress = cartesian | {"unit": "eV/Angstrom^3", "type": {"cartesian": {"rank": 2}}, "sample_kind": "system"}
    targets = {
        "energy": get_energy_target_info("energy", {"quantity": "energy", "unit": "eV"}),
        "non_conservative_forces": get_generic_target_info("non_conservative_forces", force),
        "non_conservative_stress": get_generic_target_info("non_conservative_stress", stress),
    }
    info = DatasetInfo(length_unit="angstrom", atomic_types=list(range(1, 103)), targets=targets)
    model = PET(get_default_hypers("pet")["model"] | size.hypers(method), info)
    path = folder / f"{name}.ckpt"
    torch.save(model.get_checkpoint() | {"epoch": 1, "best_epoch": 1}, path)
    return path


def trajectory(atoms: ase.Atoms, turns: int) -> tuple[ase.Atoms, list[np.ndarray]]:
    """Positions of a simulation, for so many turns, Å."""
    atoms.calc = EMT() if "Cu" in atoms.symbols else dark.Calculator(dark.load_model("pet-m"))
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(1))
    positions = []
    dynamics = VelocityVerlet(atoms, STEP * units.fs)
    dynamics.attach(lambda: positions.append(atoms.positions.copy()))
    dynamics.run(turns * STRIDE - 1)
    return atoms, positions


def measure(path: Path, simulation: tuple[ase.Atoms, list[np.ndarray]], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Times of both, in ms per 0.5 fs, one for each turn."""
    atoms, positions = simulation
    with tempfile.NamedTemporaryFile(suffix=".xyz") as template:
        ase.io.write(template.name, atoms, format="extxyz")
        sides = ours(path, atoms, kind), theirs(exported(path), template.name, kind)
        cell = atoms.cell.array.T / units.Bohr
        times = []
        for begin in range(0, len(positions), STRIDE):
            turn = []
            for step in sides:
                started = time.process_time()
                for number, place in enumerate(positions[begin : begin + STRIDE]):
                    step(cell, place / units.Bohr, number == STRIDE - 1)
                turn.append(1e3 * (time.process_time() - started) / STRIDE)
            times.append(turn)
    one, other = np.array(times[WARM_UP:]).T
    return one, other


def ours(path: Path, atoms: ase.Atoms, kind: str) -> Callable[[np.ndarray, np.ndarray, bool], None]:
    """A step of the dynamics, the last one of a turn with slow forces too, as i-PI asks for them."""
    shared_split.cache_clear()  # which knows the forces of all these positions from the kind before
    components = ("fast", "slow") if kind == "MTS-8" else (kind,)
    species = formula_from_species(atoms.numbers)
    drivers = [DarkforcesDriver(str(path), component=each, species=species) for each in components]
    return lambda cell, place, last: [d.compute(cell, place) for d in (drivers[::-1] if last else drivers[:1])] and None


def theirs(model: Path, template: str, kind: str) -> Callable[[np.ndarray, np.ndarray, bool], None]:
    """The same for i-PI's own driver."""
    directs = (True, False) if kind == "MTS-8" else (kind == "direct",)
    drivers = [MetatomicDriver(template, str(model), non_conservative=each) for each in directs]
    return lambda cell, place, last: [d.compute(cell, place) for d in (drivers if last else drivers[:1])] and None


def put(rows: Sequence[str], path: Path) -> None:
    """Into a document, in place of what was there of this benchmark."""
    table = "\n".join(rows)
    part = f"""{BEGIN}
One thread of {processor()} ({os.cpu_count()} cores), {date.today()}; load of the machine when it ended:
{os.getloadavg()[0]:.1f}. Process time of the CPU in ms per 0.5 fs, median and quartiles of the turns.

| atoms | size | forces | ours | i-PI's own driver | theirs / ours |
|---|---|---|---|---|---|
{table}

Made by `python benchmarks/upet.py {" ".join(sys.argv[1:])}`.
{END}"""
    text = path.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{part}{after}")


def structures() -> dict[str, Structure]:
    """Structures of all sorts."""
    liquid = Structure.from_ase(water(192))
    crystal, slab = bulk("Cu", cubic=True).repeat((2, 2, 2)), fcc111("Cu", (3, 3, 3), vacuum=6.0)
    for each in (crystal, slab):
        each.rattle(0.05, seed=1)
    molecule = water(192)[:3]
    molecule.set_pbc(False)
    return {
        "liquid": liquid,
        "crystal": Structure.from_ase(crystal),
        "slab": Structure.from_ase(slab),
        "molecule": Structure.from_ase(molecule),
        "atom": Structure.from_ase(ase.Atoms("O")),
        "compressed": replace(liquid, positions=0.85 * liquid.positions, cell=0.85 * liquid.cell),
    }


def compare(path: Path) -> Iterator[str]:
    """Largest differences to the exported model in double precision: relative, eV/Å, eV."""
    need = Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT | Need.VIRIAL
    reference = MetatomicModel(exported(path), dtype="float64", remove_net_force=False)
    for dtype in ("float64", "float32"):
        model = PetModel(path, dtype=dtype, remove_net_force=False)
        for name, structure in structures().items():
            one, other = (each.evaluate([structure], need)[0] for each in (model, reference))
            differences = [abs(one.energy / other.energy - 1.0)]
            fields = ("conservative", "direct", "virial", "direct_virial")
            differences += [np.abs(getattr(one, each) - getattr(other, each)).max() for each in fields]
            largest = np.abs(other.conservative).max(), np.abs(other.direct).max()
            yield (
                f"{dtype} {name:10} energy {differences[0]:.0e}, "
                f"conservative {differences[1]:.0e} of {largest[0]:.2g}, "
                f"direct {differences[2]:.0e} of {largest[1]:.2g}, virial {differences[3]:.0e}, "
                f"direct virial {differences[4]:.0e}"
            )


if __name__ == "__main__":
    main()
