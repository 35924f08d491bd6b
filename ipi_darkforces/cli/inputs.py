"""``darkforces inputs``: the inputs that come with the package."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from pathlib import Path

from ..errors import DarkforcesError, printable
from ..simulate.packaged_inputs import PackagedInput, copy_inputs, packaged_inputs
from .options import add_output_options
from .output import print_result

DESCRIPTION = """\
Lists the inputs that come with the package, or copies some of them, with the structures that they start from. Each is
complete and runs as it is; to simulate something else, edit it.
"""

EPILOG = """\
examples
  darkforces inputs
  darkforces inputs npt-mts4 pimd-mts4-contracted
  darkforces run npt-mts4.xml --model pet-m
  darkforces inputs --all --output inputs
      so that all commands of the documentation work where you are
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    parser.add_argument("inputs", metavar="INPUT", nargs="*", help="names of those to copy (default: list them)")
    parser.add_argument("--all", action="store_true", help="copy all")
    add_output_options(parser, folder="the current folder", overwrite="files that are there and differ")


def run(args: argparse.Namespace) -> None:
    """List or copy."""
    there = packaged_inputs()
    if args.all and args.inputs:
        raise DarkforcesError(f"--all copies '{args.inputs[0]}' too; expected one of both")
    names = [each.name for each in there] if args.all else args.inputs
    if names:
        copied = copy_inputs(names, args.output or Path(), args.overwrite)
        print_result(json.dumps([str(path) for path in copied], indent=2) if args.json else _lines(copied))
        return
    if args.output is not None:
        raise DarkforcesError("what shall be copied? expected names of inputs, or --all")
    if args.json:
        print_result(
            json.dumps([{"name": each.name, "shows": each.shows} for each in there], indent=2, ensure_ascii=False)
        )
    else:
        print_result(_table(there))


def _lines(paths: list[Path]) -> str:
    return "\n".join(printable(path) for path in paths)


def _table(inputs: list[PackagedInput]) -> str:
    """Names, and what they show in the rest of each line."""
    width = max(len(each.name) for each in inputs) + 2
    columns = max(50, min(120, shutil.get_terminal_size().columns)) - width
    lines = []
    for each in inputs:
        first, *rest = textwrap.wrap(each.title, columns)
        lines += [each.name.ljust(width) + first, *(" " * width + line for line in rest)]
    return "\n".join(lines)
