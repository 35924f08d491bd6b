"""Kills of `darkforces run`, its i-PI and its driver, after each of which the same command goes on."""

from __future__ import annotations

import random
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipi_darkforces.errors import ERROR, DarkforcesError
from ipi_darkforces.simulate.folder import RunFolder

from .crystal import RESIDENT, RUN, completed, difference, last_step, repeated_steps, write_input
from .forked import Forked
from .programs import PATIENCE, Group, send, wait_until
from .records import Records

STEPS = 600  # of a simulation
KILLS = 12  # of one simulation, before it is let finish
SOON = 60.0  # seconds in which everything must have ended after a kill
WHO = {"parent": "", "i-PI": " i-pi.xml", "driver": "cli.driver"}  # and what is in its command line


@dataclass(frozen=True)
class Kill:
    """Signals that are sent at once: to whom, and which."""

    signals: tuple[tuple[str, signal.Signals], ...]

    def __str__(self) -> str:
        names = {name for _, name in self.signals}
        who = " and ".join(who for who, _ in self.signals)
        return f"{who}: {' and '.join(sorted(name.name for name in names))}"


ALL = (
    *(Kill(((who, signal.SIGKILL),)) for who in WHO for _ in range(3)),
    *(Kill(((who, number),)) for who in WHO for number in (signal.SIGTERM, signal.SIGINT)),
    Kill((("parent", signal.SIGINT), ("parent", signal.SIGINT))),
    Kill((("parent", signal.SIGKILL), ("i-PI", signal.SIGKILL))),
    Kill((("parent", signal.SIGKILL), ("driver", signal.SIGKILL))),
    Kill((("i-PI", signal.SIGKILL), ("driver", signal.SIGKILL))),
    Kill(tuple((who, signal.SIGKILL) for who in WHO)),  # the machine goes down
)
WITHOUT_DRIVER = tuple(kill for kill in ALL if "driver" not in str(kill))


def reference(folder: Path, steps: int = STEPS) -> Path:
    """A simulation without faults: the folder of its run."""
    if not (folder / "run" / "summary.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_input(folder, steps)
        with Group() as group:
            process = group.start(RUN, folder, folder / "said.log")
            assert process.wait(PATIENCE) == 0, (folder / "said.log").read_text()
    return folder / "run"


def chain(
    records: Records,
    whole: Path,
    seed: int,
    wanted: Callable[[], bool],
    steps: int = STEPS,
    kills: int = KILLS,
) -> None:
    """One simulation that is killed again and again, goes on each time, and is then compared with one without faults.

    :param records: where each kill, and how it ended, is added
    :param whole: the folder of the run without faults
    :param seed: decides who is killed and when; an odd one is for a model in the process of i-PI
    :param wanted: whether further kills are
    """
    choice, resident = random.Random(seed), seed % 2 == 1
    command, possible, where = (RESIDENT, WITHOUT_DRIVER, " (resident)") if resident else (RUN, ALL, "")
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name)
        write_input(folder, steps)
        scratch: list[str] = []
        for _ in range(kills):
            if not wanted() or last_step(folder / "run") >= steps:
                break
            kill = choice.choice(possible)
            record = _killed(folder, command, kill, choice)
            records.add(part="runs", chain=seed, kill=f"{kill}{where}", **record)
            scratch += record["scratch"]
            if record["refused"]:
                return
        end = _finished(folder, command, whole)
        records.add(part="ends", chain=seed, **end, scratch=[place for place in scratch if Path(place).exists()])


def _killed(folder: Path, command: Sequence[str], kill: Kill, choice: random.Random) -> dict[str, Any]:
    """Start or go on, kill at a random time, and see what is left."""
    run, log = folder / "run", folder / "said.log"
    log.unlink(missing_ok=True)
    before, saved_before = last_step(run), _saved(run)[0]
    with Group() as group:
        process = group.fork(command, folder, log)
        running = choice.random() < 0.7
        if running:  # some steps later, in whatever it is doing then
            goal = before + choice.randrange(1, 80)
            wait_until(lambda: last_step(run) >= goal or process.poll() is not None)
            time.sleep(choice.uniform(0.0, 0.1))
        else:  # at its start, or soon after it
            time.sleep(choice.uniform(0.0, 6.0))
        scratch = _scratch(group)
        sent = _send(group, kill, process)
        seconds, left = group.wait_for_end(SOON)
        group.end()
    said = log.read_text(errors="replace")
    done, (saved, refused) = last_step(run), _saved(run)
    return {
        "sent": sent,
        "when": "running" if running else "starting",
        "done": done,
        "lost": max(done, 0) - saved if done != before else saved_before - saved,
        "seconds": round(seconds, 2),
        "left": left,
        "scratch": [place for place in scratch if Path(place).exists()],
        "traceback": "Traceback" in said,
        "errors": [line for line in said.splitlines() if line.startswith(ERROR)],
        "refused": refused,
    }


def _saved(run: Path) -> tuple[int, str]:
    """The step from which a run would go on, and the reason why it would not."""
    try:
        state = RunFolder(run).states.last()
        return 0 if state is None else state.step, ""
    except DarkforcesError as error:
        return 0, str(error)


def _send(group: Group, kill: Kill, parent: Forked) -> bool:
    """Send the signals as soon as those who are to get them are there; whether somebody was still there to get them."""
    found: list[tuple[int, int]] = []

    def all_there() -> bool:
        found.clear()
        for who, number in kill.signals:
            pids = [parent.pid] if who == "parent" else group.called(WHO[who])
            found.extend((pid, number) for pid in pids[:1])
        return len(found) == len(kill.signals) or parent.poll() is not None

    wait_until(all_there)
    sent = [send(pid, number) for pid, number in found]
    return any(sent)


def _scratch(group: Group) -> list[str]:
    """The folders of sockets of those that run now."""
    commands = " ".join(group.members().values())
    return sorted({str(Path(place)) for place in re.findall(r" -S (/\S+)", commands)})


def _finished(folder: Path, command: Sequence[str], whole: Path) -> dict[str, Any]:
    """Let the simulation finish, and compare."""
    log = folder / "said.log"
    log.unlink(missing_ok=True)
    with Group() as group:
        process = group.start(command, folder, log)
        code = process.wait(PATIENCE)
        _, left = group.wait_for_end(SOON)
    said = log.read_text(errors="replace")
    run = folder / "run"
    if not completed(code, said):
        return {"code": code, "said": said[-2000:], "difference": None, "repeated": None, "left": left}
    return {"code": code, "difference": difference(run, whole), "repeated": repeated_steps(run), "left": left}
