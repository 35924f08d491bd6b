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

from ..analysis.formats import ASE_VELOCITY
from ..analysis.runs import Reading, Run
from ..analysis.selection import Selection
from ..errors import ERROR, DarkforcesError
from .question import Question, aligned, write_csv, write_curves
from .questions import QUESTIONS

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
  darkforces analyze spectra svr-*/ --discard 1 --plot spectra.pdf --data spectra.csv
  darkforces analyze structure nve-conservative svr-direct --plot structure.png
"""

# Å/ps
VELOCITY_UNITS = {"ase": ASE_VELOCITY, "A/ps": 1.0, "A/fs": 1000.0}
_PICTURES = (".png", ".pdf")
_LARGE = 2e7  # bytes of a file that takes long enough to show progress


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand, with one subcommand for each question."""
    parser = commands.add_parser(
        "analyze",
        help="look at trajectories: drift, temperatures, spectra, structure",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    questions = parser.add_subparsers(title="questions", metavar="QUESTION", required=True)
    for question in QUESTIONS:
        asked = questions.add_parser(question.name, help=question.help, description=question.description)
        asked.add_argument("run", metavar="RUN", nargs="+", type=Path, help="folder, i-PI input, or file")
        question.add_options(asked)
        _add_options(asked, question)
        asked.set_defaults(command=run, question=question)


def _add_options(parser: argparse.ArgumentParser, question: Question) -> None:
    parser.add_argument("--discard", type=float, default=0.0, metavar="PS", help="equilibration to leave out, in ps")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print everything for machines")
    output.add_argument("--csv", type=Path, metavar="FILE", help="write the table as CSV")
    output.add_argument("--plot", type=Path, metavar="FILE", help="draw a picture of all runs: .png or .pdf")
    if question.columns is not None:
        output.add_argument("--data", type=Path, metavar="FILE", help="write the curves of all runs as CSV")
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
    rows = [row for answer in answers for row in question.rows(answer)]
    if args.plot is not None:
        question.draw(answers, args.plot, args)
    if args.csv is not None:
        write_csv(rows, args.csv)
    if question.columns is not None and args.data is not None:
        write_curves([(answer.name, question.columns(answer)) for answer in answers], args.data)
    if args.json:
        found = [answer.as_json() for answer in answers]
        print(json.dumps({"question": question.name, "runs": found, "notices": notices}, indent=2))
    else:
        print(aligned(rows))
        for file in _files(args):
            print(f"written: {file}")
    return 1 if failed else 0


def _check(args: argparse.Namespace) -> None:
    if not args.discard >= 0.0:
        raise DarkforcesError(f"--discard {args.discard:g} is not a time: expected 0 ps or more")
    for name, unit in (("target", "K"), ("interval", "fs"), ("farthest", "Å")):
        value = vars(args).get(name)
        if value is not None and not value > 0.0:
            raise DarkforcesError(f"--{name} {value:g} cannot be: expected more than 0 {unit}")
    if args.plot is not None and args.plot.suffix.lower() not in _PICTURES:
        raise DarkforcesError(f"--plot {args.plot} is of no known kind: expected {' or '.join(_PICTURES)}")
    files = _files(args)
    for file in files:
        if files.count(file) > 1:
            raise DarkforcesError(f"'{file}' is to be written twice; choose different names")
        if file.exists() and not args.overwrite:
            raise DarkforcesError(f"'{file}' exists; choose another name, or --overwrite it")
        if not file.parent.is_dir():
            raise DarkforcesError(f"'{file}' cannot be written: there is no folder '{file.parent}'")


def _files(args: argparse.Namespace) -> list[Path]:
    """What is to be written."""
    return [file for file in (args.plot, args.csv, vars(args).get("data")) if file is not None]


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
                selection = Selection(args.discard, vars(args).get("target"), bar.show, notice)
                answers.append(question.measure(simulation, selection, args))
            except DarkforcesError as error:
                failed = True
                # With several runs one must see which.
                text = str(error) if str(path) in str(error) else f"'{path}': {error}"
                notices.append(text)
                print(f"{ERROR}{text}", file=sys.stderr)
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
