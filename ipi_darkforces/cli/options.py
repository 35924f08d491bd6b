"""Options that several commands share: the same names, texts and order everywhere."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import DarkforcesError
from ..models.model import ForceModel
from ..models.registry.load import load_as
from ..models.registry.options import BACKENDS, Loading
from ..models.registry.specification import Option, chosen, label_of, with_options
from ..models.units import ENERGY_UNITS, FORCE_UNITS
from ..simulate.recipe import Recipe
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
STRUCTURE_HELP = "a file of i-PI, or anything that ase reads"
PICTURE = "a picture that exists"


def add_model_options(parser: argparse.ArgumentParser, param_help: str = PARAM_HELP) -> None:
    """Add options for the model or models that serve a simulation, the device and the precision."""
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


def add_model_argument(parser: argparse.ArgumentParser, metavar: str = "MODEL", help: str = MODEL_HELP) -> None:
    """Add the model as an argument, and options for its evaluation."""
    parser.add_argument("model", metavar=metavar, help=f"{help}. Also --model {metavar}")
    add_evaluation_options(parser.add_argument_group(metavar.lower()))


def add_evaluation_options(group: argparse._ActionsContainer, param_help: str = PARAM_HELP) -> None:
    """Add options for device, precision, variant, and the model's own options."""
    add_place_options(group)
    group.add_argument("-o", "--param", action="append", default=[], metavar="KEY=VALUE,...", help=param_help)


