"""The style that all pictures share: sizes, colours that keep their meaning, legends in words, running means."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..atomic import atomic_file
from ..errors import printable

# Matplotlib takes half a second to import, and most of what starts draws nothing, or only when it ends.
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ft2font import FT2Font

# Of kinds of forces: blue, warm and green, with more of each for several runs of a kind.
_FAMILIES = {
    "conservative": ("#2166ac", "#67a9cf", "#053061", "#35b0c9", "#9e9ac8", "#3f4f9f"),
    "direct": ("#c4342d", "#f28e2b", "#7f1d1d", "#e377c2", "#fdae6b", "#a6611a"),
    "MTS": ("#2a8a4a", "#8ac34a", "#0b4d2c", "#1b9e9e", "#b3b300", "#66a182"),
}
KIND_COLORS = {kind: family[0] for kind, family in _FAMILIES.items()}
# Of all else: species, models, runs of which nothing says the forces.
OTHER_COLORS = ("#6a3d9a", "#e08214", "#35978f", "#8c510a", "#c51b7d", "#525252", "#b2abd2", "#7f7f00")
_MEANS = 40  # in a row, of the line that is drawn over pale values
_POINTS = 20_000  # of a curve, more than a picture has pixels
_BOX = "\u25a1"
_KIND = re.compile(r"(?i)(?:^|[\W_])(?:(conservative)|(direct)|(mts)-?\d*)(?=$|[\W_])")
# Parts of the names that inputs, runs and campaigns are given, in words.
_WORDS = {
    re.compile(r"(?i)nve|nvt|npt|svr|gle|pile|pimd|remd|hmr|d2o"): lambda match: match[0].upper(),
    re.compile(r"(?i)(svr|gle|pile|langevin)([\d.]+)"): lambda match: (
        f"{match[1].capitalize() if match[1].lower() == 'langevin' else match[1].upper()}, τ = {match[2]} fs"
    ),
    re.compile(r"(?i)mts-?(\d+)"): lambda match: f"MTS-{match[1]}",
}


def new_figure(width: float, height: float) -> Figure:
    """An empty picture, of a size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=200, layout="constrained")


def kind_of(name: str) -> str | None:
    """The kind of forces that the name of a run speaks of: ``conservative``, ``direct`` or ``MTS``."""
    matches = list(_KIND.finditer(name))
    return list(_FAMILIES)[(matches[-1].lastindex or 1) - 1] if matches else None


def colors_of(names: Sequence[str]) -> list[str]:
    """A colour for each run: one of those of its kind of forces, or another if the name does not say it."""
    used: Counter[str | None] = Counter()
    colors = []
    for name in names:
        kind = kind_of(name)
        family = _FAMILIES[kind] if kind else OTHER_COLORS
        colors.append(family[used[kind] % len(family)])
        used[kind] += 1
    return colors


def legend(name: str) -> str:
    """The name of a run for a legend: in words if it is made as we make names, ``svr10-mts8``; see `plain`."""
    if kind_of(name) is None:
        return plain(name)
    known: list[str] = []
    rest: list[str] = []
    for part in re.split(r"[- ]", name):
        words = next((word(match) for form, word in _WORDS.items() if (match := form.fullmatch(part))), None)
        if words is None and part.lower() in KIND_COLORS:
            words = part.lower()
        if words is None:
            rest.append(part)
            continue
        known += ["-".join(rest)] if rest else []
        known.append(words)
        rest = []
    return plain(", ".join([*known, *(["-".join(rest)] if rest else [])]))


def plain(text: str) -> str:
    """A name as matplotlib shows it as it is: without mathematics between dollars, and also in legends.

    Legends leave out names that begin with an underscore; a space without width is put before these. Characters that
    the font does not have, of which matplotlib would warn, become boxes.
    """
    shown = printable(text).replace("$", r"\$")
    shown = "".join(char if char.isascii() or _font().get_char_index(ord(char)) else _BOX for char in shown)
    return f"\u200b{shown}" if shown.startswith("_") else shown


@cache
def _font() -> FT2Font:
    """The font of the texts in pictures."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return get_font(findfont(FontProperties()))


def band(axis: Axes, x: np.ndarray, values: np.ndarray, errors: np.ndarray, **line: object) -> None:
    """A curve with two standard errors shaded; without shade where these are not known."""
    (drawn,) = axis.plot(x, values, linewidth=1.2, **line)  # type: ignore[arg-type]
    axis.fill_between(x, values - 2 * errors, values + 2 * errors, color=drawn.get_color(), alpha=0.25, linewidth=0)


def legend_columns(names: Sequence[str], width: float) -> int:
    """Columns of a legend above a picture of this width, in inches."""
    longest = max((len(legend(name)) for name in names), default=0)
    return max(1, min(len(names), int(width / (0.6 + 0.085 * longest))))


def smoothed(axis: Axes, x: np.ndarray, values: np.ndarray, color: str, label: str | None = None) -> None:
    """A pale curve, and over it its running mean.

    :param values: shape (n,), as x
    """
    shown = slice(None, None, 1 + len(x) // _POINTS)
    axis.plot(x[shown], values[shown], color=color, linewidth=0.8, alpha=0.25)
    window = np.full(1 + len(values) // _MEANS, 1.0) / (1 + len(values) // _MEANS)
    means = [np.convolve(each, window, mode="valid")[shown] for each in (x, values)]
    axis.plot(*means, color=color, linewidth=1.8, label=label)


def tidy(axis: Axes, along: Literal["both", "x", "y"] = "both") -> None:
    """Remove the upper and the right frame line, and add a pale grid.

    :param along: which axis gets a grid
    """
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_axisbelow(True)
    axis.grid(alpha=0.3, axis=along)


def save_both(draw: Callable[[Path], None], stem: Path) -> None:
    """Save a picture as PNG and as PDF, each of them atomically.

    :param draw: draws it into a file, of the kind that its suffix says
    :param stem: the file without its suffix
    """
    for suffix in ("pdf", "png"):
        with atomic_file(stem.with_name(f"{stem.name}.{suffix}")) as file:
            draw(file)
