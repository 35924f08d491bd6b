"""The picture of forces on the atoms of a structure: both kinds as arrows, and their difference, enlarged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.data import covalent_radii

from ..analysis.pictures import new_figure, plain
from ..models.structure import Structure
from .view import COLORS, DIFFERENCE, View

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LENGTH = 1.2  # Å, of the arrow whose force is the rms one
_SPHERE = 0.45  # of a covalent radius
_DEPTH = 0.6  # how much paler the furthest atoms are


def draw_view(view: View, path: Path) -> None:
    """The structure in which forces differ most, along z, with arrows for its forces."""
    name = view.largest(list(view.forces)[-1])[1]
    number = list(view.structures).index(name)
    kinds = [kind for kind in view.forces if kind != DIFFERENCE]
    panels = [kinds, [DIFFERENCE]] if DIFFERENCE in view.forces else [kinds]
    figure = new_figure(4.8 * len(panels), 4.9)
    figure.set_layout_engine("compressed")  # panels are as high as the structure
    [axes] = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)
    for axis, shown in zip(axes, panels, strict=True):
        _draw_atoms(axis, view.structures[name])
        scale = float(view.rms(shown[0])[number]) or 1.0
        for kind in shown:
            _draw_arrows(axis, view.structures[name], view.forces[kind][number], scale, kind)
        axis.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0.0, 1.0), fontsize=9)
        axis.set_xlabel(f"x / Å   (arrows: 1 Å for {scale / _LENGTH:.2g} eV/Å)")
        axis.set_ylabel("y / Å")
        axis.set_aspect("equal")
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(plain(f"{view.model}, {name}"), x=0.01, ha="left", fontsize=10, fontweight="bold")
    figure.savefig(path)


def _depths(structure: Structure) -> np.ndarray:
    """Opacities of atoms, 1 for the nearest, shape (n_atoms,)."""
    heights = structure.positions[:, 2]
    return np.asarray(1.0 - _DEPTH * (heights.max() - heights) / max(float(np.ptp(heights)), 1e-9))


def _draw_atoms(axis: Axes, structure: Structure) -> None:
    from matplotlib.collections import EllipseCollection  # not before something is drawn, see `new_figure`

    order = np.argsort(structure.positions[:, 2])
    radii = _SPHERE * covalent_radii[structure.species[order]]
    greys = np.where(structure.species[order] == 1, 0.95, 0.65)
    colors = [(grey, grey, grey, alpha) for grey, alpha in zip(greys, _depths(structure)[order], strict=True)]
    size = 2.0 * radii
    axis.add_collection(
        EllipseCollection(
            size,
            size,
            np.zeros_like(size),
            units="xy",
            offsets=structure.positions[order, :2],
            offset_transform=axis.transData,
            facecolors=colors,
            edgecolors="0.5",
            linewidths=0.4,
        )  # fmt: skip
    )


def _draw_arrows(axis: Axes, structure: Structure, forces: np.ndarray, scale: float, kind: str) -> None:
    """Arrows as long as the part of the forces across z, on a scale that is given in eV/Å."""
    from matplotlib.colors import to_rgba

    x, y = structure.positions[:, :2].T
    u, v = _LENGTH / scale * forces[:, :2].T
    colors = [to_rgba(COLORS[kind], alpha) for alpha in _depths(structure)]
    axis.quiver(x, y, u, v, color=colors, angles="xy", scale_units="xy", scale=1.0, width=0.004, zorder=3)
    axis.update_datalim(np.transpose([np.append(x, x + u), np.append(y, y + v)]))
    axis.autoscale_view()
    axis.plot([], [], color=COLORS[kind], label=f"{kind} forces" if kind != DIFFERENCE else kind)
