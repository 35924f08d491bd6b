"""What the subcommands of ``darkforces analyze`` have in common: each asks one question about runs."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..analysis.runs import Run
from ..analysis.selection import Selection
from ..analysis.statements import Statement
from ..errors import printable
from ..stats.estimates import Estimate

Value = Estimate | float | str | None
UNKNOWN = "± ?: the run is too short to know the error"
# A line of a table, by the titles of its columns, with units: ``T / K``.
Row = dict[str, Value]


class Answer(Protocol):
    """What was found out about a run."""

    @property
    def name(self) -> str:
        """Of the run."""
        ...

    def as_json(self) -> dict[str, object]:
        """For machines: units in the names."""
        ...


def _no_options(parser: argparse.ArgumentParser) -> None:
    """Most questions need none of their own."""


@dataclass(frozen=True)
class Question:
    """A subcommand.

    :param name: of the subcommand
    :param help: what it asks, in a line
    :param description: the same at length, and how to read the answer
    :param measure: answers it for a run; it is given the command line too
    :param rows: the answer as lines of the table
    :param draw: all answers as one picture, to a PNG or PDF
    :param says: an answer in words; it is given that for the first of several runs too, or None for that one itself
    :param add_options: of its own
    :param columns: curves of the answer for ``--data``, by their names with units, each of any length; None if there
        are none
    """

    name: str
    help: str
    description: str
    measure: Callable[[Run, Selection, argparse.Namespace], Any]
    rows: Callable[[Any], list[Row]]
    draw: Callable[[Sequence[Any], Path], None]
    says: Callable[[Any, Any], list[Statement]]
    add_options: Callable[[argparse.ArgumentParser], None] = _no_options
    columns: Callable[[Any], dict[str, np.ndarray]] | None = None


def as_table(rows: Sequence[Row]) -> list[list[str]]:
    """Titles and lines, as people read them."""
    titles = list(dict.fromkeys(title for row in rows for title in row))
    return [[printable(title) for title in titles]] + [[_shown(row.get(title)) for title in titles] for row in rows]


def aligned(rows: Sequence[Row]) -> str:
    """A table for people."""
    lines = as_table(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    # Names to the left, numbers to the right.
    padded = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    text = "\n".join("  ".join(line) for line in padded)
    return text + (f"\n{UNKNOWN}" if lacks_errors(rows) else "")


def lacks_errors(rows: Sequence[Row]) -> bool:
    """Whether there are values without error bars."""
    return any(isinstance(value, Estimate) and value.error is None for row in rows for value in row.values())


def _shown(value: Value) -> str:
    if isinstance(value, Estimate):
        return f"{value.value:.4g} ± ?" if value.error is None else value.text("").strip()
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else printable(value)


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """A table for spreadsheets; a value with an error takes three columns: value, standard error, 95 % margin."""
    titles = list(dict.fromkeys(title for row in rows for title in row))
    estimated = {title for row in rows for title, value in row.items() if isinstance(value, Estimate)}
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([name for title in titles for name in _names(title, title in estimated)])
        for row in rows:
            writer.writerow([cell for title in titles for cell in _cells(row.get(title), title in estimated)])


def _names(title: str, estimated: bool) -> list[str]:
    title = printable(title)
    return [title, f"standard error of {title}", f"95 % margin of {title}"] if estimated else [title]


def _cells(value: Value, estimated: bool) -> list[object]:
    if isinstance(value, Estimate):
        return [value.value, value.error, value.margin()]
    shown = printable(value) if isinstance(value, str) else value
    return [shown, None, None] if estimated else [shown]


def write_curves(curves: Sequence[tuple[str, dict[str, np.ndarray]]], path: Path) -> None:
    """Columns of numbers, run after run, with the name of the run in front; empty where a column ends or has a NaN.

    :param curves: name of each run, and its columns by their names
    """
    titles = list(dict.fromkeys(title for _, columns in curves for title in columns))
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["run", *map(printable, titles)])
        for name, columns in curves:
            lines = zip_longest(*(columns.get(title, ()) for title in titles), fillvalue=np.nan)
            writer.writerows(
                [printable(name), *("" if np.isnan(value) else f"{value:.7g}" for value in line)] for line in lines
            )
