"""Running what is left of a campaign through Snakemake: on this machine, or on a cluster by its executor plugins.

Snakemake is a program beside us, as i-PI is: told to stop, it stops its jobs, which stop their simulations cleanly.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from ..errors import DarkforcesError
from ..machine import cores
from ..signals import Interrupts, noted_interrupts
from ..simulate.processes import Process
from .folder import CampaignFolder

_SNAKEFILE = Path(__file__).with_name("Snakefile")
POLL = 0.5  # seconds between looks at how far it is


def check_installed() -> None:
    """Raise a DarkforcesError unless Snakemake is there."""
    if find_spec("snakemake") is None:
        raise DarkforcesError(
            "a campaign runs through Snakemake, which is not installed: pip install 'ipi-darkforces[campaign]' "
            "(Python 3.11 or later)"
        )


def run(folder: CampaignFolder, jobs: int, options: str, watch: Callable[[], None]) -> bool:
    """Run all simulations in a folder that have not ended.

    :param folder: prepared
    :param jobs: simulations at a time
    :param options: for Snakemake, as on its command line: an executor, a profile
    :param watch: called now and then
    :return: whether it was let to its end; False if the user interrupted it
    :raises DarkforcesError: if Snakemake failed before any simulation was started
    """
    threads = max(1, cores() // jobs)
    command = ["-m", "snakemake", "--snakefile", str(_SNAKEFILE), "--directory", str(folder.path)]
    # We have our own lock, and know ourselves what is to be done again.
    command += ["--nolock", "--rerun-incomplete", "--rerun-triggers", "mtime", "--keep-going", "--jobs", str(jobs)]
    command += ["--cores", str(jobs * threads), *shlex.split(options)]
    command += ["--config", f"threads={threads}", f"python={sys.executable}"]
    log = folder.log("snakemake")
    log.write_bytes(b"")
    # Paths among its options are relative to where we are.
    with noted_interrupts() as interrupts, Process("Snakemake", command, Path.cwd(), log) as snakemake:
        try:
            while snakemake.running and not interrupts.came:
                snakemake.wait(POLL)
                watch()
        finally:
            _stop(snakemake, interrupts)
        if interrupts.came:
            return False
        failed = snakemake.failed
    if failed and "rule simulation:" not in log.read_text(errors="replace"):
        raise DarkforcesError(f"Snakemake failed: {_last_line(log)} (see {log})")
    return True


def _stop(snakemake: Process, interrupts: Interrupts) -> None:
    """Interrupt it as Ctrl-C in a terminal does: all of its processes hear it, and Snakemake waits for its jobs."""
    while snakemake.running:
        snakemake.interrupt(everyone=True)
        insistent = interrupts.insistent
        while not snakemake.wait(POLL) and interrupts.insistent == insistent:  # jobs need their time to stop
            pass


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
