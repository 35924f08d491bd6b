"""``darkforces models``: which models there are, what each provides, and what its card says."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from typing import Any

from ase.data import chemical_symbols

from ..errors import DarkforcesError
from ..models.registry.export import is_checkpoint
from ..models.registry.packages import PACKAGED
from ..models.registry.upet import UPET, cached_checkpoints
from ..models.registry.zoo import all_models, card_of, user_directory
from .options import MODEL_HELP, add_evaluation_options, add_output_options, load
from .output import print_result

# Where the unit begins in the key of an error: energy_mae_meV_per_atom.
_UNITS = ("meV", "eV", "kcal", "kJ", "K", "A", "GPa", "percent")
_SPELLING = {"mae": "MAE", "rms": "RMS", "rmse": "RMSE", "A": "Å", "A2": "Å²", "A3": "Å³", "per": "/", "percent": "%"}
# The texts of a card, in this order, and what they are called on the page.
_TEXTS = {
    "architecture": "architecture",
    "data": "data",
    "license": "data license",
    "citation": "data citation",
    "training": "training",
    "valid_range": "valid range",
    "teacher": "teacher",
}
_WIDEST = 100
_LABELS = 15


DESCRIPTION = """\
Lists the models that have a name: those that come with the package and your own, which are the checkpoints NAME.ckpt
with a card NAME.json in
    {directory}
then those of other packages: whether the package is installed here, what installs it, and whether the weights are on
this machine. The list says what cards say, and loads no weights, as these can hold code. Given models, it loads them
and shows what they provide, and their cards: what they were trained on, how, how wrong they are and where they may be
used. The first time, this prepares them for this machine, which takes some seconds.
"""

EPILOG = """\
examples
  darkforces models
  darkforces models pet-m my-model.ckpt
  darkforces models ase:ase.calculators.emt:EMT
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    parser.description = DESCRIPTION.format(directory=user_directory())
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="*",
        help=f"{MODEL_HELP}. The card next to a checkpoint is shown (default: list all names)",
    )
    add_evaluation_options(parser.add_argument_group("model"))
    add_output_options(parser)


def run(args: argparse.Namespace) -> None:
    """List all models, or show some."""
    rows = [_packaged_row(name) if name in PACKAGED else _row(name, args) for name in args.model]
    if not rows:
        rows = [*map(_row_by_card, all_models()), *map(_packaged_row, PACKAGED)]
    if args.json:
        print_result(json.dumps(rows, indent=2))
    elif args.model:
        print_result("\n\n".join(_package_card(row) if "package" in row else _card(row) for row in rows))
    else:
        print_result(_list([row for row in rows if "package" not in row]))
        print_result("\nmodels of other packages, in environments of their own; weights elsewhere: -o weights=FILE\n")
        print_result("\n\n".join(_package_card(row) for row in rows if "package" in row))
        print_result("\n" + _upet())


