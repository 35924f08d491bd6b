"""The time of a step beside the model, with the resident inner loop and with i-PI's own.

    python benchmarks/resident.py                          # 192 atoms, pet-m, M = 8: about two minutes
    python benchmarks/resident.py --free --json            # a model that takes no time

Both simulations are in this process, with the model: i-PI with our plugin, once as it is and once with the resident
loop. They take turns of some outer steps. i-PI's RESTART, which ends a run and no step, is not written. CPU time is
that of the process, from which the time of the model is subtracted; it still means something on a machine that does
other things meanwhile. All is given for a step of the fast forces.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ipi.engine.simulation import Simulation
from ipi.scripting import InteractiveSimulation
from tqdm import tqdm

from ipi_darkforces.models.model import Need
from ipi_darkforces.models.result import Forces
from ipi_darkforces.models.structure import Structure
from ipi_darkforces.serve import pes
from ipi_darkforces.simulate.compose import compose, write_start
from ipi_darkforces.simulate.recipe import Recipe
from ipi_darkforces.simulate.resident import make_resident

ROOT = Path(__file__).resolve().parents[1]
WARM_UP = 2  # turns that do not count
KINDS = ("i-PI's loop", "resident")


def main() -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pet-m", help="a name or a path of a model (default: %(default)s)")
    parser.add_argument("--stride", type=int, default=8, metavar="M", help="(default: %(default)s)")
    parser.add_argument("--repeat", type=int, nargs=3, default=[1, 1, 1], help="of the cell of water")
    parser.add_argument("--turns", type=int, default=20, help="of each simulation (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="outer steps of a turn (default: %(default)s)")
    parser.add_argument(
        "--free", action="store_true", help="harmonic forces in place of the model's, which cost nothing"
    )
    parser.add_argument("--json", action="store_true", help="print everything for machines")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        found = measure(Path(folder), args)
    print(json.dumps(found, indent=2) if args.json else table(found))


class Clock:
    """The CPU time of a model's evaluations, s.

    :param free: whether evaluations are replaced by forces that cost nothing
    """

    def __init__(self, model: Any, free: bool):
        self.total = 0.0
        self._evaluate = model._evaluate_in_turn
        model._evaluate_in_turn = self._free if free else self._timed

    def _timed(self, structures: Sequence[Structure], need: Need) -> Iterator[list[Forces]]:
        turns = self._evaluate(structures, need)
        while True:
            began = time.process_time()
            results = next(turns, None)
            self.total += time.process_time() - began
            if results is None:
                return
            yield results

    def _free(self, structures: Sequence[Structure], need: Need) -> Iterator[list[Forces]]:
        nothing = np.zeros((3, 3))
        yield [Forces(0.0, -1e-3 * s.positions, -1e-3 * s.positions, nothing, nothing) for s in structures]


def measure(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of CPU time of a fast step, beside the model and in all: median and quartiles of the turns."""
    atoms = ase.io.read(ROOT / "inputs" / "water.xyz").repeat(args.repeat)
    simulations = {kind: simulation(folder / str(i), atoms, args) for i, kind in enumerate(KINDS)}
    clock = Clock(simulations[KINDS[0]].syslist[0].forces.mforces[0].ff.driver.split.model, args.free)
    reason = make_resident(simulations[KINDS[1]])
    assert reason is None, reason
    times: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for turn in tqdm(range(WARM_UP + args.turns), desc="turns"):
        for kind in KINDS:
            os.chdir(folder / str(KINDS.index(kind)))
            before, began = clock.total, time.process_time()
            advance(simulations[kind], args.steps)
            spent = time.process_time() - began
            if turn >= WARM_UP:
                steps = args.steps * args.stride
                times[kind].append((1e3 * (spent - clock.total + before) / steps, 1e3 * spent / steps))
    return {
        "atoms": len(atoms),
        "model": args.model,
        "stride": args.stride,
        "ms_beside_model_and_in_all": {
            kind: np.percentile(times[kind], [50, 25, 75], axis=0).T.tolist() for kind in KINDS
        },
    }


def advance(simulation: InteractiveSimulation, steps: int) -> None:
    """Take outer steps as `InteractiveSimulation.run` does, which writes a RESTART each time."""
    simulation.tsteps = simulation.step + steps
    Simulation.run(simulation, write_outputs=False)
    simulation.step += 1


def simulation(folder: Path, atoms: ase.Atoms, args: argparse.Namespace) -> InteractiveSimulation:
    """NVE with multiple time stepping, in this process."""
    folder.mkdir()
    write_start(atoms, folder / "start.chk")
    formula = atoms.get_chemical_formula(mode="reduce")
    text = compose(Recipe("run", "nve", formula, "start.chk", stride=args.stride, duration=1e6))
    for component in ("fast", "slow"):
        begin = text.index(f"<ffsocket name='{component}'")
        end = text.index("</ffsocket>", begin) + len("</ffsocket>")
        text = text[:begin] + plugin(component, formula, {"model": args.model}) + text[end:]
    os.chdir(folder)
    return InteractiveSimulation(text)


def plugin(component: str, formula: str, model: dict[str, str]) -> str:
    """The forcefield of a component; `model` says which model it is, as the parameters of the plugin do."""
    said = ", ".join(f"{key}: {value}" for key, value in model.items())
    return (
        f"<ffdirect name='{component}' pbc='False'><pes>custom</pes><pes_path>{pes.__file__}</pes_path>"
        f"<parameters>{{ {said}, component: {component}, species: {formula} }}</parameters></ffdirect>"
    )


def table(found: dict[str, Any]) -> str:
    """The table, in Markdown."""
    lines = [
        f"{found['atoms']} atoms, {found['model']}, M = {found['stride']}: ms of CPU time for a step of the fast",
        "forces, median and quartiles of the turns.",
        "",
        "| fast steps | beside the model | in all |",
        "|---|---|---|",
    ]
    for kind, (beside, total) in found["ms_beside_model_and_in_all"].items():
        cells = [f"{median:.2f} ({low:.2f} to {high:.2f})" for median, low, high in (beside, total)]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
