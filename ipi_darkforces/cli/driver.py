"""The command ``i-pi-darkdriver``: serve a model to i-PI."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .. import __version__
from ..serve.address import DEFAULT_NAME, DEFAULT_PREFIX
from . import entry
from .help import HelpFormatter
from .options import PARAM_HELP, add_model_options, add_monitor_option

_PLUGIN = Path(__file__).parents[1] / "serve" / "pes.py"

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
    sys.exit(entry.run(lambda: _serve(args), args.verbose))


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="i-pi-darkdriver",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=HelpFormatter,
    )
    add_model_options(
        parser,
        f"{PARAM_HELP}. And component, species, template, pbc, energy_ensemble=True and uncertainty_threshold=EV, in "
        "the style of i-pi-driver-py",
    )
    _add_address_options(parser)
    _add_client_options(parser)
    parser.add_argument("--stay", action="store_true", help="when i-PI has gone, wait for the next one")
    parser.add_argument(
        "--wait", type=float, metavar="SECONDS", help="give up if i-PI does not listen after so long (default: never)"
    )
    parser.add_argument(
        "--goes-on",
        action="store_true",
        help="the simulation was begun before: warn of what is wrong with a calculator's forces, and serve them",
    )
    parser.add_argument(
        "--ready",
        type=int,
        metavar="FD",
        help="write a line to this file descriptor when the model is loaded and can do what --input asks for",
    )
    add_monitor_option(parser)
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


def _serve(args: argparse.Namespace) -> int:
    from .serving import serve  # a second to import, for which nobody waits who asks for help

    return serve(args)


if __name__ == "__main__":
    main()
