"""The trainings in a folder, compared with each other and with the paper: a page with a table and training curves.

    python training/report.py runs/water --output docs/training.md --machine "2 cores of an AMD EPYC"

writes the page and, beside it, the picture.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import curves

from ipi_darkforces.atomic import write_atomically
from ipi_darkforces.cli import entry
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.training.recipes.recipe import RECIPES
from ipi_darkforces.training.recipes.stage import Stage

# Tables 1 and 5 of the paper: MAE of the energy (meV/atom), of conservative and of direct forces (meV/Å), on its own
# data; models trained on energies and forces.
PAPER = {
    "pet-c": (0.55, 19.4, None),
    "pet-nc": (1.42, None, 24.8),
    "pet-m": (0.59, 20.2, 26.7),
    "pet-m-ft": (0.50, 20.0, None),
    "soap-bpnn-c": (1.38, 41.4, None),
    "soap-bpnn-nc": (3.20, None, 111.9),
}
ERRORS = ("energy_meV_per_atom", "conservative_forces_meV_per_angstrom", "direct_forces_meV_per_angstrom")

PAGE = """\
# Training strategies compared

Mean absolute errors on {structures} structures that training did not see, force errors per Cartesian component;
between direct and conservative forces, the root mean square. In parentheses: the paper's tables 1 and 5, for larger
models, other data of water, and days on H100 GPUs, so that only the order can be compared. Machine: {machine}.

{table}

![Validation error of the forces against the time that training took]({picture})

Made by

```bash
{commands}
python training/report.py {folder} --output {page}
```
"""


COLUMNS = (
    "recipe",
    "epochs",
    "s per epoch",
    "h in all",
    "energy, meV/atom",
    "conservative, meV/Å",
    "direct, meV/Å",
    "direct − conservative, meV/Å",
    "ms per structure",
)


def report(folder: Path, page: Path, machine: str) -> None:
    """Write the page and its picture.

    :param folder: the output of `train.py`; recipes count that have been published there as ``FOLDER/*-RECIPE.ckpt``
    :raises DarkforcesError: if there are none
    """
    published = {recipe: path for recipe in RECIPES if (path := _errors_of(folder, recipe)) is not None}
    if not published:
        raise DarkforcesError(f"no recipe has been finished in '{folder}'")
    errors = {recipe: json.loads(path.read_text()) for recipe, path in published.items()}
    rows = [_row(recipe, folder, errors[recipe]) for recipe in published]
    picture = page.with_name(f"{page.stem}-curves.png")
    curves.draw(folder, picture)
    text = PAGE.format(
        structures=next(iter(errors.values()))["structures"],
        machine=machine,
        table="\n".join([_line(COLUMNS), _line(["---"] * len(COLUMNS)), *(_line(row) for row in rows)]),
        picture=picture.name,
        commands="\n".join(
            _command(recipe, folder, path.name.removesuffix("-errors.json")) for recipe, path in published.items()
        ),
        folder=folder,
        page=page,
    )
    write_atomically(page, text)


def _errors_of(folder: Path, recipe: str) -> Path | None:
    return next(iter(sorted(folder.glob(f"*-{recipe}-errors.json"), key=lambda path: len(path.name))), None)


def _row(recipe: str, folder: Path, errors: dict) -> list[str]:
    histories = [Stage(stage, folder / stage).history() for stage in RECIPES[recipe]]
    epochs = [len(history) for history in histories]
    seconds = [median(epoch.seconds for epoch in history) for history in histories]
    hours = sum(epoch.seconds for history in histories for epoch in history) / 3600.0
    return [
        f"`{recipe}`",
        " + ".join(map(str, epochs)),
        " + ".join(f"{value:.0f}" for value in seconds),
        f"{hours:.2f}",
        *(_cell(errors[key], paper) for key, paper in zip(ERRORS, PAPER.get(recipe, (None,) * 3), strict=True)),
        _difference(errors["direct_minus_conservative_meV_per_angstrom"]),
        ", ".join(f"{value['median']:.0f}" for value in errors["milliseconds_per_structure"].values()),
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(errors: dict | None, paper: float | None) -> str:
    ours = "" if errors is None else f"{errors['total']['mae']:.3g}"
    return ours if paper is None else f"{ours} ({paper:g})"


def _difference(errors: dict | None) -> str:
    return "" if errors is None else f"{errors['total']['rmse']:.3g}"


def _command(recipe: str, folder: Path, name: str) -> str:
    """The command that made it, with all that differs from the options that come with the project."""
    changed = " ".join(
        f"-r {stage}:architecture.training.num_epochs={len(Stage(stage, folder / stage).history())}"
        for stage in RECIPES[recipe]
    )
    data = "--data train.xyz --validation val.xyz"
    return f"darkforces train {recipe} {data} --output {folder} --name {name} {changed}"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the --output of darkforces train")
    parser.add_argument("--output", type=Path, required=True, metavar="MD", help="the page")
    parser.add_argument("--machine", required=True, help="what the times were measured on, in words")
    args = parser.parse_args()
    sys.exit(entry.run(lambda: report(args.folder, args.output, args.machine)))


if __name__ == "__main__":
    main()
