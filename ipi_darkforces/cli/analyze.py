"""``darkforces analyze``: one subcommand for each analysis, and one for all of them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..analysis.analyses import ANALYSES, Analysis
from ..analysis.analyze import VELOCITY_UNITS, Analyses, Results, analyze, check_settings
from ..analysis.selection import FARTHEST
from ..atomic import writing
from ..errors import ERROR, DarkforcesError, printable
from ..stats.rows import aligned, write_csv, write_curves
from . import report
from .options import add_output_options, check_new_file, picture_path
from .output import print_result

DESCRIPTION = """\
Looks at what simulations left behind. A RUN is a folder made by `darkforces run`, a folder with outputs of i-PI, an
i-PI input beside its outputs, or one file: properties or a trajectory of i-PI, an extended XYZ or an ase trajectory.
A run that is still going on can be analysed. Errors are standard errors that account for time correlation.

Without the name of an analysis, all of them are made: tables, curves and pictures go to a folder, with a page that
shows them and says what they mean. A folder that is named like an analysis needs a slash: ./drift
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


def with_analysis(words: list[str]) -> list[str]:
    """The command line, with the analysis of everything where no analysis comes first: ``analyze RUN``.

    A misspelt name is then a run that does not exist; the message says so.
    """
    known = {report.NAME, "-h", "--help", *(analysis.name for analysis in ANALYSES)}
    if words[:1] == ["analyze"] and not known & set(words[1:2]):
        return ["analyze", report.NAME, *words[1:]]
    return words


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add a subcommand for each analysis, and one for all of them."""
    parser.usage = "%(prog)s [-h] [ANALYSIS] RUN [RUN ...] [options]"
    analyses = parser.add_subparsers(title="analyses", metavar="ANALYSIS", required=True, prog=parser.prog)
    for analysis in ANALYSES:
        asked = analyses.add_parser(analysis.name, help=analysis.help, description=analysis.description)
        _add_run_options(asked)
        _add_own_options(asked, [analysis])
        _add_reading_options(asked)
        _add_output_options(asked, analysis)
        asked.set_defaults(analysis=analysis)
    everything = report.add_parser(analyses)
    _add_run_options(everything)
    _add_own_options(everything, ANALYSES)
    _add_reading_options(everything)
    report.add_output_options(everything)
    everything.set_defaults(command=run_all)


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the runs, and the part of them that counts."""
    parser.add_argument("run", metavar="RUN", nargs="+", type=Path, help="folder, i-PI input, or file")
    parser.add_argument("--discard", type=float, default=0.0, metavar="PS", help="equilibration to leave out, in ps")


def _add_own_options(parser: argparse.ArgumentParser, analyses: Sequence[Analysis]) -> None:
    """Options that only one of the analyses has."""
    names = [analysis.name for analysis in analyses]
    if "temperatures" in names:
        parser.add_argument(
            "--target", type=float, metavar="K", help="temperature to compare with (default: that of the thermostat)"
        )
    if "structure" in names:
        parser.add_argument(
            "--farthest",
            type=float,
            default=FARTHEST,
            metavar="Å",
            help="largest distance, at most half of the cell (default: %(default)g)",
        )


def _add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add options for what files may not say."""
    group = parser.add_argument_group("what files may not say")
    group.add_argument("--interval", type=float, metavar="FS", help="time between frames of a trajectory, in fs")
    group.add_argument(
        "--velocity-unit",
        choices=VELOCITY_UNITS,
        default="ase",
        help="of columns with velocities in extended XYZ files (default: %(default)s)",
    )


def _add_output_options(parser: argparse.ArgumentParser, analysis: Analysis) -> None:
    output = add_output_options(parser, picture=f"{analysis.name}-RUN.png", overwrite="these files if they exist")
    output.add_argument("--csv", type=Path, metavar="FILE", help="write the table as CSV")
    if analysis.columns is not None:
        output.add_argument("--data", type=Path, metavar="FILE", help="write the curves of all runs as CSV")


def run(args: argparse.Namespace) -> int:
    """Make one analysis of all runs."""
    _check_numbers(args)
    _check_files(args)
    found = _analyze(args, args.analysis.name)
    [results] = found
    if args.json:
        runs = [result.as_json() for result in results]
        print_result(json.dumps({"question": args.analysis.name, "runs": runs, "notices": found.notices}, indent=2))
    else:
        print_result(aligned(results.rows()))
    failed = bool(found.failed)
    for file, write in _written(results, args):
        try:
            with writing(file) as fresh:
                write(fresh)
        except DarkforcesError as error:
            failed = True
            print(f"{ERROR}{printable(error)}", file=sys.stderr)
        else:
            if not args.json:
                print_result(f"written: {printable(file)}")
    return 1 if failed else 0


def run_all(args: argparse.Namespace) -> int:
    """Make all analyses that the files allow, and write the folder with the page."""
    _check_numbers(args)
    report.check(args)
    found = _analyze(args)
    report.show(found, args.output, args.json)
    return 1 if found.failed else 0


def _analyze(args: argparse.Namespace, only: str | None = None) -> Analyses:
    given = vars(args)
    return analyze(
        args.run,
        only=only,
        discard=args.discard,
        target=given.get("target"),
        farthest=given.get("farthest", FARTHEST),
        interval=args.interval,
        velocity_unit=args.velocity_unit,
    )


def _check_numbers(args: argparse.Namespace) -> None:
    given = vars(args)
    try:
        check_settings(args.discard, given.get("target"), given.get("farthest"), args.interval)
    except DarkforcesError as error:
        raise DarkforcesError(f"--{error}") from error


def _written(results: Results, args: argparse.Namespace) -> Iterator[tuple[Path, Callable[[Path], Any]]]:
    """Files that were asked for, and what writes each of them."""
    if args.plot is not None:
        yield args.plot, results.draw
    if args.csv is not None:
        yield args.csv, lambda file: write_csv(results.rows(), file)
    if vars(args).get("data") is not None:
        yield args.data, lambda file: write_curves(results.curves(), file)


def _check_files(args: argparse.Namespace) -> None:
    args.plot = picture_path(args, args.analysis.name, args.run)
    files = [file for file in (args.plot, args.csv, vars(args).get("data")) if file is not None]
    for file in files:
        if files.count(file) > 1:
            raise DarkforcesError(f"'{file}' is to be written twice; choose different names")
        check_new_file(file, args.overwrite)
