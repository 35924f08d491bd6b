"""The layout of --help: paragraphs, tables and examples as wide as the terminal."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator
from itertools import groupby

PROGRAMS = ("darkforces", "i-pi-darkdriver")
_OPTION = re.compile(r"(?<= )(-[\w-]+) (?=[^-\s])")  # with its value
_KEPT = "\0"  # instead of a space where no line may end
_ROW = re.compile(r" *\S+(?: \S+)* {2,}(?=\S)")  # the first column of a row of a table


class HelpFormatter(argparse.HelpFormatter):
    """Fills descriptions and epilogs whose line breaks, blank lines and indentation say what belongs together.

    Lines of the same indentation are a paragraph; a line with two spaces or more inside begins a row of a table, of
    which the second column goes on in lines that are indented as far; lines that begin with a program are examples, and
    those that are too long are continued after a backslash.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = re.sub(r"\\\n\s*", "", text).splitlines()
        return "\n".join(line for block in _blocks(lines) for line in _filled(block, width))


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    """Lines that belong together."""
    for _, group in groupby(_numbered(lines), key=lambda item: item[0]):
        yield [line for _, line in group]


def _numbered(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Lines with the number of what they belong to."""
    number, expected = 0, -1
    for line in lines:
        indentation = len(line) - len(line.lstrip())
        row = _ROW.match(line)
        goes_on = bool(line) and indentation == expected and not row and not _is_example(line)
        if not goes_on:
            number += 1
            expected = row.end() if row else -1 if _is_example(line) or not line else indentation
        yield number, line


def _is_example(line: str) -> bool:
    return line.strip().startswith(tuple(f"{program} " for program in PROGRAMS))


def _filled(block: list[str], width: int) -> list[str]:
    first = block[0]
    indentation = " " * (len(first) - len(first.lstrip()))
    if _is_example(first):
        parts = textwrap.wrap(
            _OPTION.sub(lambda match: f"{match[1]}{_KEPT}", first),
            width - 2,
            subsequent_indent=f"{indentation}    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        return [part.replace(_KEPT, " ") for part in [*(f"{part} \\" for part in parts[:-1]), parts[-1]]]
    row = _ROW.match(first)
    words = " ".join([first[row.end() :] if row else first.strip(), *(line.strip() for line in block[1:])])
    begin, after = (row[0], " " * row.end()) if row else (indentation, indentation)
    return textwrap.wrap(
        words, width, initial_indent=begin, subsequent_indent=after, break_long_words=False, break_on_hyphens=False
    ) or [""]
