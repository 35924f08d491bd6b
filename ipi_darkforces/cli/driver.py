"""The command ``i-pi-darkdriver``: serve a model to i-PI."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from .. import __version__
from ..errors import DarkforcesError
from ..models.model import ForceModel
from ..models.registry.specification import with_options
from ..models.registry.zoo import load_model, takes_options
from ..serve.address import DEFAULT_NAME, DEFAULT_PREFIX, Address, InetAddress, UnixAddress, UnixPattern
from ..serve.driver import Driver
from ..serve.settings import Settings
from ..simulate.inputs import SimulationInput, SocketForcefield
from ..simulate.virials import Virials
from ..split.monitor import checked_limit
from ..split.split import Component, Split
from . import entry
from .options import PARAM_HELP, add_model_options, add_watch_option, model_of, params

_PLUGIN = Path(__file__).parents[1] / "serve" / "pes.py"
log = logging.getLogger("ipi_darkforces")  # not __name__, which is "__main__" under python -m

DESCRIPTION = """\
Serves the forces of one model to i-PI.

Start it before or after i-PI; it waits until i-PI listens and leaves when i-PI does. What i-PI's <parameters> say about
a forcefield is enough for every input in inputs/:

    i-pi-darkdriver --model pet-m
"""

EPILOG = """\
components
  conservative  minus the gradient of the energy
  direct        forces predicted as such: cheaper, but no gradient of anything
  fast, slow    the two parts of multiple time stepping: fast = direct, slow = conservative - direct

examples
  i-pi-darkdriver --model pet-m
      unix sockets of this user that are called darkforces..., as in inputs/
  i-pi-darkdriver --model my.pt -u -a water --template water.xyz
      the unix socket `water`; the elements are those in water.xyz
  i-pi-darkdriver --model my.pt --device cuda -a login01 -p 31415 -o component=direct,template=water.xyz
      i-PI on another machine
  i-pi-darkdriver --model my.pt -u -a fast-part -a slow-part --template water.xyz
      two sockets, one model; which is fast and which is slow stands in the <parameters> of the input:
      <parameters> { component: fast } </parameters>
  i-pi-darkdriver --model ase:tblite.ase:TBLite -o method=GFN1-xTB,template=water.xyz
      any ase calculator: the function or class that makes it, and what to call it with
  i-pi-darkdriver --fast my-direct.pt --slow ase:calculators.py:accurate -o slow.precision=high
      two models: direct forces of one at every step, corrected by the other, each evaluated only when it is due

exit codes
  0    i-PI has left, and nothing was wrong with any simulation
  1    something was wrong, and is said in a line that begins with `darkforces: error:`. If it was what one of several
       simulations sent or asked for, that one got no answers any more, and the others were served until they left
  130  interrupted
