"""One package's calculator for ase, which `other_packages.py` starts and tells what to evaluate.

    python benchmarks/other_packages_worker.py PACKAGE MODEL conservative|direct GEOMETRY

MODEL is a path without ending. Each line of the standard input is the first step of a turn and the one after the last;
the answer is a line of JSON, with the CPU time of a step in ms and the forces of the last one in eV/Å.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator


def main() -> None:
    """Evaluate until the input ends."""
    package, model, kind, geometry = sys.argv[1:]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # XLA takes as many threads as there are cores
    calculator = CALCULATORS[package](Path(model), kind == "direct")
    there = np.load(geometry)
    atoms = Atoms(there["numbers"], cell=there["cell"], pbc=True)
    for line in sys.stdin:
        begin, end = map(int, line.split())
        started = time.process_time()
        for positions in there["positions"][begin:end]:
            atoms.positions = positions
            calculator.calculate(atoms, ["energy", "forces", "stress"], ["positions"])
        milliseconds = 1e3 * (time.process_time() - started) / (end - begin)
        print(json.dumps({"ms": milliseconds, "forces": np.asarray(calculator.results["forces"]).tolist()}), flush=True)


def ours(model: Path, direct: bool) -> Calculator:
    """The calculator of this package."""
    import ipi_darkforces as dark

    return dark.Calculator(dark.load_model(f"{model}.ckpt"), forces="direct" if direct else "conservative")


def pet_jax(model: Path, direct: bool) -> Calculator:
    """The calculator of pet-jax, which converts checkpoints itself."""
    from petjax import UPETCalculator
    from petjax.convert import convert_checkpoint

    folder = model.with_name(f"{model.name}-pet-jax")
    if not (folder / "metadata.yaml").exists():
        convert_checkpoint(f"{model}.ckpt", folder)
    return UPETCalculator.from_checkpoint(folder, direct_forces=direct, direct_stress=direct)


def pet_kokkos(model: Path, direct: bool) -> Calculator:
    """The calculator of pet-kokkos, which has conservative forces."""
    assert not direct
    from pet_kokkos.ase import PETCalculator
    from safetensors.numpy import save_file

    save_file(dict(np.load(f"{model}.npz")), f"{model}.safetensors")
    return PETCalculator(str(model))


CALCULATORS = {"ours": ours, "pet-jax": pet_jax, "pet-kokkos": pet_kokkos}

if __name__ == "__main__":
    main()
