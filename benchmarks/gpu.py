"""All checks of a GPU in one call: right answers, the model's time, simulations beside i-PI's own driver.

    bash benchmarks/gpu.sh              # on a machine with a CUDA device: installs what is missing, tests, then this
    python benchmarks/gpu.py --json gpu.json                                               # nine minutes
    python benchmarks/gpu.py --device cpu --evaluations 3 --turns 2 --seconds 0 --simulations 2    # to try it

Answers are compared with those of the exported model in double precision on the CPU. The model's time is that of one
evaluation, from positions to forces in the host's memory: recorded as CUDA graphs, the same without recording, and the
exported model, all of them in turns. Fast steps are the M - 1 between two evaluations of both kinds of forces, taken on
the device as one recording, and one by one, from the same state in turns. Simulations are those of beside_ipi.py, 192
atoms over unix sockets, and several at once: i-PIs of their own with one driver, and systems of one i-PI, which is one
process of Python and takes its time for each of them. Memory is that of the device. The profile says what the time of
the recorded evaluations is spent on.

The most important comes first, each part is printed when it is known, and one that fails does not end the others. Wrong
answers are measured too, and said to be wrong: exit code 1, as for anything that failed.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import multiprocessing
import pstats
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import ase.io
import ase.units
import numpy as np
import torch
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from beside_ipi import KINDS, ROOT, Comparison, compare, spread
from tqdm import tqdm

from ipi_darkforces import ForceModel, Forces, Need, Structure, load_model
from ipi_darkforces.atomic import atomic_file
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.machine import processor
from ipi_darkforces.models.metatomic import pick_device
from ipi_darkforces.models.model import of_kind
from ipi_darkforces.models.neighbors.search import CPU, search, search_on
from ipi_darkforces.models.pet.padded import PaddedPetModel
from ipi_darkforces.models.registry.kinds import specified
from ipi_darkforces.models.registry.specification import absolute
from ipi_darkforces.simulate.inner_loop import State, velocity_verlet
from ipi_darkforces.simulate.recorded_steps import RecordedSteps

ATOMS = 192
BOTH = Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT | Need.VIRIAL
DIRECT = Need.ENERGY | Need.DIRECT
# How the liquid is deformed: more neighbours than there was room for come last.
STRAINS = {
    "liquid": np.eye(3),
    "strained": np.array([[1.05, 0.1, 0.0], [0.0, 0.95, -0.08], [0.03, 0.0, 1.02]]),
    "expanded": 1.6 * np.eye(3),
    "compressed": 0.8 * np.eye(3),
}
ALLOWED = {"float32": (1e-6, 1e-4), "float64": (1e-9, 1e-9)}  # of energies, relative, and of forces, eV/Å
STEPS = 40  # of a random walk, across some lists of neighbours
TREMBLE = 0.02  # Å, by which atoms move between evaluations
WARM_UP = 5  # evaluations that do not count
LAST = 600.0  # seconds that one part may take at most
PROFILED = 20  # evaluations
LONGEST = 12  # kernels and functions that a profile names
SEARCHED = 4.0  # Å, out to where: the cutoff of the bundled models and the skin
TIMES = ("direct", "both, until direct forces", "both")
STRIDE = 8  # of fast steps
TIMESTEP = 0.5  # fs, of these
# What is to be reached: ms per 0.5 fs, theirs / ours, memory, ours / theirs, and what several simulations at once give.
MOST_MS = {"direct": 2.0, "MTS-8": 1.5}
MOST_MS_FAST = 0.5
LEAST_RATIO = 4.0
MOST_MEMORY = 0.6
LEAST_GAIN = 6.0
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Agreement:
    """The largest distance of answers to those of the exported model in double precision: relative, and eV/Å."""

    case: str
    dtype: str
    energy: float
    forces: float

    @property
    def good(self) -> bool:
        """Tell whether it is as good as it has to be."""
        energy, forces = ALLOWED[self.dtype]
        return self.energy <= energy and self.forces <= forces


@dataclass(frozen=True)
class FastSteps:
    """Fast steps at once and one by one: ms for each step, and how far apart atoms are after them, Å."""

    at_once: np.ndarray
    one_by_one: np.ndarray
    apart: float
    repeated: int  # at once, but had to be taken one by one


@dataclass
class Report:
    """All results so far.

    :param device: what everything runs on
    :param context: MB that any process takes of the device
    :param failures: by part, what went wrong
    """

    device: str
    agreements: list[Agreement] = field(default_factory=list)
    evaluations_ms: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    fast_steps: FastSteps | None = None
    simulations: list[Comparison] = field(default_factory=list)
    profiles: list[str] = field(default_factory=list)
    context: float = 0.0
    failures: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """For machines."""
        known = asdict(self) | {"torch": torch.__version__, "date": str(date.today())}
        with atomic_file(path) as fresh:
            fresh.write_text(json.dumps(known, indent=2, default=lambda array: np.asarray(array).tolist()))


def main() -> int:
    """Check, measure, and print it."""
    args = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as any other end: nothing is left running
    begun = time.monotonic()
    pick_device(args.model, args.device, ("cpu", "cuda"))
    report = Report(card(args.device))
    print(f"{report.device}, PyTorch {torch.__version__}, {date.today()}, {ATOMS} atoms", end="")
    print("; on a CPU, nothing is recorded" if args.device == "cpu" else "")
    for name, part in parts(args, report):
        if time.monotonic() - begun > 60.0 * args.minutes:
            report.failures[name] = "there was no time left"
            continue
        print(f"\n{name}, after {time.monotonic() - begun:.0f} s:\n", flush=True)
        try:
            print("\n".join(part()), flush=True)
        except Exception as error:  # whatever it is, the other parts may work
            report.failures[name] = str(error)
            print(f"failed: {error}", flush=True)
            if not isinstance(error, DarkforcesError):
                traceback.print_exc()
        if args.json:
            report.write(args.json)
    if args.json:
        report.write(args.json)  # what was left out too
    print("\n" + "\n".join(targets(report, args.simulations)))
    for name, reason in report.failures.items():
        print(f"\n{name} failed: {reason}")
    return int(bool(report.failures) or not all(each.good for each in report.agreements))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model",
        default="pet-m",
        help="of a PET model, a name or a path (default: %(default)s)",
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu (default: %(default)s)")
    kinds = ["direct", "MTS-8", "conservative"]
    parser.add_argument("--kinds", nargs="+", default=kinds, choices=KINDS, help="of forces (default: all)")
    parser.add_argument("--evaluations", type=int, default=200, help="of each kind (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=5, help="of each simulation (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn, at least (default: %(default)s)")
    parser.add_argument("--simulations", type=int, default=16, help="at once (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of the model on the host (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=8.0, help="no part begins later (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything for machines, after each part")
    return parser.parse_args()


def parts(args: argparse.Namespace, report: Report) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    """Names, and what does it and says what it found, in the order of importance."""

    def answers() -> list[str]:
        report.agreements = apart(check, args.model, args.device)
        return table_of_agreements(report.agreements)

    def model() -> list[str]:
        report.evaluations_ms = apart(model_times, args.model, args.device, args.evaluations, args.simulations)
        return table_of_times(report.evaluations_ms)

    def steps() -> list[str]:
        report.fast_steps = found = apart(fast_steps, args.model, args.device, args.evaluations)
        return [
            f"| {STRIDE - 1} fast steps | ms for each |",
            "|---" * 2 + "|",
            f"| at once | {spread(found.at_once, 3)} |",
            f"| one by one | {spread(found.one_by_one, 3)} |",
            f"after them, atoms are up to {found.apart:.1e} Å apart; {found.repeated} of {len(found.one_by_one)} times "
            "neighbours may have been missing",
        ]

    def profile() -> list[str]:
        report.profiles = apart(profiles, args.model, args.device)
        return report.profiles

    def searches() -> list[str]:
        return apart(search_times, args.device, args.evaluations)

    def memory() -> list[str]:
        report.context = context_memory(args.device)
        return [f"{report.context:.0f} MB of the device are taken by any process"]

    def simulation(at_once: int, separate: bool, kind: str) -> list[str]:
        theirs = not separate and not any(name.startswith("theirs") for name in report.failures)
        options = (absolute(args.model), ATOMS, at_once, kind, args.threads, args.turns, args.seconds, args.device)
        try:
            found = compare(*options, theirs, separate)
        except DarkforcesError as error:
            if not theirs:
                raise
            found = compare(*options, theirs=False)  # if it was ours that failed, it does so again
            report.failures[f"theirs, {kind}, {at_once} at once"] = str(error)
        report.simulations.append(found)
        return [*SIMULATIONS, row(found, report)]

    def simulations(at_once: int, separate: bool = False) -> Iterator[tuple[str, Callable[[], list[str]]]]:
        for kind in args.kinds:
            name = f"{kind}, {at_once} × {ATOMS} atoms" + ", each in an i-PI of its own" * separate
            yield name, lambda kind=kind: simulation(at_once, separate, kind)

    yield "answers", answers
    yield "model", model
    yield "fast steps", steps
    if args.device != "cpu":
        yield "memory", memory
    yield from simulations(1)
    yield "profile", profile
    if args.simulations > 1:
        yield from simulations(args.simulations, separate=True)
    yield "searches", searches
    if args.simulations > 1:
        yield from simulations(args.simulations)


@contextmanager
def child(function: Callable[..., object], *args: object) -> Iterator[tuple[Connection, multiprocessing.Process]]:
    """A process that does it, and where its result arrives; killed in the end."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, function, *args), daemon=True)
    process.start()
    sender.close()
    try:
        yield receiver, process
    finally:
        process.kill()
        process.join()


