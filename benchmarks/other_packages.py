"""PET models of the sizes that upet publishes, with random weights: our way beside pet-jax and pet-kokkos.

    python -m venv /tmp/jax && /tmp/jax/bin/pip install "pet-jax[convert]"
    python -m venv /tmp/kokkos && /tmp/kokkos/bin/pip install "pet-kokkos[ase]" safetensors
    python benchmarks/other_packages.py --pet-jax /tmp/jax/bin/python --pet-kokkos /tmp/kokkos/bin/python

Each package is in an environment of its own, and evaluates in a process of its own, on one thread, by its calculator
for ase: energy, forces and stress. All get the same weights and the same positions, those of a simulation at 300 K with
steps of 0.5 fs, and take turns of eight steps. Times are process times of the CPU, and the largest difference to our
forces tells whether they are the same function. pet-kokkos has no direct forces.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from beside_ipi import spread
from tqdm import tqdm
from upet import SIZES, STRIDE, SYSTEMS, WARM_UP, checkpoint, trajectory

from ipi_darkforces.models.pet.checkpoint import constants_of, read_checkpoint

WORKER = Path(__file__).with_name("other_packages_worker.py")
KINDS = ("conservative", "direct")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pet-jax", metavar="PYTHON", help="a Python that has pet-jax (default: leave it out)")
    parser.add_argument("--pet-kokkos", metavar="PYTHON", help="a Python that has pet-kokkos (default: leave it out)")
    parser.add_argument("--sizes", nargs="+", default=["xs", "s"], choices=SIZES, help="(default: xs s)")
    parser.add_argument("--systems", nargs="+", default=["water-192", "copper-256"], choices=SYSTEMS)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS, help="(default: all)")
    parser.add_argument("--turns", type=int, default=5, help="of each package (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print all times, ms, instead of the table")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    pythons = {"ours": sys.executable, "pet-jax": args.pet_jax, "pet-kokkos": args.pet_kokkos}
    pythons = {name: python for name, python in pythons.items() if python}
    table = ["| atoms | size | forces | package | ms | times ours | forces differ, eV/Å |", f"|{'---|' * 7}"]
    everything = []
    with tempfile.TemporaryDirectory(prefix="packages") as scratch:
        folder = Path(scratch)
        for size in args.sizes:
            as_kokkos(checkpoint(folder, SIZES[size], "grid", size), folder / size)
        cases = [(system, size, kind) for system in args.systems for size in args.sizes for kind in args.kinds]
        for system, size, kind in tqdm(cases, disable=None):
            geometry = folder / f"{system}.npz"
            if not geometry.exists():
                atoms, positions = trajectory(SYSTEMS[system](), args.turns + WARM_UP)
                np.savez(geometry, numbers=atoms.numbers, cell=atoms.cell.array, positions=positions)
            asked = [name for name in pythons if kind == "conservative" or name != "pet-kokkos"]
            workers = [Worker(name, pythons[name], folder / size, kind, geometry) for name in asked]
            turns = [[worker.turn(number) for worker in workers] for number in range(args.turns + WARM_UP)]
            times = np.array([[answer["ms"] for answer in turn] for turn in turns[WARM_UP:]]).T
            forces = [np.array(answer["forces"]) for answer in turns[-1]]
            for worker in workers:
                worker.end()
            for name, own, force in zip(asked, times, forces, strict=True):
                difference = np.abs(force - forces[0]).max()
                everything.append({"atoms": system, "size": size, "forces": kind, "package": name, "ms": own.tolist()})
                of_ours = "" if name == "ours" else f"{spread(own / times[0], 2)} | {difference:.0e}"
                table.append(f"| {system} | {size.upper()} | {kind} | {name} | {spread(own)} | {of_ours or '|'} |")
                tqdm.write(table[-1], file=sys.stderr)
    print(json.dumps(everything) if args.json else "\n".join(table))


class Worker:
    """One package, in a process of its own that evaluates a turn of steps when it is told to."""

    def __init__(self, name: str, python: str, model: Path, kind: str, geometry: Path):
        one = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
        command: Sequence[str] = [python, str(WORKER), name, str(model), kind, str(geometry)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **one}
        )

    def turn(self, number: int) -> dict[str, list[list[float]] | float]:
        """Take the steps of this turn: CPU time of each in ms, and the forces of the last one."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(number * STRIDE, (number + 1) * STRIDE, file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith("{"):  # and not what packages say on their own
                return dict(json.loads(line))
        raise SystemExit(f"{' '.join(self._process.args[1:3])} has ended without an answer")  # type: ignore[index]

    def end(self) -> None:
        """Let the process end."""
        self._process.communicate()


def as_kokkos(path: Path, stem: Path) -> None:
    """Write a checkpoint as pet-kokkos wants it: a JSON file, and weights, which the worker makes safetensors of."""
    model, _ = read_checkpoint(path)
    backend, hypers, constants = model.backend, dict(model.hypers), constants_of(model, "energy")
    kept = (
        *(f"{part}." for part in ("gnn_layers", "combination_norms", "combination_mlps")),
        *(f"{part}." for part in ("node_embedders", "edge_embedder", "system_conditioning")),
        *(f"{part}.energy." for part in ("node_heads", "edge_heads", "node_last_layers", "edge_last_layers")),
    )
    weights = {name: value for name, value in backend.state_dict().items() if name.startswith(kept)}
    np.savez(f"{stem}.npz", **{name: value.float().numpy() for name, value in weights.items()})
    derived = {
        "head_dim": hypers["d_pet"] // hypers["num_heads"],
        "num_readout_layers": 1 if hypers["featurizer_type"] == "feedforward" else hypers["num_gnn_layers"],
        "long_range_enabled": False,
    }
    Path(f"{stem}.json").write_text(
        json.dumps(
            {
                "format_version": 1,
                "architecture": "pet",
                "target": "energy",
                "hypers": {name: value for name, value in hypers.items() if name != "long_range"} | derived,
                "length_unit": "angstrom",
                "energy_unit": "eV",
                "energy_scale": float(constants.scales[0, 0]),
                "n_species": len(model.atomic_types),
                "atomic_types": list(model.atomic_types),
                "species_to_index": backend.species_to_species_index.tolist(),
                "composition_energies": constants.offsets[:, 0].tolist(),
            }
        )
    )


if __name__ == "__main__":
    main()
