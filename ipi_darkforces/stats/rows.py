"""Tables of values with errors: as text, as HTML, as columns and as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from html import escape
from itertools import zip_longest
from pathlib import Path

import numpy as np

from ..errors import printable
from .estimates import Estimate

Value = Estimate | float | str | None
UNKNOWN = "?: the run is too short to know it"
# A line of a table, by the titles of its columns, with units: ``T / K``.
Row = dict[str, Value]


def as_table(rows: Sequence[Row]) -> list[list[str]]:
    """Titles and lines, as people read them."""
    titles = _titles(rows)
    return [[printable(title) for title in titles]] + [[_shown(row.get(title)) for title in titles] for row in rows]


def aligned(rows: Sequence[Row]) -> str:
    """A table for people."""
    lines = as_table(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    # Names to the left, numbers to the right.
    padded = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    text = "\n".join("  ".join(line) for line in padded)
    return text + (f"\n{UNKNOWN}" if lacks_errors(rows) else "")


def html_table(rows: Sequence[Row]) -> str:
    """A table for pages and notebooks."""
    titles, *lines = as_table(rows)
    head = "".join(f'<th class="unit">{escape(title)}</th>' for title in titles)
    body = "".join(f"<tr>{_html_cells(line)}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _html_cells(line: Iterable[str]) -> str:
    return "".join(f"<td>{escape(cell)}</td>" for cell in line)


def lacks_errors(rows: Sequence[Row]) -> bool:
    """Tell whether there are values without error bars."""
    return any(isinstance(value, Estimate) and value.error is None for row in rows for value in row.values())


def as_columns(rows: Sequence[Row]) -> dict[str, list[float | str | None]]:
    """A table by its columns, as a data frame takes it.

    A value with an error takes three columns: value, standard error, 95 % margin.
    """
    estimated = {title for row in rows for title, value in row.items() if isinstance(value, Estimate)}
    columns: dict[str, list[float | str | None]] = {}
    for title in _titles(rows):
        cells = [_cells(row.get(title), title in estimated) for row in rows]
        for name, column in zip(_names(title, title in estimated), zip(*cells, strict=True), strict=True):
            columns[name] = list(column)
    return columns


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write a table for spreadsheets, with the columns of `as_columns`."""
    columns = as_columns(rows)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


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


def _titles(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(title for row in rows for title in row))


def _shown(value: Value) -> str:
    if isinstance(value, Estimate):
        return value.brief() if np.isfinite(value.value) else "?"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else printable(value)


def _names(title: str, estimated: bool) -> list[str]:
    title = printable(title)
    return [title, f"standard error of {title}", f"95 % margin of {title}"] if estimated else [title]


def _cells(value: Value, estimated: bool) -> list[float | str | None]:
    if isinstance(value, Estimate):
        return [value.value, value.error, value.margin()]
    shown = printable(value) if isinstance(value, str) else value
    return [shown, None, None] if estimated else [shown]
