"""``darkforces analyze RUN...``: all analyses that the files allow, in a folder with a page of the results."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

from ..analysis.analyses import ANALYSES
from ..analysis.analyze import Analyses
from ..errors import DarkforcesError, printable
from ..reports import trajectories
from ..stats.rows import aligned
from . import options
from .help import HelpFormatter
from .output import print_result

NAME = "report"

DESCRIPTION = """\
Asks all questions (drift, temperatures, spectra, structure, averages), as far as the files allow, and says what could
not be found out, and why. The table, the curves and the picture of each go to a folder, with report.html: one page that
shows them and says what they mean, with everything in it, to be sent around. Several runs are compared; their structure
with that of the first.
"""


def add_parser(analyses: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Add the subcommand, still without options; with `analyze.with_analysis`, it is also what is done without one."""
    parser: argparse.ArgumentParser = analyses.add_parser(
        NAME,
        help="all of these, as far as the files allow, and a page that shows them (also without a name)",
        usage="darkforces analyze RUN [RUN ...] [options]",
        description=DESCRIPTION,
        formatter_class=HelpFormatter,
    )
    return parser


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add options for the folder and what is printed."""
    options.add_output_options(parser, folder="analysis", overwrite="what an earlier report left in the folder")
    parser.set_defaults(output=Path("analysis"))


def check(args: argparse.Namespace) -> None:
    """Raise a DarkforcesError for runs that were meant as analyses, and for what is in the way of the folder."""
    names = [analysis.name for analysis in ANALYSES]
    for path in args.run:
        if path.exists() or path.parent != Path():
            continue
        if str(path) in names:
            raise DarkforcesError(f"'{path}' is an analysis, which comes first: darkforces analyze {path} RUN")
        if path is args.run[0]:
            raise DarkforcesError(
                f"'{path}' is neither a file or folder (looked in {Path.cwd()}) nor an analysis ({', '.join(names)})"
            )
    folder = args.output
    if folder.exists() and not folder.is_dir():
        raise DarkforcesError(f"--output '{folder}' is a file: expected a folder, or a name for one")
    if folder.is_dir() and any(folder.iterdir()) and not args.overwrite:
        raise DarkforcesError(f"'{folder}' exists and is not empty; choose another --output, or --overwrite it")


def show(found: Analyses, folder: Path, for_machines: bool) -> None:
    """Print all results, and write the folder."""
    if for_machines:
        everything = {"questions": [each.as_json() for each in found], "notices": found.notices}
        print_result(json.dumps(everything, indent=2))
    else:
        for each in found:
            if each.found:
                print_result(f"{each.analysis.name}\n{aligned(each.rows())}\n")
    page = trajectories.write(found, folder, printable(shlex.join(["darkforces", *sys.argv[1:]])))
    if not for_machines:
        print_result(f"written: {printable(page)}, with tables, curves and pictures beside it")
