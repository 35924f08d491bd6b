"""The folder of all analyses: tables, curves and pictures, and the page that shows them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path

from .. import __version__
from ..analysis.analyses import Analysis
from ..analysis.analyze import Analyses, Results
from ..analysis.statements import Agreement
from ..atomic import writing
from ..errors import DarkforcesError, of_system
from ..progress_bar import progress_bar
from ..stats.html import document, figure, links, mark, table
from ..stats.rows import write_csv, write_curves

_PAGE = "report.html"

_WORDS = {
    Agreement.MEASURED: ("measured", "measured"),
    Agreement.AGREES: ("agrees", "as expected"),
    Agreement.UNKNOWN: ("unknown", "too short"),
    Agreement.SLIGHT: ("slight", "slightly off"),
    Agreement.DIFFERS: ("differs", "off"),
    None: ("missing", "not known"),
}

_FOOTNOTE = (
    "± is one standard error, which accounts for the correlation of successive values. “As expected” means that what "
    "is expected lies in the 95 % interval: one of twenty right values does not. “Slightly off” is a drift that can be "
    "seen, but over the run is less than the fluctuations of the kinetic energy. “Too short” means that the run is too "
    "short to know the error, ± ?. Open symbols in pictures have no error bar."
)


def write(analyses: Analyses, folder: Path, command: str = "darkforces analyze") -> Path:
    """Write tables, curves, pictures and the page, which comes last, so that a folder with a page is complete.

    :param command: by which the page is made, for the page
    :raises DarkforcesError: if the folder cannot be written
    """
    page = folder / _PAGE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in (page, *(file for each in analyses for file in _files(folder, each.analysis))):
            file.unlink(missing_ok=True)
    except OSError as error:
        raise DarkforcesError(of_system(error)) from error
    for each in progress_bar(analyses.results, desc="drawing", leave=False, disable=None):
        _write_results(folder, each)
    with writing(page) as file:
        file.write_text(_page(analyses, folder, command), encoding="utf-8")
    return page


def _files(folder: Path, analysis: Analysis) -> list[Path]:
    """Files of an analysis: table, everything for machines, pictures, curves."""
    names = [f"{analysis.name}.{kind}" for kind in ("csv", "json", "png", "pdf")]
    return [folder / name for name in (*names, f"{analysis.name}-curves.csv")]


def _write_results(folder: Path, results: Results) -> None:
    table, everything, *pictures, curves = _files(folder, results.analysis)
    with writing(everything) as file:
        file.write_text(json.dumps(results.as_json(), indent=2) + "\n", encoding="utf-8")
    if not results.found:
        return
    with writing(table) as file:
        write_csv(results.rows(), file)
    for picture in pictures:
        with writing(picture) as file:
            results.draw(file)
    if results.analysis.columns is not None:
        with writing(curves) as file:
            write_curves(results.curves(), file)


def _page(analyses: Analyses, folder: Path, command: str) -> str:
    names = list(dict.fromkeys(name for each in analyses for name in _names(each)))
    left_out = f" The first {analyses.discard:g} ps of each run are left out." if analyses.discard else ""
    title = f"What the trajectory of {names[0]} says" if len(names) == 1 else "What the trajectories say"
    body = [
        f"<header><h1>{escape(title)}</h1><p>{escape(', '.join(names))}.{left_out}</p></header>",
        _overview(names, analyses),
        *(_section(each, folder) for each in analyses),
        _notices(analyses.notices),
        f"<footer><p>{_FOOTNOTE}</p><p>Made by <code>{escape(command)}</code> with "
        f"ipi-darkforces {escape(__version__)}, "
        f"{datetime.now():%-d %B %Y, %H:%M}. The numbers behind this page are beside it, as CSV and JSON.</p></footer>",
    ]
    return document(title, body)


def _names(results: Results) -> list[str]:
    return [*(result.name for result in results.found), *results.missing]


def _mark(verdict: Agreement | None) -> str:
    return mark(*_WORDS[verdict])


def _overview(names: Sequence[str], analyses: Analyses) -> str:
    """A line for each run, a column for each analysis."""
    titles = "".join(f'<th><a href="#{each.analysis.name}">{each.analysis.name}</a></th>' for each in analyses)
    lines = (
        f"<tr><td>{escape(name)}<div><small>{escape(analyses.described.get(name, ''))}</small></div></td>"
        + "".join(f"<td>{_mark(each.verdict(name))}</td>" for each in analyses)
        + "</tr>"
        for name in names
    )
    return (
        '<section><h2>At a glance</h2><div class="wide"><table><thead><tr><th>run</th>'
        f"{titles}</tr></thead><tbody>{''.join(lines)}</tbody></table></div></section>"
    )


def _section(results: Results, folder: Path) -> str:
    analysis = results.analysis
    asks, _, finds = analysis.help.partition("? ")
    parts = [
        f'<section id="{analysis.name}"><h2>{analysis.name.capitalize()}</h2>',
        f'<p class="lead">{escape(asks.capitalize())}? {escape(finds.capitalize())}.</p>',
    ]
    for result in results.found:
        items = (
            f"<li>{_mark(each.verdict)}<span>{escape(each.text)}</span></li>" for each in results.statements(result)
        )
        parts.append(f"<h3>{escape(result.name)}</h3><ul>{''.join(items)}</ul>")
    for name, reason in results.missing.items():
        parts.append(f"<h3>{escape(name)}</h3><ul><li>{_mark(None)}<span>{escape(reason)}</span></li></ul>")
    if results.found:
        parts += [_picture(results, folder), table(results.rows())]
    return "\n".join([*parts, "</section>"])


def _picture(results: Results, folder: Path) -> str:
    name = results.analysis.name
    files = [f"{name}.pdf", f"{name}.csv", f"{name}.json"]
    files += [f"{name}-curves.csv"] if results.analysis.columns is not None else []
    picture = figure(folder / f"{name}.png", f"{name}: {results.analysis.help}", results.analysis.description)
    return picture + links(files)


def _notices(notices: Sequence[str]) -> str:
    if not notices:
        return ""
    items = "".join(f"<li><span>{escape(notice)}</span></li>" for notice in notices)
    return f"<section><h2>What to know of the files</h2><ul>{items}</ul></section>"