def _send(sender: Connection, function: Callable[..., object], *args: object) -> None:
    try:
        sender.send(function(*args))
    except Exception as error:
        traceback.print_exc()
        sender.send(DarkforcesError(str(error)))
    time.sleep(LAST)  # with all that it holds


def apart(function: Callable[..., _Result], *args: object) -> _Result:
    """The result of a function in a process of its own: after an error, a CUDA device is of no use to a process."""
    with child(function, *args) as (receiver, process):
        if not receiver.poll(LAST):
            raise DarkforcesError(f"no result after {LAST:g} s")
        try:
            found = receiver.recv()
        except EOFError as error:
            process.join()
            raise DarkforcesError(f"its process ended with exit code {process.exitcode}") from error
    if isinstance(found, Exception):
        raise found
    return found


def check(model: str, device: str) -> list[Agreement]:
    """Compare answers."""
    reference = load_model(model, dtype="float64", backend="metatomic")
    ours = {dtype: load_padded(model, device, dtype) for dtype in ALLOWED}
    agreements = []
    for case, batches in tqdm(list(cases()), "checks", disable=None):
        expected = [reference.evaluate(batch, BOTH) for batch in batches]
        for dtype, each in ours.items():
            try:
                # Twice, as they are recorded the second time.
                answers = [each.evaluate(batch, BOTH) for batch in batches * 2]
                pairs = zip(sum(answers, []), sum(expected * 2, []), strict=True)
                worst = np.max([difference(*both) for both in pairs], axis=0).tolist()
            except Exception:  # the others are known all the same
                traceback.print_exc()
                worst = [np.nan, np.nan]
            agreements.append(Agreement(case, dtype, *worst))
    return agreements


