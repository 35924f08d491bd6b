"""``darkforces analyze``: what do the trajectories say? One subcommand for each question."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..analysis import drift, temperatures
from ..analysis.formats import ASE_VELOCITY
from ..analysis.runs import Reading, Run
from ..analysis.selection import Selection
from ..errors import ERROR, DarkforcesError
from .question import Question, Row, aligned, write_csv

logger = logging.getLogger(__name__)

DESCRIPTION = """\
Looks at what simulations left behind. A RUN is a folder made by `darkforces run`, a folder with outputs of i-PI, an
i-PI input beside its outputs, or one file: properties or a trajectory of i-PI, an extended XYZ or an ase trajectory.
A run that is still going on can be analysed. Errors are standard errors that account for time correlation.
"""

EPILOG = """\
examples
  darkforces analyze drift nve-direct nve-conservative --plot drift.pdf
  darkforces analyze temperatures svr-*/ --discard 1 --csv temperatures.csv
  darkforces analyze temperatures md.extxyz --interval 2 --target 300
"""

# Å/ps
VELOCITY_UNITS = {"ase": ASE_VELOCITY, "A/ps": 1.0, "A/fs": 1000.0}
_PICTURES = (".png", ".pdf")
_LARGE = 2e7  # bytes of a file that takes long enough to show progress


def _drift_row(result: drift.Drift) -> Row:
    return {
        "run": result.name,
        "time / ps": float(result.time[-1] - result.time[0]),
        "temperature drift / (K/ps)": result.temperature_slope,
        f"conserved drift / ({result.energy_unit}/ps)": result.conserved_slope,
        "over std of kinetic energy / (1/ps)": result.relative_slope,
    }


def _temperatures_row(result: temperatures.Temperatures) -> Row:
    row: Row = {
        "run": result.name,
        "time / ps": float(result.time[-1] - result.time[0]),
        "from": result.source,
        "target / K": result.target,
    }
    for species, mean in result.means.items():
        row[f"T({species}) / K"] = mean
        row[f"off({species})"] = result.deviations[species]
    return row


DRIFT = Question(
    "drift",
    "does it heat? slopes of temperature and conserved quantity",
    "Slopes of the temperature and of the conserved quantity, with their errors. The second is the power that wrong "
    "forces or too long a time step feed in, also with a thermostat; the last column is the same over the standard "
    "deviation of the kinetic energy for each atom.",
    lambda run, selection, args: drift.measure(run, selection),
    _drift_row,
    lambda results, path, args: drift.draw(results, path),
)

TEMPERATURES = Question(
    "temperatures",
    "is energy shared out as it should be? temperatures of all atoms and of each species",
    "Mean kinetic temperatures of all atoms and of each species, in i-PI's convention, from i-PI's properties where "
    "they have them, else from velocities. 'off' is how many standard errors each is above the target: that of the "
    "thermostat in the input, or --target.",
    lambda run, selection, args: temperatures.measure(run, selection),
    _temperatures_row,
    lambda results, path, args: temperatures.draw(results, path),
)

QUESTIONS = (DRIFT, TEMPERATURES)


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand, with one subcommand for each question."""
    parser = commands.add_parser(
        "analyze",
        help="look at trajectories: drift, temperatures",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    questions = parser.add_subparsers(title="questions", metavar="QUESTION", required=True)
    for question in QUESTIONS:
        asked = questions.add_parser(question.name, help=question.help, description=question.description)
        asked.add_argument("run", metavar="RUN", nargs="+", type=Path, help="folder, i-PI input, or file")
        question.add_options(asked)
        _add_options(asked)
        asked.set_defaults(command=run, question=question)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--discard", type=float, default=0.0, metavar="PS", help="equilibration to leave out, in ps")
    parser.add_argument(
        "--target", type=float, metavar="K", help="temperature to compare with (default: that of the thermostat)"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print everything for machines")
    output.add_argument("--csv", type=Path, metavar="FILE", help="write the table as CSV")
    output.add_argument("--plot", type=Path, metavar="FILE", help="draw a picture of all runs: .png or .pdf")
    output.add_argument("--overwrite", action="store_true", help="replace these files if they exist")
    group = parser.add_argument_group("for files that do not say it")
    group.add_argument("--interval", type=float, metavar="FS", help="time between frames of a trajectory, in fs")
    group.add_argument(
        "--velocity-unit",
        choices=VELOCITY_UNITS,
        default="ase",
        help="of columns with velocities in extended XYZ files (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Ask the question about all runs."""
    _check(args)
    question: Question = args.question
    notices: list[str] = []
    answers, failed = _ask(question, args, notices)
    if not answers:
        return 1
    rows = [question.row(answer) for answer in answers]
    if args.plot is not None:
        question.draw(answers, args.plot, args)
    if args.csv is not None:
        write_csv(rows, args.csv)
    if args.json:
        found = [answer.as_json() for answer in answers]
        print(json.dumps({"question": question.name, "runs": found, "notices": notices}, indent=2))
    else:
        print(aligned(rows))
        for file in (args.plot, args.csv):
            if file is not None:
                print(f"written: {file}")
    return 1 if failed else 0


def _check(args: argparse.Namespace) -> None:
    if not args.discard >= 0.0:
        raise DarkforcesError(f"--discard {args.discard:g} is not a time: expected 0 ps or more")
    for name, unit in (("target", "K"), ("interval", "fs")):
        value = getattr(args, name)
        if value is not None and not value > 0.0:
            raise DarkforcesError(f"--{name} {value:g} cannot be: expected more than 0 {unit}")
    if args.plot is not None and args.plot.suffix.lower() not in _PICTURES:
        raise DarkforcesError(f"--plot {args.plot} is of no known kind: expected {' or '.join(_PICTURES)}")
    for file in (args.plot, args.csv):
        if file is not None and file.exists() and not args.overwrite:
            raise DarkforcesError(f"'{file}' exists; choose another name, or --overwrite it")
        if file is not None and not file.parent.is_dir():
            raise DarkforcesError(f"'{file}' cannot be written: there is no folder '{file.parent}'")


def _ask(question: Question, args: argparse.Namespace, notices: list[str]) -> tuple[list[Any], bool]:
    """The answers for all runs for which there is one, and whether some have none.

    :param notices: what is wrong with files is added here, and printed
    """

    def notice(text: str) -> None:
        notices.append(text)
        logger.warning(text)

    reading = Reading(None if args.interval is None else 1e-3 * args.interval, VELOCITY_UNITS[args.velocity_unit])
    answers, failed, names = [], False, Counter(_name(path) for path in args.run)
    for path in args.run:
        with _Bar(str(path)) as bar:
            try:
                simulation = Run.read(path, notice, reading)
                if names[_name(path)] > 1:
                    simulation = replace(simulation, name=str(path))
                selection = Selection(args.discard, args.target, bar.show, notice)
                answers.append(question.measure(simulation, selection, args))
            except DarkforcesError as error:
                failed = True
                notices.append(str(error))
                print(f"{ERROR}{error}", file=sys.stderr)
    return answers, failed


def _name(path: Path) -> str:
    """What a run would be called, near enough to see whether two are called the same."""
    return path.resolve().name


class _Bar:
    """Progress through the files of a run that are large, on a terminal."""

    def __init__(self, name: str):
        self._name = name
        self._bar: tqdm | None = None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: int, total: int) -> None:
        """Show how far it is."""
        if total < _LARGE or not sys.stderr.isatty():
            return
        if self._bar is None:
            self._bar = tqdm(total=total, desc=self._name, unit="B", unit_scale=True)
        if done < self._bar.n:  # the next file
            self._bar.reset(total)
        self._bar.update(done - self._bar.n)
