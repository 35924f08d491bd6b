"""i-PI with forces from this package beside i-PI with its own metatomic driver: same weights, same input, in one run.

    python benchmarks/beside_ipi.py                                                   # 192 atoms, some minutes
    python benchmarks/beside_ipi.py --atoms 192 768 1536 5184 --simulations 1 4 16    # all, a quarter of an hour

Both simulations are started once and then take turns, each stopped while the other runs, so that a machine that becomes
faster or slower meanwhile does so for both. Ours is i-PI with `i-pi-darkdriver` over unix sockets; theirs loads the
model into i-PI's process (`<ffdirect>`), which spares it the sockets. Several simulations at once are several systems
of one i-PI, whose structures go through the model as one batch, on both sides. The tables and the picture go to docs/,
where only the part of this benchmark is replaced.

Sizes are multiples of inputs/water.xyz. Larger systems have fewer turns, as their steps differ less.
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
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import ase.io
import matplotlib.pyplot as plt
import numpy as np
import torch
from clocked import evaluations
from matplotlib.figure import Figure
from tqdm import tqdm

from ipi_darkforces.analysis.pictures import OTHER_COLORS, tidy
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.machine import processor
from ipi_darkforces.models.registry.export import exported
from ipi_darkforces.models.registry.kinds import specified
from ipi_darkforces.models.registry.specification import absolute
from ipi_darkforces.models.structure import formula_from_species
from ipi_darkforces.simulate.compose import compose, write_start
from ipi_darkforces.simulate.recipe import Recipe
from ipi_darkforces.split.component import Component

ROOT = Path(__file__).resolve().parents[1]
CLOCKED = Path(__file__).with_name("clocked.py")
REPEATS = {192: (1, 1, 1), 768: (1, 2, 2), 1536: (2, 2, 2), 5184: (3, 3, 3)}  # of inputs/water.xyz
KINDS = {"conservative": (Component.CONSERVATIVE, None), "direct": (Component.DIRECT, None), "MTS-8": (None, 8)}
PATIENCE = 150.0  # seconds until a simulation has made its first steps
WARM_UP = 3  # steps that do not count
POLL = 0.002
LEAST_TURNS = 2
LAST_WORDS = 15  # lines of the log of what failed
BEGIN, END = "<!-- what beside_ipi.py wrote begins here -->", "<!-- and ends here -->"


@dataclass(frozen=True)
class Comparison:
    """Times of one kind of simulation, in ms per 0.5 fs, one for each turn; and the most memory used, in MB.

    On a CUDA device, memory is that of the device.

    :param at_once: number of simulations; times are those of a step of all of them
    :param separate: whether each of them is an i-PI of its own, with one driver for all; else systems of one i-PI
    :param our_model: that part of the time which the model takes
    """

    atoms: int
    at_once: int
    separate: bool
    kind: str
    ours: np.ndarray
    theirs: np.ndarray
    our_model: np.ndarray
    their_model: np.ndarray
    our_memory: float
    their_memory: float

    @property
    def ratios(self) -> np.ndarray:
        """Ratios of the speeds, turn by turn."""
        return self.theirs / self.ours


class Lines:
    """Count of the lines of a growing file that say something; each is read once."""

    def __init__(self, folder: Path, pattern: str):
        self._folder = folder
        self._pattern = pattern
        self._path: Path | None = None
        self._read = self._count = 0

    def count(self) -> int:
        """The number of lines that are complete by now; none if there is no such file yet."""
        self._path = self._path or next(self._folder.glob(self._pattern), None)
        if self._path is None:
            return 0
        with self._path.open("rb") as stream:
            stream.seek(self._read)
            fresh = stream.read()
        complete = fresh[: fresh.rfind(b"\n") + 1]
        self._read += len(complete)
        self._count += sum(not line.startswith(b"#") for line in complete.splitlines())
        return self._count


class Simulation:
    """One i-PI or several, and their driver if there is one; stopped unless it is its turn.

    :param folder: for what they have in common
    :param ipis: of each i-PI, the folder with its input
    :param driver: the command; none if i-PI has its own
    :param threads: of the model
    :param steps_per_line: steps of 0.5 fs for each line that i-PI writes
    :param program: i-PI
    """

    def __init__(
        self,
        folder: Path,
        ipis: Sequence[Path],
        driver: list[str],
        threads: int,
        steps_per_line: int,
        program: Sequence[str] = (str(Path(sys.executable).with_name("i-pi")),),
    ):
        self._folder = folder
        self._steps_per_line = steps_per_line
        self._clock = folder / "clock"
        # With several systems, the first one counts for all.
        self._lines = [Lines(path, "*bench.out") for path in ipis]
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "OMP_WAIT_POLICY": "PASSIVE",
            "CLOCK": str(self._clock),
        }
        self._log = (folder / "log").open("wb")
        ipi = [sys.executable, *program, "-S", f"{folder}/", "input.xml"]
        commands = [(ipi, path) for path in ipis] + ([(driver, folder)] if driver else [])
        self._processes = [
            subprocess.Popen(command, cwd=path, env=environment, stdout=self._log, stderr=subprocess.STDOUT)
            for command, path in commands
        ]

    def lines(self) -> float:
        """Steps that i-PI has written, or several i-PIs on average; none before all have begun."""
        counts = [lines.count() for lines in self._lines]
        return sum(counts) / len(counts) if all(counts) else 0.0

    def run(self, seconds: float, least: int = 1) -> tuple[float, float]:
        """Let it run for so long and at least so many lines; ms per step of 0.5 fs, and the model's part of that."""
        begun, now, steps, _ = self._go_on(seconds, least)
        times = 1e-9 * evaluations(self._clock)
        inside = times[(times[:, 0] > begun) & (times[:, 1] < now)]
        return 1e3 * (now - begun) / steps, 1e3 * float(np.diff(inside).sum()) / steps

    def cpu_time_of_a_step(self, seconds: float, least: int = 1) -> float:
        """Let it run likewise; ms of CPU time per step of 0.5 fs, of all its processes."""
        _, _, steps, spent = self._go_on(seconds, least)
        return 1e3 * spent / steps

    def _go_on(self, seconds: float, least: int) -> tuple[float, float, float, float]:
        """Let a simulation go on for a turn: when it began and ended, its steps of 0.5 fs, and its CPU time."""
        self._signal(signal.SIGCONT)
        begun, n = self._next_line(self.lines())
        spent = self.cpu_time()
        now, last = begun, n
        while now - begun < seconds or last - n < least:
            now, last = self._next_line(last)
        spent = self.cpu_time() - spent
        self._signal(signal.SIGSTOP)
        return begun, now, (last - n) * self._steps_per_line, spent

    def cpu_time(self) -> float:
        """Seconds of CPU time of all its processes so far, system calls included."""
        texts = [Path(f"/proc/{process.pid}/stat").read_text() for process in self._processes]
        ticks = [sum(map(int, text.rpartition(")")[2].split()[11:13])) for text in texts]
        return sum(ticks) / os.sysconf("SC_CLK_TCK")

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

    def _next_line(self, known: float) -> tuple[float, float]:
        limit = time.monotonic() + PATIENCE
        while (lines := self.lines()) <= known:
            if time.monotonic() > limit or any(process.poll() is not None for process in self._processes):
                said = (self._folder / "log").read_text(errors="replace").splitlines()
                raise DarkforcesError("\n".join(["a simulation makes no steps; it said at last:", *said[-LAST_WORDS:]]))
            time.sleep(POLL)
        return time.monotonic(), lines

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes:
            process.send_signal(number)


