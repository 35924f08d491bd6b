"""Draw docs/nve.png from docs/nve.csv: the conserved quantity of NVE runs of `inputs/`, averaged over 20 fs.

python docs/draw_nve.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ipi_darkforces.analysis.pictures import KIND_COLORS, new_figure, tidy

HERE = Path(__file__).parent
_HIGHEST = 20.0  # meV/atom: beyond, the picture would show direct forces and nothing else


def main() -> None:
    """Draw it."""
    values = np.genfromtxt(HERE / "nve.csv", delimiter=",", names=True)
    figure = new_figure(6.4, 3.6)
    axis = figure.subplots()
    for kind, color in KIND_COLORS.items():
        [name] = [each for each in values.dtype.names or () if each.startswith(kind)]
        known = np.isfinite(values[name]) & (values[name] < _HIGHEST)
        axis.plot(values["picoseconds"][known], values[name][known], color=color, linewidth=1.5)
        label = name.removesuffix("_meV_per_atom").replace("MTS4", "MTS-4")
        ends = {"direct": (4, 0), "conservative": (4, -6), "MTS": (4, 4)}
        last = values["picoseconds"][known][-1], values[name][known][-1]
        axis.annotate(label, last, ends[kind], textcoords="offset points", color=color, va="center")
    axis.set_xlim(0.0, 9.0)
    axis.set_ylim(-1.0, _HIGHEST)
    axis.set_xlabel("time / ps")
    axis.set_ylabel("conserved quantity / (meV/atom)")
    tidy(axis)
    figure.savefig(HERE / "nve.png")


if __name__ == "__main__":
    main()
