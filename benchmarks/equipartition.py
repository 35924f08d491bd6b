"""Equipartition and heating with direct forces, against how far these are from conservative ones.

    darkforces run inputs/svr-direct.xml --model MODEL --time 20 --output FOLDER        # for each model
    python benchmarks/equipartition.py FOLDER... --output docs/equipartition.png

Each FOLDER is a run with direct forces and a thermostat that does not act on each atom (SVR). The difference between
both kinds of forces is that of each model in the geometries of the first run, as a run that is far too hot has others.
The table and the picture in docs/agreement.md are made with it, from four versions of the bundled weights.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import ase
import numpy as np
from matplotlib.axes import Axes
from tqdm import tqdm

import ipi_darkforces as dark
from ipi_darkforces.analysis import drift, temperatures
from ipi_darkforces.analysis.io.formats import open_trajectories
from ipi_darkforces.analysis.io.runs import Run
from ipi_darkforces.analysis.pictures import KIND_COLORS, new_figure, tidy
from ipi_darkforces.analysis.selection import Selection
from ipi_darkforces.models.model import ForceModel
from ipi_darkforces.stats.estimates import Estimate, mean
from ipi_darkforces.stats.rows import aligned


@dataclass(frozen=True)
class Point:
    """The result of one run.

    :param name: of its folder
    :param difference: of both kinds of forces in the same geometries, rms of components, meV/Å
    :param oxygen: temperature of O less that of H, K
    :param drift: of the conserved quantity, meV/atom/ps
    """

    name: str
    difference: Estimate
    oxygen: Estimate
    drift: Estimate


def measure(folder: Path, geometries: list[ase.Atoms], discard: float) -> Point:
    """Measure a run after `discard` ps, and its forces in some geometries."""
    selection = Selection(discard, notice=lambda text: None)
    run = Run.read(folder, lambda text: None)
    _, _, series = temperatures.temperature_series(run, selection)
    slope = drift.measure(run, selection).conserved_slope
    if slope is None:
        raise SystemExit(f"'{folder}' has no conserved quantity")
    model = dark.load_model(json.loads((folder / "model.json").read_text())["model"])
    return Point(folder.name, difference(model, geometries, folder.name), mean(series["O"] - series["H"]), slope)


def along(folder: Path, number: int) -> list[ase.Atoms]:
    """Geometries of the second half of a run."""
    trajectory = open_trajectories(next(folder.glob("*.pos_0.xyz")))[0]
    every = [
        ase.Atoms(trajectory.species, values, cell=cell, pbc=True)
        for block in trajectory.blocks()
        for values, cell in zip(block.values, block.cells, strict=True)
    ]
    return [every[i] for i in np.linspace(len(every) // 2, len(every) - 1, number).astype(int)]


def difference(model: ForceModel, geometries: list[ase.Atoms], name: str) -> Estimate:
    """Difference between both kinds of forces, rms of components, meV/Å."""
    squares = []
    for atoms in tqdm(geometries, desc=name, unit="geometry"):
        forces = model.evaluate(atoms)
        squares.append(float(np.mean((forces.conservative - forces.direct) ** 2)))
    square = mean(np.array(squares))
    rms = 1000.0 * square.value**0.5
    return Estimate(rms, None if square.error is None else 0.5 * rms * square.error / square.value)


def draw(points: list[Point], path: Path) -> None:
    """Two panels: temperatures of species, and heating, against the difference of forces."""
    figure = new_figure(6.4, 3.0)
    left, right = figure.subplots(1, 2)
    panel(left, points, [point.oxygen for point in points], "T(O) − T(H) / K")
    panel(right, points, [point.drift for point in points], "heating / (meV/atom/ps)")
    first, last = points[0].difference.value, points[-1].difference.value
    known = min(points, key=lambda point: (point.drift.error or np.inf) / point.drift.value)
    guide = [known.drift.value * (x / known.difference.value) ** 2 for x in (first, last)]
    right.plot([first, last], guide, color="0.6", linewidth=1.0, linestyle="--", zorder=0, label="as its square")
    right.legend(frameon=False, loc="upper left")
    figure.savefig(path)


def panel(axis: Axes, points: list[Point], values: list[Estimate], label: str) -> None:
    """Draw one panel, with 95 % intervals."""
    differences = [point.difference.value for point in points]
    margins = [each.margin() or 0.0 for each in values]
    axis.errorbar(
        differences, [each.value for each in values], margins, fmt="o", capsize=3, color=KIND_COLORS["direct"]
    )
    axis.set_xscale("log")
    axis.set_yscale("log")
    ticks = [round(each) for each in differences]
    axis.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
    axis.set_xticks([], minor=True)
    axis.set_xlabel("f$_\\mathrm{C}$ − f$_\\mathrm{NC}$ / (meV/Å), rms")
    axis.set_ylabel(label)
    tidy(axis)


def main() -> None:
    """Measure, print, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of darkforces run")
    parser.add_argument("--discard", type=float, default=2.0, help="ps at the beginning (default: %(default)g)")
    parser.add_argument("--frames", type=int, default=40, help="geometries with both forces (default: %(default)d)")
    parser.add_argument("--output", type=Path, help="picture to write")
    parser.add_argument("--json", action="store_true", help="print everything for machines")
    args = parser.parse_args()
    geometries = along(args.runs[0], args.frames)
    points = sorted((measure(run, geometries, args.discard) for run in args.runs), key=lambda p: p.difference.value)
    if args.json:
        print(json.dumps([asdict(point) for point in points], indent=2))
    else:
        print(aligned([row(point) for point in points]))
    if args.output is not None:
        draw(points, args.output)


def row(point: Point) -> dict[str, str | Estimate]:
    """A line of the table."""
    return {
        "run": point.name,
        "difference / (meV/Å)": point.difference,
        "T(O) - T(H) / K": point.oxygen,
        "drift / (meV/atom/ps)": point.drift,
    }


if __name__ == "__main__":
    main()
