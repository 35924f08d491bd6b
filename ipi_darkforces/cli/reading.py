"""Opening the runs that ``darkforces analyze`` is given: options that say what files do not, names, progress."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.formats import ASE_VELOCITY
from ..analysis.runs import Reading, Run
from ..analysis.selection import Selection
from ..analysis.trajectory import Notice
from ..errors import DarkforcesError, printable
from .progress import progress_bar

if TYPE_CHECKING:
    from tqdm import tqdm

# Å/ps
VELOCITY_UNITS = {"ase": ASE_VELOCITY, "A/ps": 1.0, "A/fs": 1000.0}
_LARGE = 2e7  # bytes of a file that takes long enough to show progress


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Which runs, and which part of them."""
    parser.add_argument("run", metavar="RUN", nargs="+", type=Path, help="folder, i-PI input, or file")
    parser.add_argument("--discard", type=float, default=0.0, metavar="PS", help="equilibration to leave out, in ps")


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """What files may not say."""
    group = parser.add_argument_group("for files that do not say it")
    group.add_argument("--interval", type=float, metavar="FS", help="time between frames of a trajectory, in fs")
    group.add_argument(
        "--velocity-unit",
        choices=VELOCITY_UNITS,
        default="ase",
        help="of columns with velocities in extended XYZ files (default: %(default)s)",
    )


def check_numbers(args: argparse.Namespace) -> None:
    """Raise a DarkforcesError for what cannot be."""
    if not args.discard >= 0.0:
        raise DarkforcesError(f"--discard {args.discard:g} is not a time: expected 0 ps or more")
    for name, unit in (("target", "K"), ("interval", "fs"), ("farthest", "Å")):
        value = vars(args).get(name)
        if value is not None and not 0.0 < value < np.inf:
            raise DarkforcesError(f"--{name} {value:g} cannot be: expected more than 0 {unit}")


def read_run(path: Path, args: argparse.Namespace, notice: Notice) -> Run:
    """One of the runs; those that would have the same name are called by their paths.

    :param notice: told what is wrong with files of which a part can be used
    :raises DarkforcesError: if nothing there can be used
    """
    interval = None if args.interval is None else 1e-3 * args.interval
    run = Run.read(path, notice, Reading(interval, VELOCITY_UNITS[args.velocity_unit]))
    alike = Counter(each.resolve().name for each in args.run)
    return replace(run, name=printable(path if alike[path.resolve().name] > 1 else run.name))


def select(args: argparse.Namespace, bar: Bar, notice: Notice) -> Selection:
    """What the command line says about all runs."""
    return Selection(args.discard, vars(args).get("target"), bar.show, notice)


def about(path: Path, error: DarkforcesError) -> str:
    """The message, with the run: with several of them one must see which."""
    return str(error) if str(path) in str(error) else f"'{path}': {error}"


class Bar:
    """Progress through the files of a run that are large, on a terminal."""

    def __init__(self, name: str):
        self._name = name
        self._bar: tqdm | None = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: int, total: int) -> None:
        """Show how far it is."""
        if total < _LARGE or not sys.stderr.isatty():
            return
        if self._bar is None:
            self._bar = progress_bar(total=total, desc=self._name, unit="B", unit_scale=True)
        if done < self._bar.n:  # the next file
            self._bar.reset(total)
        self._bar.update(done - self._bar.n)
