"""Helpers that all pictures share."""

from __future__ import annotations

from collections.abc import Callable
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

KIND_COLORS = {"conservative": "#2166ac", "direct": "#c4342d", "MTS": "#2a8a4a"}  # of forces, in all pictures
_BOX = "\u25a1"


def new_figure(width: float, height: float) -> Figure:
    """An empty picture.

    :param width: inches
    :param height: inches
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


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


def tidy(axis: Axes, along: Literal["both", "x", "y"] = "both") -> None:
    """No more lines than needed.

    :param along: which axis gets a grid
    """
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.3, axis=along)


def save_both(draw: Callable[[Path], None], stem: Path) -> None:
    """Save a picture as PNG and as PDF, each of them a whole file or none.

    :param draw: draws it into a file, of the kind that its suffix says
    :param stem: the file without its suffix
    """
    for suffix in ("pdf", "png"):
        with atomic_file(stem.with_name(f"{stem.name}.{suffix}")) as file:
            draw(file)
