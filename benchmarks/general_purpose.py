"""The time of a step with each model: the paper's table 4, of the models that run on this machine.

    python benchmarks/general_purpose.py pet-m pet-nc sevennet-0@.venv-sevennet/bin/python orb-v2@.venv-orb/bin/python

After '@' stands the Python of the environment that has the model's package (environments/make.sh); without it, the one
that runs this. All models evaluate the same 64 molecules of water through the same interface, on one thread, and take
turns, so that a machine that becomes faster or slower does so for all. What is measured is CPU time, which programs
beside this one change little. Where trained weights are not on the machine, random ones in the same architecture, which
take as long, are used instead, and marked. The table goes to docs/.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
WATER = ROOT / "inputs" / "water.xyz"
PAPER = {  # ms per step on an H100 (table 4)
    "mace-mp-0": 26.9,
    "sevennet-0": 52.8,
    "orb-v2": 11.9,
    "equiformer-v2": 1580.0,
}


def main() -> None:
    """Measure, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="*", metavar="MODEL[@PYTHON]", help="names from `darkforces models`")
    parser.add_argument("--turns", type=int, default=5, help="of each model (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "general-purpose.md", help="the table's file")
    parser.add_argument("--serve", help=argparse.SUPPRESS)  # what this program starts in each environment
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return
    args.output.write_text(document(measure(args.model, args.turns)))


def serve(name: str) -> None:
    """Evaluate a geometry and say how long it took, for each line that comes in."""
    import ase.io

    from ipi_darkforces import Need, Structure, load_model
    from ipi_darkforces.models.registry.packages import PACKAGED

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries say
    packaged = PACKAGED.get(name)
    random = packaged is not None and packaged.weights.cached() is None
    with tempfile.TemporaryDirectory() as scratch:
        model = load_model(f"{name}?weights={random_weights(name, scratch)}" if random else name)
    kind = Need.CONSERVATIVE if Need.CONSERVATIVE in model.provides else Need.DIRECT
    need = Need.ENERGY | kind
    atoms = ase.io.read(WATER)
    generator = np.random.default_rng(1)
    first = [0, 64, 65]  # one molecule, at which the model's forces are checked, once
    model.evaluate([Structure.from_ase(atoms[first])], need)
    print(f"{'random' if random else 'trained'} {kind.name}", file=answers, flush=True)
    for _ in sys.stdin:
        moved = atoms.copy()
        moved.positions += 0.01 * generator.normal(size=atoms.positions.shape)
        begun = time.process_time()
        model.evaluate([Structure.from_ase(moved)], need)
        print(time.process_time() - begun, file=answers, flush=True)


def random_weights(name: str, folder: str) -> str:
    """A file of random weights in the architecture of a model."""
    import torch

    path = f"{folder}/{name}"
    torch.manual_seed(0)
    if name == "mace-mp-0":
        torch.save(large_mace(), path)
    else:
        from orb_models.forcefield import pretrained  # of the others, weights come with the package or must be had

        architecture = "orb_v2" if name == "orb-v2" else "_".join(name.split("-")[:3])
        torch.save(getattr(pretrained, f"{architecture}_architecture")(device="cpu").state_dict(), path)
    return path


def large_mace() -> object:
    """The architecture of MACE-MP-0, large, as mace-torch downloads it: 256 channels, L = 1, 15.85 million parameters.

    The file, MACE_MPtrj_2022.9.model, is another model than those with 128 channels and a cutoff of 6 Å in the paper of
    MACE-MP-0. Channels and their number fit the size of the file, and the log of a training under its name; that was
    asked for a cutoff of 5 Å.
    """
    import torch
    from mace.calculators import MACECalculator  # noqa: F401  # before e3nn, which it prepares for PyTorch of today
    from mace.modules import RealAgnosticResidualInteractionBlock, ScaleShiftMACE

    # isort: split
    from e3nn.o3 import Irreps

    return ScaleShiftMACE(
        r_max=5.0,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls_first=RealAgnosticResidualInteractionBlock,
        interaction_cls=RealAgnosticResidualInteractionBlock,
        num_interactions=2,
        num_elements=89,
        hidden_irreps=Irreps("256x0e + 256x1o"),
        MLP_irreps=Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.zeros(89),
        avg_num_neighbors=60.0,
        atomic_numbers=list(range(1, 90)),
        correlation=3,
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )


@dataclass(frozen=True)
class Times:
    """CPU times of a model in ms per step, one for each turn."""

    name: str
    weights: str
    kind: str
    values: np.ndarray


class Worker:
    """A model in a process of its own, in its own environment."""

    def __init__(self, said: str):
        self.name, _, python = said.partition("@")
        command = [python or sys.executable, __file__, "--serve", self.name]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.weights, self.kind = self._answer().split()

    def evaluate(self) -> float:
        """CPU time of one step, ms."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return 1e3 * float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} has ended; what it said stands above")
        return line

    def end(self) -> None:
        """Whatever it does."""
        self._process.kill()
        self._process.wait()


def measure(models: list[str], turns: int) -> list[Times]:
    """Time all models in turns, after two turns that do not count, in which libraries compile what they use."""
    from tqdm import tqdm

    workers: list[Worker] = []
    try:
        for said in models:
            workers.append(Worker(said))
        times = np.empty((turns + 2, len(workers)))
        for turn in tqdm(range(turns + 2), unit="turn"):
            times[turn] = [worker.evaluate() for worker in workers]
        return [Times(w.name, w.weights, w.kind, times[2:, i]) for i, w in enumerate(workers)]
    finally:
        for worker in workers:
            worker.end()


def document(results: list[Times]) -> str:
    """The text for docs/."""
    from ipi_darkforces.machine import processor

    rows = "\n".join(row(result) for result in sorted(results, key=lambda each: np.median(each.values)))
    return f"""# How long a step takes with each model

CPU time of energy and forces of 192 atoms, liquid water; {date.today()}, {processor()} ({os.cpu_count()} cores), one
thread. All models took turns, {len(results[0].values)} each, through the same interface: medians and quartiles. The
last columns are the paper's, on a GPU (table 4). Random weights take as long as trained ones of the same architecture.

| model | forces | weights | ms per step | ms per step and atom | paper: ms per step | ms per step and atom |
|---|---|---|---|---|---|---|
{rows}

Made by `python benchmarks/general_purpose.py {" ".join(each.name for each in results)}`, each model in its environment.
"""


def row(result: Times) -> str:
    """A line of the table."""
    low, middle, high = np.percentile(result.values, [25, 50, 75])
    paper = PAPER.get(result.name)
    theirs = f"{paper:g} | {paper / 192:.3f}" if paper else "– | –"
    return (
        f"| {result.name} | {result.kind.lower()} | {result.weights} | {middle:.0f} ({low:.0f} to {high:.0f}) "
        f"| {middle / 192:.3g} | {theirs} |"
    )


if __name__ == "__main__":
    main()
