"""Training curves: validation error of the forces against the time that training took, as figure 10 of the paper.

    python training/curves.py runs/water --output curves.png

draws all trainings in the folder. A fine-tuned model starts at the time that the model it came from had taken.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from ipi_darkforces.analysis.pictures import colors_of, new_figure, tidy
from ipi_darkforces.cli import entry
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.training.recipes.recipe import RECIPES
from ipi_darkforces.training.recipes.stage import Stage

KINDS = {"forces": "conservative", "non_conservative_force": "direct"}


def draw(output: Path, picture: Path) -> None:
    """Draw the curves of all recipes whose stages are in `output`.

    :raises DarkforcesError: if there are none
    """
    figure = new_figure(6.4, 4.4)
    axis = figure.subplots()
    recipes = [name for name, stages in RECIPES.items() if all(Stage(s, output / s).history() for s in stages)]
    if not recipes:
        raise DarkforcesError(f"there is no training in '{output}'")
    curves = [f"{recipe} {label}" for recipe in recipes for label in KINDS.values()]
    colors = dict(zip(curves, colors_of(curves), strict=True))
    for recipe in recipes:
        *before, stage = [Stage(name, output / name) for name in RECIPES[recipe]]
        offset = sum(epoch.seconds for earlier in before for epoch in earlier.history())
        history = stage.history()
        hours = (offset + np.cumsum([epoch.seconds for epoch in history])) / 3600.0
        for kind, label in KINDS.items():
            errors = [error for epoch in history if (error := _force_error(epoch.metrics, kind)) is not None]
            if errors:
                color = colors[f"{recipe} {label}"]
                axis.plot(hours, errors, color=color, linewidth=1.2, label=f"{recipe}, {label}")
    axis.set_yscale("log")
    axis.set_xlabel("time of the CPU or GPU / h")
    axis.set_ylabel("force error on validation data (RMSE) / (meV/Å)")
    axis.legend(frameon=False, fontsize="small")
    tidy(axis)
    figure.savefig(picture)


def _force_error(metrics: dict[str, float], kind: str) -> float | None:
    """Validation RMSE of a kind of force; metatrain adds "(per atom)" to the names of some."""
    return next((value for name, value in metrics.items() if name.startswith(f"validation {kind} RMSE")), None)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the --output of darkforces train")
    parser.add_argument("--output", type=Path, required=True, metavar="PNG", help="the picture")
    args = parser.parse_args()
    sys.exit(entry.run(lambda: draw(args.folder, args.output)))


if __name__ == "__main__":
    main()
