"""Kills of i-PI and of drivers that were started by hand, as `i-pi input.xml` and `i-pi-darkdriver`; i-PI's own beside.

A driver that is killed shall cost nothing but time: i-PI waits for the next one. A driver that is told to stay shall
outlive any i-PI.
"""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ipi.scripting import read_output

from .crystal import DRIVER, IPI, NAME, THEIRS, last_step, write_input
from .forked import Forked
from .programs import Group, wait_until
from .records import Records

STEPS = 100_000  # more than are made
KILLS = 25  # of one simulation
HANGS = 60.0  # seconds without a step, after which i-PI is taken to wait for ever
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
OURS = "i-pi-darkdriver"
COMMANDS = {OURS: DRIVER, "i-pi-driver-py": THEIRS}


class Simulation:
    """An i-PI that was started by hand.

    :param folder: where it runs, and where its socket is
    """

    def __init__(self, group: Group, folder: Path):
        self._folder, self._log = folder, folder / "i-pi.log"
        for left in (f"{NAME}.out", "darkforces", "i-pi.log"):  # by one that was killed
            (folder / left).unlink(missing_ok=True)
        self.process = group.fork((IPI, "-S", f"{folder}/", f"{NAME}.xml"), folder, self._log)
        wait_until((folder / "darkforces").exists)

    @property
    def lives(self) -> bool:
        """Tell whether it runs, and its thread that talks to drivers too."""
        return self.process.poll() is None and "Exception in thread" not in self._log.read_text(errors="replace")

    def makes_steps(self, n: int, driver: Forked) -> bool:
        """Wait until it has made n further steps, with a driver; whether it does."""
        goal = last_step(self._folder) + n
        wait_until(lambda: last_step(self._folder) >= goal or not self.lives or driver.poll() is not None, HANGS)
        return last_step(self._folder) >= goal


def drivers(records: Records, whole: Path, seed: int, wanted: Callable[[], bool], which: str = OURS) -> None:
    """Drivers of one i-PI that are killed one after the other.

    :param records: where each kill, and how it ended, is added
    :param whole: the folder of a run with our driver and without faults, to compare with
    :param wanted: whether further kills are
    :param which: ours or theirs
    """
    choice = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="faults-") as name, Group() as everybody:
        folder = Path(name)
        write_input(folder, STEPS)
        simulation = Simulation(everybody, folder)
        command = (*COMMANDS[which], "-S", f"{folder}/")
        driver = everybody.fork(command, folder, folder / "driver.log")
        assert simulation.makes_steps(2, driver), (folder / "driver.log").read_text()
        goes_on = True
        for _ in range(KILLS):
            if not (goes_on and wanted()):
                break
            number = choice.choice(SIGNALS)
            simulation.makes_steps(choice.randrange(40), driver)
            time.sleep(choice.uniform(0.0, 0.1))
            driver.send_signal(number)
            driver.wait()
            driver = everybody.fork(command, folder, folder / "driver.log")
            goes_on = simulation.makes_steps(2, driver)
            records.add(part="drivers", which=which, kill=number.name, goes_on=goes_on)
        if which == OURS:
            records.add(part="tables", **_compared(folder, whole))


def simulations(records: Records, seed: int, wanted: Callable[[], bool], which: str = OURS) -> None:
    """Simulations that are killed one after the other, with one driver that stays (theirs cannot be told to)."""
    choice = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="faults-") as name, Group() as everybody:
        folder = Path(name)
        write_input(folder, STEPS)
        command = (*COMMANDS[which], *(["--stay"] if which == OURS else []), "-S", f"{folder}/")
        driver = None
        for _ in range(KILLS):
            if not wanted():
                return
            number = choice.choice(SIGNALS)
            with Group() as group:
                simulation = Simulation(group, folder)
                driver = driver or everybody.fork(command, folder, folder / "driver.log")
                served = simulation.makes_steps(choice.randrange(1, 40), driver)
                time.sleep(choice.uniform(0.0, 0.1))
                simulation.process.send_signal(number)
                simulation.process.wait()
            time.sleep(1.0)  # for the driver to fall over it
            lives = driver.poll() is None
            records.add(part="simulations", which=which, kill=number.name, served=served, lives=lives)
            if not (served and lives):
                return


def _compared(folder: Path, whole: Path) -> dict[str, Any]:
    """Difference of i-PI's table from that of the run without faults, relative to its largest numbers."""
    table, reference = (read_output(str(place / f"{NAME}.out"))[0] for place in (folder, whole))
    n = min(len(table["step"]), len(reference["step"]))
    found = [np.abs(table[k][:n] - reference[k][:n]).max() / np.abs(reference[k]).max() for k in ("step", "potential")]
    return {"steps": n, "difference": float(max(found))}
