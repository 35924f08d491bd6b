"""``darkforces input``: an i-PI input with other forces."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import printable
from ..split.component import Component
from .output import print_result

DESCRIPTION = """\
Writes an i-PI input of yours with other forces: multiple time stepping, direct or conservative ones. It must have one
<ffsocket> and, for multiple time stepping, one force and one time step.
"""

EPILOG = """\
examples
  darkforces input mine.xml --mts 4 > mine-mts4.xml
      direct forces at every step that mine.xml has, corrected to the conservative ones at every fourth
  darkforces input mine.xml --direct > mine-direct.xml

The input goes to standard output, and what is different is said beside it. Files that it names are looked for in the
folder of the input: put it there. Comments, outputs, ensembles, thermostats and all else stay as they are.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    parser.add_argument("input", type=Path, metavar="INPUT", help="an i-PI input")
    forces = parser.add_mutually_exclusive_group(required=True)
    forces.add_argument("--mts", type=int, metavar="M", help="direct forces, corrected every M steps")
    forces.add_argument("--direct", action="store_true", help="direct forces alone")
    forces.add_argument("--conservative", action="store_true", help="conservative forces")


def run(args: argparse.Namespace) -> None:
    """Write it."""
    from ..simulate.convert import with_component, with_multiple_time_stepping  # i-PI takes a while to import

    if args.mts is not None:
        found = with_multiple_time_stepping(args.input, args.mts)
    else:
        found = with_component(args.input, Component.DIRECT if args.direct else Component.CONSERVATIVE)
    print_result(found.text, end="" if found.text.endswith("\n") else "\n")
    for change in found.changes:
        print(printable(change), file=sys.stderr)