def main() -> None:
    """Measure, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pet-m", help="a name or a path of a model (default: %(default)s)")
    parser.add_argument("--atoms", type=int, nargs="+", default=[192], choices=REPEATS, help="(default: 192)")
    parser.add_argument(
        "--simulations", type=int, nargs="+", default=[1], help="at once, with the smallest system (default: 1)"
    )
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS, help="(default: all)")
    parser.add_argument("--threads", type=int, default=1, help="of the model (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=8, help="of each simulation (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn, at least (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="folder of the results (default: docs/)")
    parser.add_argument("--json", action="store_true", help="print everything for machines")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as any other end: nothing is left running
    systems = [(atoms, 1) for atoms in args.atoms] + [(min(args.atoms), n) for n in args.simulations if n > 1]
    cases = [(*system, kind) for system in systems for kind in args.kinds]
    results = []
    with tqdm(cases, disable=None) as bar:
        for atoms, at_once, kind in bar:
            bar.set_description(f"{kind}, {at_once} × {atoms} atoms")
            turns = max(LEAST_TURNS, args.turns * min(args.atoms) // (atoms * at_once))
            results.append(compare(absolute(args.model), atoms, at_once, kind, args.threads, turns, args.seconds))
            bar.write(row(results[-1]), file=sys.stderr)
    args.output.mkdir(exist_ok=True)
    put(document(results, args), args.output / "performance_history.md")
    draw(results, args.output / "performance.png")
    if args.json:
        print(
            json.dumps([{key: np.asarray(v).tolist() for key, v in vars(each).items()} for each in results], indent=2)
        )


def compare(
    model: str,
    atoms: int,
    at_once: int,
    kind: str,
    threads: int,
    turns: int,
    seconds: float,
    device: str = "cpu",
    theirs: bool = True,
    separate: bool = False,
) -> Comparison:
    """Both simulations in turns, with the model on a device; or ours alone, with NaN for theirs.

    :param theirs: whether theirs is measured too; not those that are separate
    :param separate: see `Comparison`
    """
    with tempfile.TemporaryDirectory(prefix="bench") as scratch:
        simulations: list[Simulation] = []
        try:
            for ours in (True, False) if theirs else (True,):
                simulations.append(start(Path(scratch), ours, model, atoms, at_once, kind, threads, device, separate))
            for simulation in simulations:
                simulation.run(seconds, WARM_UP)
            measured = np.full((turns, 2, 2), np.nan)
            for turn in measured:
                turn[: len(simulations)] = [simulation.run(seconds) for simulation in simulations]
            memory = [s.memory() for s in simulations] if device == "cpu" else given_back(simulations, device)
            memory += [np.nan] * (2 - len(memory))
            return Comparison(atoms, at_once, separate, kind, *measured[:, :, 0].T, *measured[:, :, 1].T, *memory)
        finally:
            for simulation in simulations:
                simulation.end()


def given_back(simulations: list[Simulation], device: str) -> list[float]:
    """End them, and see how much memory of a CUDA device each one had, in MB."""
    free = [torch.cuda.mem_get_info(device)[0]]
    for simulation in simulations:
        simulation.end()
        free.append(torch.cuda.mem_get_info(device)[0])
    return (np.diff(free) / 1024**2).tolist()


def start(
    scratch: Path,
    ours: bool,
    model: str,
    atoms: int,
    at_once: int,
    kind: str,
    threads: int,
    device: str,
    separate: bool,
) -> Simulation:
    """Begin one of the two simulations."""
    folder = scratch / ("a" if ours else "b")
    folder.mkdir()
    water = ase.io.read(ROOT / "inputs" / "water.xyz").repeat(REPEATS[atoms])
    ase.io.write(folder / "template.xyz", water)
    for i in range(at_once):  # of each system, with other positions: simulations have starts of their own
        write_start(water, folder / start_of(i))
        water.translate(1.0)
    component, stride = KINDS[kind]
    recipe = Recipe(
        name="bench",
        ensemble="nve",
        species=formula_from_species(water.numbers),
        start=start_of(0),
        component=component or Component.CONSERVATIVE,
        stride=stride,
        thermalize=True,
        duration=1e6,
    )
    text = re.sub(r"(?s)<output.*</output>", _OUTPUT, compose(recipe))
    if not ours:
        text = with_ipis_own(text, device)
        shutil.copy(
            Path(model) if model.endswith(".pt") else exported(specified(model).checkpoint()), folder / "model.pt"
        )
    if at_once > 1 and not separate:
        text = re.sub("</ff", f"  <batch_size> {at_once} </batch_size>\n  </ff", text)
        text = with_systems(text, at_once)
    command = [sys.executable, str(CLOCKED), "--model", model, "--device", device, "-S", f"{folder}/"]
    if separate:
        ipis = [_ipi(folder, i, text) for i in range(at_once)]
    else:
        ipis = [folder]
        (folder / "input.xml").write_text(text)
    return Simulation(folder, ipis, command if ours else [], threads, stride or 1)


def _ipi(folder: Path, i: int, text: str) -> Path:
    """A folder for one of several i-PIs, which listens at addresses of its own."""
    own = folder / f"{i:02d}"
    own.mkdir()
    text = re.sub(r"(<address>\s*)(\S+)", rf"\g<1>\g<2>-{i:02d}", text).replace(start_of(0), f"../{start_of(i)}")
    (own / "input.xml").write_text(text)
    return own


def start_of(system: int) -> str:
    """The name of the file that a system starts from."""
    return f"start{system}.chk"


def with_systems(text: str, n: int) -> str:
    """An input with so many systems instead of one, each with a start of its own."""
    return re.sub(r"(?s)  <system>(.*</system>)", lambda system: _systems(system[1], n), text)


def _systems(one: str, n: int) -> str:
    return "\n".join(f"  <system prefix='{i:02d}'>{one.replace(start_of(0), start_of(i))}" for i in range(n))


_OUTPUT = """<output prefix='bench'>
    <properties filename='out' stride='1' flush='1'> [ step ] </properties>
  </output>"""


def with_ipis_own(text: str, device: str) -> str:
    """The same input for i-PI's own driver, with conservative less direct forces where it has slow ones."""
    text = re.sub(r"(?s)  <ffsocket.*?</ffsocket>\n", "", text)
    kinds = {name for name in ("conservative", "direct") if f"forcefield='{name}'" in text}
    if "forcefield='slow'" in text:
        kinds = {"conservative", "direct"}
        text = text.replace("forcefield='slow'", "forcefield='conservative'").replace("'fast'", "'direct'")
        text = text.replace("[ 0, 1 ]", "[ -1, 1 ]")
    blocks = "".join(
        f"""  <ffdirect name='{kind}' pbc='False'>
    <pes> custom </pes> <pes_path> {CLOCKED} </pes_path>
    <parameters>
      {{ template: template.xyz, model: model.pt, device: {device}, non_conservative: {kind == "direct"} }}
    </parameters>
  </ffdirect>
"""
        for kind in sorted(kinds)
    )
    return text.replace("  <system>", blocks + "  <system>", 1)


