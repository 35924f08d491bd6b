"""The page of a report: one HTML file with pictures and style in it, that needs no network and no script."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from pathlib import Path

from .. import __version__
from ..analysis.statements import Verdict
from .answers import Answers
from .question import UNKNOWN, Row, as_table, lacks_errors

_STYLE = """\
:root { --ink: #1d2733; --faint: #66727f; --line: #dfe4ea; --paper: #fff; --shade: #f5f7f9; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--shade); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
main { max-width: 64rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
header p, footer, .lead, figcaption, .files { color: var(--faint); }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.3rem; margin: 0; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 1.4rem 1.6rem;
  margin-top: 1.4rem; }
.lead { margin: .1rem 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; margin: .4rem 0 1rem; }
th, td { padding: .38rem .8rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; vertical-align: bottom; }
th.unit { white-space: normal; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { border-bottom: 2px solid var(--ink); }
ul { list-style: none; margin: 0; padding: 0; }
li { display: flex; gap: .7rem; align-items: baseline; margin: .3rem 0; }
.mark { flex: none; min-width: 6.6rem; text-align: center; font-size: .78rem; font-weight: 600; border-radius: 999px;
  padding: .1rem .6rem; display: inline-block; }
.agrees { background: #dff3e4; color: #17653a; }
.differs { background: #fde2e0; color: #9b1c1c; }
.slight { background: #fdf0cf; color: #7a5200; }
.unknown, .missing { background: #eceff2; color: #4d5863; }
.measured { background: #e1ecfa; color: #1d4f91; }
figure { margin: 1.2rem 0 .4rem; }
img { max-width: 100%; height: auto; display: block; margin: 0 auto; }
a { color: #1d4f91; }
.files, footer, figcaption { font-size: .88rem; }
footer { margin-top: 2rem; }
code { font-size: .92em; }
@media print { body { background: #fff; } section { break-inside: avoid; border: 0; padding: 0; } }
"""

_WORDS = {
    Verdict.MEASURED: ("measured", "measured"),
    Verdict.AGREES: ("agrees", "as expected"),
    Verdict.UNKNOWN: ("unknown", "too short"),
    Verdict.SLIGHT: ("slight", "slightly off"),
    Verdict.DIFFERS: ("differs", "off"),
    None: ("missing", "not known"),
}

_FOOTNOTE = (
    "± is one standard error, which accounts for the correlation of successive values. “As expected” means that what "
    "is expected lies in the 95 % interval: one of twenty right values does not. “Slightly off” is a drift that can be "
    "seen, but over the run is less than the fluctuations of the kinetic energy. “Too short” means that the run is too "
    "short to know the error, ± ?. Open symbols in pictures have no error bar."
)


def of(answers: Sequence[Answers], notices: Sequence[str], discard: float, folder: Path) -> str:
    """The page.

    :param answers: for each question
    :param notices: what is wrong with files
    :param discard: ps that were left out
    :param folder: where the pictures are
    """
    names = list(dict.fromkeys(name for each in answers for name in _names(each)))
    left_out = f" The first {discard:g} ps of each run are left out." if discard else ""
    title = f"What the trajectory of {names[0]} says" if len(names) == 1 else "What the trajectories say"
    body = [
        f"<header><h1>{escape(title)}</h1><p>{escape(', '.join(names))}.{left_out}</p></header>",
        _overview(names, answers),
        *(_section(each, folder) for each in answers),
        _notices(notices),
        f"<footer><p>{_FOOTNOTE}</p><p>Made by <code>darkforces analyze</code> {escape(__version__)}, "
        f"{datetime.now():%-d %B %Y, %H:%M}. The numbers behind this page are beside it, as CSV and JSON.</p></footer>",
    ]
    return document(title, body)


def document(title: str, body: Iterable[str]) -> str:
    """A whole page.

    :param title: as text
    :param body: its parts, as HTML
    """
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>\n{_STYLE}</style>\n</head>\n<body>\n<main>\n" + "\n".join(body) + "\n</main>\n</body>\n</html>\n"
    )


def mark(kind: str, words: str) -> str:
    """A coloured label.

    :param kind: ``agrees``, ``differs``, ``slight``, ``unknown`` or ``measured``
    """
    return f'<span class="mark {kind}">{escape(words)}</span>'


def figure(picture: Path, name: str, caption: str) -> str:
    """A picture, with everything in it.

    :param picture: PNG
    :param name: what it shows, for those who cannot see it
    """
    content = base64.b64encode(picture.read_bytes()).decode("ascii")
    return (
        f'<figure><img src="data:image/png;base64,{content}" alt="{escape(name)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def table(rows: Sequence[Row]) -> str:
    """Values with their errors, and what is meant where these are not known."""
    titles, *lines = as_table(rows)
    head = "".join(f'<th class="unit">{escape(title)}</th>' for title in titles)
    body = "".join(f"<tr>{_cells(line)}</tr>" for line in lines)
    note = f'<p class="files">{escape(UNKNOWN)}</p>' if lacks_errors(rows) else ""
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}'


def links(files: Iterable[str]) -> str:
    """Files that are beside the page."""
    listed = ", ".join(f'<a href="{escape(file)}">{escape(file)}</a>' for file in files)
    return f'<p class="files">{listed}</p>'


def _names(answers: Answers) -> list[str]:
    return [*(answer.name for answer in answers.found), *answers.missing]


def _mark(verdict: Verdict | None) -> str:
    return mark(*_WORDS[verdict])


def _overview(names: Sequence[str], answers: Sequence[Answers]) -> str:
    """A line for each run, a column for each question."""
    titles = "".join(f'<th><a href="#{each.question.name}">{each.question.name}</a></th>' for each in answers)
    lines = (
        f"<tr><td>{escape(name)}</td>" + "".join(f"<td>{_mark(each.verdict(name))}</td>" for each in answers) + "</tr>"
        for name in names
    )
    return (
        '<section><h2>At a glance</h2><div class="wide"><table><thead><tr><th>run</th>'
        f"{titles}</tr></thead><tbody>{''.join(lines)}</tbody></table></div></section>"
    )


def _section(answers: Answers, folder: Path) -> str:
    question = answers.question
    asks, _, finds = question.help.partition("? ")
    parts = [
        f'<section id="{question.name}"><h2>{question.name.capitalize()}</h2>',
        f'<p class="lead">{escape(asks.capitalize())}? {escape(finds.capitalize())}.</p>',
    ]
    for answer in answers.found:
        items = (
            f"<li>{_mark(each.verdict)}<span>{escape(each.text)}</span></li>" for each in answers.statements(answer)
        )
        parts.append(f"<h3>{escape(answer.name)}</h3><ul>{''.join(items)}</ul>")
    for name, reason in answers.missing.items():
        parts.append(f"<h3>{escape(name)}</h3><ul><li>{_mark(None)}<span>{escape(reason)}</span></li></ul>")
    if answers.found:
        parts += [_picture(answers, folder), table(answers.rows())]
    return "\n".join([*parts, "</section>"])


def _picture(answers: Answers, folder: Path) -> str:
    name = answers.question.name
    files = [f"{name}.pdf", f"{name}.csv", f"{name}.json"]
    files += [f"{name}-curves.csv"] if answers.question.columns is not None else []
    picture = figure(folder / f"{name}.png", f"{name}: {answers.question.help}", answers.question.description)
    return picture + links(files)


def _cells(line: Iterable[str]) -> str:
    return "".join(f"<td>{escape(cell)}</td>" for cell in line)


def _notices(notices: Sequence[str]) -> str:
    if not notices:
        return ""
    items = "".join(f"<li><span>{escape(notice)}</span></li>" for notice in notices)
    return f"<section><h2>What to know of the files</h2><ul>{items}</ul></section>"