def _row(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """A row of the list for a model, which is loaded. A broken card is reported and does not hide the rest."""
    row = _row_by_card(name)
    model = load(args, name)
    row["provides"] = str(model.provides).split(", ")
    row["elements"] = None if model.species is None else [chemical_symbols[z] for z in sorted(model.species)]
    row["remarks"] = [remark for each in model.models for remark in each.remarks]
    return row


def _row_by_card(name: str) -> dict[str, Any]:
    """A row of the list for a model that is not loaded, from its card."""
    entry = all_models().get(name)
    card, problem = None, None
    try:
        card = card_of(name)
    except DarkforcesError as error:
        problem = str(error)
    if entry is not None and not is_checkpoint(entry.path):
        problem = f"'{entry.path}' is not a metatrain checkpoint (.ckpt)"
    description = card.description if card else None
    withheld = str(entry.withhold).split(", ") if entry else []
    return {
        "name": name,
        "description": entry.view if entry and entry.view else description,
        "own": entry is None or entry.own,
        "file": str(entry.path) if entry else name,
        "provides": [each for each in card.provides if each not in withheld] if card and card.provides else None,
        "elements": list(card.elements) if card and card.elements else None,
        "card": card.as_dict() if card else None,
        "problem": problem,
    }


def _packaged_row(name: str) -> dict[str, Any]:
    """A row of the list for a model of another package, without loading it."""
    model = PACKAGED[name]
    weights = model.weights.cached()
    return {
        "name": name,
        "description": model.description,
        "provides": ["energy", str(model.kind)],
        "package": model.package.name,
        "installed": model.package.version,
        "version_of_the_paper": model.package.paper,
        "command": model.package.command,
        "weights": model.weights.name,
        "source": model.weights.source,
        "file": str(weights) if weights else None,
    }


def _package_card(row: dict[str, Any]) -> str:
    """The page of a model of another package."""
    installed = f"{row['installed']} is installed here" if row["installed"] else f"not here; {row['command']}"
    return "\n".join(
        [
            f"{row['name']}: {row['description']}",
            _labelled("provides", ", ".join(row["provides"])),
            _labelled("package", f"{row['package']} (paper: {row['version_of_the_paper']}): {installed}"),
            _labelled("weights", row["file"] or f"{row['weights']}: not here; from {row['source']}"),
        ]
    )


def _upet() -> str:
    """Lines on the names of upet's models, which need no package beyond ours."""
    here = ", ".join(sorted(path.rpartition("/")[2] for path in cached_checkpoints())) or "none"
    return "\n".join(
        [
            f"{UPET}pet-mad-s and all others of upet: PET models for materials and molecules, most with direct forces",
            _labelled("weights", f"from the repository lab-cosmo/upet of Hugging Face; on this machine: {here}"),
        ]
    )


def _list(rows: list[dict[str, Any]]) -> str:
    width = max(len(row["name"]) for row in rows) + 2
    lines = []
    for row in rows:
        own = " (your own)" if row["own"] else ""
        lines.append(f"{row['name']:{width}}{row['description'] or 'no description'}{own}")
        knows = f"knows {', '.join(row['elements'])}" if row["elements"] else ""
        known = "; ".join(filter(None, [f"provides {', '.join(row['provides'])}" if row["provides"] else "", knows]))
        lines.append(
            f"{'':{width}}{known or 'what it provides, its card does not say: darkforces models ' + row['name']}"
        )
        errors = ", ".join(f"{label} {value}" for label, value in _errors(row))
        if errors:
            lines.append(_wrapped(" " * width, f"errors: {errors}"))
        if row["problem"]:
            lines.append(f"{'':{width}}problem: {row['problem']}")
    return "\n".join(lines)


def _card(row: dict[str, Any]) -> str:
    """The page of a model."""
    card = row["card"] or {}
    title = row["name"] + (f": {row['description']}" if row["description"] else "")
    lines = [title, "", _labelled("provides", ", ".join(row["provides"])), _labelled("knows", _elements(row))]
    lines += [_labelled("remark", remark) for remark in row["remarks"]]
    lines += [_labelled(label, card[field]) for field, label in _TEXTS.items() if field in card]
    lines += _error_lines(row)
    lines.append(f"  {'file':{_LABELS}}{row['file']}")
    if row["problem"]:
        lines.append(f"  {'problem':{_LABELS}}{row['problem']}")
    elif not card:
        lines.append(f"  {'card':{_LABELS}}none")
    return "\n".join(lines)


def _error_lines(row: dict[str, Any]) -> list[str]:
    errors = _errors(row)
    width = max((len(label) for label, _ in errors), default=0) + 2
    labels = ["errors"] + [""] * len(errors)
    return [f"  {left:{_LABELS}}{label:{width}}{value}" for left, (label, value) in zip(labels, errors, strict=False)]


def _errors(row: dict[str, Any]) -> list[tuple[str, str]]:
    """The errors of a card, ready to be read, less those of forces that a view of the model withholds."""
    errors = row["card"]["errors"] if row["card"] else {}
    provides = " ".join(row["provides"] or ["conservative", "direct"])
    withheld = [kind for kind in ("conservative", "direct") if kind not in provides]
    return [_readable(key, value) for key, value in errors.items() if not any(kind in key for kind in withheld)]


def _readable(key: str, value: float) -> tuple[str, str]:
    """``energy_mae_meV_per_atom``, 0.55 -> ``energy MAE``, ``0.55 meV/atom``."""
    words = key.split("_")
    begin = next((i for i, word in enumerate(words) if word in _UNITS and i > 0), len(words))
    label, unit = ([_SPELLING.get(word, word) for word in part] for part in (words[:begin], words[begin:]))
    return " ".join(label), f"{value:.4g} {' '.join(unit).replace(' / ', '/')}".rstrip()


def _elements(row: dict[str, Any]) -> str:
    return "all elements" if row["elements"] is None else ", ".join(row["elements"])


def _labelled(label: str, text: str) -> str:
    return _wrapped(f"  {label:{_LABELS}}", text)


def _wrapped(left: str, text: str) -> str:
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    # A narrow terminal breaks lines by itself; textwrap refuses to.
    width = max(width, len(left) + 20)
    return textwrap.fill(
        text,
        width,
        initial_indent=left,
        subsequent_indent=" " * len(left),
        break_on_hyphens=False,
        break_long_words=False,  # addresses and paths are copied
    )
