"""``darkforces completion``: names of commands, options, models and files, completed by the shell."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

from ..models.registry.packages import PACKAGED
from ..models.registry.zoo import all_models
from . import driver
from .commands import build_parser
from .output import print_result

DESCRIPTION = """\
Prints what makes a shell complete commands, options, names of models and of files, when you press Tab.
"""

EPILOG = """\
examples
  darkforces completion bash > ~/.local/share/bash-completion/completions/darkforces
  darkforces completion bash i-pi-darkdriver > ~/.local/share/bash-completion/completions/i-pi-darkdriver
      for bash, with its package bash-completion: a file for each program, from the next shell on
  darkforces completion bash >> ~/.bashrc
      for bash without it
  darkforces completion zsh > ~/.zfunc/_darkforces
      for zsh: a file in a folder of your $fpath, as set in ~/.zshrc by `fpath+=(~/.zfunc)` before `compinit`

Models are those that have a name now: write the files again when you have given names to others.
"""

_PROGRAMS = {"darkforces": build_parser, "i-pi-darkdriver": driver.build_parser}
_SHELLS = ("bash", "zsh")
_MODELS = dict.fromkeys(_SHELLS, "_darkforces_models")
# What a model can be: one of the names, or a file.
_PREAMBLE = {
    "bash": """\
_darkforces_models() {{
  compgen -W '{names}' -- "$1"
  compgen -f -- "$1"
}}
""",
    "zsh": """\
_darkforces_models() {{
  _alternative 'models:model:({names})' 'files:file:_files'
}}
""",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    parser.add_argument("shell", metavar="SHELL", choices=_SHELLS, help=" or ".join(_SHELLS))
    parser.add_argument(
        "program",
        metavar="PROGRAM",
        nargs="?",
        choices=list(_PROGRAMS),
        default="darkforces",
        help=f"{' or '.join(_PROGRAMS)} (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Print the script."""
    import shtab

    parser = _PROGRAMS[args.program]()
    _mark(parser, shtab.FILE, shtab.DIRECTORY)
    names = [name for name in (*all_models(), *PACKAGED) if re.fullmatch(r"[\w.+-]+", name)]
    preamble = _PREAMBLE[args.shell].format(names=" ".join(names))
    script = shtab.complete(parser, args.shell, preamble=preamble)
    # `darkforces analyze` also takes runs in place of an analysis: files, where nothing else fits.
    print_result(script.replace("\ncomplete -o bashdefault ", "\ncomplete -o bashdefault -o default "))


def _mark(parser: argparse.ArgumentParser, file: Mapping[str, object], folder: Mapping[str, object]) -> None:
    """Say of each argument what completes it: a model, a file or a folder."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for short in action._choices_actions:  # zsh shows descriptions, for which there is one line
                action.choices[short.dest].description = short.help
            for command in action.choices.values():
                _mark(command, file, folder)
        elif isinstance(action.choices, Mapping):  # which shtab takes for commands
            action.choices = list(action.choices)
        elif action.metavar in ("MODEL", "TEACHER"):
            action.complete = _MODELS  # type: ignore[attr-defined]
        elif action.metavar == "DIR":
            action.complete = folder  # type: ignore[attr-defined]
        elif action.type is Path or action.metavar == "FILE":
            action.complete = file  # type: ignore[attr-defined]
