"""``darkforces work``: how much work do a model's forces do along a closed path?"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from ..diagnostics.closed_path import ClosedPath, read_path, turning_molecule
from ..diagnostics.structures import read_structures
from ..diagnostics.work import Loop, integrate
from ..diagnostics.work_picture import draw_work
from ..errors import DarkforcesError, printable
from ..progress_bar import progress_bar
from .options import (
    PICTURE,
    add_model_argument,
    add_output_options,
    add_structure_argument,
    load,
    picture_path,
)
from .output import show

logger = logging.getLogger(__name__)

DESCRIPTION = """\
Integrates forces along a closed path, at the end of which conservative forces have done no work. In STRUCTURE, one
molecule turns once about the axis of its largest moment of inertia and is deformed on the way, the rest is fixed; or
the path goes through the structures of a file. For both kinds of forces that the model has, with the error of the
integral.
"""

EPILOG = """\
examples
  darkforces work pet-m inputs/water.xyz
      the molecule with the most room
  darkforces work pet-m inputs/water.xyz --atom 17 --tolerance 0.01 --dtype float64 --plot work.pdf
      the molecule of atom 17, counted from zero, more digits, and a picture
  darkforces work my-model.pt --path loop.xyz
      a smooth path through the structures of a file, of which the last is the same as the first

reading the result
  The number of points on the path is doubled until the work up to any of them does not change by more than the
  tolerance; by how much it changed the last time is the error. The conservative work is zero within its error. The
  direct one depends on the path: -410 to 132 meV for the models of the paper, on a path like this one (appendix D).
  A path that runs through structures unlike any that the model was trained on says little.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    add_model_argument(parser)
    add_structure_argument(parser, "molecules, one of which turns", nargs="?")
    group = parser.add_argument_group("path")
    group.add_argument(
        "--atom", type=int, metavar="I", help="turn the molecule of this atom, counted from zero (default: most room)"
    )
    group.add_argument(
        "--path", type=Path, metavar="FILE", help="a closed path through the structures of this file, instead"
    )
    group.add_argument(
        "--tolerance", type=float, default=0.1, metavar="MEV", help="largest error, in meV (default: %(default)s)"
    )
    add_output_options(parser, picture="work-MODEL-STRUCTURE.png", overwrite=PICTURE)


def run(args: argparse.Namespace) -> None:
    """Judge the model."""
    if (args.structure is None) == (args.path is None):
        raise DarkforcesError("expected either a STRUCTURE, of which a molecule turns, or --path FILE")
    if args.path is not None and args.atom is not None:
        raise DarkforcesError("--path and --atom contradict each other: the file says what moves")
    if not args.tolerance > 0.0:
        raise DarkforcesError(f"--tolerance {args.tolerance:g} is not an error: expected meV, more than zero")
    picture = picture_path(args, "work", [args.path or args.structure])
    path = _path(args)
    model = load(args)
    with progress_bar(desc=Path(args.model).name, disable=None, leave=False, unit="evaluation") as bar:

        def progress(done: int) -> None:
            bar.update(done - bar.n)

        loop = integrate(model, path, 1e-3 * args.tolerance, progress)
    if not loop.converged:
        logger.warning(
            "after %d points the work still changes by more than %g meV: path or forces are not smooth%s",
            loop.points,
            args.tolerance,
            "" if args.dtype == "float64" else ", or this is rounding, and --dtype float64 helps",
        )
    found = {**loop.as_json(), "picture": picture and str(picture)}
    text = json.dumps(found, indent=2) if args.json else _table(loop)
    show(text, picture, lambda file: draw_work(loop, file), args.json)


def _path(args: argparse.Namespace) -> ClosedPath:
    if args.path is not None:
        return read_path(args.path)
    name, structure = list(read_structures(args.structure).items())[-1]
    return turning_molecule(structure, name, args.atom)


def _table(loop: Loop) -> str:
    lines = [
        f"{printable(loop.model)}: {printable(loop.path)}",
        f"{loop.points} points",
        "",
        f"{'':20}  {'work':>10}  {'error':>8}",
    ]
    for kind, work in loop.works.items():
        lines.append(f"{kind + ' forces':20}  {1000.0 * work.total:>10.3f}  {1000.0 * work.error:>8.1g}  meV")
    if loop.energy_mismatch is not None:
        span = 1000.0 * float(loop.energy.max() - loop.energy.min())
        lines += [
            "",
            f"The energy goes up and down by {span:.0f} meV on the way, and the conservative work follows it to within "
            f"{1000.0 * loop.energy_mismatch:.1g} meV.",
        ]
    return "\n".join(lines)
