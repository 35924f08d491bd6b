"""``darkforces jacobian``: how non-conservative are a model's forces? The asymmetry of their Jacobian."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..diagnostics import jacobian, probes
from ..diagnostics.jacobian import Asymmetry
from ..diagnostics.jacobian_picture import draw_asymmetry
from ..diagnostics.probes import EstimatedAsymmetry
from ..diagnostics.structures import read_structure_files
from ..errors import DarkforcesError, printable
from ..models.model import FORCE_KINDS, Need
from ..models.structure import Structure, name_atoms
from ..progress_bar import progress_bar
from .options import (
    PICTURE,
    add_model_argument,
    add_output_options,
    add_structures_argument,
    load,
    picture_path,
)
from .output import show

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..models.model import ForceModel
    from ..stats.estimates import Estimate

_TINY = 1e-6  # an error with so many zeros is not written out: that of rounding

DESCRIPTION = """\
Says how far forces are from being the gradient of an energy: by the asymmetry of their Jacobian, the matrix of the
derivatives of all forces with respect to all positions, at one or several structures. lambda is the norm of its
antisymmetric part over that of the whole: 0 for conservative forces, 1 for those without any conservative part. Given
for all of a structure, for elements and atoms, and for pairs of atoms against their distance.
"""

EPILOG = """\
examples
  darkforces jacobian pet-m inputs/water.xyz --plot
      exactly, by automatic differentiation: half a minute for 192 atoms, longer with the square of their number; draws
      jacobian-pet-m-water.png
  darkforces jacobian my-model.pt large.xyz --error 0.05
      estimated with random probes until the standard error is 5 % of lambda: seconds for 192 atoms, and for any number
      of atoms no more than some tens of evaluations; without pairs and picture
  darkforces jacobian my-model.pt water.xyz --forces conservative --dtype float64
      a check: conservative forces have a lambda at the level of rounding, about 1e-7 in single precision and 1e-16 in
      double

reading the table
  Direct forces are judged as they are served: without their mean and, where nothing is periodic, without their net
  torque. To subtract these makes each atom feel all others, at any distance, a little and at random: lambda is about
  0.7 where there is nothing else. For scale, lambda of bulk water is 0.004 for the PET-NC of the paper, 0.015 for ORB,
  0.017 for EquiformerV2, 0.032 for a SOAP-BPNN (section 4.3). The smaller the part of J that lambda belongs to, the
  less it says about a simulation: look at the norms too. Norms are root mean squares over all pairs at that distance.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    add_model_argument(parser)
    add_structures_argument(parser, "where to measure")
    group = parser.add_argument_group("measurement")
    group.add_argument(
        "--forces", choices=list(FORCE_KINDS), default="direct", help="which ones to judge (default: %(default)s)"
    )
    group.add_argument(
        "--error",
        type=float,
        metavar="FRACTION",
        help="estimate lambda with random probes, until its standard error is this fraction of it: 0.05 for 5 %% "
        "(default: exactly)",
    )
    add_output_options(parser, picture="jacobian-MODEL-STRUCTURE.png", overwrite=PICTURE)
    # Not the fastest implementation by default, but one that can be differentiated.
    parser.set_defaults(backend="metatomic")


def run(args: argparse.Namespace) -> None:
    """Judge the model."""
    picture = _picture(args)
    structures = read_structure_files(args.structures)
    model = load(args)
    kind = FORCE_KINDS[args.forces]
    _check_kind(model, kind)
    asymmetries: list[Asymmetry] = []
    if args.error is None:
        asymmetries = _measure(model, structures, kind)
        text = "\n\n".join(_table(asymmetry) for asymmetry in asymmetries)
        results: list[dict[str, object]] = [asymmetry.as_json() for asymmetry in asymmetries]
    else:
        estimates = [_estimate(model, name, structure, kind, args.error) for name, structure in structures.items()]
        text = "\n\n".join(_estimated_table(estimate) for estimate in estimates)
        results = [estimate.as_json() for estimate in estimates]
    if args.json:
        summary = {"model": model.name, "forces": args.forces, "structures": results}
        text = json.dumps({**summary, "picture": picture and str(picture)})
    else:
        served = _served(list(structures.values())) if kind is Need.DIRECT else ""
        text = f"{printable(model.name)}: {kind}{served}\n\n{text}"
    show(text, picture, lambda file: draw_asymmetry(asymmetries, f"{model.name}: {kind}", file), args.json)


