"""``darkforces train``: from labelled structures to a model that has a name."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from ..training.recipes.data import DataSource
from ..training.recipes.recipe import RECIPES, train
from .options import add_reference_options
from .output import print_result

DESCRIPTION = """\
Trains a model with energies, conservative and direct forces on labelled structures, with metatrain, judges it on
structures that it has not seen, and gives it a name. A recipe is a list of stages, each in a folder of the output.
Stopped at any moment and started again with the same command, training goes on from the last epoch. Recipes that are
given the same --output share what they can: pet-m-ft begins with the pet-nc that is there.
"""

EPILOG = """\
examples
  darkforces train pet-m-ft --data train.xyz --output runs/water --name my-water
      then: darkforces run --structure my.xyz --model my-water --ensemble nve --mts 4
  darkforces train pet-m-ft --data train.xyz --output runs/water --name my-water \\
      -r all:architecture.training.num_epochs=10 -r pet-m-ft:device=cuda

recipes
  pet-nc                      direct forces, with the energy beside them
  pet-c                       energies and their gradients
  pet-m                       energies, gradients and direct forces, jointly
  pet-m-ft                    pet-nc, then fine-tuned with energies and gradients: begin here
  pet-m-distilled             pet-m-ft, whose direct forces are then trained to match its own conservative ones
  soap-bpnn-c, soap-bpnn-nc   another architecture
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    parser.add_argument("recipe", choices=RECIPES, metavar="RECIPE", help=", ".join(RECIPES))
    data = parser.add_argument_group("data: structures with a cell, energies and forces, in any file that ase reads")
    _add_data_options(data)
    group = parser.add_argument_group("training")
    group.add_argument(
        "--branches",
        type=int,
        default=200,
        metavar="N",
        help="of hot and strained dynamics, for pet-m-distilled (default: %(default)s)",
    )
    group.add_argument(
        "-r",
        "--override",
        action="append",
        default=[],
        metavar="STAGE:OPTION=VALUE",
        help="change one of metatrain's options in one stage, or in all; may be repeated",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for everything that is written"
    )
    output.add_argument(
        "--name", required=True, metavar="NAME", help="of the model: `darkforces run --model NAME` uses it"
    )


def _add_data_options(data: argparse._ArgumentGroup) -> None:
    data.add_argument("--data", type=Path, required=True, metavar="XYZ", help="to train on")
    data.add_argument("--validation", type=Path, metavar="XYZ", help="to judge by (default: a part of --data)")
    data.add_argument("--fraction", type=float, default=0.1, metavar="PART", help="its size (default: %(default)s)")
    data.add_argument("--seed", type=int, default=0, metavar="N", help="of its choice (default: %(default)s)")
    add_reference_options(data, None, "eV/Angstrom, and forces that do not look like it are refused")


def run(args: argparse.Namespace) -> None:
    """Train what the command line asks for."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's way to stop is as good as Ctrl-C
    source = DataSource(
        args.data, args.validation, args.fraction, args.seed,
        args.energy_key, args.forces_key, args.energy_unit, args.force_unit,
    )  # fmt: skip
    print_result(train(args.recipe, source, args.output, args.name, args.branches, args.override))