"""


def main() -> None:
    """Entry point."""
    args = build_parser().parse_args()
    sys.exit(entry.run(lambda: serve(args), args.verbose))


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="i-pi-darkdriver",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_options(parser, f"{PARAM_HELP}. And component, species, template and pbc, in the style of i-pi-driver-py")
    _add_address_options(parser)
    _add_client_options(parser)
    parser.add_argument("--stay", action="store_true", help="when i-PI has gone, wait for the next one")
    parser.add_argument(
        "--wait", type=float, metavar="SECONDS", help="give up if i-PI does not listen after so long (default: never)"
    )
    add_watch_option(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="log every message")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "--pes-path",
        action="version",
        version=str(_PLUGIN),
        help="print what to name in <pes_path>, to let i-PI load the model itself in an <ffdirect>",
    )
    return parser


def _add_address_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where i-PI listens, as in i-pi-driver-py")
    group.add_argument("-u", "--unix", action="store_true", help="a unix socket, for i-PI on the same machine")
    group.add_argument(
        "-a",
        "--address",
        action="append",
        metavar="ADDRESS",
        help="host name, or with -u name of the unix socket; may be repeated "
        f"(default: all unix sockets of this user whose names begin with {DEFAULT_NAME})",
    )
    group.add_argument("-p", "--port", type=int, help="TCP port, for host names (default: 12345)")
    group.add_argument(
        "-S",
        "--sockets_prefix",
        metavar="PREFIX",
        help=f"of unix sockets (default: what --input says, else {DEFAULT_PREFIX})",
    )
    group.add_argument(
        "--input", type=Path, metavar="XML", help="the sockets of this i-PI input, whatever their kind and names"
    )
    group.add_argument(
        "--shm", action="store_true", help="unix sockets of i-PI's mode shm: numbers travel through shared memory"
    )


def _add_client_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to serve; comes before what the <parameters> of i-PI's input say")
    group.add_argument(
        "--component", help="conservative, direct, fast or slow (default: conservative if the model can)"
    )
    group.add_argument("--species", metavar="FORMULA", help="the elements in the order of the atoms: O64H128, (OH2)64")
    group.add_argument("--template", metavar="FILE", help="a structure file to take the elements from, instead")
    group.add_argument(
        "--pbc", metavar="TTF", help="along which vectors of i-PI's cell the atoms are periodic (default: all of them)"
    )
    group.add_argument(
        "--keep-net-force",
        action="store_true",
        help="do not subtract the net force of direct forces (then the whole system starts to move)",
    )


def serve(args: argparse.Namespace) -> int:
    """Do what the command line says; return the exit code."""
    settings, model_name = _settings_and_model(args)
    too_far = checked_limit(args.warn_above, "--warn-above")
    simulation = SimulationInput.read(args.input) if args.input else None
    forcefields = simulation.socket_forcefields() if simulation else []
    if simulation and not forcefields:
        raise DarkforcesError(f"'{args.input}' has no <ffsocket>: there is nothing to serve")
    prefix = args.sockets_prefix
    if prefix is None:
        prefix = simulation.sockets_prefix if simulation else DEFAULT_PREFIX
    places = _places(args, prefix, forcefields)
    model = load_model(model_name, args.device, args.dtype, args.variant, not args.keep_net_force, args.backend)
    for part in model.parts:
        part.goes_on = simulation is not None and simulation.step > 0
    _check(settings, forcefields, Virials() if simulation is None else simulation.virials, model)
    split = Split(model)
    try:
        driver = Driver(split, places, settings, args.stay, args.wait, too_far, one_simulation=simulation is not None)
        return 0 if driver.serve() else 1
    finally:
        for part in model.parts:
            log.info(
                "model '%s': %d requests answered with %d forward and %d backward passes",
                part.name,
                split.answered,
                part.passes.forward,
                part.passes.backward,
            )


def _check(settings: Settings, forcefields: Sequence[SocketForcefield], virials: Virials, model: ForceModel) -> None:
    """What cannot work shall fail now, and not when i-PI comes."""
    if settings.component is not None:
        Component.named(settings.component).check(model)
    species = settings.elements()
    if species is not None:
        model.check_species(species)
    for forcefield in forcefields:
        virials.check(model, settings.completed(forcefield.settings).resolved(model).component)


def _settings_and_model(args: argparse.Namespace) -> tuple[Settings, str]:
    """What was said about clients, and which model; -o has a part of both."""
    model = model_of(args, {})
    settings, options = Settings.separated(params(args), takes_options(model), "-o")
    long = {f.name: value for f in fields(Settings) if (value := getattr(args, f.name)) is not None}
    return Settings.parsed(long, "the options").completed(settings), with_options(model, options)


def _places(
    args: argparse.Namespace, prefix: str, forcefields: Sequence[SocketForcefield]
) -> list[Address | UnixPattern]:
    if forcefields:
        if args.unix or args.shm or args.address or args.port:
            raise DarkforcesError("--input says where i-PI listens; expected none of -u, -a, -p and --shm beside it")
        return [f.place(prefix) for f in forcefields]
    unix = args.unix or args.shm
    if args.port is not None and (unix or not 0 < args.port < 65536):
        raise DarkforcesError(
            f"port {args.port} is not used: " + ("unix sockets have none" if unix else "it must be 1 to 65535")
        )
    if not args.address and (unix or args.port is None):
        return [UnixPattern(prefix + DEFAULT_NAME, args.shm)]
    names = args.address or ["localhost"]
    if unix:
        return [UnixAddress(prefix + name, args.shm) for name in names]
    return [InetAddress(name, args.port or 12345) for name in names]


if __name__ == "__main__":
    main()
