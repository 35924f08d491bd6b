"""``darkforces stride``: which stride of multiple time stepping is safe?"""

from __future__ import annotations

import argparse
import json

from ..diagnostics.stride import Prediction, stride
from ..diagnostics.stride_picture import draw_strides
from ..errors import DarkforcesError, printable
from ..models.structure_file import read_atoms
from ..progress_bar import counting_bar
from ..simulate.hydrogen_mass import DEUTERIUM
from .commands import add_command
from .files import show
from .options import (
    MODEL_HELP,
    PICTURE,
    add_evaluation_options,
    add_model_argument,
    add_output_options,
    add_seed_option,
    add_state_options,
    add_structure_argument,
    load,
    picture_path,
)

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

_ENSEMBLES = {"nve": "NVE", "langevin": "Langevin", "svr": "SVR", "gle": "GLE"}


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "stride", DESCRIPTION, EPILOG)
    add_model_argument(parser, help=f"{MODEL_HELP}; or two models, as 'fast=MODEL slow=MODEL'")
    add_structure_argument(parser, "where to start")
    add_evaluation_options(parser.add_argument_group("model"))
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
    masses = group.add_mutually_exclusive_group()
    masses.add_argument(
        "--hmr",
        type=float,
        metavar="U",
        help="give hydrogen atoms this mass, and take what they gain from the atoms they are bonded to",
    )
    masses.add_argument("--deuterium", action="store_true", help="give hydrogen atoms the mass of deuterium")
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
    parser.set_defaults(command=run)


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
            hydrogen_mass=DEUTERIUM if args.deuterium else args.hmr,
            repartition=args.hmr is not None,
            seed=args.seed,
            thorough=args.thorough,
            report=progress,
        )
    if args.json:
        advised = {name: prediction.longest(name, args.allow).stride for name in _ENSEMBLES}
        found = {**prediction.as_json(), "allowed_K": args.allow, "longest_stride": advised}
        text = json.dumps({**found, "picture": picture and str(picture)}, indent=2)
    else:
        text = "\n\n".join([_table(prediction), *_stability(prediction), _advice(prediction, args.allow)])
    show(text, picture, lambda file: draw_strides(prediction, file), args.json)


def _table(prediction: Prediction) -> str:
    masses = ", ".join(f"{symbol} {mass:.4g} u" for symbol, mass in prediction.masses.items())
    symbols = list(prediction.masses)
    lines = [
        f"{printable(prediction.model)}: {len(prediction.species)} atoms ({masses}), {prediction.time:g} ps at "
        f"{prediction.temperature:.0f} K, fast steps of {prediction.timestep:g} fs",
        "",
        f"     impulses        heating without thermostat       too hot, tau {prediction.tau:g} fs, K",
        f"  M  every, fs  cost    meV/atom/ps      K/ps   {'Langevin':>8} {'SVR':>7} {'GLE':>7}   "
        + " ".join(f"{f'to {symbol}':>5}" for symbol in symbols)
        + "   mostly through",
    ]
    for each in prediction.strides:
        excess = [prediction.excess(each, name).value for name in ("langevin", "svr", "gle")]
        parts = [each.species[s].value / each.total.value if each.total.value else 0.0 for s in symbols]
        through = "" if each.dominant is None else f"{prediction.band(each.dominant)}, {each.dominant:.0f} cm⁻¹"
        lines.append(
            f"{each.stride:>3} {each.stride * prediction.timestep:>10g} "
            f"{prediction.costs.relative(each.stride):>5.2f}  "
            f"{each.total.value:>6.3f} ± {each.total.error:<6.3f} {each.rate.value:>6.2f}   "
            f"{excess[0]:>8.2g} {excess[1]:>7.2g} {excess[2]:>7.2g}   "
            + " ".join(f"{part:>5.0%}" for part in parts)
            + f"   {through}"
        )
    return "\n".join(lines)


def _stability(prediction: Prediction) -> list[str]:
    if prediction.stability is None:
        return []
    lines = ["growing vibrations, frozen at the last structure", "  M   |lambda|  growth, 1/ps  how many   the worst"]
    for each in prediction.stability[1:]:
        through = " and ".join(f"{prediction.band(w)}, {w:.0f} cm⁻¹" for w in each.wavenumbers)
        lines.append(
            f"{each.stride:>3} {each.modulus:>10.4f} {each.growth:>13.2f} {each.growing:>9}   {through}".rstrip()
        )
    return ["\n".join(lines)]


def _advice(prediction: Prediction, allowed: float) -> str:
    lines = []
    for name, title in _ENSEMBLES.items():
        longest = prediction.longest(name, allowed)
        unit = "K/ps" if name == "nve" else "K"
        with_tau = "" if name == "nve" else f", tau {prediction.tau:g} fs"
        limit = f"{title}{with_tau}, at most {allowed:g} {unit}:"
        what = prediction.excess(longest, name).text(unit)
        if longest.stride == 1:
            lines.append(f"{limit} none; conservative forces at every step")
        else:
            cost = prediction.costs.relative(longest.stride)
            resonant = 0 if prediction.stability is None else prediction.stability[longest.stride - 1].growing
            warning = f"; {resonant} vibration{'s grow' if resonant > 1 else ' grows'}" if resonant else ""
            if cost >= 1.0:
                warning += "; no stride up to it saves time"
            lines.append(
                f"{limit} M = {longest.stride} ({what}), at {cost:.0%} of the cost of conservative forces{warning}"
            )
    return "\n".join(lines)
