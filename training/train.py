"""From labelled structures to a model that has a name: data -> split -> train -> evaluate -> export -> zoo.

    python training/train.py pet-m-ft --data train.xyz --output runs/water --name my-water

A recipe is a list of stages. Each stage is a folder of the output, and metatrain does the training: options/STAGE.yaml
is the whole of what is trained and how, and `training/fit.py train options.yaml` there does the same by hand. What is
finished stays finished: stopped at any moment and started again with the same command, training goes on from the last
epoch. Recipes that are given the same --output share what they can: pet-m-ft begins with the pet-nc that is there.
"""

from __future__ import annotations

import environment  # noqa: F401  isort: skip

import argparse
import signal
import sys
from pathlib import Path

import ase.io
from data import Source, prepare, write_frames
from sample import label, sample
from stage import Stage

from ipi_darkforces.cli import entry
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.units import ENERGY_UNITS, FORCE_UNITS

RECIPES = {
    "pet-c": ("pet-c",),
    "pet-nc": ("pet-nc",),
    "pet-m": ("pet-m",),
    "pet-m-ft": ("pet-nc", "pet-m-ft"),
    "pet-m-distilled": ("pet-nc", "pet-m-ft", "pet-m-distilled"),
    "soap-bpnn-c": ("soap-bpnn-c",),
    "soap-bpnn-nc": ("soap-bpnn-nc",),
}
POOL_VALIDATION = 0.05  # of the structures that a model labels itself


def train(recipe: str, source: Source, output: Path, name: str, branches: int, overrides: list[str]) -> None:
    """The whole way; see the module's description.

    :param branches: of the dynamics that samples structures for pet-m-distilled
    :param overrides: for metatrain's options, as ``STAGE:option=value``
    :raises DarkforcesError: if anything the user gave cannot be used
    """
    from publish import check_free, publish  # needs metatrain, as help does not

    stages = [Stage(stage, output / stage, _overrides(overrides, stage)) for stage in RECIPES[recipe]]
    check_free(name, output)  # before the hours, not after
    for stage in stages:
        stage.options()
    if branches < 1:
        raise DarkforcesError(f"--branches {branches}: expected at least one")
    _make(output)
    prepare(source, output)
    for previous, stage in zip([None, *stages], stages, strict=False):
        if stage.name == "pet-m-distilled" and previous is not None:
            _label_by_itself(previous, output, branches)
        stage.train()
    publish(stages, output, name)


def _make(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DarkforcesError(f"--output '{output}' cannot be made: {error.strerror}") from error


def _overrides(overrides: list[str], stage: str) -> list[str]:
    """Those for a stage, or for all."""
    pairs = [override.partition(":") for override in overrides]
    return [option for where, _, option in pairs if where in ("all", stage)]


def _label_by_itself(teacher: Stage, output: Path, branches: int) -> None:
    """Let `teacher` label the reference structures and others that it samples, for training and for validation."""
    last = output / "pool-validation.xyz"
    if last.exists():
        return
    from metatomic_ase import MetatomicCalculator

    calculator = MetatomicCalculator(teacher.exported)
    references = {part: ase.io.read(output / f"{part}.xyz", index=":") for part in ("train", "validation")}
    for part, frames in references.items():
        write_frames(output / f"own-{part}.xyz", label(calculator, frames))
    sampled = sample(calculator, references["train"], output / "pool.branches", branches)
    number = max(1, round(POOL_VALIDATION * len(sampled)))
    write_frames(output / "pool-train.xyz", sampled[:-number])
    write_frames(last, sampled[-number:])


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="training/train.py"
    )
    parser.add_argument("recipe", choices=RECIPES, metavar="RECIPE", help=", ".join(RECIPES))
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where everything goes")
    parser.add_argument("--name", required=True, help="of the finished model: `i-pi-darkdriver --model NAME` serves it")
    parser.add_argument("--branches", type=int, default=200, help="of hot and strained dynamics, for pet-m-distilled")
    parser.add_argument(
        "-r",
        "--override",
        action="append",
        default=[],
        metavar="STAGE:OPTION=VALUE",
        help="change one of metatrain's options in one stage, or in all: "
        "-r all:architecture.training.num_epochs=10 -r pet-m-ft:device=cuda",
    )
    data = parser.add_argument_group("data: structures with a cell, energies and forces, in any file that ase reads")
    data.add_argument("--data", type=Path, required=True, metavar="XYZ", help="to train on")
    data.add_argument("--validation", type=Path, metavar="XYZ", help="to judge by (default: a part of --data)")
    data.add_argument("--fraction", type=float, default=0.1, help="how large a part (default: %(default)s)")
    data.add_argument("--seed", type=int, default=0, help="of the choice of that part (default: %(default)s)")
    data.add_argument("--energy-key", metavar="KEY", help="default: found, if there is only one that can be it")
    data.add_argument("--forces-key", metavar="KEY", help="likewise")
    data.add_argument("--energy-unit", choices=ENERGY_UNITS, default="eV", metavar="UNIT", help=", ".join(ENERGY_UNITS))
    data.add_argument(
        "--force-unit",
        choices=FORCE_UNITS,
        metavar="UNIT",
        help=f"{', '.join(FORCE_UNITS)} (default: eV/Angstrom, and forces that do not look like it are refused)",
    )
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's way to stop is as good as Ctrl-C
    source = Source(
        args.data, args.validation, args.fraction, args.seed,
        args.energy_key, args.forces_key, args.energy_unit, args.force_unit,
    )  # fmt: skip
    sys.exit(
        entry.run(lambda: train(args.recipe, source, args.output, args.name, args.branches, _checked(args.override)))
    )


def _checked(overrides: list[str]) -> list[str]:
    for override in overrides:
        stage, colon, option = override.partition(":")
        if not colon or "=" not in option or stage not in ("all", *(s for stages in RECIPES.values() for s in stages)):
            raise DarkforcesError(
                f"--override {override}: expected STAGE:OPTION=VALUE, as in pet-nc:architecture.training.num_epochs=10"
            )
    return overrides


if __name__ == "__main__":
    main()
