"""Options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import DarkforcesError
from ..models.model import ForceModel
from ..models.registry.kinds import load_as
from ..models.registry.loading import BACKENDS, Loading
from ..models.registry.specification import Option, chosen, label_of, with_options
from ..split.monitor import TOO_FAR

MODEL_HELP = (
    "a name from `darkforces models` (pet-m, pet-c, pet-nc, pet-xs, or one of your own), the path of a metatrain "
    "checkpoint (.ckpt) or of an exported metatomic model (.pt), or what makes an ase calculator: "
    "ase:package.module:factory, or ase:file.py:factory"
)
PARAM_HELP = (
    "of ase calculators: arguments of what makes them, numbers and true or false as such; and forces=direct if its "
    "forces are not the gradient of its energy. May be repeated"
)


def add_model_options(parser: argparse.ArgumentParser, param_help: str = PARAM_HELP) -> None:
    """Add options for the model or models, the device and the precision."""
    group = parser.add_argument_group("model")
    group.add_argument("-m", "--model", metavar="MODEL", help=MODEL_HELP)
    group.add_argument(
        "--fast",
        metavar="MODEL",
        help="multiple time stepping with two models: the one of the fast forces, its direct "
        "ones, or conservative ones if it has no others",
    )
    group.add_argument(
        "--slow",
        metavar="MODEL",
        help="and the one whose conservative forces the trajectory shall follow; options of "
        "both are given as -o fast.KEY=VALUE,slow.KEY=VALUE",
    )
    add_evaluation_options(group, param_help)


def add_evaluation_options(group: argparse._ActionsContainer, param_help: str = PARAM_HELP) -> None:
    """Add options for device, precision, variant, and the model's own options."""
    add_place_options(group)
    add_param_option(group, param_help)


def add_place_options(group: argparse._ActionsContainer) -> None:
    """Add options for device, precision and variant."""
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
        help="metatomic: the exported model, even where there is a faster way, as for PET checkpoints",
    )


def add_param_option(parser: argparse._ActionsContainer, param_help: str = PARAM_HELP) -> None:
    """Options of the model."""
    parser.add_argument("-o", "--param", action="append", default=[], metavar="KEY=VALUE,...", help=param_help)


def params(args: argparse.Namespace) -> dict[str, Option]:
    """Options of a model given with -o, in the style of i-PI's own driver.

    :raises DarkforcesError: if a value has no name
    """
    from ipi.utils.io.inputs import read_args_kwargs  # i-PI takes a second to import, and help can do without

    unnamed, named = read_args_kwargs(",".join(args.param))
    if unnamed:
        raise DarkforcesError(f"'{unnamed[0]}' in -o has no name: expected key=value")
    return dict(named)


def model_of(args: argparse.Namespace, options: Mapping[str, Option] | None = None) -> str:
    """The model that was given, in one line: see `specification`.

    :param options: of the model; None for all that was said with -o
    :raises DarkforcesError: if none was said, or more than can be
    """
    model = chosen(args.model, getattr(args, "fast", None), getattr(args, "slow", None))
    return with_options(model, params(args) if options is None else options)


def loading_of(args: argparse.Namespace) -> Loading:
    """The options of loading models that were given."""
    return Loading(device=args.device, dtype=args.dtype, variant=args.variant, backend=args.backend)


def load(args: argparse.Namespace) -> ForceModel:
    """Load the model that was given."""
    return load_as(model_of(args), loading_of(args))


def add_structures_argument(parser: argparse.ArgumentParser, nargs: str = "+") -> None:
    """Add an argument for structures, in any number of files.

    :param nargs: ``*`` if none are needed
    """
    parser.add_argument(
        "structures",
        metavar="STRUCTURE",
        nargs=nargs,
        default=[],
        type=Path,
        help="files of structures, of which all are taken: files of i-PI, or anything that ase reads",
    )


def add_watch_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for the difference of forces that is worth a warning."""
    parser.add_argument(
        "--warn-above",
        type=float,
        default=TOO_FAR,
        metavar="EV/Å",
        help="with multiple time stepping, warn when conservative and direct forces on an atom differ by more "
        "(default: %(default)s; every 2 fs, that is a kick beyond the thermal velocity of hydrogen)",
    )


def add_picture_options(parser: argparse.ArgumentParser, default: str) -> None:
    """Tell whether there shall be a picture, and where.

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


def default_name(args: argparse.Namespace, what: str, files: Sequence[Path]) -> str:
    """The name of a file that a command writes, less its suffix: what it shows, of which model and files."""
    more = f"+{len(files) - 1}" if len(files) > 1 else ""
    return f"{what}-{label_of(model_of(args))}-{files[0].stem}{more}"


def picture_path(args: argparse.Namespace, what: str, files: Sequence[Path]) -> Path | None:
    """The path of the picture, named for what it shows of which model and files; None if none is wanted.

    :raises DarkforcesError: for whatever stands in its way, before anything is computed
    """
    if args.no_plot:
        if args.plot is not None:
            raise DarkforcesError("--plot and --no-plot contradict each other")
        return None
    from matplotlib.figure import Figure  # takes a second, and who serves forces draws nothing

    path: Path = args.plot or Path(f"{default_name(args, what, files)}.png")
    known = sorted(Figure().canvas.get_supported_filetypes())
    if path.suffix.lstrip(".").lower() not in known:
        raise DarkforcesError(f"picture '{path}' has no suffix of a picture: expected one of {', '.join(known)}")
    if not path.parent.is_dir():
        raise DarkforcesError(f"picture '{path}' cannot be written: there is no folder '{path.parent}'")
    if path.exists() and not args.overwrite:
        raise DarkforcesError(f"picture '{path}' is there already; give --overwrite, --no-plot or another --plot FILE")
    return path
