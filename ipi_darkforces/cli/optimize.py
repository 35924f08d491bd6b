"""``darkforces optimize``: do geometry optimisations arrive, with conservative and with direct forces?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tqdm import tqdm

from ..diagnostics.optimize import MOST_STEPS, Optimizations, Outcome, Rate, optimize
from ..diagnostics.optimize_picture import draw_optimizations
from ..diagnostics.starts import SETS, Start, make_starts
from ..diagnostics.structures import read_structure_files
from ..errors import DarkforcesError
from ..forces.zoo import takes_options
from .options import (
    MODEL_HELP,
    add_evaluation_options,
    add_picture_options,
    add_structures_argument,
    load,
    model_of,
    picture_path,
)

DESCRIPTION = """\
Optimises geometries with FIRE and L-BFGS of ase, with conservative and with direct forces, and says how often they
arrive where forces vanish, and what becomes of the others. It starts from single molecules and clusters of four, cut
out of each STRUCTURE and displaced at random, and from each STRUCTURE as it is.
"""

EPILOG = """\
examples
  darkforces optimize pet-m inputs/water.xyz
      10 molecules, 10 clusters and the liquid; draws optimize-pet-m-water.png
  darkforces optimize my-model.pt snapshots.xyz --sets structures
      snapshots of a liquid, crystals, surfaces, as they are
  darkforces optimize my-model.pt water.xyz --sets molecules --starts 100 --seed 7
      as many single molecules as in the paper, others than with another seed

reading the table
  converged     no force is larger than the threshold, 1e-5 eV/Å for molecules and 1e-4 eV/Å for periodic structures, as
                in table 6 of the paper; with the 95 % interval of the success rate
  intact        how many of these have the bonds that they had before they were displaced: forces also vanish between
                pieces that are out of each other's reach
  The others, by the last fifth of their steps:
  unfinished    forces or the energy still fall: more --steps may do
  stagnant      they do not, and no atom gets further than 0.01 Å: there are forces where there should be none
  wandering     they do not, and atoms move on, after forces that lead nowhere
  exploded      forces are NaN, infinite, or above 10 eV/Å and what they were in the beginning
  None of these is an error: it is what the command is for.

precision
  Double by default: in single precision the forces of pet-m are off by up to 7e-6 eV/Å, nearly the threshold, and those
  of the paper's PET saturate at 1e-3 eV/Å. With --dtype float32, see what that does to optimisations.
  ase calculators have the precision that they have, unless --dtype is given and they can be told.
"""

# Table 6, success with L-BFGS in %: water molecules in the gas phase, and liquid water.
_PAPER = {
    "molecules": ("PET-C 83, SOAP-BPNN-C 91, SevenNet 81, MACE 94", "PET-NC 75, SOAP-BPNN-NC 79, ORB 69"),
    "structures": ("PET-C 58, SOAP-BPNN-C 59, SevenNet 88, MACE 83", "PET-NC 52, SOAP-BPNN-NC 0, ORB 9"),
}


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "optimize",
        help="do geometry optimisations arrive?",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    add_structures_argument(parser)
    add_evaluation_options(parser.add_argument_group("model"))
    _add_start_options(parser)
    parser.add_argument(
        "--steps", type=int, default=MOST_STEPS, metavar="N", help="at most, of an optimisation (default: %(default)s)"
    )
    parser.add_argument(
        "--fmax",
        type=float,
        metavar="EV/Å",
        help="threshold for the largest force on an atom (default: 1e-5, and 1e-4 for periodic structures)",
    )
    add_picture_options(parser, "optimize-MODEL-STRUCTURE.png")
    parser.add_argument("--json", action="store_true", help="print all numbers for machines")
    parser.set_defaults(command=run)


def _add_start_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("starts")
    group.add_argument(
        "--sets", nargs="+", choices=SETS, metavar="SET", help=f"{', '.join(SETS)} (default: all that can be made)"
    )
    group.add_argument(
        "--starts",
        type=int,
        metavar="N",
        help="in each set; where there are not so many structures, displaced copies (default: 10 molecules, 10 "
        "clusters, and the structures as they are)",
    )
    group.add_argument(
        "--displace",
        type=float,
        metavar="Å",
        help="standard deviation of each coordinate (default: 0.5 for molecules, as in the paper, and 0.1 otherwise)",
    )
    group.add_argument("--seed", type=int, default=0, help="of the random numbers (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Judge the model."""
    _check(args)
    picture = picture_path(args, "optimize", args.structures)
    structures = read_structure_files(args.structures)
    starts = make_starts(structures, args.sets, args.starts, args.displace, args.seed)
    if args.dtype is None and not takes_options(model_of(args)):  # an ase calculator has the precision that it has
        args.dtype = "float64"
    model = load(args)
    with tqdm(desc=Path(args.model).name, disable=None, leave=False, unit="step") as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        optimizations = optimize(model, starts, args.steps, args.fmax, show)
    if picture is not None:
        draw_optimizations(optimizations, picture)
    if args.json:
        said = {"dtype": args.dtype, "seed": args.seed, "picture": picture and str(picture)}
        print(json.dumps({**optimizations.as_json(), **said}))
        return
    print(_table(optimizations, starts))
    if picture is not None:
        print(f"\npicture: {picture}")


def _check(args: argparse.Namespace) -> None:
    for name, value, least in (("--steps", args.steps, 1), ("--starts", args.starts, 1), ("--seed", args.seed, 0)):
        if value is not None and value < least:
            raise DarkforcesError(f"{name} {value} is too few: expected at least {least}")
    for name, value, unit in (("--fmax", args.fmax, "eV/Å"), ("--displace", args.displace, "Å")):
        if value is not None and not value > 0.0:
            raise DarkforcesError(f"{name} {value:g} cannot be used: expected {unit}, more than zero")


def _table(optimizations: Optimizations, starts: list[Start]) -> str:
    lines = [f"{optimizations.model}: geometry optimisations, at most {optimizations.most_steps} steps"]
    rates = optimizations.rates()
    others: list[Outcome] = [outcome for outcome in Outcome if outcome is not Outcome.CONVERGED]
    for group in optimizations.groups:
        own = [start for start in starts if start.group == group]
        thresholds = sorted({run.threshold for run in optimizations.runs if run.start.group == group})
        lines += ["", f"{len(own)} {group}, converged below {' or '.join(f'{t:g}' for t in thresholds)} eV/Å", ""]
        lines.append(
            f"  {'':20} {'converged, %':>17} {'intact':>7} {'steps':>6}  "
            + " ".join(f"{outcome.value:>10}" for outcome in others)
            + f"  {'lowest, eV/Å':>12}"
        )
        lines += [_row(rate, others) for rate in rates if rate.group == group]
        if group in _PAPER:
            conservative, direct = _PAPER[group]
            lines += ["", f"  the paper, water, L-BFGS, %: conservative {conservative}", f"{'':29}  direct {direct}"]
    return "\n".join(lines)


def _row(rate: Rate, others: list[Outcome]) -> str:
    low, high = rate.interval
    converged = f"{100 * rate.success:.0f} ({100 * low:.0f} to {100 * high:.0f})"
    steps = "" if rate.steps is None else f"{rate.steps:.0f}"
    lowest = "" if rate.lowest is None else f"{rate.lowest:.1g}"
    counts = " ".join(f"{rate.outcomes[outcome] or '':>10}" for outcome in others)
    return f"  {rate.algorithm:<6} {rate.kind:<13} {converged:>17} {rate.intact:>7} {steps:>6}  {counts}  {lowest:>12}"
