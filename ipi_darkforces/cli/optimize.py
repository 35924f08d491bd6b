"""``darkforces optimize``: do geometry optimisations arrive, with conservative and with direct forces?"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

from ..diagnostics.known_range import within_range
from ..diagnostics.optimize import MOST_STEPS, optimize
from ..diagnostics.optimize_picture import draw_optimizations
from ..diagnostics.optimize_records import Records
from ..diagnostics.starts import BUILT, DISPLACEMENT, SETS, make_starts
from ..diagnostics.structures import read_constrained_files
from ..errors import DarkforcesError, printable
from ..models.model import ForceModel, Need
from ..models.registry.kinds import specified
from ..models.structure import Structure
from ..progress_bar import counting_bar
from ..reports.optimizations import table
from .options import (
    PICTURE,
    add_model_argument,
    add_output_options,
    add_seed_option,
    add_structures_argument,
    default_name,
    load,
    model_of,
    picture_path,
)
from .output import show

DESCRIPTION = """\
Optimises geometries with FIRE and L-BFGS of ase, with conservative and with direct forces, and says how often they
arrive where forces vanish, and what becomes of the others, and why. It starts from single molecules and clusters of
four, cut out of each STRUCTURE and displaced at random, and from each STRUCTURE as it is; without a STRUCTURE, for
models of many elements, from molecules of the g2 set and from crystals, which ase builds.
"""

EPILOG = """\
examples
  darkforces optimize pet-m inputs/water.xyz
      10 molecules, 10 clusters and the liquid
  darkforces optimize sevennet-0 --sets crystals --starts 10 --plot
      10 crystals of one element or two, with a picture; takes minutes on a core
  darkforces optimize my-model.pt snapshots.xyz --sets structures
      snapshots of a liquid, crystals, surfaces, as they are
  darkforces optimize my-model.pt water.xyz --sets molecules --starts 100 --seed 7
      as many single molecules as in the paper, others than with another seed

sets
  molecules     single ones in vacuum, cut out of a STRUCTURE, displaced by 0.1 Å (each coordinate, standard deviation)
  clusters      of four molecules, likewise
  structures    each STRUCTURE as it is; if more --starts are asked for, copies displaced by 0.1 Å; fixed atoms and
                coordinates (of ase, or of i-PI's checkpoints) stay fixed, and forces on them count as zero
  g2            molecules of H, C, N, O, F of the g2 set, for the paper's QM9; displaced by 0.1 Å
  crystals      of elements and of compounds, 8 to 12 atoms in a cell, for the paper's MPtrj; strained by 2 %, which
                stays, and displaced by 0.1 Å
  The paper displaces molecules by 0.5 Å (--displace 0.5), which breaks the bonds of most.

within what the model knows
  A start is displaced as far only if the model knows what it is then: on the way there, in 11 steps from 1/32 of it to
  all of it, both kinds of forces are within 1 eV/Å of each other on all atoms, and pull the atoms back. Where one of
  these ends, so does the displacement. With --displace, all are displaced by what is asked for.

like with like
  Both kinds of forces are without net force and, where nothing is periodic, without net torque. Direct forces have
  both, and so have conservative ones of a model that is not exactly invariant under rotations, as PET is not: free
  molecules turn, and never arrive.

reading the table
  converged     no force is larger than the threshold, 1e-5 eV/Å for molecules and 1e-4 eV/Å for periodic structures, as
                in table 6 of the paper; with the 95 % interval of the success rate
  intact        how many of these have the bonds that they had before they were displaced: forces also vanish between
                pieces that are out of each other's reach
  minima        how many of these are minima: no curvature is below zero (up to 30 atoms)
  The others, by the last fifth of their steps and where they end:
  unfinished    forces or the energy still fall: more --steps may do
  rounding      forces are as small as ten of their rounding errors, or less: they cannot get much smaller
  stagnant      nothing falls, and no atom gets further than 0.01 Å: there are forces where there should be none
  wandering     nothing falls, and atoms move on, after forces that lead nowhere
  outside       the model does not know where they are: its forces are more than 1 eV/Å apart, or atoms overlap
  exploded      forces are above 10 eV/Å and above what they were in the beginning
  failed        the model fails, or gives nothing finite; the same command tries it again
  None of these is an error: it is what the command is for.

when it takes long
  What is done is written down, a line for each optimisation, and the same command goes on with what is missing.

precision
  Double by default: in single precision the forces of pet-m are off by up to 7e-6 eV/Å, nearly the threshold, and those
  of the paper's PET saturate at 1e-3 eV/Å. With --dtype float32, see what that does to optimisations.
  ase calculators have the precision that they have, unless --dtype is given and they can be told.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    add_model_argument(parser)
    add_structures_argument(parser, "what optimisations start from", nargs="*")
    _add_start_options(parser)
    group = parser.add_argument_group("optimisations")
    group.add_argument(
        "--steps", type=int, default=MOST_STEPS, metavar="N", help="at most, of an optimisation (default: %(default)s)"
    )
    group.add_argument(
        "--fmax",
        type=float,
        metavar="EV/Å",
        help="threshold for the largest force on an atom (default: 1e-5, and 1e-4 for periodic structures)",
    )
    output = add_output_options(parser, picture="optimize-MODEL-STRUCTURE.png", overwrite=PICTURE)
    output.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="where each optimisation is written down when it is done, and found again if the same command is given "
        "(default: optimize-MODEL-STRUCTURE.jsonl in the current folder)",
    )


