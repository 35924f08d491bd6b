"""``darkforces stride``: which stride of multiple time stepping is safe?"""

from __future__ import annotations

import argparse
import json

from ..diagnostics.stride import stride
from ..diagnostics.stride_picture import draw_strides
from ..diagnostics.stride_prediction import ENSEMBLES
from ..errors import DarkforcesError
from ..models.structure_file import read_atoms
from ..progress_bar import counting_bar
from .options import (
    MODEL_HELP,
    PICTURE,
    add_mass_options,
    add_model_argument,
    add_output_options,
    add_seed_option,
    add_state_options,
    add_structure_argument,
    hydrogen_mass,
    load,
    picture_path,
)
from .output import show

DESCRIPTION = """\
Predicts how much every stride of multiple time stepping heats, from one short run under conservative forces in which
both kinds of forces are known at every step: without running any stride. A table says for every stride the heating
without a thermostat with its error, the excess of temperature that each thermostat leaves, what the stride costs and
which vibrations do it; then which stride to take. With --plot, so does a picture.
"""

EPILOG = """\
examples
  darkforces stride pet-m inputs/water.xyz
      2 ps after half a ps of equilibration: some minutes
  darkforces stride pet-m inputs/water.xyz --time 10 --allow 0.2 --plot
      smaller errors, and the longest stride that heats by less than 0.2 K/ps, or is less than 0.2 K too hot; draws
      stride-pet-m-water.png
  darkforces stride pet-m inputs/water.xyz --hmr 3
      the same with hydrogen atoms of 3 u, the rest taken from the oxygen: slower vibrations allow longer strides
  darkforces stride "fast=student.ckpt slow=pet-m" inputs/water.xyz
      fast forces of one model, slow ones of another
  darkforces stride pet-m inputs/water.xyz --thorough
      and which vibrations the impulses drive as parametric oscillators: some minutes more

reading the table
  Impulses of the slow force come every M steps, and heat what vibrates with a multiple of their frequency: the power
  of the slow force, which has the frequencies of the vibrations, their overtones and sums. The prediction has no
  parameter and holds while heating is slow; strides near half a period of a sharp vibration can be worse: --thorough
  tells. K/ps are those of classical vibrations (3 k_B for each atom). The excess of temperature is that of the mean
  over all atoms after a few time constants; the GLE is that of `darkforces run --ensemble gle`. Errors are standard
  errors; a stride is advised if the 95 % intervals of all strides up to it are below what is allowed.
  With --thorough, eigenvalues of the propagator of an outer step, linear in displacements from the last structure of
  the run, say what grows there: |lambda| of the worst vibration in an outer step, its growth in a ps, how many grow.
  Vibrations of a liquid forget their frequencies within tenths of a ps: what grows slower than that only heats.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    add_model_argument(parser, help=f"{MODEL_HELP}; or two models, as 'fast=MODEL slow=MODEL'")
    add_structure_argument(parser, "where to start")
    group = parser.add_argument_group("run")
    group.add_argument("--time", type=float, default=2.0, metavar="PS", help="length, in ps (default: %(default)g)")
    add_state_options(group)
    group.add_argument(
        "--equilibrate",
        type=float,
        metavar="PS",
        help="of Langevin dynamics before it, in ps (default: 0.5 if the structure has no velocities, else none)",
    )
    add_seed_option(group)
    add_mass_options(group)
    group = parser.add_argument_group("strides and thermostats")
    group.add_argument(
        "--max-stride", type=int, default=16, metavar="M", help="largest stride, up to 100 (default: %(default)s)"
    )
    group.add_argument(
        "--tau",
        type=float,
        default=100.0,
        metavar="FS",
        help="time constant of thermostats, in fs (default: %(default)g)",
    )
    group.add_argument(
        "--allow",
        type=float,
        default=1.0,
        metavar="K",
        help="excess of temperature with a thermostat, and K/ps without one (default: %(default)g)",
    )
    group.add_argument(
        "--thorough",
        action="store_true",
        help="also look for vibrations that impulses drive as parametric oscillators, by eigenvalues of the propagator",
    )
    add_output_options(parser, picture="stride-MODEL-STRUCTURE.png", overwrite=PICTURE)


def run(args: argparse.Namespace) -> None:
    """Predict."""
    if not args.allow > 0.0:
        raise DarkforcesError(f"--allow {args.allow:g} cannot be used: expected K, more than zero")
    picture = picture_path(args, "stride", [args.structure])
    atoms = read_atoms(args.structure, "structure")
    model = load(args)
    with counting_bar(args.structure.name, "step") as progress:
        prediction = stride(
            model,
            atoms,
            time=args.time,
            temperature=args.temperature,
            timestep=args.timestep,
            equilibration=args.equilibrate,
            longest=args.max_stride,
            tau=args.tau,
            hydrogen_mass=hydrogen_mass(args),
            repartition=args.hmr is not None,
            seed=args.seed,
            thorough=args.thorough,
            report=progress,
        )
    if args.json:
        advised = {name: prediction.longest(name, args.allow).stride for name in ENSEMBLES}
        found = {**prediction.as_json(), "allowed_K": args.allow, "longest_stride": advised}
        text = json.dumps({**found, "picture": picture and str(picture)}, indent=2)
    else:
        text = f"{prediction}\n\n{prediction.advice(args.allow)}"
    show(text, picture, lambda file: draw_strides(prediction, file), args.json)
