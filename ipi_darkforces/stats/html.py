"""Pages of results: HTML files with pictures and style in them, that need no network and no script."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from .rows import UNKNOWN, Row, html_table, lacks_errors

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


def document(title: str, body: Iterable[str]) -> str:
    """A whole page.

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

    :param name: what it shows, for those who cannot see it
    """
    content = base64.b64encode(picture.read_bytes()).decode("ascii")
    return (
        f'<figure><img src="data:image/png;base64,{content}" alt="{escape(name)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def table(rows: Sequence[Row]) -> str:
    """Values with their errors, and what is meant where these are not known."""
    note = f'<p class="files">{escape(UNKNOWN)}</p>' if lacks_errors(rows) else ""
    return f'<div class="wide">{html_table(rows)}</div>{note}'


def links(files: Iterable[str]) -> str:
    """Files that are beside the page."""
    listed = ", ".join(f'<a href="{escape(file)}">{escape(file)}</a>' for file in files)
    return f'<p class="files">{listed}</p>'