def cases() -> Iterator[tuple[str, list[list[Structure]]]]:
    """Names, and the batches that are evaluated one after the other."""
    water = start()
    for case, strain in STRAINS.items():
        yield case, [[replace(water, positions=water.positions @ strain, cell=water.cell @ strain)]]
    random = np.random.default_rng(1)
    walk = water.positions + np.cumsum(random.normal(0.0, TREMBLE, (STEPS, ATOMS, 3)), axis=0)
    walk[STEPS // 2 :, 0] += water.cell[1]  # an atom that jumps by a cell vector
    moving = [replace(water, positions=positions) for positions in walk[9::10]]
    yield "moving", [[structure] for structure in moving]
    yield "several", [moving[:3], moving[2::-1]]
    large, strain = start(repeats=2), STRAINS["strained"]
    yield "large", [[replace(large, positions=large.positions @ strain, cell=large.cell @ strain)]]


def start(repeats: int = 1) -> Structure:
    """Liquid water, as the inputs have it, or so many times as long in each direction."""
    return Structure.from_ase(ase.io.read(ROOT / "inputs" / "water.xyz").repeat(repeats))


def load_padded(model: str, device: str, dtype: str | None = None, record: bool = True) -> PaddedPetModel:
    """The model with fixed shapes, also on a CPU."""
    return PaddedPetModel(specified(model).checkpoint(), model, device, dtype, record=record)


def difference(ours: Forces, theirs: Forces) -> tuple[float, float]:
    """Difference of energies, relative, and the largest one of all components of both kinds of forces, eV/Å."""
    assert ours.conservative is not None
    assert ours.direct is not None
    forces = max(np.abs(ours.conservative - theirs.conservative).max(), np.abs(ours.direct - theirs.direct).max())
    return abs(ours.energy / theirs.energy - 1.0), float(forces)


def trembling(at_once: int) -> Iterator[list[Structure]]:
    """Batches of liquids whose atoms move a little."""
    water, random = start(), np.random.default_rng(2)
    while True:
        moved = water.positions + random.normal(0.0, TREMBLE, (at_once, *water.positions.shape))
        yield [replace(water, positions=positions) for positions in moved]


def model_times(model: str, device: str, n: int, simulations: int) -> dict[str, dict[str, np.ndarray]]:
    """For each way and each of `TIMES`, how long it took each time, ms, for one structure and for several."""
    loaders: dict[str, Callable[[], ForceModel]] = {
        "recorded": lambda: load_padded(model, device),
        "not recorded": lambda: load_padded(model, device, record=False),
        "exported model": lambda: load_model(model, device=device, backend="metatomic"),
    }
    found = {}
    for at_once in sorted({1, simulations}):
        ways = {f"{at_once} × {way}": load() for way, load in loaders.items()}
        times: dict[str, list[list[float]]] = {way: [] for way in ways}
        repeats = max(WARM_UP, n // at_once)
        for _, batch in zip(tqdm(range(WARM_UP + repeats), f"model, {at_once}", disable=None), trembling(at_once)):  # noqa: B905
            for way, each in list(ways.items()):
                try:
                    times[way].append(list(timed(each, batch)))
                except Exception:  # the others are measured all the same
                    print(f"{way} failed:", file=sys.stderr)
                    traceback.print_exc()
                    del ways[way], times[way]
        found |= {way: dict(zip(TIMES, np.array(t[WARM_UP:]).T, strict=True)) for way, t in times.items()}
    return found


def timed(model: ForceModel, batch: list[Structure]) -> tuple[float, float, float]:
    """Times of direct forces, of both until direct ones are known, and of both, ms."""
    begun = time.perf_counter()
    model.evaluate(batch, DIRECT)
    direct = time.perf_counter()
    turns = model.evaluate_in_turn(batch, BOTH)
    next(turns)
    first = time.perf_counter()
    for _ in turns:
        pass
    return 1e3 * (direct - begun), 1e3 * (first - direct), 1e3 * (time.perf_counter() - direct)


def fast_steps(model: str, device: str, n: int) -> FastSteps:
    """Times and ends of the fast steps of many outer steps of water at 300 K."""
    each, water = load_padded(model, device), start()
    atoms = ase.Atoms(water.species, water.positions)
    MaxwellBoltzmannDistribution(atoms, temperature_K=300.0, rng=np.random.default_rng(3))
    source, masses, timestep = each.on_device([water]), atoms.get_masses(), TIMESTEP * ase.units.fs
    assert source is not None
    recorded = RecordedSteps(source, lambda r: (source(r[None])[0], r.new_empty(0)), 0, masses)

    def fast(positions: np.ndarray) -> np.ndarray:
        return of_kind(Need.DIRECT, each.evaluate(water.moved(positions), DIRECT))

    state = State(water.positions, atoms.get_momenta(), fast(water.positions))
    times: tuple[list[float], list[float]] = [], []
    distance, repeated = 0.0, 0
    for i in tqdm(range(WARM_UP + n), "fast steps", disable=None):
        begun = time.perf_counter()
        advanced = recorded.advance(state, timestep, STRIDE - 1)
        between = time.perf_counter()
        state = velocity_verlet(state, masses, timestep, STRIDE - 1, fast)
        ended = time.perf_counter()
        if i < WARM_UP:
            continue
        times[1].append(1e3 * (ended - between) / (STRIDE - 1))
        if advanced is None:
            repeated += 1
            continue
        times[0].append(1e3 * (between - begun) / (STRIDE - 1))
        distance = max(distance, float(np.abs(advanced[0].positions - state.positions).max()))
    return FastSteps(*map(np.array, times), distance, repeated)


def search_times(device: str, n: int) -> list[str]:
    """A table: how long a search for neighbours takes the host and the device."""
    lines = ["| atoms | search on the host, ms | on the device, ms |", "|---" * 3 + "|"]
    for repeats in (1, 2, 3):
        water = start(repeats)
        asked = water.positions, water.cell, water.periodic, SEARCHED
        times: list[tuple[float, float]] = []
        for _ in range(WARM_UP + n):
            begun = time.perf_counter()
            search(*asked, CPU)
            between = time.perf_counter()
            search_on(torch.device(device), *asked)
            times.append((1e3 * (between - begun), 1e3 * (time.perf_counter() - between)))
        host, there = np.array(times[WARM_UP:]).T
        lines += [f"| {len(water.positions)} | {spread(host, 2)} | {spread(there, 2)} |"]
    return lines


def profiles(model: str, device: str) -> list[str]:
    """Profiles of recorded evaluations."""
    lines = []
    each, batches = load_padded(model, device), trembling(1)
    for kind, need in (("direct", DIRECT), ("both", BOTH)):
        for _ in range(WARM_UP):
            each.evaluate(next(batches), need)
        structures = [next(batches) for _ in range(PROFILED)]
        begun = time.perf_counter()
        for batch in structures:
            each.evaluate(batch, need)
        wall = 1e3 * (time.perf_counter() - begun) / PROFILED
        lines += [f"{kind}: {wall:.3f} ms"]
        if device != "cpu":
            lines += kernels(lambda: [each.evaluate(batch, need) for batch in structures])  # noqa: B023, called at once
        with cProfile.Profile() as host:
            for batch in structures:
                each.evaluate(batch, need)
        lines += functions(host)
    return lines


def kernels(work: Callable[[], object]) -> list[str]:
    """The kernels that took the device longest, of `PROFILED` evaluations."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        work()
        torch.cuda.synchronize()
    found = [e for e in profiler.key_averages() if e.self_device_time_total > 0]
    found.sort(key=lambda event: -event.self_device_time_total)
    total, count = (sum(getattr(e, name) for e in found) / PROFILED for name in ("self_device_time_total", "count"))
    return [
        f"  device busy {1e-3 * total:.3f} ms, with {count:.0f} kernels and copies",
        *(
            f"  {1e-3 * e.self_device_time_total / PROFILED:8.4f} ms {e.count / PROFILED:6.1f} × {e.key[:100]}"
            for e in found[:LONGEST]
        ),
    ]


def functions(host: cProfile.Profile) -> list[str]:
    """The functions that took the host longest, without the time of others that they call."""
    own: Counter[str] = Counter()
    for (file, line, name), (_, _, seconds, _, _) in pstats.Stats(host).stats.items():  # type: ignore[attr-defined]
        own[f"{Path(file).name}:{line} {name}"] += 1e3 * seconds / PROFILED  # type: ignore[assignment]
    return [f"  host, profiled {sum(own.values()):.3f} ms"] + [
        f"  {ms:8.4f} ms {name}" for name, ms in own.most_common(LONGEST)
    ]


def context_memory(device: str) -> float:
    """Memory of a CUDA device that any process takes, MB."""
    free = torch.cuda.mem_get_info(device)[0]
    with child(_touch, device) as (receiver, _):
        if not receiver.poll(LAST) or isinstance(receiver.recv(), Exception):
            raise DarkforcesError("no process could use the device")
        return float(free - torch.cuda.mem_get_info(device)[0]) / 1024**2


def _touch(device: str) -> float:
    return torch.zeros(1, device=device).item()


def card(device: str) -> str:
    """The graphics card."""
    return processor() if device == "cpu" else torch.cuda.get_device_name(device)


def table_of_agreements(agreements: Sequence[Agreement]) -> list[str]:
    """Lines of a table."""
    return ["| structure | precision | energy, relative | forces, eV/Å | |", "|---|---|---|---|---|"] + [
        f"| {a.case} | {a.dtype} | {a.energy:.1e} | {a.forces:.1e} | {'' if a.good else 'WRONG'} |" for a in agreements
    ]


def table_of_times(times: dict[str, dict[str, np.ndarray]]) -> list[str]:
    """Lines of a table."""
    return [f"| one evaluation, ms | {' | '.join(TIMES)} |", "|---" * (1 + len(TIMES)) + "|"] + [
        f"| {way} | {' | '.join(spread(kinds[kind], 3) for kind in TIMES)} |" for way, kinds in times.items()
    ]


SIMULATIONS = [
    "| simulations | forces | ours, ms per 0.5 fs | beside model | theirs | theirs / ours | MB, ours | MB, theirs "
    "| at once give |",
    "|---" * 9 + "|",
]


def row(result: Comparison, report: Report) -> str:
    """A line of the table of simulations."""
    alone = np.isnan(result.their_memory)
    ratio = "–" if alone else f"{np.median(result.ratios):.2f}"
    memory = "–" if alone else f"{result.their_memory:.0f}"
    return (
        f"| {result.at_once}{' i-PIs' * result.separate} | {result.kind} | {spread(result.ours, 3)} "
        f"| {np.median(result.ours - result.our_model):.2f} | {spread(result.theirs)} "
        f"| {ratio} | {result.our_memory:.0f} | {memory} "
        f"| {gain(result, report):.1f} × the steps per second |"
    )


def gain(result: Comparison, report: Report) -> float:
    """Steps per second with this many simulations at once, relative to one."""
    alone = [each for each in report.simulations if each.at_once == 1 and each.kind == result.kind]
    return result.at_once * float(np.median(alone[0].ours) / np.median(result.ours)) if alone else np.nan


def targets(report: Report, at_once: int) -> list[str]:
    """The targets, and the results."""
    lines = ["| what is to be reached | at least or most | measured | |", "|---|---|---|---|"]

    def line(what: str, bound: str, value: float, reached: bool) -> None:
        lines.append(f"| {what} | {bound} | {value:.2f} | {'reached' if reached else 'MISSED'} |")

    if report.fast_steps is not None:
        fast = float(np.median(report.fast_steps.at_once))
        line("fast steps at once, ms for each", f"≤ {MOST_MS_FAST}", fast, fast <= MOST_MS_FAST)
    for result in report.simulations:
        ours, ratio = float(np.median(result.ours)), float(np.median(result.ratios))
        if result.at_once == 1 and result.kind in MOST_MS:
            line(f"{result.kind}, ms per step", f"≤ {MOST_MS[result.kind]}", ours, ours <= MOST_MS[result.kind])
            line(f"{result.kind}, theirs / ours", f"≥ {LEAST_RATIO:g}", ratio, ratio >= LEAST_RATIO)
        if result.at_once == 1 and result.kind == "MTS-8":
            memory = result.our_memory / result.their_memory
            line("MTS-8, memory, ours / theirs", f"≤ {MOST_MEMORY}", memory, memory <= MOST_MEMORY)
            if report.context:
                beyond = (result.our_memory - report.context) / (result.their_memory - report.context)
                line("the same, beyond what any process takes", f"≤ {MOST_MEMORY}", beyond, beyond <= MOST_MEMORY)
        if result.at_once == at_once > 1:
            more = gain(result, report)
            what = "i-PIs" if result.separate else "systems of one i-PI"
            line(f"{result.kind}, {at_once} {what}, × steps/s", f"≥ {LEAST_GAIN:g}", more, more >= LEAST_GAIN)
    return lines


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DarkforcesError as error:
        sys.exit(f"darkforces: error: {error}")
