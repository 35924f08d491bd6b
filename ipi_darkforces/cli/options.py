"""Options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ..errors import DarkforcesError
from ..forces.zoo import BACKENDS
from ..serve.watch import TOO_FAR

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
    group.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="metatomic: the exported model, even where there is a faster way, as for PET checkpoints on the CPU",
    )


def add_structures_argument(parser: argparse.ArgumentParser) -> None:
    """Which structures, in any number of files."""
    parser.add_argument(
        "structures",
        metavar="STRUCTURE",
        nargs="+",
        type=Path,
        help="files of structures, of which all are taken: extended XYZ, or anything else that ase reads",
    )


def add_watch_option(parser: argparse.ArgumentParser) -> None:
    """When multiple time stepping is worth a warning."""
    parser.add_argument(
        "--warn-above",
        type=float,
        default=TOO_FAR,
        metavar="EV/Å",
        help="with multiple time stepping, warn when conservative and direct forces on an atom differ by more "
        "(default: %(default)s; every 2 fs, that is a kick beyond the thermal velocity of hydrogen)",
    )


def add_picture_options(parser: argparse.ArgumentParser, default: str) -> None:
    """Whether there shall be a picture, and where.

    :param default: what it is called if nobody says, for the help
    """
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help=f"where the picture goes, a PNG or PDF (default: {default} in the current folder)",
    )
    parser.add_argument("--no-plot", action="store_true", help="draw no picture")
    parser.add_argument("--overwrite", action="store_true", help="replace a picture that is there already")


def picture_path(args: argparse.Namespace, what: str, files: Sequence[Path]) -> Path | None:
    """Where the picture goes, named for what it shows of which model and files; None if none is wanted.

    :raises DarkforcesError: for whatever stands in its way, before anything is computed
    """
    if args.no_plot:
        if args.plot is not None:
            raise DarkforcesError("--plot and --no-plot contradict each other")
        return None
    more = f"+{len(files) - 1}" if len(files) > 1 else ""
    path: Path = args.plot or Path(f"{what}-{Path(args.model).stem}-{files[0].stem}{more}.png")
    known = sorted(Figure().canvas.get_supported_filetypes())
    if path.suffix.lstrip(".").lower() not in known:
        raise DarkforcesError(f"picture '{path}' has no suffix of a picture: expected one of {', '.join(known)}")
    if not path.parent.is_dir():
        raise DarkforcesError(f"picture '{path}' cannot be written: there is no folder '{path.parent}'")
    if path.exists() and not args.overwrite:
        raise DarkforcesError(f"picture '{path}' is there already; give --overwrite, --no-plot or another --plot FILE")
    return path