def add_place_options(group: argparse._ActionsContainer) -> None:
    """Add options for device, precision, variant and implementation."""
    group.add_argument(
        "--device",
        default="cpu",
        help="cpu, cuda or cuda:1; cuda:0,cuda:1 share batches of beads and simulations (default: %(default)s)",
    )
    group.add_argument(
        "--dtype",
        choices=["float32", "float64"],
        help="precision of the network (default: that of the model); float64 is slower and has more digits",
    )
    group.add_argument(
        "--variant",
        metavar="NAME",
        help="which head to use of a model that has several: pbe for energy/pbe; of the --slow model, slow.pbe",
    )
    group.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="metatomic: the exported model, even where there is a faster way, as for PET checkpoints",
    )


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

    :param options: of the model; None for all that were given with -o
    :raises DarkforcesError: if none was given, or more than can be
    """
    model = chosen(args.model, getattr(args, "fast", None), getattr(args, "slow", None))
    return with_options(model, params(args) if options is None else options)


def loading_of(args: argparse.Namespace) -> Loading:
    """The options of loading models that were given."""
    return Loading(device=args.device, dtype=args.dtype, variant=args.variant, backend=args.backend)


def load(args: argparse.Namespace, model: str | None = None) -> ForceModel:
    """Load a model as the options say.

    :param model: None for the one that was given
    """
    one_line = model_of(args) if model is None else with_options(model, params(args))
    return load_as(one_line, loading_of(args))


def add_structure_argument(parser: argparse.ArgumentParser, what: str, nargs: str | None = None) -> None:
    """Add an argument for one structure.

    :param what: is done with it
    :param nargs: ``?`` if it can be left out
    """
    parser.add_argument(
        "structure",
        metavar="STRUCTURE",
        nargs=nargs,
        type=Path,
        help=f"{what}: {STRUCTURE_HELP}; the last structure of a file",
    )


def add_structures_argument(parser: argparse.ArgumentParser, what: str, nargs: str = "+") -> None:
    """Add an argument for structures, in any number of files.

    :param what: is done with them
    :param nargs: ``*`` if none are needed
    """
    parser.add_argument(
        "structures",
        metavar="STRUCTURE",
        nargs=nargs,
        default=[],
        type=Path,
        help=f"{what}: {STRUCTURE_HELP}; all structures of each file",
    )


def add_state_options(group: argparse._ActionsContainer, defaults: bool = True) -> None:
    """Add temperature and time step.

    :param defaults: False for None where nothing is given, for commands that must know
    """
    for name, metavar, text, default in (
        ("temperature", "K", "temperature, in K", Recipe.temperature),
        ("timestep", "FS", "time step of the fast forces, in fs", Recipe.timestep),
    ):
        group.add_argument(
            f"--{name}",
            type=float,
            default=default if defaults else None,
            metavar=metavar,
            help=f"{text} (default: {default:g})",
        )


def add_mass_options(group: argparse._ActionsContainer) -> None:
    """Add options for another mass of hydrogen, which `hydrogen_mass` reads."""
    masses = group.add_mutually_exclusive_group()
    masses.add_argument(
        "--hmr",
        type=float,
        metavar="U",
        help="give hydrogen atoms this mass, in u, as 3, and take what they gain from the atoms they are bonded to: "
        "the same averages, with longer time steps",
    )
    masses.add_argument("--deuterium", action="store_true", help="give hydrogen atoms the mass of deuterium")


def hydrogen_mass(args: argparse.Namespace) -> float | None:
    """The mass of hydrogen atoms that was given, in u; None for their own."""
    from ..simulate.hydrogen_mass import DEUTERIUM  # half a second to import, for neighbour lists of ase

    return DEUTERIUM if args.deuterium else args.hmr


def add_reference_options(group: argparse._ActionsContainer, force_unit: str | None, force_unit_default: str) -> None:
    """Add names and units of reference energies and forces.

    :param force_unit: the default
    :param force_unit_default: the default in words
    """
    for kind in ("energy", "forces"):
        group.add_argument(f"--{kind}-key", metavar="NAME", help=f"name of {kind} in the data (default: a usual one)")
    for kind, units, default, words in (
        ("energy", ENERGY_UNITS, "eV", "eV"),
        ("force", FORCE_UNITS, force_unit, force_unit_default),
    ):
        group.add_argument(
            f"--{kind}-unit",
            choices=list(units),
            default=default,
            metavar="UNIT",
            help=f"{', '.join(units)} (default: {words})",
        )


def add_seed_option(group: argparse._ActionsContainer, default: int = 1) -> None:
    """Add the seed of random numbers."""
    group.add_argument(
        "--seed", type=int, default=default, metavar="N", help="of random numbers (default: %(default)s)"
    )


def add_monitor_option(group: argparse._ActionsContainer) -> None:
    """Add the option for the difference of forces that is worth a warning."""
    group.add_argument(
        "--warn-above",
        type=float,
        default=TOO_FAR,
        metavar="EV/Å",
        help="with multiple time stepping, warn when conservative and direct forces on an atom differ by more "
        "(default: %(default)s; every 2 fs, that is a kick beyond the thermal velocity of hydrogen)",
    )


def add_output_options(
    parser: argparse.ArgumentParser,
    *,
    folder: str | None = None,
    picture: str | None = None,
    overwrite: str | None = None,
) -> argparse._ArgumentGroup:
    """Add options for what is written and printed, as a group to which a command may add its own.

    :param folder: the default of the folder for everything, in words; None for commands that have none
    :param picture: what the picture is called if nobody says, in words; None for commands that draw none
    :param overwrite: what --overwrite replaces; None for commands without it
    """
    group = parser.add_argument_group("output")
    if folder is not None:
        group.add_argument(
            "--output", type=Path, metavar="DIR", help=f"folder for everything that is written (default: {folder})"
        )
    if picture is not None:
        group.add_argument(
            "--plot",
            type=Path,
            nargs="?",
            const=Path(),
            metavar="FILE",
            help=f"draw a picture, a PNG or PDF (without FILE: {picture})",
        )
        group.add_argument("--no-plot", action="store_true", help=argparse.SUPPRESS)  # once needed for no picture
    if overwrite is not None:
        group.add_argument("--overwrite", action="store_true", help=f"replace {overwrite}")
    group.add_argument("--json", action="store_true", help="print the results as JSON, for programs")
    return group


def default_name(args: argparse.Namespace, what: str, files: Sequence[Path]) -> str:
    """The name of a file that a command writes, less its suffix: what it shows, of which model and files."""
    model = f"-{label_of(model_of(args))}" if "model" in args else ""
    more = f"+{len(files) - 1}" if len(files) > 1 else ""
    return f"{what}{model}-{files[0].stem}{more}"


def picture_path(args: argparse.Namespace, what: str, files: Sequence[Path]) -> Path | None:
    """The path of the picture, named for what it shows of which model and files; None if none was asked for.

    :raises DarkforcesError: for whatever stands in its way, before anything is computed
    """
    if args.plot is None:
        return None
    if args.no_plot:
        raise DarkforcesError("--plot and --no-plot contradict each other")
    from matplotlib.figure import Figure  # takes a second, and who serves forces draws nothing

    path: Path = args.plot if args.plot.name else Path(f"{default_name(args, what, files)}.png")
    known = sorted(Figure().canvas.get_supported_filetypes())
    if path.suffix.lstrip(".").lower() not in known:
        raise DarkforcesError(f"picture '{path}' has no suffix of a picture: expected one of {', '.join(known)}")
    check_new_file(path, args.overwrite)
    return path


def check_new_file(path: Path, overwrite: bool) -> None:
    """Raise a DarkforcesError if a file cannot be written, or is there already and may not be replaced."""
    if not path.parent.is_dir():
        raise DarkforcesError(f"'{path}' cannot be written: there is no folder '{path.parent}'")
    if path.exists() and not overwrite:
        raise DarkforcesError(f"'{path}' exists; choose another name, or --overwrite it")
