"""The losses when programs are killed, disks are full, and peers send nonsense.

    python benchmarks/faults.py                                        # everything
    python benchmarks/faults.py runs --kills 20                        # one part, a few minutes
    python benchmarks/faults.py --output faults --report               # the tables of what has been done

Each part does at random what happens to people. Everything that happened is a line in OUTPUT/records.jsonl; the same
command goes on where it was stopped, or adds what is missing when it is asked for more.

    runs         `darkforces run`, its i-PI and its driver are killed, alone and together; the same command goes on
    drivers      drivers of an i-PI that was started by hand are killed, and i-PI's own; the next one takes over
    simulations  such an i-PI is killed; a driver that stays serves the next one
    disks        runs on a disk that is full at random points, or read-only (as root; else left out)
    decoder      mutated streams of messages to the decoder alone
    streams      such streams to a driver, with a good client beside; and to i-PI's own driver
    peers        answers per second of a good client beside each kind of bad one (`bad_clients.py`)

The simulation is NVE of four atoms of aluminium with ase's EMT potential, deterministic, with a checkpoint every 25
steps. What goes on after faults must end as it does without them, to rounding.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from injection import by_hand, disks, runs, streams
from injection.programs import Group
from injection.records import Records
from injection.report import markdown
from tqdm import tqdm

PARTS = ("runs", "drivers", "simulations", "disks", "decoder", "streams", "peers")
HERE = Path(__file__).resolve().parent
# Of all kills, shared among the parts that are done. To start `darkforces run`, i-PI and a driver takes five times as
# long as to start one of them.
SHARE = {"runs": 0.15, "drivers": 0.35, "simulations": 0.5}
BEGIN, END = "<!-- what faults.py wrote begins here -->", "<!-- and ends here -->"


def main() -> None:
    """Do what is missing, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="of those above (default: all)")
    parser.add_argument("--kills", type=int, default=1000, help="in all these parts together (default: %(default)s)")
    parser.add_argument("--messages", type=int, default=1_000_000, help="to decoder and driver (default: %(default)s)")
    parser.add_argument("--disks", type=int, default=40, help="runs on bad disks (default: %(default)s)")
    parser.add_argument("--theirs", type=int, default=20, help="of each, with i-PI's own driver (default: %(default)s)")
    parser.add_argument("--at-once", type=int, default=2, help="simulations at a time (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("faults"), help="folder of records (default: %(default)s)")
    parser.add_argument("--report", action="store_true", help="do nothing, but print what was done")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables into this file, between its marks")
    parser.add_argument("--json", action="store_true", help="print all records for machines, instead of tables")
    args = parser.parse_args()
    parts = args.parts or PARTS
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; expected {', '.join(PARTS)}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    records = Records(args.output / "records.jsonl", _version())
    if not args.report:
        # In the background of a shell, interrupts are ignored, and what we start would not hear those that we send.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        try:
            shared = sum(SHARE.get(part, 0.0) for part in parts)
            for part in parts:
                _do(part, round(SHARE.get(part, 0.0) / shared * args.kills) if shared else 0, records, args)
        except KeyboardInterrupt:
            records.close()  # what is killed now does not count
            Group.end_all()
            os._exit(130)  # without waiting for threads
    tables = markdown(records)
    if args.write:
        before, _, rest = args.write.read_text().partition(BEGIN)
        args.write.write_text(f"{before}{BEGIN}\n{tables}\n{END}{rest.partition(END)[2]}")
    print(json.dumps(records.all, indent=1) if args.json else tables)


def _version() -> str:
    described = subprocess.run(["git", "-C", str(HERE), "describe", "--always"], capture_output=True, text=True)
    return described.stdout.strip() or "unknown"


def _do(part: str, kills: int, records: Records, args: argparse.Namespace) -> None:
    """Do what is missing of a part."""
    places = args.output.resolve()
    if part == "runs":
        whole = runs.reference(places / "whole")
        _repeat(part, kills, records, args.at_once, lambda seed, wanted: runs.chain(records, whole, seed, wanted))
    elif part == "drivers":
        whole = runs.reference(places / "whole")
        for which, n in zip(by_hand.COMMANDS, (kills, args.theirs), strict=True):
            _repeat(
                part, n, records, args.at_once, lambda s, w, k=which: by_hand.drivers(records, whole, s, w, k), which
            )
    elif part == "simulations":
        for which, n in zip(by_hand.COMMANDS, (kills, args.theirs), strict=True):
            _repeat(part, n, records, args.at_once, lambda s, w, k=which: by_hand.simulations(records, s, w, k), which)
    elif part == "disks" and disks.available():
        whole = runs.reference(places / "short", disks.STEPS)
        for i in tqdm(range(len(records.of("disks")), args.disks), desc=part, disable=None):
            (disks.read_only if i % 4 == 3 else disks.full)(records, whole, random.SystemRandom().randrange(2**31))
    elif part == "decoder":
        done = sum(record["messages"] for record in records.of(part))
        with tqdm(total=args.messages, initial=done, desc=part, disable=None) as bar:
            if done < args.messages:
                records.add(part=part, **streams.to_the_decoder(args.messages - done, done, bar.update))
    elif part == "streams":
        done = sum(record["messages"] for record in records.of(part))
        with tqdm(total=args.messages, initial=done, desc=part, disable=None) as bar:
            streams.to_a_driver(records, args.messages - done, done, bar.update)
        done = len(records.of("their streams"))
        with tqdm(total=args.theirs, initial=done, desc="their streams", disable=None) as bar:
            streams.to_their_driver(records, args.theirs - done, done, bar.update)
    elif part == "peers" and not records.of("peers"):
        command = [sys.executable, str(HERE / "bad_clients.py"), "--json"]
        records.add(part="peers", rates=json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))


def _repeat(
    part: str,
    n: int,
    records: Records,
    at_once: int,
    trial: Callable[[int, Callable[[], bool]], None],
    which: str | None = None,
) -> None:
    """Try again and again, several at a time, until there are n records of the part (of one of both drivers)."""

    def done() -> int:
        return len(records.of(part) if which is None else records.of(part, which=which))

    with tqdm(total=n, initial=done(), desc=which and f"{part} ({which})" or part, disable=None) as bar:

        def wanted() -> bool:
            bar.update(done() - bar.n)
            return done() < n

        def worker(number: int) -> None:
            while wanted():
                trial(random.SystemRandom().randrange(2**31), wanted)

        pool = ThreadPoolExecutor(at_once)  # not as a context, which would wait for threads when we are stopped
        list(pool.map(worker, range(at_once)))


if __name__ == "__main__":
    main()