def _add_start_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("starts")
    group.add_argument(
        "--sets",
        nargs="+",
        choices=SETS,
        metavar="SET",
        help=f"{', '.join(SETS)} (default: all that can be made of the STRUCTUREs; without any, g2 and crystals)",
    )
    group.add_argument(
        "--starts",
        type=int,
        metavar="N",
        help="in each set; where there are not so many structures, displaced copies (default: 10 molecules, 10 "
        "clusters, 20 of g2, 20 crystals, and the structures as they are)",
    )
    group.add_argument(
        "--displace",
        type=float,
        metavar="Å",
        help=f"standard deviation of each coordinate (default: {DISPLACEMENT:g}, or less: as far as the model's range "
        "goes)",
    )
    add_seed_option(group, default=0)


def run(args: argparse.Namespace) -> None:
    """Judge the model."""
    _check(args)
    files = args.structures or [Path("+".join(args.sets or BUILT))]
    picture = picture_path(args, "optimize", files)
    read = read_constrained_files(args.structures)
    structures = {name: structure for name, (structure, _) in read.items()}
    fixed = {name: held for name, (_, held) in read.items() if held.any()}
    if (
        args.dtype is None and not specified(model_of(args)).takes_options
    ):  # an ase calculator has the precision that it has
        args.dtype = "float64"
    results = args.results or Path(f"{default_name(args, 'optimize', files)}.jsonl")
    records = Records(results, f"{model_of(args)} {args.dtype} {args.variant} {args.backend}")
    model = load(args)
    check = partial(_check_known, model)
    wanted = DISPLACEMENT if args.displace is None else args.displace
    starts = make_starts(structures, args.sets, args.starts, wanted, args.seed, check, fixed)
    if args.displace is None:
        with counting_bar(f"{Path(args.model).name}: starts", "start") as progress:
            starts = within_range(model, starts, progress)
    with counting_bar(Path(args.model).name, "step") as progress:
        optimizations = optimize(model, starts, args.steps, args.fmax, progress, records)
    settings = {"dtype": args.dtype, "seed": args.seed}
    files = {"results": str(results), "picture": picture and str(picture)}
    text = f"{table(optimizations)}\n\neach optimisation: {printable(results)}"
    if args.json:
        text = json.dumps({**optimizations.as_json(), **settings, **files})
    show(text, picture, lambda file: draw_optimizations(optimizations, file), args.json)


def _check_known(model: ForceModel, structure: Structure) -> None:
    if model.species is None:  # an ase calculator, which may know few elements nevertheless
        model.evaluate([structure], Need.ENERGY)
    else:
        model.check_species(structure.species)


def _check(args: argparse.Namespace) -> None:
    for name, value, least in (("--steps", args.steps, 1), ("--starts", args.starts, 1), ("--seed", args.seed, 0)):
        if value is not None and value < least:
            raise DarkforcesError(f"{name} {value} is too few: expected at least {least}")
    for name, value, unit in (("--fmax", args.fmax, "eV/Å"), ("--displace", args.displace, "Å")):
        if value is not None and not value > 0.0:
            raise DarkforcesError(f"{name} {value:g} cannot be used: expected {unit}, more than zero")