def row(result: Comparison) -> str:
    """A line of the table."""
    low, high = np.percentile(result.ratios, [25, 75])
    return (
        f"| {result.at_once} × {result.atoms} | {result.kind} "
        f"| {spread(result.ours)} | {np.median(result.ours - result.our_model):.2f} "
        f"| {spread(result.theirs)} | {np.median(result.theirs - result.their_model):.2f} "
        f"| {np.median(result.ratios):.2f} ({low:.2f} to {high:.2f}) "
        f"| {result.our_memory:.0f} | {result.their_memory:.0f} |"
    )


def spread(values: np.ndarray, decimals: int = 1) -> str:
    """Median and quartiles, or a dash if there are none."""
    if np.isnan(values).any():
        return "–"
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.{decimals}f} ({low:.{decimals}f} to {high:.{decimals}f})"


def document(results: list[Comparison], args: argparse.Namespace) -> str:
    """The text for docs/performance_history.md."""
    return f"""![Time per step, ours and theirs](performance.png)

Liquid water, model {args.model}, NVE with steps of 0.5 fs; {date.today()}, {processor()} ({os.cpu_count()} cores),
{args.threads} thread(s) for the model; load of the machine when it ended: {os.getloadavg()[0]:.1f}. Both simulations
took turns of {args.seconds:g} s: median and quartiles of the turns. "Ours" is i-PI with `i-pi-darkdriver` over unix
sockets, "theirs" i-PI with its own driver in its process (`<ffdirect>`, the exported model). On a machine that does
other things meanwhile, only the ratios mean something. Several simulations at once: the time of a step of all of them.

| atoms | forces | ours, ms per 0.5 fs | beside model | theirs | beside model | theirs / ours | MB, ours | MB, theirs |
|---|---|---|---|---|---|---|---|---|
{chr(10).join(row(result) for result in results)}
{growth(results)}
Made by `python benchmarks/beside_ipi.py {" ".join(sys.argv[1:])}`.
"""


