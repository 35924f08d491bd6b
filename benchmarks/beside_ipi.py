"""i-PI with forces from this package beside i-PI with its own metatomic driver: same weights, same input, in one run.

    python benchmarks/beside_ipi.py                        # 192 atoms, about three minutes
    python benchmarks/beside_ipi.py --atoms 192 768 1536 5184 --threads 2 --turns 12

Both simulations are started once and then take turns, each stopped while the other runs, so that a machine that becomes
faster or slower meanwhile does so for both. Ours is i-PI with `i-pi-darkdriver` over unix sockets; theirs loads the
model into i-PI's process (`<ffdirect>`), which spares it the sockets. The table and the picture go to docs/.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import ase.io
import matplotlib.pyplot as plt
import numpy as np
from tqdm import tqdm

from ipi_darkforces.analysis.pictures import tidy
from ipi_darkforces.campaign.simulate import processor
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.forces.export import exported
from ipi_darkforces.forces.split import Component
from ipi_darkforces.forces.structure import formula_from_species
from ipi_darkforces.forces.zoo import all_models
from ipi_darkforces.serve.compose import Recipe, compose, write_start

ROOT = Path(__file__).resolve().parents[1]
REPEATS = {192: (1, 1, 1), 768: (1, 2, 2), 1536: (2, 2, 2), 5184: (3, 3, 3)}  # of inputs/water.xyz
KINDS = {"conservative": (Component.CONSERVATIVE, None), "direct": (Component.DIRECT, None), "MTS-8": (None, 8)}
PATIENCE = 300.0  # seconds until a simulation has made its first steps
WARM_UP = 3  # steps that do not count
POLL = 0.002


@dataclass(frozen=True)
class Comparison:
    """Times of one kind of simulation, in ms per 0.5 fs, one for each turn; and the most memory used, in MB."""

    atoms: int
    kind: str
    ours: np.ndarray
    theirs: np.ndarray
    our_memory: float
    their_memory: float

    @property
    def ratios(self) -> np.ndarray:
        """By how much ours is faster, turn by turn."""
        return self.theirs / self.ours


class Simulation:
    """An i-PI and, if there is one, its driver; stopped unless it is its turn."""

    def __init__(self, folder: Path, text: str, driver: list[str], threads: int, steps_per_line: int):
        self._folder = folder
        self._steps_per_line = steps_per_line
        (folder / "input.xml").write_text(text)
        ipi = [sys.executable, str(Path(sys.executable).with_name("i-pi")), "-S", f"{folder}/", "input.xml"]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
        self._log = (folder / "log").open("wb")
        self._processes = [
            subprocess.Popen(command, cwd=folder, env=environment, stdout=self._log, stderr=subprocess.STDOUT)
            for command in ([ipi, driver] if driver else [ipi])
        ]

    def lines(self) -> int:
        """Steps that i-PI has written."""
        path = self._folder / "bench.out"
        if not path.exists():
            return 0
        return sum(not line.startswith(b"#") for line in path.read_bytes().splitlines())

    def run(self, seconds: float, least: int = 1) -> float:
        """Let it run for so long and at least so many lines; ms per step of 0.5 fs."""
        self._signal(signal.SIGCONT)
        begun, n = self._next_line(self.lines())
        now, last = begun, n
        while now - begun < seconds or last - n < least:
            now, last = self._next_line(last)
        self._signal(signal.SIGSTOP)
        return 1e3 * (now - begun) / ((last - n) * self._steps_per_line)

    def memory(self) -> float:
        """The most that it has used, in MB."""
        texts = [Path(f"/proc/{process.pid}/status").read_text() for process in self._processes]
        return sum(int(re.findall(r"VmHWM:\s+(\d+)", text)[0]) for text in texts) / 1024

    def end(self) -> None:
        """Whatever state it is in."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._log.close()

    def _next_line(self, known: int) -> tuple[float, int]:
        limit = time.monotonic() + PATIENCE
        while (lines := self.lines()) <= known:
            if time.monotonic() > limit or any(process.poll() is not None for process in self._processes):
                said = (self._folder / "log").read_text().splitlines()
                raise DarkforcesError(f"a simulation makes no steps: {said[-1] if said else 'it said nothing'}")
            time.sleep(POLL)
        return time.monotonic(), lines

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes:
            process.send_signal(number)


