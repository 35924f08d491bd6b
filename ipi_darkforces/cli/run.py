"""The options of ``darkforces run``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..simulate.recipe import ENSEMBLES, Recipe
from .entry import EXPLODED, INTERRUPTED
from .options import add_model_options, add_watch_option

DESCRIPTION = """\
Runs i-PI with the forces of one model: starts i-PI and the driver, shows progress, stops both cleanly on Ctrl-C, and
ends with a summary and a picture. The same command goes on with a run that was stopped; a finished one is not
overwritten. The line of progress has the drift of the conserved quantity, ΔE in meV/atom, and with multiple time
stepping the rms difference of both kinds of forces, ΔF in meV/Å.
"""

EPILOG = f"""\
examples
  darkforces run inputs/nve-mts4.xml --model pet-m
      one of the inputs that come with the package; everything goes to the folder nve-mts4
  darkforces run inputs/nve-*.xml --model pet-m --time 0.5 --output nve
      several, one after another, 0.5 ps each; and one picture that compares them
  darkforces run --structure my.xyz --model my-model.pt --ensemble nve --mts 4
      your own system: writes an input like those in inputs/ for it, and runs it
  darkforces run --structure my.xyz --model my-model.pt --ensemble svr --tau 10 --forces direct --time 20
  darkforces run --structure my.xyz --mts 4 --fast my-direct.pt --slow ase:mine.py:accurate -o slow.precision=high
      two models: direct forces of one at every step, corrected every 4th step to those of the other, an ase calculator

exit codes
    0  all steps are done, or i-PI says that nothing is left to do (an optimisation has converged), or it was told to
       stop by <total_time> or a file EXIT, and the same command goes on
    1  an error: what was given cannot be used, or something has failed
  {EXPLODED:>3}  the simulation has exploded; RESTART is from before that
  {INTERRUPTED}  stopped by a signal (Ctrl-C, SIGTERM, SIGHUP); the same command goes on
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "run",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", nargs="*", type=Path, help="i-PI inputs; or folders of runs that shall go on")
    add_model_options(parser)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, metavar="N", help="i-PI steps in all (default: what the input says)")
    length.add_argument("--time", type=float, metavar="PS", help="simulated time in all, in ps, instead")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder for everything (default: named for the input)"
    )
    parser.add_argument("--overwrite", action="store_true", help="start anew even if the folder holds a run")
    parser.add_argument(
        "--in-process", action="store_true", help="the model inside i-PI's process instead of one of its own"
    )
    parser.add_argument(
        "--resident",
        action="store_true",
        help="the model there, and the fast steps in a loop beside it instead of i-PI's: the same trajectory, faster; "
        "for one classical system at constant volume, else i-PI takes them itself",
    )
    parser.add_argument("--json", action="store_true", help="print the summary for machines")
    add_watch_option(parser)
    _add_structure_options(parser)
    parser.set_defaults(command=run)


def _add_structure_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("your own system, instead of an input")
    group.add_argument(
        "--structure",
        type=Path,
        metavar="FILE",
        help="a structure: one of i-PI's files, or anything that ase reads; with its momenta if it has any, else with "
        "random ones; fixed atoms stay fixed",
    )
    group.add_argument("--ensemble", choices=ENSEMBLES, help="(default: nve)")
    group.add_argument(
        "--mts", type=int, metavar="M", help="multiple time stepping: correct direct forces every M steps"
    )
    group.add_argument(
        "--forces",
        choices=["conservative", "direct"],
        help="without --mts (default: conservative)",
    )
    group.add_argument("--tau", type=float, metavar="FS", help="time constant of the thermostat, in fs")
    group.add_argument("--temperature", type=float, metavar="K", help=f"(default: {Recipe.temperature:g})")
    group.add_argument(
        "--timestep", type=float, metavar="FS", help=f"of the fast forces, in fs (default: {Recipe.timestep:g})"
    )


def run(args: argparse.Namespace) -> int:
    """Run what the command line asks for."""
    if sys.stderr.isatty():
        print("starting …", end="\r", file=sys.stderr, flush=True)
    from .running import run_all  # a second to import, for which nobody waits who asks for help

    return run_all(args)
