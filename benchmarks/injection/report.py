"""Tables of what was tried and what was lost, in Markdown."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .crystal import CHECKPOINT
from .records import Records
from .runs import SOON

Record = dict[str, Any]
ROUNDING = 1e-9  # relative; an error of a force or a step that is lost or made twice is far more


def markdown(records: Records) -> str:
    """All tables for which there is something."""
    parts: list[tuple[str, Callable[[list[Record]], list[str]]]] = [
        ("runs", _runs),
        ("ends", _ends),
        ("drivers", _drivers),
        ("tables", _tables),
        ("simulations", _simulations),
        ("disks", _disks),
        ("decoder", _decoder),
        ("streams", _streams),
        ("their streams", _their_streams),
        ("peers", _peers),
    ]
    lines = [f"{_machine()}; versions: {', '.join(sorted({record['version'] for record in records.all}))}"]
    for part, table in parts:
        if found := records.of(part):
            lines += ["", *table(found)]
    return "\n".join(lines)


def _machine() -> str:
    model = "processor unknown"
    if Path("/proc/cpuinfo").exists():
        found = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = found[0].partition(":")[2].strip() if found else model
    return f"{model}, {os.cpu_count()} cores"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    return [f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows)]


def _by(records: list[Record], *keys: str) -> list[tuple[str, list[Record]]]:
    """Group by name."""
    names = [", ".join(str(record[key]) for key in keys) for record in records]
    return [(name, [r for r, own in zip(records, names, strict=True) if own == name]) for name in sorted(set(names))]


def _runs(records: list[Record]) -> list[str]:
    rows = []
    for kill, group in [*_by(records, "kill"), ("all", records)]:
        hit = [record for record in group if record["sent"]]
        seconds = [record["seconds"] for record in hit] or [0.0]
        rows.append(
            [
                kill,
                len(hit),
                sum(record["when"] == "starting" for record in hit),
                max((record["lost"] for record in hit), default=0),
                sum(record["lost"] > CHECKPOINT for record in hit),
                f"{np.median(seconds):.1f}, {max(seconds):.1f}",
                sum(bool(record["left"]) for record in hit),
                sum(bool(record["scratch"]) for record in hit),
                sum(record["traceback"] for record in hit),
                sum(bool(record["refused"]) for record in hit),
            ]
        )
    head = ["killed", "times", "of these at its start", "most steps lost", f"more than {CHECKPOINT}"]
    head += ["s to the end of all: median, longest", f"something runs after {SOON:g} s", "scratch folder left"]
    return _table([*head, "traceback", "cannot go on"], rows)


def _ends(records: list[Record]) -> list[str]:
    ended = [record for record in records if record["difference"] is not None]
    worst = max((record["difference"] for record in ended), default=0.0)
    wrong = sum(record["difference"] > ROUNDING for record in ended)
    return [
        f"{len(ended)} of {len(records)} simulations that were killed again and again have finished; "
        f"{wrong} of them ended otherwise than without kills (largest relative difference: {worst:.1e}); "
        f"steps that were computed again, on average: {np.mean([r['repeated'] for r in ended] or [0]):.1f}; "
        f"scratch folders left in the end: {sum(len(record['scratch']) for record in records)}."
    ]


def _drivers(records: list[Record]) -> list[str]:
    rows = [[name, len(group), sum(record["goes_on"] for record in group)] for name, group in _by(records, *_WHICH)]
    return _table(["driver killed beside i-PI", "times", "i-PI goes on with the next driver"], rows)


def _tables(records: list[Record]) -> list[str]:
    worst = max(record["difference"] for record in records)
    return [
        f"Steps of i-PI that were compared with those without kills: {sum(record['steps'] for record in records)}; "
        f"largest relative difference: {worst:.1e}."
    ]


def _simulations(records: list[Record]) -> list[str]:
    rows = [
        [name, len(group), sum(record["served"] for record in group), sum(record["lives"] for record in group)]
        for name, group in _by(records, *_WHICH)
    ]
    return _table(["i-PI killed beside its driver", "times", "had been served", "the driver lives on"], rows)


def _disks(records: list[Record]) -> list[str]:
    rows = []
    for kind, group in _by(records, "kind"):
        failures = [failure for record in group for failure in record["failures"] if failure["code"] != 0]
        ended = [record["difference"] for record in group if record["difference"] is not None]
        rows.append(
            [
                kind,
                len(group),
                len(failures),
                sum(len(failure["errors"]) == 1 and not failure["traceback"] for failure in failures),
                sum(failure["traceback"] for failure in failures),
                len(ended),
                sum(difference <= ROUNDING for difference in ended),
            ]
        )
    head = ["disk", "runs", "attempts that failed", "with one line", "with a traceback", "finished with space"]
    return _table([*head, "and as without faults"], rows)


def _decoder(records: list[Record]) -> list[str]:
    endings = sum((Counter(record["endings"]) for record in records), Counter[str]())
    rows = [[name, number] for name, number in endings.most_common()]
    total = sum(record["messages"] for record in records)
    return _table([f"decoder alone, {total} messages in {sum(endings.values())} streams", "streams"], rows)


def _streams(records: list[Record]) -> list[str]:
    head = [
        "messages to a driver",
        "mutated streams",
        "of these refused",
        "driver ended",
        "tracebacks",
        "right answers to a good client",
    ]
    row = [
        sum(record["messages"] for record in records),
        sum(record["streams"] for record in records),
        sum(record["refused"] for record in records),
        sum(record["ended"] for record in records),
        sum(record["traceback"] for record in records),
        sum(record["answers"] for record in records),
        f"{max(record['difference'] for record in records):.1e}",
        max(record["slowest"] for record in records),
        max(record["megabytes"] for record in records),
    ]
    return _table([*head, "largest error, hartree/bohr", "slowest, s", "most memory, MB"], [row])


def _their_streams(records: list[Record]) -> list[str]:
    rows = [[name, len(group)] for name, group in _by(records, "ending")]
    return _table(["i-pi-driver-py after a mutated stream", "streams"], rows)


def _peers(records: list[Record]) -> list[str]:
    rows = []
    for kind, rates in records[-1]["rates"].items():
        ratios = np.array(rates["beside"]) / np.array(rates["alone"])
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        rows.append(
            [
                kind,
                f"{np.median(rates['alone']):.0f}",
                f"{np.median(rates['beside']):.0f}",
                f"{middle:.3f} ({low:.3f} to {high:.3f})",
            ]
        )
    return _table(["a peer that", "answers per second without it", "with it", "ratio (middle half)"], rows)


_WHICH = ("which", "kill")