def growth(results: list[Comparison]) -> str:
    """The growth of the time with the number of atoms."""
    lines = []
    for kind in KINDS:
        alone = [result for result in results if result.kind == kind and result.at_once == 1]
        if len(alone) > 1:
            powers = [
                np.polyfit(np.log([r.atoms for r in alone]), np.log([np.median(getattr(r, side)) for r in alone]), 1)[0]
                for side in ("ours", "theirs")
            ]
            lines.append(f"| {kind} | {powers[0]:.2f} | {powers[1]:.2f} |")
    if not lines:
        return ""
    head = "\nTime grows with the number of atoms to the power of:\n\n| forces | ours | theirs |\n|---|---|---|\n"
    return head + "\n".join(lines) + "\n"


def put(part: str, path: Path) -> None:
    """Into a document, in place of what was there of this benchmark."""
    text = path.read_text() if path.exists() else f"{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{part}{END}{after}")


SIDES = {"ours": ("i-PI with this package", OTHER_COLORS[0]), "theirs": ("i-PI's own driver", OTHER_COLORS[1])}


def draw(results: list[Comparison], path: Path) -> None:
    """Times of both, with the quartiles: bars, or lines if there are several sizes."""
    several = len({(result.atoms, result.at_once) for result in results}) > 1
    figure = draw_sizes(results) if several else draw_kinds(results)
    figure.savefig(path, dpi=200)
    plt.close(figure)


