"""Sphinx: the pages of this folder as a site. `sphinx-build -W docs site`"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import ipi_darkforces
from ipi_darkforces.cli import commands, driver

project = "ipi-darkforces"
author = "ipi-darkforces developers"
version = release = ipi_darkforces.__version__
extensions = ["myst_parser"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = project
exclude_patterns = ["_build", "upstream"]


def write_commands() -> None:
    """Write the page of all commands, from their parsers."""
    os.environ["COLUMNS"] = "100"
    pages = [("darkforces " + name, command) for name, command in subcommands(commands.build_parser()).items()]
    pages.append(("i-pi-darkdriver", driver.build_parser()))
    text = "# Commands\n"
    for title, command in pages:
        text += f"\n## {title}\n\n```text\n{command.format_help()}```\n"
        for name, question in subcommands(command).items():
            text += f"\n### {title} {name}\n\n```text\n{question.format_help()}```\n"
    (Path(__file__).parent / "commands.md").write_text(text, encoding="utf-8")


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Commands below a command, by name."""
    [*below] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(below[0].choices) if below else {}


write_commands()
