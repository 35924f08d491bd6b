"""``darkforces analyze``: what do the trajectories say? One subcommand for each question, and one for all of them."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import ERROR, DarkforcesError, printable
from . import report
from .files import writing
from .question import Question, Row, aligned, write_csv, write_curves
from .questions import QUESTIONS
from .reading import Bar, about, add_reading_options, add_run_options, check_numbers, read_run, select

logger = logging.getLogger(__name__)

DESCRIPTION = """\
Looks at what simulations left behind. A RUN is a folder made by `darkforces run`, a folder with outputs of i-PI, an
i-PI input beside its outputs, or one file: properties or a trajectory of i-PI, an extended XYZ or an ase trajectory.
A run that is still going on can be analysed. Errors are standard errors that account for time correlation.

Without a question, all of them are asked: tables, curves and pictures go to a folder, with a page that shows them and
says what they mean. A folder that is named like a question needs a slash: ./drift
"""

EPILOG = """\
examples
  darkforces analyze nve-direct nve-conservative --output nve
  darkforces analyze drift nve-direct nve-conservative --plot drift.pdf
  darkforces analyze temperatures svr-*/ --discard 1 --csv temperatures.csv
  darkforces analyze temperatures md.extxyz --interval 2 --target 300
  darkforces analyze spectra svr-*/ --discard 1 --plot spectra.pdf --data spectra.csv
  darkforces analyze structure nve-conservative svr-direct --plot structure.png
"""

_PICTURES = (".png", ".pdf")


def with_question(words: list[str]) -> list[str]:
    """The command line, with the question for everything where no question comes first: ``analyze RUN``.

    A misspelt question is then a run that does not exist; the message says so.
    """
    known = {report.NAME, "-h", "--help", *(question.name for question in QUESTIONS)}
    if words[:1] == ["analyze"] and not known & set(words[1:2]):
        return ["analyze", report.NAME, *words[1:]]
    return words


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand, with one subcommand for each question and one for all of them."""
    parser = commands.add_parser(
        "analyze",
        usage="%(prog)s [-h] [QUESTION] RUN [RUN ...] [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    questions = parser.add_subparsers(title="questions", metavar="QUESTION", required=True, prog=parser.prog)
    for question in QUESTIONS:
        asked = questions.add_parser(question.name, help=question.help, description=question.description)
        add_run_options(asked)
        question.add_options(asked)
        _add_output_options(asked, question)
        add_reading_options(asked)
        asked.set_defaults(command=run, question=question)
    report.add_parser(questions)


def _add_output_options(parser: argparse.ArgumentParser, question: Question) -> None:
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print everything for machines")
    output.add_argument("--csv", type=Path, metavar="FILE", help="write the table as CSV")
    output.add_argument("--plot", type=Path, metavar="FILE", help="draw a picture of all runs: .png or .pdf")
    if question.columns is not None:
        output.add_argument("--data", type=Path, metavar="FILE", help="write the curves of all runs as CSV")
    output.add_argument("--overwrite", action="store_true", help="replace these files if they exist")


def run(args: argparse.Namespace) -> int:
    """Ask the question about all runs."""
    _check(args)
    question: Question = args.question
    notices: list[str] = []
    answers, failed = _ask(question, args, notices)
    if not answers:
        return 1
    rows = [row for answer in answers for row in question.rows(answer)]
    if args.json:
        found = [answer.as_json() for answer in answers]
        print(json.dumps({"question": question.name, "runs": found, "notices": notices}, indent=2), flush=True)
    else:
        print(aligned(rows), flush=True)
    for file, write in _written(question, answers, rows, args):
        try:
            with writing(file) as fresh:
                write(fresh)
        except DarkforcesError as error:
            failed = True
            print(f"{ERROR}{printable(error)}", file=sys.stderr)
        else:
            if not args.json:
                print(f"written: {printable(file)}")
    return 1 if failed else 0


def _written(
    question: Question, answers: list[Any], rows: list[Row], args: argparse.Namespace
) -> Iterator[tuple[Path, Callable[[Path], None]]]:
    """Files that were asked for, and what writes each of them."""
    columns = question.columns
    if args.plot is not None:
        yield args.plot, lambda file: question.draw(answers, file)
    if args.csv is not None:
        yield args.csv, lambda file: write_csv(rows, file)
    if columns is not None and args.data is not None:
        yield args.data, lambda file: write_curves([(answer.name, columns(answer)) for answer in answers], file)


def _check(args: argparse.Namespace) -> None:
    check_numbers(args)
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
        notices.append(printable(text))
        logger.warning(text)

    answers, failed = [], False
    for path in args.run:
        with Bar(str(path)) as bar:
            try:
                simulation = read_run(path, args, notice)
                answers.append(question.measure(simulation, select(args, bar, notice), args))
            except DarkforcesError as error:
                failed = True
                notices.append(printable(about(path, error)))
                print(f"{ERROR}{notices[-1]}", file=sys.stderr)
    return answers, failed
