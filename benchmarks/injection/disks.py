"""Full disks and folders that cannot be written to (as root, on Linux): a run that fails there goes on when it can."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ipi_darkforces.errors import ERROR

from .crystal import RUN, completed, difference, last_step, write_input
from .programs import PATIENCE, Group
from .records import Records

STEPS = 300  # of a simulation
SIZE = 800_000  # bytes of the disk; the run needs some half of that
AGAIN = 2  # times that a run is tried with a disk that is full, before it gets all of it


def available() -> bool:
    """Tell whether disks can be mounted here."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", name], capture_output=True)
        if done.returncode == 0:
            subprocess.run(["umount", name], check=True)
        return done.returncode == 0


def full(records: Records, whole: Path, seed: int) -> None:
    """A run on a disk that is full at a random point, several times; then there is space, and it is let finish.

    :param records: where what happened is added
    :param whole: the folder of the same run without faults
    """
    choice = random.Random(seed)
    with _disk() as disk:
        write_input(disk, STEPS)
        failures = []
        for _ in range(AGAIN):
            filling = disk / "filling"
            used = sum(file.stat().st_blocks * 512 for file in disk.rglob("*") if file.is_file())
            filling.write_bytes(b"\0" * max(0, SIZE - used - choice.randrange(0, 150_000)))
            failures.append(_attempt(disk))
            filling.unlink()
            if failures[-1]["code"] == 0:
                break
        records.add(part="disks", kind="full", **_verdict(disk, whole, failures))


def read_only(records: Records, whole: Path, seed: int) -> None:
    """A run that was stopped, whose disk then cannot be written to, and can again."""
    choice = random.Random(seed)
    with _disk() as disk:
        write_input(disk, STEPS)
        with Group() as group:
            process = group.start(RUN, disk, disk / "said.log")
            goal = choice.randrange(1, STEPS // 2)
            while last_step(disk / "run") < goal and process.poll() is None:
                pass
            process.terminate()
            process.wait(PATIENCE)
            group.wait_for_end(PATIENCE)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        failures = [_attempt(disk)]
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        records.add(part="disks", kind="read-only", **_verdict(disk, whole, failures))


def _attempt(disk: Path) -> dict[str, Any]:
    """Start or go on, and see how it ends; what it says goes to another disk."""
    with tempfile.TemporaryDirectory(prefix="faults-") as name, Group() as group:
        log = Path(name) / "said.log"
        code = group.start(RUN, disk, log).wait(PATIENCE)
        _, left = group.wait_for_end(60.0)
        said = log.read_text(errors="replace")
    errors = [line for line in said.splitlines() if line.startswith(ERROR)]
    return {"code": code, "traceback": "Traceback" in said, "errors": errors, "left": left, "said": said[-3000:]}


def _verdict(disk: Path, whole: Path, failures: list[dict[str, Any]]) -> dict[str, Any]:
    """Let it finish where there is space, and compare."""
    done = last_step(disk / "run")
    last = _attempt(disk) if failures[-1]["code"] else failures[-1]
    same = difference(disk / "run", whole) if completed(last["code"], last["said"]) else None
    return {"failures": failures, "done": done, "last": last, "difference": same}


@contextmanager
def _disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", name], check=True)
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "-l", name], check=True)
