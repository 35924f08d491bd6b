"""Time and memory of `darkforces analyze spectra`, beside ase reading the same file.

Writes an extended XYZ file of positions and velocities of the given size to a temporary folder, and gives it in turn
to `ase.io.iread`, which does nothing with the frames, and to `darkforces analyze spectra`. Both are processes of their
own; CPU time and the largest memory are what the system says of them when they end. What counts is the ratio: the load
of the machine is the same for both.

    python benchmarks/spectra.py                     # 1 GB
    python benchmarks/spectra.py --megabytes 50      # to try it
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import ase.units
import numpy as np
from tqdm import tqdm

N_MOLECULES = 64
CELL = 12.4  # Å
INTERVAL = 2.0  # fs
_READ = "import ase.io, sys\nfor _ in ase.io.iread(sys.argv[1], index=':'): pass"
_FASTEST, _LEAST = 2.0, 1000.0  # what is promised: times ase's CPU time, and MB


@dataclass(frozen=True)
class Cost:
    """Time and memory of a process.

    :param cpu: s, user and system
    :param wall: s
    :param megabytes: largest resident set
    """

    cpu: float
    wall: float
    megabytes: float


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=1000.0, help="size of the file (default: %(default)g)")
    parser.add_argument(
        "--repeats", type=int, default=1, help="how often each reads it, in turn (default: %(default)s)"
    )
    parser.add_argument("--folder", type=Path, help="where to put the file (default: the system's temporary folder)")
    parser.add_argument("--json", action="store_true", help="print everything for machines")
    args = parser.parse_args()
    if not args.megabytes > 0 or args.repeats < 1:
        parser.error("expected a file of more than 0 MB, and one repeat or more")
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        file = Path(scratch) / "velocities.xyz"
        frames = write(file, args.megabytes)
        spectra = ["-m", "ipi_darkforces.cli.main", "analyze", "spectra", str(file), "--interval", str(INTERVAL)]
        commands = {"ase.io.iread": ["-c", _READ, str(file)], "darkforces analyze spectra": spectra}
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        for _ in range(args.repeats):
            for name, command in commands.items():
                costs[name].append(cost([sys.executable, *command]))
        megabytes = file.stat().st_size / 1e6
    report(megabytes, frames, costs, args.json)


def write(path: Path, megabytes: float) -> int:
    """Water that trembles, in frames of 192 atoms; how many of them.

    A hundred frames are made, and written again and again: what is in them makes no difference to the time it takes.
    """
    rng = np.random.default_rng(0)
    symbols = ["O", "H", "H"] * N_MOLECULES
    masses = np.where(np.array(symbols) == "O", 15.999, 1.008)
    places = rng.uniform(0.0, CELL, size=(len(symbols), 3))
    head = (
        f'{len(symbols)}\nLattice="{CELL} 0.0 0.0 0.0 {CELL} 0.0 0.0 0.0 {CELL}" '
        'Properties=species:S:1:pos:R:3:vel:R:3 pbc="T T T"\n'
    )
    texts = []
    for _ in range(100):
        velocities = rng.normal(size=places.shape) * np.sqrt(300.0 * ase.units.kB / masses)[:, None]
        rows = np.hstack([places + 0.05 * rng.normal(size=places.shape), velocities])
        lines = (f"{s:<2}" + "".join(f"{x:16.8f}" for x in row) for s, row in zip(symbols, rows, strict=True))
        texts.append((head + "\n".join(lines) + "\n").encode())
    n_frames = max(100, round(1e6 * megabytes / len(texts[0])))
    with path.open("wb") as stream:
        for i in tqdm(range(n_frames), desc="writing", disable=None):
            stream.write(texts[i % len(texts)])
    return n_frames


def cost(command: list[str]) -> Cost:
    """Run a command to its end, with one thread."""
    started = time.monotonic()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(command)} failed:\n{errors.decode()}")
    unit = 1e6 if sys.platform == "darwin" else 1e3  # of ru_maxrss, for each MB
    return Cost(usage.ru_utime + usage.ru_stime, time.monotonic() - started, usage.ru_maxrss / unit)


def report(megabytes: float, frames: int, costs: dict[str, list[Cost]], as_json: bool) -> None:
    """Print the medians, and what is promised of them."""
    reading, spectra = (statistics.median(each.cpu for each in found) for found in costs.values())
    memory = max(each.megabytes for each in list(costs.values())[1])
    if as_json:
        found = {name: [asdict(each) for each in repeats] for name, repeats in costs.items()}
        print(
            json.dumps({"megabytes": megabytes, "frames": frames, "costs": found, "ratio": spectra / reading}, indent=2)
        )
        return
    print(f"{megabytes:.0f} MB, {frames} frames of {3 * N_MOLECULES} atoms with positions and velocities\n")
    print(f"{'':28}{'CPU / s':>10}{'wall / s':>10}{'memory / MB':>13}")
    for name, repeats in costs.items():
        middle = [statistics.median(getattr(each, what) for each in repeats) for what in ("cpu", "wall", "megabytes")]
        print(f"{name:28}{middle[0]:10.1f}{middle[1]:10.1f}{middle[2]:13.0f}")
    print(f"\nCPU time: {spectra / reading:.2f} times that of reading with ase (promised: {_FASTEST:g} at most)")
    print(f"memory: {memory:.0f} MB (promised: less than {_LEAST:g} MB)")


if __name__ == "__main__":
    main()
