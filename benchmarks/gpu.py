"""What a GPU has to show, in one call: right answers, then the model's time, then simulations beside i-PI's own driver.

    python benchmarks/gpu.py                   # on a machine with a CUDA device: about ten minutes
    python benchmarks/gpu.py --device cpu --evaluations 3 --turns 2 --seconds 0 --simulations 2    # to try it

Answers are compared with those of the exported model in double precision; when they differ by more than they may,
nothing is measured. The model's time is that of one evaluation, from positions to forces in the host's memory: recorded
as a CUDA graph, the same without recording, and the exported model, all of them in turns. Simulations are those of
beside_ipi.py, 192 atoms over unix sockets, and several at once; memory is that of the device.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date

import ase.io
import numpy as np
import torch
from beside_ipi import KINDS, ROOT, Comparison, compare, spread
from tqdm import tqdm

from ipi_darkforces.campaign.simulate import processor
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.forces import ForceModel, Forces, Need, Structure, load_model
from ipi_darkforces.forces.pet_padded import PaddedPetModel
from ipi_darkforces.forces.zoo import all_models

ATOMS = 192
BOTH = Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT | Need.VIRIAL
EVALUATIONS = {"direct": Need.ENERGY | Need.DIRECT, "both": BOTH}
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


@dataclass(frozen=True)
class Agreement:
    """How far answers are from those of the exported model in double precision, at most: relative, and eV/Å."""

    case: str
    dtype: str
    energy: float
    forces: float


def main() -> None:
    """Check, measure, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pet-m", help="a PET model of `darkforces models` (default: %(default)s)")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS, help="of forces (default: all)")
    parser.add_argument("--evaluations", type=int, default=200, help="of each kind (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=8, help="of each simulation (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn, at least (default: %(default)s)")
    parser.add_argument("--simulations", type=int, default=16, help="at once (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of the model on the host (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print everything for machines")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as any other end: nothing is left running
    agreements = check(args.model, args.device)
    times = model_times(args.model, args.device, args.evaluations)
    simulations = measure_simulations(args)
    if args.json:
        print(json.dumps(for_machines(args.device, agreements, times, simulations), indent=2))
    else:
        print(document(args.device, agreements, times, simulations))


def check(model: str, device: str) -> list[Agreement]:
    """Compare answers; raises a DarkforcesError if they differ by more than they may."""
    reference = load_model(model, device, "float64", backend="metatomic")
    ours = {dtype: load_padded(model, device, dtype) for dtype in ALLOWED}
    agreements = []
    for case, structures in tqdm(list(cases()), "checks", disable=None):
        expected = [reference.evaluate([structure], BOTH)[0] for structure in structures]
        for dtype, each in ours.items():
            # Twice, as they are recorded the second time.
            answers = [each.evaluate([structure], BOTH)[0] for structure in structures * 2]
            worst = np.max([difference(*both) for both in zip(answers, expected * 2, strict=True)], axis=0)
            agreements.append(Agreement(case, dtype, *worst.tolist()))
            complain(agreements[-1])
    return agreements


def complain(found: Agreement) -> None:
    """Unless it is as good as it has to be."""
    energy, forces = ALLOWED[found.dtype]
    if not (found.energy <= energy and found.forces <= forces):
        raise DarkforcesError(
            f"answers differ from the exported model's ({found.case}, {found.dtype}): energies by {found.energy:.1e}, "
            f"forces by {found.forces:.1e} eV/Å, expected at most {energy:.0e} and {forces:.0e}"
        )


def cases() -> Iterator[tuple[str, list[Structure]]]:
    """Names, and the structures that are evaluated one after the other."""
    water = start()
    for case, strain in STRAINS.items():
        yield case, [replace(water, positions=water.positions @ strain, cell=water.cell @ strain)]
    random = np.random.default_rng(1)
    walk = water.positions + np.cumsum(random.normal(0.0, TREMBLE, (STEPS, ATOMS, 3)), axis=0)
    walk[STEPS // 2 :, 0] += water.cell[1]  # an atom that jumps by a cell vector
    yield "moving", [replace(water, positions=positions) for positions in walk[7::8]]


def start() -> Structure:
    """Liquid water, as the inputs have it."""
    atoms = ase.io.read(ROOT / "inputs" / "water.xyz")
    return Structure(atoms.numbers.astype(np.int32), atoms.positions, atoms.cell.array)


def load_padded(model: str, device: str, dtype: str | None = None, record: bool = True) -> PaddedPetModel:
    """The model with fixed shapes, also on a CPU."""
    return PaddedPetModel(all_models()[model].path, model, device, dtype, record=record)


def difference(ours: Forces, theirs: Forces) -> tuple[float, float]:
    """Of the energy, relative, and the largest one of all components of both kinds of forces, eV/Å."""
    assert ours.conservative is not None
    assert ours.direct is not None
    forces = max(np.abs(ours.conservative - theirs.conservative).max(), np.abs(ours.direct - theirs.direct).max())
    return abs(ours.energy / theirs.energy - 1.0), float(forces)


def model_times(model: str, device: str, n: int) -> dict[str, dict[str, np.ndarray]]:
    """For each way and each kind of evaluation, how long it took each time, ms."""
    ways: dict[str, ForceModel] = {
        "recorded": load_padded(model, device),
        "not recorded": load_padded(model, device, record=False),
        "exported model": load_model(model, device, backend="metatomic"),
    }
    water, random = start(), np.random.default_rng(2)
    times: dict[str, dict[str, list[float]]] = {way: {kind: [] for kind in EVALUATIONS} for way in ways}
    for _ in tqdm(range(WARM_UP + n), "model", disable=None):
        structure = replace(water, positions=water.positions + random.normal(0.0, TREMBLE, water.positions.shape))
        for way, each in ways.items():
            for kind, need in EVALUATIONS.items():
                begun = time.perf_counter()
                each.evaluate([structure], need)
                times[way][kind].append(1e3 * (time.perf_counter() - begun))
    return {way: {kind: np.array(v[WARM_UP:]) for kind, v in kinds.items()} for way, kinds in times.items()}


def measure_simulations(args: argparse.Namespace) -> list[Comparison]:
    """Ours and theirs, one simulation and several at once."""
    measured = [(at_once, kind) for at_once in sorted({1, args.simulations}) for kind in args.kinds]
    results = []
    with tqdm(measured, disable=None) as bar:
        for at_once, kind in bar:
            bar.set_description(f"{kind}, {at_once} × {ATOMS} atoms")
            results.append(
                compare(args.model, ATOMS, at_once, kind, args.threads, args.turns, args.seconds, args.device)
            )
    return results


def card(device: str) -> str:
    """What the model runs on."""
    return processor() if device == "cpu" else torch.cuda.get_device_name(device)


def document(
    device: str,
    agreements: list[Agreement],
    times: dict[str, dict[str, np.ndarray]],
    simulations: list[Comparison],
) -> str:
    """Tables."""
    lines = [f"{card(device)}, PyTorch {torch.__version__}, {date.today()}, {ATOMS} atoms", ""]
    if device == "cpu":
        lines[0] += "; on a CPU, nothing is recorded"
    lines += ["| structure | precision | energy, relative | forces, eV/Å |", "|---|---|---|---|"]
    lines += [f"| {a.case} | {a.dtype} | {a.energy:.1e} | {a.forces:.1e} |" for a in agreements]
    lines += ["", "| one evaluation, ms | direct | both |", "|---|---|---|"]
    lines += [
        f"| {way} | {' | '.join(spread(kinds[kind], 3) for kind in EVALUATIONS)} |" for way, kinds in times.items()
    ]
    lines += ["", "| simulations | forces | ours, ms per 0.5 fs | beside model | theirs | theirs / ours "]
    lines[-1] += "| MB, ours | MB, theirs | simulations at once give |"
    lines += ["|---" * 9 + "|"]
    return "\n".join(lines + [row(result, simulations) for result in simulations])


def row(result: Comparison, all_of_them: list[Comparison]) -> str:
    """A line of the table of simulations."""
    return (
        f"| {result.at_once} | {result.kind} | {spread(result.ours, 3)} "
        f"| {np.median(result.ours - result.our_model):.2f} | {spread(result.theirs)} "
        f"| {np.median(result.ratios):.2f} | {result.our_memory:.0f} | {result.their_memory:.0f} "
        f"| {gain(result, all_of_them):.1f} × the steps per second |"
    )


def gain(result: Comparison, all_of_them: list[Comparison]) -> float:
    """How many times the steps per second of one simulation, with this many at once."""
    alone = next(each for each in all_of_them if each.at_once == 1 and each.kind == result.kind)
    return result.at_once * float(np.median(alone.ours) / np.median(result.ours))


def for_machines(
    device: str,
    agreements: list[Agreement],
    times: dict[str, dict[str, np.ndarray]],
    simulations: list[Comparison],
) -> dict[str, object]:
    """All numbers."""
    return {
        "device": card(device),
        "torch": torch.__version__,
        "date": str(date.today()),
        "agreements": [asdict(each) for each in agreements],
        "evaluations_ms": {way: {kind: v.tolist() for kind, v in kinds.items()} for way, kinds in times.items()},
        "simulations": [{key: np.asarray(v).tolist() for key, v in vars(each).items()} for each in simulations],
    }


if __name__ == "__main__":
    try:
        main()
    except DarkforcesError as error:
        sys.exit(f"darkforces: error: {error}")
