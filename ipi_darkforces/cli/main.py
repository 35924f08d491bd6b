"""The command ``darkforces``: its subcommands, each in a file of its own."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from .. import __version__
from . import entry

DESCRIPTION = """\
Direct machine-learned forces for i-PI, without paying for them with wrong physics.

    darkforces run inputs/nve-mts4.xml --model pet-m
    darkforces run --structure my.xyz --model my-model.pt --ensemble nve --mts 4
    darkforces input mine.xml --mts 4 > mine-mts4.xml
    darkforces assess my-model.pt water.xyz
    darkforces campaign inputs/campaigns/quick.yaml
    darkforces analyze drift nve-mts4
    darkforces evaluate my-model.pt val.xyz
    darkforces stride my-model.pt water.xyz
    darkforces distill my-model.pt water.xyz --output water-fast
    darkforces jacobian my-model.pt water.xyz
    darkforces work my-model.pt water.xyz
    darkforces optimize my-model.pt water.xyz
    darkforces models
    darkforces doctor
"""

# Each is a module beside this one, with `add_parser`.
COMMANDS = {
    "run": "run a simulation: i-PI and the driver from one command",
    "input": "write an i-PI input of yours with other forces: multiple time stepping, direct ones",
    "assess": "is it safe to run with a model's direct forces, and if not, how then?",
    "campaign": "run a matrix of simulations, and write down what they say",
    "analyze": "look at trajectories: drift, temperatures, spectra, structure",
    "evaluate": "judge a model against reference data",
    "stride": "which stride of multiple time stepping is safe?",
    "distill": "train a small model that makes a slow one several times faster",
    "jacobian": "how non-conservative are a model's forces?",
    "work": "how much work do forces do along a closed path?",
    "optimize": "do geometry optimisations arrive?",
    "doctor": "what is installed here, and what is wrong or slow about it",
    "models": "list the models, what each provides and how accurate it is",
}


def main() -> None:
    """Entry point."""
    sys.exit(entry.run(lambda: _run(sys.argv[1:])))


def _run(words: list[str]) -> int | None:
    parser = argparse.ArgumentParser(
        prog="darkforces", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, what in COMMANDS.items():
        if words[:1] == [name]:  # the others take seconds to import
            module = import_module(f".{name}", __package__)
            words = module.with_question(words) if name == "analyze" else words
            module.add_parser(commands)
        else:
            commands.add_parser(name, help=what)
    args = parser.parse_args(words)
    code: int | None = args.command(args)
    return code


if __name__ == "__main__":
    main()