def main() -> None:
    """Measure, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pet-m", help="a name from `darkforces models` (default: %(default)s)")
    parser.add_argument("--atoms", type=int, nargs="+", default=[192], choices=REPEATS, help="(default: 192)")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS, help="(default: all)")
    parser.add_argument("--threads", type=int, default=1, help="of the model (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=8, help="of each simulation (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn, at least (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="folder of the results (default: docs/)")
    parser.add_argument("--json", action="store_true", help="print everything for machines")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as any other end: nothing is left running
    cases = [(atoms, kind) for atoms in args.atoms for kind in args.kinds]
    results = []
    with tqdm(total=len(cases) * args.turns, disable=None, unit="turn") as bar:
        for atoms, kind in cases:
            bar.set_description(f"{kind}, {atoms} atoms")
            results.append(compare(args.model, atoms, kind, args.threads, args.turns, args.seconds, bar))
            if not args.json:
                bar.write(row(results[-1]))
    args.output.mkdir(exist_ok=True)
    (args.output / "performance.md").write_text(document(results, args))
    draw(results, args.output / "performance.png")
    if args.json:
        print(
            json.dumps([{key: np.asarray(v).tolist() for key, v in vars(each).items()} for each in results], indent=2)
        )


def compare(model: str, atoms: int, kind: str, threads: int, turns: int, seconds: float, bar: tqdm) -> Comparison:
    """Both simulations in turns."""
    with tempfile.TemporaryDirectory(prefix="bench") as scratch:
        simulations: list[Simulation] = []
        try:
            for ours in (True, False):
                simulations.append(start(Path(scratch), ours, model, atoms, kind, threads))
                simulations[-1].run(0.0, WARM_UP)
            times = np.empty((turns, 2))
            for turn in range(turns):
                for i, simulation in enumerate(simulations):
                    times[turn, i] = simulation.run(seconds)
                bar.update()
            return Comparison(atoms, kind, times[:, 0], times[:, 1], *(each.memory() for each in simulations))
        finally:
            for simulation in simulations:
                simulation.end()


def start(scratch: Path, ours: bool, model: str, atoms: int, kind: str, threads: int) -> Simulation:
    """Begin one of the two simulations."""
    folder = scratch / ("a" if ours else "b")
    folder.mkdir()
    water = ase.io.read(ROOT / "inputs" / "water.xyz").repeat(REPEATS[atoms])
    ase.io.write(folder / "template.xyz", water)
    write_start(water, folder / "start.chk")
    component, stride = KINDS[kind]
    recipe = Recipe(
        name="bench",
        ensemble="nve",
        species=formula_from_species(water.numbers),
        start="start.chk",
        component=component or Component.CONSERVATIVE,
        stride=stride,
        thermalize=True,
        duration=1e6,
    )
    text = re.sub(r"(?s)<output.*</output>", _OUTPUT, compose(recipe))
    if ours:
        command = [sys.executable, "-m", "ipi_darkforces.cli.driver", "--model", model, "-S", f"{folder}/"]
        return Simulation(folder, text, command, threads, stride or 1)
    path = exported(all_models()[model].path)
    shutil.copy(path, folder / "model.pt")
    return Simulation(folder, with_ipis_own(text), [], threads, stride or 1)


_OUTPUT = """<output prefix='bench'>
    <properties filename='out' stride='1' flush='1'> [ step ] </properties>
  </output>"""


def with_ipis_own(text: str) -> str:
    """The same input for i-PI's own driver, with conservative less direct forces where it has slow ones."""
    text = re.sub(r"(?s)  <ffsocket.*?</ffsocket>\n", "", text)
    kinds = {name for name in ("conservative", "direct") if f"forcefield='{name}'" in text}
    if "forcefield='slow'" in text:
        kinds = {"conservative", "direct"}
        text = text.replace("forcefield='slow'", "forcefield='conservative'").replace("'fast'", "'direct'")
        text = text.replace("[ 0, 1 ]", "[ -1, 1 ]")
    blocks = "".join(
        f"""  <ffdirect name='{kind}' pbc='False'>
    <pes> metatomic </pes>
    <parameters> {{ template: template.xyz, model: model.pt, non_conservative: {kind == "direct"} }} </parameters>
  </ffdirect>
"""
        for kind in sorted(kinds)
    )
    return text.replace("  <system>", blocks + "  <system>", 1)


def row(result: Comparison) -> str:
    """A line of the table."""
    low, high = np.percentile(result.ratios, [25, 75])
    return (
        f"| {result.atoms} | {result.kind} | {spread(result.ours)} | {spread(result.theirs)} "
        f"| {np.median(result.ratios):.2f} ({low:.2f} to {high:.2f}) "
        f"| {result.our_memory:.0f} | {result.their_memory:.0f} |"
    )


def spread(values: np.ndarray) -> str:
    """Median and quartiles."""
    low, high = np.percentile(values, [25, 75])
    return f"{np.median(values):.1f} ({low:.1f} to {high:.1f})"


def document(results: list[Comparison], args: argparse.Namespace) -> str:
    """What goes to docs/performance.md."""
    return f"""# i-PI with this package beside i-PI with its own metatomic driver

![Time per step, ours and theirs](performance.png)

Liquid water, model {args.model}, NVE with steps of 0.5 fs; {date.today()}, {processor()} ({os.cpu_count()} cores),
{args.threads} thread(s) for the model. Both simulations ran in turns of {args.seconds:g} s, {args.turns} turns each:
median and quartiles of the turns. "Ours" is i-PI with `i-pi-darkdriver` over unix sockets, "theirs" i-PI with its own
driver in its process (`<ffdirect>`, the exported model). On a machine that does other things meanwhile, only the ratios
mean something.

| atoms | forces | ours, ms per 0.5 fs | theirs | theirs / ours, turn by turn | memory, MB: ours | theirs |
|---|---|---|---|---|---|---|
{chr(10).join(row(result) for result in results)}

Made by `python benchmarks/beside_ipi.py {" ".join(sys.argv[1:])}`.
"""


def draw(results: list[Comparison], path: Path) -> None:
    """Bars side by side, with the quartiles."""
    figure, axis = plt.subplots(figsize=(1.5 + 1.5 * len(results), 3.5), layout="constrained")
    for shift, name, colour in ((-0.2, "ours", "C0"), (0.2, "theirs", "C1")):
        values = [getattr(result, name) for result in results]
        middle = np.array([np.median(v) for v in values])
        errors = np.abs(np.array([np.percentile(v, [25, 75]) for v in values]).T - middle)
        label = "i-PI with this package" if name == "ours" else "i-PI's own driver"
        axis.bar(np.arange(len(results)) + shift, middle, 0.36, yerr=errors, capsize=3, color=colour, label=label)
    axis.set_xticks(range(len(results)), [f"{r.kind}\n{r.atoms} atoms" for r in results])
    axis.set_ylabel("ms per 0.5 fs")
    if max(r.atoms for r in results) > min(r.atoms for r in results):
        axis.set_yscale("log")
    axis.legend(frameon=False)
    tidy(axis, along="y")
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    try:
        main()
    except DarkforcesError as error:
        sys.exit(f"darkforces: error: {error}")
