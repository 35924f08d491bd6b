"""``darkforces evaluate``: how good is a model? Its errors against reference data, and its speed."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from ..diagnostics.accuracy import Accuracy, Errors, ForceErrors, check_units, measure
from ..diagnostics.parity import draw_parity
from ..diagnostics.reference import Reference, atoms_too_close, atoms_too_far, read_reference
from ..errors import DarkforcesError, printable
from ..progress_bar import counting_bar
from .options import (
    PICTURE,
    add_model_argument,
    add_output_options,
    add_reference_options,
    load,
    picture_path,
)
from .output import show

logger = logging.getLogger(__name__)

DESCRIPTION = """\
Compares a model with reference data: errors of its energies, of its conservative and of its direct forces, in all and
for each element; how much direct and conservative forces differ, which limits the stride of multiple time stepping; and
how long an evaluation takes. With --plot, draws predicted against reference values.
"""

EPILOG = """\
examples
  darkforces evaluate pet-m val.xyz --plot
      prints a table and draws parity-pet-m-val.png
  darkforces evaluate my-model.pt water.xyz ice.xyz --energy-key TotEnergy --energy-unit hartree \\
      --forces-key force --force-unit hartree/bohr
      several files are one set of data; names are found where they are usual, units are not

reading the table
  Energies are per atom; the second line of them is after subtracting the mean error, since data sets differ by a
  constant. Forces are per Cartesian component. MAE is the mean absolute error, RMSE the root mean square error. Times
  are for one structure at a time and include the search for neighbours, which a simulation need not do at each step.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    add_model_argument(parser)
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="+",
        type=Path,
        help="structures with energies and forces, positions in Å: extended XYZ, or anything else that ase reads",
    )
    add_reference_options(parser.add_argument_group("data"), "eV/Angstrom", "eV/Angstrom")
    add_output_options(parser, picture="parity-MODEL-DATA.png", overwrite=PICTURE)


def run(args: argparse.Namespace) -> None:
    """Judge the model."""
    picture = picture_path(args, "parity", args.data)
    references = _read(args)
    model = load(args)
    with counting_bar(Path(args.model).name, "evaluation") as progress:
        accuracy = measure(model, references, progress)
    check_units(accuracy, args.energy_unit, args.force_unit)
    summary = {"data": [str(path) for path in args.data], "picture": picture and str(picture)}
    found = {**accuracy.as_json(), **summary}
    text = json.dumps(found, indent=2) if args.json else _table(accuracy, args.data)
    show(text, picture, lambda file: draw_parity(accuracy, file), args.json)


def _read(args: argparse.Namespace) -> list[Reference]:
    references: list[Reference] = []
    for path in args.data:
        references += read_reference(path, args.energy_key, args.forces_key, args.energy_unit, args.force_unit)
    overlap = atoms_too_close(references)
    if overlap is not None:
        raise DarkforcesError(overlap)
    doubt = atoms_too_far(references)
    if doubt is not None:
        logger.warning("%s", doubt)
    return references


def _table(accuracy: Accuracy, data: list[Path]) -> str:
    rows = [*_energy_rows(accuracy)]
    rows += _force_rows("conservative forces", accuracy.conservative_errors)
    rows += _force_rows("direct forces", accuracy.direct_errors)
    rows += _force_rows("direct - conservative", accuracy.difference)
    width = max(len(name) for name, *_ in rows)
    lines = [
        f"{printable(accuracy.model)} on {', '.join(printable(path.name) for path in data)}: "
        f"{accuracy.n_structures} structures, {accuracy.n_atoms} atoms",
        "",
        f"{'':{width}}  {'MAE':>9}  {'RMSE':>9}",
    ]
    lines += [f"{name:{width}}  {_digits(e.mae):>9}  {_digits(e.rmse):>9}  {unit}".rstrip() for name, e, unit in rows]
    lines += ["", "time per structure: median (quartiles)"]
    lines += [
        f"  {need}: {timing.median:.1f} ms ({timing.lower:.1f} to {timing.upper:.1f})"
        for need, timing in accuracy.timings.items()
    ]
    return "\n".join(lines)


def _energy_rows(accuracy: Accuracy) -> list[tuple[str, Errors, str]]:
    errors = accuracy.energy_errors
    return [
        ("energy", errors.total, "meV/atom"),
        (f"  without the mean, {'-' if errors.mean < 0 else '+'}{_digits(abs(errors.mean))}", errors.shifted, ""),
    ]


def _force_rows(name: str, errors: ForceErrors | None) -> list[tuple[str, Errors, str]]:
    if errors is None:
        return []
    return [(name, errors.total, "meV/Å"), *((f"  {symbol}", e, "") for symbol, e in errors.elements.items())]


def _digits(value: float) -> str:
    """Three digits that mean something, and never an exponent."""
    return f"{value:.1f}" if round(value, 3) >= 10.0 else f"{value:.3f}"
