"""``darkforces analyze RUN...``: every question that the files allow, in a folder with a page of the answers."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from ..analysis.remembered import remembering
from ..analysis.runs import Run
from ..analysis.selection import Selection
from ..errors import ERROR, DarkforcesError, of_system, printable
from . import page
from .answers import Answers
from .files import writing
from .progress import progress_bar
from .question import Question, aligned, write_csv, write_curves
from .questions import QUESTIONS
from .reading import Bar, about, add_reading_options, add_run_options, check_numbers, read_run, select

logger = logging.getLogger(__name__)

NAME = "report"
_PAGE = "report.html"

DESCRIPTION = """\
Asks all questions (drift, temperatures, spectra, structure), as far as the files allow, and says what could not be
found out, and why. The table, the curves and the picture of each go to a folder, with report.html: one page that shows
them and says what they mean, with everything in it, to be sent around. Several runs are compared; their structure with
that of the first.
"""


def add_parser(questions: argparse._SubParsersAction) -> None:
    """Add the subcommand; with `analyze.with_question`, it is also what is done without one."""
    parser = questions.add_parser(
        NAME,
        help="all of these, as far as the files allow, and a page that shows them (also without a question)",
        usage="darkforces analyze RUN [RUN ...] [options]",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_options(parser)
    for question in QUESTIONS:
        question.add_options(parser)
    output = parser.add_argument_group("output")
    output.add_argument(
        "--output",
        type=Path,
        default=Path("analysis"),
        metavar="FOLDER",
        help="for tables, pictures and report.html (default: %(default)s)",
    )
    output.add_argument("--json", action="store_true", help="print everything for machines")
    output.add_argument("--overwrite", action="store_true", help="replace what an earlier report left in the folder")
    add_reading_options(parser)
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Ask everything about all runs, and write the folder."""
    _check(args)
    answers = [Answers(question) for question in QUESTIONS]
    notices: dict[str, None] = {}
    failed = False
    for path in args.run:
        failed |= not _ask(path, args, answers, notices)
    if not any(each.found for each in answers):
        raise DarkforcesError("nothing could be found out about any run, so there is no report")
    if args.json:
        found = {"questions": [each.as_json() for each in answers], "notices": list(notices)}
        print(json.dumps(found, indent=2), flush=True)
    else:
        for each in answers:
            if each.found:
                print(f"{each.question.name}\n{aligned(each.rows())}\n", flush=True)
    _write(args.output, answers, list(notices), args)
    if not args.json:
        print(f"written: {printable(args.output / _PAGE)}, with tables, curves and pictures beside it")
    return 1 if failed else 0


def _check(args: argparse.Namespace) -> None:
    check_numbers(args)
    names = [question.name for question in QUESTIONS]
    for path in args.run:
        if path.exists() or path.parent != Path():
            continue
        if str(path) in names:
            raise DarkforcesError(f"'{path}' is a question, which comes first: darkforces analyze {path} RUN")
        if path is args.run[0]:
            raise DarkforcesError(
                f"'{path}' is neither a file or folder (looked in {Path.cwd()}) nor a question ({', '.join(names)})"
            )
    folder = args.output
    if folder.exists() and not folder.is_dir():
        raise DarkforcesError(f"--output '{folder}' is a file: expected a folder, or a name for one")
    if folder.is_dir() and any(folder.iterdir()) and not args.overwrite:
        raise DarkforcesError(f"'{folder}' exists and is not empty; choose another --output, or --overwrite it")


def _ask(path: Path, args: argparse.Namespace, answers: list[Answers], notices: dict[str, None]) -> bool:
    """Add what can be found out about a run, and what cannot; whether there is anything."""

    def notice(said: str) -> None:
        text = printable(said)
        if text not in notices:  # several questions read the same file
            notices[text] = None
            logger.warning(text)

    with Bar(str(path)) as bar:
        try:
            simulation = remembering(read_run(path, args, notice))
        except DarkforcesError as error:
            print(f"{ERROR}{printable(about(path, error))}", file=sys.stderr)
            for each in answers:
                each.missing[printable(path)] = printable(error)
            return False
        selection = select(args, bar, notice)
        found = [_answer(each, simulation, selection, args) for each in answers]
        return any(found)


def _answer(answers: Answers, simulation: Run, selection: Selection, args: argparse.Namespace) -> bool:
    try:
        answers.found.append(answers.question.measure(simulation, selection, args))
    except DarkforcesError as error:
        answers.missing[simulation.name] = printable(error)
        logger.warning("%s: no %s: %s", simulation.name, answers.question.name, error)
        return False
    return True


def _write(folder: Path, answers: list[Answers], notices: list[str], args: argparse.Namespace) -> None:
    """All files; the page comes last, so that a folder with a page is whole."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in (folder / _PAGE, *(file for each in answers for file in _files(folder, each.question))):
            file.unlink(missing_ok=True)
    except OSError as error:
        raise DarkforcesError(of_system(error)) from error
    for each in progress_bar(answers, desc="drawing", leave=False, disable=None):
        _write_answers(folder, each)
    with writing(folder / _PAGE) as file:
        file.write_text(page.of(answers, notices, args.discard, folder), encoding="utf-8")


def _files(folder: Path, question: Question) -> list[Path]:
    """What there is of a question: table, everything for machines, pictures, curves."""
    names = [f"{question.name}.{kind}" for kind in ("csv", "json", "png", "pdf")]
    return [folder / name for name in (*names, f"{question.name}-curves.csv")]


def _write_answers(folder: Path, answers: Answers) -> None:
    question, found = answers.question, answers.found
    table, everything, *pictures, curves = _files(folder, question)
    with writing(everything) as file:
        file.write_text(json.dumps(answers.as_json(), indent=2) + "\n", encoding="utf-8")
    if not found:
        return
    with writing(table) as file:
        write_csv(answers.rows(), file)
    for picture in pictures:
        with writing(picture) as file:
            question.draw(found, file)
    if question.columns is not None:
        with writing(curves) as file:
            write_curves([(answer.name, question.columns(answer)) for answer in found], file)
