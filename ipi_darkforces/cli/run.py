"""The options of ``darkforces run``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..simulate.recipe import DEFAULT_TAU, ENSEMBLES, NPT, PILE, Barostat, Recipe
from .entry import EXPLODED, INTERRUPTED
from .options import add_mass_options, add_model_options, add_monitor_option, add_output_options, add_state_options

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
      several, one after another, 0.5 ps each; and one picture that compares them, nve/comparison.png
  darkforces run --structure my.xyz --model my-model.pt --ensemble nve --mts 4
      your own system: writes an input like those in inputs/ for it, and runs it
  darkforces run --structure my.xyz --model my-model.pt --ensemble svr --tau 10 --forces direct --time 20
  darkforces run --structure my.xyz --model my-model.pt --ensemble npt --pressure 1 --mts 4 --time 20
      constant pressure, by i-PI's barostat; --anisotropic for crystals
  darkforces run --structure my.xyz --model my-model.pt --beads 32 --mts 4 --slow-beads 8
      a path integral, with slow forces on ring polymers contracted to 8 beads
  darkforces run --structure my.xyz --model my-model.pt --hmr 3 --timestep 1 --mts 4
  darkforces run --structure my.xyz --mts 4 --fast my-direct.pt --slow ase:mine.py:accurate -o slow.precision=high
      two models: direct forces of one at every step, corrected every 4th step to those of the other, an ase calculator

exit codes
    0  all steps are done, or i-PI says that nothing is left to do (an optimisation has converged), or it was told to
       stop by <total_time> or a file EXIT, and the same command goes on
    1  an error: what was given cannot be used, or something has failed
  {EXPLODED:>3}  the simulation has exploded; RESTART is from before that
  {INTERRUPTED}  stopped by a signal (Ctrl-C, SIGTERM, SIGHUP); the same command goes on
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    parser.add_argument(
        "input", metavar="INPUT", nargs="*", type=Path, help="i-PI inputs; or folders of runs that shall go on"
    )
    add_model_options(parser)
    _add_structure_options(parser)
    group = parser.add_argument_group("simulation")
    length = group.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, metavar="N", help="i-PI steps in all (default: what the input says)")
    length.add_argument("--time", type=float, metavar="PS", help="simulated time in all, in ps, instead")
    loop = group.add_mutually_exclusive_group()
    loop.add_argument(
        "--resident",
        action=argparse.BooleanOptionalAction,
        help="the model inside i-PI's process, and the fast steps in a loop beside it instead of i-PI's: the same "
        "trajectory, faster; the default at constant volume, on a CPU. For what the loop cannot take, i-PI takes these "
        "steps itself, which is said. --no-resident: the model in a process of its own, behind sockets",
    )
    loop.add_argument(
        "--in-process", action="store_true", help="the model inside i-PI's process, all steps in i-PI's own loop"
    )
    add_monitor_option(group)
    add_output_options(parser, folder="named for the input", overwrite="a run that the folder holds: start anew")


def _add_structure_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("your own system, instead of an input")
    group.add_argument(
        "--structure",
        type=Path,
        metavar="FILE",
        help="a structure: one of i-PI's files, or anything that ase reads; with its momenta if it has any, else with "
        "random ones; fixed atoms stay fixed",
    )
    group.add_argument(
        "--ensemble",
        choices=[*ENSEMBLES, PILE, NPT],
        help="(default: nve); a thermostat's name is for constant volume, npt for constant pressure; pile is the "
        "thermostat of path integrals, and their default",
    )
    group.add_argument(
        "--mts", type=int, metavar="M", help="multiple time stepping: correct direct forces every M steps"
    )
    group.add_argument(
        "--forces",
        choices=["conservative", "direct"],
        help="without --mts (default: conservative)",
    )
    group.add_argument(
        "--tau",
        type=float,
        metavar="FS",
        help=f"time constant of the thermostat, in fs (default for npt and pile: {DEFAULT_TAU:g})",
    )
    add_state_options(group, defaults=False)
    group.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help=f"of random velocities and thermostats (default: {Recipe.seed}, so that the same command gives the same "
        "trajectory)",
    )
    _add_pressure_options(parser.add_argument_group("with --structure, for --ensemble npt"))
    _add_nuclei_options(parser.add_argument_group("with --structure, nuclei"))


def _add_pressure_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--pressure", metavar="P", help=f"in bar, or with its unit, as 0.5GPa (default: {Barostat.pressure:g} bar)"
    )
    group.add_argument(
        "--anisotropic",
        action="store_true",
        help="all lengths and angles of the cell change by themselves: for solids (default: only its volume)",
    )
    group.add_argument(
        "--barostat-tau",
        type=float,
        metavar="FS",
        help=f"time constant of the cell, in fs (default: {Barostat.tau:g})",
    )
    group.add_argument(
        "--thermostat", choices=[*ENSEMBLES[1:], PILE], help="beside the barostat (default: svr; with --beads pile)"
    )


def _add_nuclei_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--beads", type=int, metavar="P", help="quantum nuclei, as ring polymers of P beads")
    group.add_argument(
        "--slow-beads",
        type=int,
        metavar="P",
        help="with --beads and --mts: slow forces on ring polymers contracted to so many beads",
    )
    add_mass_options(group)


def run(args: argparse.Namespace) -> int:
    """Run what the command line asks for."""
    if sys.stderr.isatty():
        print("starting …", end="\r", file=sys.stderr, flush=True)
    from .running import run_all  # a second to import, for which nobody waits who asks for help

    return run_all(args)
