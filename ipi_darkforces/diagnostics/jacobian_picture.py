"""The picture of an asymmetry: blocks of the Jacobian against the distance of their atoms (the paper's figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.pictures import OTHER_COLORS, new_figure, plain, tidy
from .jacobian import Asymmetry

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TOTAL, _ANTISYMMETRIC, _RATIO = *OTHER_COLORS[:2], "0.25"
_WIDTH = 0.5  # Å, of the shells that lines are drawn through


def draw_asymmetry(asymmetries: Sequence[Asymmetry], title: str, path: Path) -> None:
    """Norms of J_ij and of its antisymmetric part, and their ratio, against the distance of the atoms.

    :param title: what is judged
    """
    figure = new_figure(9.6, 4.0)
    left, right = figure.subplots(1, 2)
    for number, asymmetry in enumerate(asymmetries):
        names = ("all of $J_{ij}$", "antisymmetric part", "their ratio") if number == 0 else (None, None, None)
        for values, color, name in (
            (asymmetry.total, _TOTAL, names[0]),
            (asymmetry.antisymmetric, _ANTISYMMETRIC, names[1]),
        ):
            _points(left, asymmetry, values, color, len(asymmetries))
            _line(left, asymmetry, "total" if values is asymmetry.total else "antisymmetric", color, name)
        _points(right, asymmetry, asymmetry.pairs, _RATIO, len(asymmetries))
        _line(right, asymmetry, "asymmetry", "black", names[2])
    left.set_ylabel("norm of $J_{ij}$ / (eV/Å²)")
    right.set_ylabel(r"asymmetry $\lambda_{ij}$")
    left.set_title(f"points: pairs of atoms; lines: rms of {_WIDTH:g} Å", loc="left", fontsize=9)
    right.set_title(_summary(asymmetries), loc="right", fontsize=10)
    for axis in (left, right):
        axis.set_yscale("log")
        axis.set_xlabel("distance $r_{ij}$ / Å")
        tidy(axis)
    figure.suptitle(plain(title), x=0.01, ha="left", fontsize=10, fontweight="bold")
    figure.legend(loc="outside upper right", ncols=3, frameon=False, fontsize=9)  # points fill the panels
    figure.savefig(path)


def _points(axis: Axes, asymmetry: Asymmetry, values: np.ndarray, color: str, n_structures: int) -> None:
    """Points for each pair that interacts; atoms with themselves at zero."""
    upper = np.triu_indices(len(asymmetry.species))
    distances, values = asymmetry.distances[upper], values[upper]
    shown = values > 0.0
    alpha = float(np.clip(2000.0 / (len(values) * n_structures), 0.04, 0.6))
    axis.scatter(distances[shown], values[shown], s=4, color=color, alpha=alpha, linewidths=0, rasterized=True)


def _line(axis: Axes, asymmetry: Asymmetry, field: str, color: str, name: str | None) -> None:
    shells = [shell for shell in asymmetry.shells(_WIDTH) if getattr(shell, field) > 0.0]
    distances = [shell.distance for shell in shells]
    values = [getattr(shell, field) for shell in shells]
    axis.plot(distances, values, "o-", color=color, linewidth=1.4, markersize=3, markeredgecolor="white", label=name)


def _summary(asymmetries: Sequence[Asymmetry]) -> str:
    values = [asymmetry.value for asymmetry in asymmetries]
    if len(values) == 1:
        return rf"$\lambda$ = {values[0]:.3g}"
    return rf"$\lambda$ = {min(values):.3g} to {max(values):.3g}"
