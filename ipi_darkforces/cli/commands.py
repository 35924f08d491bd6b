"""The command line of ``darkforces``: its commands, each in a module of its own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module

from .. import __version__
from .help import HelpFormatter

DESCRIPTION = """\
Direct machine-learned forces for i-PI, without paying for them with wrong physics.

    darkforces run inputs/nve-mts4.xml --model pet-m
    darkforces run --structure my.xyz --model my-model.pt --ensemble nve --mts 4
    darkforces input mine.xml --mts 4 > mine-mts4.xml
    darkforces inputs npt-mts4
    darkforces assess my-model.pt water.xyz
    darkforces campaign inputs/campaigns/quick.yaml
    darkforces analyze drift nve-mts4
    darkforces evaluate my-model.pt val.xyz
    darkforces stride my-model.pt water.xyz
    darkforces distill my-model.pt water.xyz --output water-fast
    darkforces train pet-m-ft --data train.xyz --output runs/water --name my-water
    darkforces jacobian my-model.pt water.xyz
    darkforces work my-model.pt water.xyz
    darkforces optimize my-model.pt water.xyz
    darkforces view my-model.pt water.xyz
    darkforces models
    darkforces doctor
    darkforces completion bash
"""

# Each is a module beside this one, with DESCRIPTION, EPILOG, `add_options` and `run`.
COMMANDS = {
    "run": "run simulations: i-PI and the driver from one command",
    "input": "give an i-PI input of yours multiple time stepping, or other forces",
    "inputs": "list the inputs that come with the package, or copy them",
    "assess": "judge whether a model's direct forces are safe to run with, and if not, how to run",
    "campaign": "run a matrix of simulations, and write a document of their results",
    "analyze": "analyze trajectories: drift, temperatures, spectra, structure, averages",
    "evaluate": "compare a model with reference data",
    "stride": "predict which stride of multiple time stepping is safe",
    "distill": "train a small model that makes a slow one several times faster",
    "train": "train a model with both kinds of forces on labelled structures",
    "jacobian": "measure how non-conservative a model's forces are",
    "work": "integrate a model's forces along a closed path",
    "optimize": "test whether geometry optimisations converge",
    "view": "show where direct forces differ, as arrows in a browser",
    "models": "list the models, what each provides and how accurate it is",
    "doctor": "report what is installed, and what is wrong or slow about it",
    "completion": "print what makes bash or zsh complete commands, options, models and files",
}

# These take the model as their first argument; --model MODEL, as `run` has it, is the same.
_MODEL_FIRST = ("assess", "distill", "evaluate", "jacobian", "models", "optimize", "stride", "view", "work")


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """Make the parser.

    :param only: give this command its options, and let the others, which take seconds to import, be names; None for all
    """
    parser = argparse.ArgumentParser(prog="darkforces", description=DESCRIPTION, formatter_class=HelpFormatter)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, what in COMMANDS.items():
        command = commands.add_parser(name, help=what, formatter_class=HelpFormatter)
        if only in (None, name):
            module = import_module(f".{name}", __package__)
            command.description, command.epilog = module.DESCRIPTION, module.EPILOG
            command.set_defaults(command=module.run)
            module.add_options(command)
    return parser


def with_model_first(words: Sequence[str]) -> list[str]:
    """Put the model of --model MODEL where the command expects it: as its first argument."""
    command, rest = list(words[:1]), list(words[1:])
    if command and command[0] in _MODEL_FIRST:
        for i, word in enumerate(rest):
            option, given, value = word.partition("=")
            if option in ("-m", "--model"):
                after = rest[i + 1 :]
                model, after = ([value], after) if given else (after[:1], after[1:])
                return [*command, *model, *rest[:i], *after]
    return [*command, *rest]
