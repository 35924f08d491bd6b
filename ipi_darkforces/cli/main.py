"""The command ``darkforces``: its subcommands, each in a file of its own."""

from __future__ import annotations

import argparse
import sys

from .. import __version__
from ..errors import ERROR
from . import entry

DESCRIPTION = """\
Direct machine-learned forces for i-PI, without paying for them with wrong physics.

    darkforces run inputs/nve-mts4.xml --model pet-m
    darkforces run --structure my.xyz --model my-model.pt --ensemble nve --mts 4
    darkforces assess my-model.pt water.xyz
    darkforces campaign inputs/campaigns/quick.yaml
    darkforces analyze drift nve-mts4
    darkforces evaluate my-model.pt val.xyz
    darkforces jacobian my-model.pt water.xyz
    darkforces work my-model.pt water.xyz
    darkforces optimize my-model.pt water.xyz
    darkforces models
"""


def main() -> None:
    """Entry point."""
    try:
        from . import analyze, assess, campaign, evaluate, jacobian, models, optimize, run, work
    except ModuleNotFoundError as error:  # where only what the driver needs is installed
        sys.exit(f"{ERROR}the package '{error.name}' is not installed here: pip install {error.name}")
    parser = argparse.ArgumentParser(
        prog="darkforces", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    run.add_parser(commands)
    assess.add_parser(commands)
    campaign.add_parser(commands)
    analyze.add_parser(commands)
    evaluate.add_parser(commands)
    jacobian.add_parser(commands)
    work.add_parser(commands)
    optimize.add_parser(commands)
    models.add_parser(commands)
    args = parser.parse_args(analyze.with_question(sys.argv[1:]))
    sys.exit(entry.run(lambda: args.command(args)))


if __name__ == "__main__":
    main()