def draw_kinds(results: list[Comparison]) -> Figure:
    """Bars side by side."""
    figure, axis = plt.subplots(figsize=(1.5 + 1.5 * len(results), 3.5), layout="constrained")
    for shift, (side, (label, colour)) in zip((-0.2, 0.2), SIDES.items(), strict=True):
        middle, errors = middles([getattr(result, side) for result in results])
        axis.bar(np.arange(len(results)) + shift, middle, 0.36, yerr=errors, capsize=3, color=colour, label=label)
    axis.set_xticks(range(len(results)), [f"{r.kind}\n{r.at_once} × {r.atoms} atoms" for r in results])
    axis.set_ylabel("ms per 0.5 fs")
    axis.legend(frameon=False)
    tidy(axis, along="y")
    return figure


def draw_sizes(results: list[Comparison]) -> Figure:
    """Against the number of atoms, for each kind: lines for one simulation, squares for several at once."""
    kinds = list(dict.fromkeys(result.kind for result in results))
    figure, axes = plt.subplots(
        1, len(kinds), figsize=(1.0 + 3.0 * len(kinds), 4.0), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, kind in zip(axes[0], kinds, strict=True):
        for side, (label, colour) in SIDES.items():
            for at_once, style in ((False, "o-"), (True, "s")):
                shown = [r for r in results if r.kind == kind and (r.at_once > 1) is at_once]
                if shown:
                    middle, errors = middles([getattr(result, side) for result in shown])
                    atoms = [result.atoms * result.at_once for result in shown]
                    name = f"{label}, several at once" if at_once else label
                    filled = "none" if at_once else colour
                    axis.errorbar(atoms, middle, errors, fmt=style, color=colour, mfc=filled, label=name)
        axis.set(title=kind, xlabel="atoms, of all simulations", xscale="log", yscale="log")
        axis.minorticks_off()
        sizes = sorted({result.atoms for result in results})
        axis.set_xticks(sizes, map(str, sizes))
        tidy(axis, along="y")
    axes[0][0].set_ylabel("ms per 0.5 fs")
    figure.legend(*axes[0][0].get_legend_handles_labels(), frameon=False, ncols=2, loc="outside upper center")
    return figure


def middles(values: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Medians, and how far below and above them the quartiles are."""
    middle = np.array([np.median(v) for v in values])
    return middle, np.abs(np.array([np.percentile(v, [25, 75]) for v in values]).T - middle)


if __name__ == "__main__":
    try:
        main()
    except DarkforcesError as error:
        sys.exit(f"darkforces: error: {error}")
