"""``darkforces view``: where do direct forces differ? Structures with arrows, for a browser."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..atomic import writing
from ..diagnostics.structures import read_structure_files
from ..diagnostics.view import View, view
from ..diagnostics.view_picture import draw_view
from ..errors import DarkforcesError, printable
from ..models.structure import Structure
from ..progress_bar import counting_bar
from .options import (
    add_model_argument,
    add_output_options,
    add_structures_argument,
    check_new_file,
    default_name,
    load,
    picture_path,
)
from .output import show

DESCRIPTION = """\
Evaluates structures, or frames of a trajectory, and writes them with conservative forces, direct forces and their
difference as arrows, for chemiscope: open the file on chemiscope.org, or in a notebook with chemiscope.show_input.
With --plot, draws the structure in which they differ most.
"""

EPILOG = """\
examples
  darkforces view pet-m inputs/water.xyz
      writes view-pet-m-water.json.gz
  darkforces view my-model.pt nve-mts4/nve-mts4.pos_0.xyz --frames 50 --output nve.json.gz
      50 frames of a run, spread evenly

reading the result
  Lengths of force vectors: the root mean square over atoms, not components, and the longest of all. In chemiscope, a
  point on the map is a structure, against how much its forces differ; "shapes" chooses the arrows, whose names say
  their scale, and atoms can be coloured by how long their vectors are.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    add_model_argument(parser)
    add_structures_argument(parser, "to be evaluated")
    group = add_output_options(parser, picture="view-MODEL-STRUCTURE.png", overwrite="files that exist")
    group.add_argument(
        "--output", type=Path, metavar="FILE", help="file to write (default: view-MODEL-STRUCTURE.json.gz)"
    )
    group.add_argument(
        "--frames", type=int, default=20, metavar="N", help="take at most N of all structures (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> None:
    """Evaluate and write."""
    if args.frames < 1:
        raise DarkforcesError(f"--frames {args.frames} is not a number of structures: expected at least 1")
    path = args.output or Path(f"{default_name(args, 'view', args.structures)}.json.gz")
    if not path.name.endswith((".json", ".json.gz")):
        raise DarkforcesError(f"--output '{path}' cannot be opened by chemiscope: expected a name in .json or .json.gz")
    check_new_file(path, args.overwrite)
    picture = picture_path(args, "view", args.structures)
    structures = spread(read_structure_files(args.structures), args.frames)
    model = load(args)
    with counting_bar(Path(args.model).name, "structure") as progress:
        found = view(model, structures, progress)
    with writing(path) as file:
        found.write(file)
    text = json.dumps(as_json(found, path, picture), indent=2) if args.json else table(found, path)
    show(text, picture, lambda file: draw_view(found, file), args.json)


def spread(structures: Mapping[str, Structure], most: int) -> dict[str, Structure]:
    """Structures at even distances, the first and the last among them; all if there are no more than `most`."""
    names = list(structures)
    kept = np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int))
    return {names[i]: structures[names[i]] for i in kept}


def as_json(found: View, path: Path, picture: Path | None) -> dict[str, object]:
    """JSON values, units in the names."""
    forces = {}
    for kind in found.forces:
        longest, name, atom = found.largest(kind)
        forces[kind] = {
            "rms_meV_per_angstrom": (1000.0 * found.rms(kind)).tolist(),
            "largest_meV_per_angstrom": 1000.0 * longest,
            "structure": name,
            "atom": atom,
        }
    return {
        "model": found.model,
        "file": str(path),
        "picture": picture and str(picture),
        "structures": list(found.structures),
        "forces": forces,
    }


def table(found: View, path: Path) -> str:
    """Lengths of forces, and what to do with the file."""
    n = len(found.structures)
    width = max(len(kind) for kind in found.forces)
    lines = [
        f"{printable(found.model)}, {n} structure{'s' if n > 1 else ''}; forces in meV/Å",
        "",
        f"{'':{width}}  {'rms':>8}  {'largest':>8}",
    ]
    for kind in found.forces:
        longest, name, atom = found.largest(kind)
        rms = 1000.0 * float(np.sqrt(np.mean(found.rms(kind) ** 2)))
        lines.append(f"{kind:{width}}  {rms:8.1f}  {1000.0 * longest:8.1f}  atom {atom} of {printable(name)}")
    return "\n".join([*lines, "", f"written: {printable(path)}; open it on chemiscope.org"])