def _served(structures: list[Structure]) -> str:
    """The treatment of direct forces, in words."""
    isolated = [structure for structure in structures if not structure.periodic.any()]
    torque = "" if not isolated else " and torque" if len(isolated) == len(structures) else " and, of molecules, torque"
    return f", as they are served, without their mean{torque}"


def _picture(args: argparse.Namespace) -> Path | None:
    if args.error is None:
        return picture_path(args, "jacobian", args.structures)
    if not 0.0 < args.error < 1.0:
        raise DarkforcesError(f"--error {args.error:g} is not a relative error: expected a number between 0 and 1")
    if args.plot is not None:
        raise DarkforcesError("--plot and --error contradict each other: the picture needs all of the Jacobian")
    return None


def _check_kind(model: ForceModel, kind: Need) -> None:
    try:
        model.check_need(kind)
    except DarkforcesError as error:
        other = next((name for name, need in FORCE_KINDS.items() if need in model.provides), None)
        raise DarkforcesError(f"{error}{f'; to judge those, give --forces {other}' if other else ''}") from error


def _measure(model: ForceModel, structures: dict[str, Structure], kind: Need) -> list[Asymmetry]:
    asymmetries = []
    for name, structure in structures.items():
        with progress_bar(desc=name, total=len(structure.species), disable=None, leave=False, unit="atom") as bar:

            def progress(done: int, bar: tqdm = bar) -> None:
                bar.update(done - bar.n)

            asymmetries.append(jacobian.measure(model, structure, name, kind, progress))
    return asymmetries


def _estimate(model: ForceModel, name: str, structure: Structure, kind: Need, error: float) -> EstimatedAsymmetry:
    with progress_bar(desc=name, disable=None, leave=False, unit="probe") as bar:

        def progress(done: int, reached: float) -> None:
            bar.set_postfix_str(f"error {100.0 * reached:.1f} %", refresh=False)
            bar.update(done - bar.n)

        return probes.estimate(model, structure, name, kind, error, progress)


def _table(asymmetry: Asymmetry) -> str:
    lines = [
        f"{printable(asymmetry.name)}: {len(asymmetry.species)} atoms",
        f"  lambda  {asymmetry.value:.3g}{_remark(asymmetry)}",
    ]
    lines += [f"  {symbol:>6}  {value:.3g}" for symbol, value in asymmetry.elements.items()]
    worst = np.array([np.argmax(asymmetry.atoms)])
    lines += [f"  worst   {asymmetry.atoms[worst[0]]:.3g}, {name_atoms(worst, asymmetry.species)}", ""]
    lines += [f"  {'r_ij, Å':>10} {'pairs':>7} {'norm':>10} {'antisym.':>10} {'lambda':>10}   norms in eV/Å²"]
    for shell in asymmetry.shells():
        where = "on site" if shell.furthest == 0.0 else f"{shell.nearest:.1f} to {shell.furthest:.1f}"
        lines.append(
            f"  {where:>10} {shell.pairs:>7} {shell.total:>10.3g} {shell.antisymmetric:>10.3g} {shell.asymmetry:>10.3g}"
        )
    return "\n".join(lines)


def _estimated_table(estimate: EstimatedAsymmetry) -> str:
    lines = [
        f"{printable(estimate.name)}: {len(estimate.species)} atoms, {estimate.probes} random probes",
        f"  lambda  {_with_error(estimate.value)}{_remark(estimate)}",
    ]
    lines += [f"  {symbol:>6}  {_with_error(value)}" for symbol, value in estimate.elements.items()]
    return "\n".join(lines)


def _with_error(estimate: Estimate) -> str:
    if estimate.error is None or estimate.error > _TINY:
        return estimate.brief()
    return f"{estimate.value:.3g} ± {estimate.error:.1g}"


def _remark(asymmetry: Asymmetry | EstimatedAsymmetry) -> str:
    if not asymmetry.is_rounding:
        return ""
    return f"  (rounding: derivatives are known to {asymmetry.precision:.0g}; the forces are conservative)"
