"""``darkforces models``: which models there are, and what each provides."""

from __future__ import annotations

import argparse
import json

from ase.data import chemical_symbols

from ..forces.zoo import ZOO, load_model


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "models",
        help="list the models and what each provides",
        description="Lists the models that come with the package, or looks into models of your own, and says what each "
        "provides. The first time, this prepares the models for this machine, which takes some seconds.",
    )
    parser.add_argument("model", nargs="*", help="names, or paths of exported metatomic models (default: all names)")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> None:
    """List them."""
    rows = [_row(name) for name in args.model or ZOO]
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        print(f"{row['name']:{width}}  {row['description'] or 'your model'}")
        print(f"{'':{width}}  provides {', '.join(row['provides'])}; knows {', '.join(row['elements'])}")


def _row(name: str) -> dict:
    model = load_model(name)
    return {
        "name": name,
        "description": ZOO[name].description if name in ZOO else None,
        "provides": str(model.provides).split(", "),
        "elements": None if model.species is None else [chemical_symbols[z] for z in sorted(model.species)],
    }
