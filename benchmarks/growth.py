"""Time and memory of an evaluation against the number of atoms.

    python benchmarks/growth.py                                      # pet-m and pet-xs, to 20 736 atoms: half an hour
    python benchmarks/growth.py --models pet-xs --atoms 192 5184

Each number of atoms, model and kind of forces has a process of its own, as memory that was used once is kept. There,
atoms of water move a little from one evaluation to the next, as in a simulation: the neighbour list is followed, and
searched for anew every ten evaluations or so. CPU time means something on a machine that does other things meanwhile.
MTS-8 are seven evaluations of direct forces and one of both kinds.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import torch
from tqdm import tqdm

import ipi_darkforces as dark
from ipi_darkforces.models.model import Need
from ipi_darkforces.models.structure import Structure

ROOT = Path(__file__).resolve().parents[1]
REPEATS = {
    192: (1, 1, 1), 384: (2, 1, 1), 768: (2, 2, 1), 1536: (2, 2, 2), 5184: (3, 3, 3),
    12288: (4, 4, 4), 20736: (6, 6, 3),
}  # fmt: skip
KINDS = ("conservative", "direct", "MTS-8")
_FARTHEST = 0.1  # Å, root mean square of a coordinate's displacement
_BOTH = Need.DIRECT | Need.CONSERVATIVE
_FREQUENCY = 0.05  # so that it is at most 0.005 Å from one evaluation to the next, as in 0.5 fs at 300 K


def main() -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    atoms = [192, 768, 1536, 5184, 12288, 20736]
    parser.add_argument("--models", nargs="+", default=["pet-m", "pet-xs"], help="(default: pet-m pet-xs)")
    parser.add_argument("--atoms", type=int, nargs="+", default=atoms, choices=REPEATS, help="(default: six of them)")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS, help="(default: all)")
    parser.add_argument("--least", type=int, default=3, help="evaluations, or outer steps (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each, at least (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print everything for machines")
    parser.add_argument("--one", nargs=3, metavar=("MODEL", "ATOMS", "KIND"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        model, n, kind = args.one
        print(json.dumps(measure(model, int(n), kind, args.least, args.seconds)))
        return
    cases = [(model, n, kind) for model in args.models for kind in args.kinds for n in args.atoms]
    own = [sys.executable, __file__, f"--least={args.least}", f"--seconds={args.seconds}", "--one"]
    results = {}
    for case in tqdm(cases, disable=None):
        said = subprocess.run([*own, *map(str, case)], stdout=subprocess.PIPE, text=True, check=True).stdout
        found = json.loads(said.splitlines()[-1])
        results |= {} if found is None else {case: found}
    if args.json:
        print(json.dumps([{"case": case, **found} for case, found in results.items()], indent=2))
    else:
        print(table(results))


def measure(name: str, n: int, kind: str, least: int, seconds: float) -> dict[str, object] | None:
    """Milliseconds of CPU time of an evaluation, or of a fast step, and MB of memory; None for what it cannot do."""
    torch.set_num_threads(1)
    model = dark.load_model(name)
    structure = Structure.from_ase(ase.io.read(ROOT / "inputs" / "water.xyz").repeat(REPEATS[n]))
    needs = {"conservative": [Need.CONSERVATIVE], "direct": [Need.DIRECT], "MTS-8": [Need.DIRECT] * 7 + [_BOTH]}[kind]
    if not all(need in model.provides for need in needs):
        return None
    ready = {need: model.evaluator([structure], Need.ENERGY | need) for need in needs}
    away = _FARTHEST * np.random.default_rng(0).standard_normal(structure.positions.shape)
    step, times, began = 0, [], time.process_time()
    while len(times) <= least or time.process_time() - began < seconds:
        spent = time.process_time()
        for need in needs:
            step += 1
            ready[need]([structure.positions + np.sin(_FREQUENCY * step) * away])
        times.append(1e3 * (time.process_time() - spent) / len(needs))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"ms": np.percentile(times[1:], [50, 25, 75]).tolist(), "evaluations": len(times) - 1, "memory_mb": memory}


def table(results: dict[tuple[str, int, str], dict[str, object]]) -> str:
    """The table, in Markdown, with the power of N from each number of atoms to the next."""
    lines = ["| model | forces | atoms | ms | ms / 1000 atoms | power | MB |", "|---|---|---|---|---|---|---|"]
    before: tuple[object, int, float] | None = None
    for (model, n, kind), found in results.items():
        median, low, high = found["ms"]
        power = ""
        if before is not None and before[0] == (model, kind):
            power = f"{np.log(median / before[2]) / np.log(n / before[1]):.2f}"
        before = ((model, kind), n, median)
        cells = [model, kind, n, f"{median:.1f} ({low:.1f} to {high:.1f})", f"{1e3 * median / n:.1f}", power]
        lines.append(f"| {' | '.join(map(str, cells))} | {found['memory_mb']:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
