"""The whole cost of a step of 0.5 fs, over sockets, in the resident loop, and with i-PI's own driver.

    python benchmarks/whole_step.py                # 192 atoms of water: about ten minutes
    python benchmarks/whole_step.py --systems 16   # of one i-PI: the time of a step of all of them
    python benchmarks/whole_step.py --json

All simulations are started once and then take turns, each stopped while the others run. CPU time is that of all
processes of a simulation, i-PI and the driver: it means something on a machine that does other things meanwhile.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from beside_ipi import WARM_UP, Simulation, spread, start_of, with_ipis_own, with_systems
from resident import ROOT, plugin
from tqdm import tqdm

from ipi_darkforces.machine import processor
from ipi_darkforces.models.registry.export import exported
from ipi_darkforces.models.registry.kinds import specified
from ipi_darkforces.models.structure import formula_from_species
from ipi_darkforces.simulate.compose import compose, write_start
from ipi_darkforces.simulate.recipe import Recipe
from ipi_darkforces.split.component import Component

I_PIS_OWN, SOCKETS, RESIDENT = "i-PI's own driver", "sockets", "resident"
WAYS = (I_PIS_OWN, SOCKETS, RESIDENT)
_OUTPUT = """<output prefix='bench'>
    <properties filename='out' stride='%d' flush='1'> [ step ] </properties>
  </output>"""


@dataclass(frozen=True)
class Case:
    """A kind of simulation.

    :param name: in the table
    :param model: what says which model it has: ``model`` or ``fast`` and ``slow``
    :param component: without multiple time stepping
    :param stride: M; None without
    """

    name: str
    model: dict[str, str]
    component: Component | None = None
    stride: int | None = None


def main() -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pet-m", help="(default: %(default)s)")
    parser.add_argument("--fast", default="pet-xs", help="the small model of fast forces (default: %(default)s)")
    parser.add_argument("--stride", type=int, default=8, metavar="M", help="(default: %(default)s)")
    parser.add_argument("--systems", type=int, default=1, help="of one simulation (default: %(default)s)")
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS, help="(default: all)")
    parser.add_argument("--forces", nargs="+", type=int, default=range(4), help="rows, from zero (default: all)")
    parser.add_argument("--repeat", type=int, nargs=3, default=[1, 1, 1], help="of the cell of water")
    parser.add_argument("--turns", type=int, default=10, help="of each simulation (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn, at least (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print everything for machines")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as any other end: nothing is left running
    times = measure(args)
    if args.json:
        print(json.dumps({f"{case}, {way}": values.tolist() for (case, way), values in times.items()}, indent=2))
    else:
        print(table(times))


def cases(args: argparse.Namespace) -> list[Case]:
    """The simulations."""
    one, stride = {"model": args.model}, f"MTS-{args.stride}"
    every = [
        Case("conservative", one, Component.CONSERVATIVE),
        Case("direct", one, Component.DIRECT),
        Case(f"{stride}, {args.model}", one, stride=args.stride),
        Case(f"{stride}, {args.fast} and {args.model}", {"fast": args.fast, "slow": args.model}, stride=args.stride),
    ]
    return [every[row] for row in args.forces]


def measure(args: argparse.Namespace) -> dict[tuple[str, str], np.ndarray]:
    """CPU time of a step, ms, for each kind of simulation and each way, one number for each turn."""
    with tempfile.TemporaryDirectory(prefix="bench") as scratch:
        simulations: dict[tuple[str, str], Simulation] = {}
        try:
            for case in cases(args):
                for way in args.ways:
                    if way != I_PIS_OWN or "model" in case.model:
                        folder = Path(scratch) / str(len(simulations))
                        simulations[case.name, way] = start(folder, case, way, args)
                        simulations[case.name, way].run(0.0, WARM_UP)  # and is stopped
            turns = tqdm(range(args.turns), desc="turns", disable=None)
            found = [[each.cpu_time_of_a_step(args.seconds) for each in simulations.values()] for _ in turns]
        finally:
            for simulation in simulations.values():
                simulation.end()
    return dict(zip(simulations, np.array(found).T, strict=True))


def start(folder: Path, case: Case, way: str, args: argparse.Namespace) -> Simulation:
    """Begin a simulation."""
    folder.mkdir()
    atoms = ase.io.read(ROOT / "inputs" / "water.xyz").repeat(args.repeat)
    ase.io.write(folder / "template.xyz", atoms)
    for system in range(args.systems):
        write_start(atoms, folder / start_of(system))
        atoms.translate(1.0)
    species, component = formula_from_species(atoms.numbers), case.component or Component.CONSERVATIVE
    recipe = Recipe(
        "bench", "nve", species, start_of(0),
        component=component, stride=case.stride, thermalize=True, duration=1e6,
    )  # fmt: skip
    steps = 8 // (case.stride or 1) or 1  # as many fast steps for each line, more or less
    text = re.sub(r"(?s)<output.*</output>", _OUTPUT % steps, compose(recipe))
    if args.systems > 1:
        if way != RESIDENT:
            text = re.sub("</ff", f"  <batch_size> {args.systems} </batch_size>\n  </ff", text)
        text = with_systems(text, args.systems)
    driver, program = [], {}
    if way == SOCKETS:
        said = [f"--{key}={value}" for key, value in case.model.items()]
        driver = [sys.executable, "-m", "ipi_darkforces.cli.driver", *said, "-S", f"{folder}/"]
    elif way == RESIDENT:
        text = re.sub(r"(?s)<ffsocket name='(\w+)'.*?</ffsocket>", lambda m: plugin(m[1], species, case.model), text)
        program = {"program": ["-m", "ipi_darkforces.simulate.resident_program"]}
    else:
        text = with_ipis_own(text, "cpu")
        shutil.copy(exported(specified(case.model["model"]).checkpoint()), folder / "model.pt")
    (folder / "input.xml").write_text(text)
    return Simulation(folder, [folder], driver, 1, steps * (case.stride or 1), **program)


def table(times: dict[tuple[str, str], np.ndarray]) -> str:
    """The table, in Markdown."""
    ways = list(dict.fromkeys(way for _, way in times))
    lines = [
        f"One thread of {processor()}; ms of CPU time for a step of 0.5 fs, median and quartiles of the turns.",
        "",
        f"| forces | {' | '.join(ways)} | sockets / resident |",
        "|---" * (2 + len(ways)) + "|",
    ]
    for name in dict.fromkeys(name for name, _ in times):
        cells = [spread(times[name, way], 2) if (name, way) in times else "" for way in ways]
        both = (name, SOCKETS) in times and (name, RESIDENT) in times
        ratio = spread(times[name, SOCKETS] / times[name, RESIDENT], 2) if both else ""
        lines.append(f"| {name} | {' | '.join(cells)} | {ratio} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
