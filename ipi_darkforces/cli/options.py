"""Options that several commands share."""

from __future__ import annotations

import argparse

MODEL_HELP = (
    "a name from `darkforces models` (pet-m, pet-c, pet-nc, or one of your own), or the path of a metatrain "
    "checkpoint (.ckpt) or of an exported metatomic model (.pt)"
)


def add_model_options(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Which model, where, and in which precision."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "-m",
        "--model",
        metavar="MODEL",
        required=required,
        help=MODEL_HELP,
    )
    add_evaluation_options(group)


def add_evaluation_options(group: argparse._ArgumentGroup) -> None:
    """Where the model is evaluated, in which precision, and which part of it."""
    group.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1 (default: %(default)s)")
    group.add_argument(
        "--dtype",
        choices=["float32", "float64"],
        help="precision of the network (default: that of the model); float64 is slower and has more digits",
    )
    group.add_argument(
        "--variant", metavar="NAME", help="which head to use of a model that has several: pbe for energy/pbe"
    )
