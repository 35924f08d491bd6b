"""Recipes: from labelled structures to a model that has a name: data -> split -> train -> evaluate -> export -> zoo.

A recipe is a list of stages. Each stage is a folder of the output, and metatrain does the training: options/STAGE.yaml
is the whole of what is trained and how. What is finished stays finished: stopped at any moment and started again with
the same arguments, training goes on from the last epoch. Recipes that are given the same output share what they can:
pet-m-ft begins with the pet-nc that is there.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import ase.io

from ...errors import DarkforcesError
from .data import DataSource, prepare, write_frames
from .own_labels import label, sample
from .stage import Stage

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


def train(recipe: str, source: DataSource, output: Path, name: str, branches: int, overrides: list[str]) -> str:
    """Train a recipe to its end, from wherever it was left, and put the model into the zoo.

    :param recipe: a name in `RECIPES`
    :param output: folder for everything
    :param name: of the finished model
    :param branches: of the dynamics that samples structures for pet-m-distilled
    :param overrides: for metatrain's options, as ``STAGE:option=value``
    :return: what the model is worth, and what can be done with it, in words
    :raises DarkforcesError: if anything the user gave cannot be used
    """
    from .publish import check_free, publish  # needs metatrain, as help does not

    _check_overrides(overrides)
    stages = [Stage(stage, output / stage, _overrides(overrides, stage)) for stage in RECIPES[recipe]]
    check_free(name, output)  # before the hours, not after
    for stage in stages:
        stage.options()
    if branches < 1:
        raise DarkforcesError(f"--branches {branches}: expected at least one")
    new = not output.exists()
    _make(output)
    try:
        prepare(source, output)
    except DarkforcesError:
        if new:
            with suppress(OSError):  # it may hold something by now
                output.rmdir()
        raise
    for previous, stage in zip([None, *stages], stages, strict=False):
        if stage.name == "pet-m-distilled" and previous is not None:
            _label_by_itself(previous, output, branches)
        stage.train()
    return publish(stages, output, name)


def _make(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DarkforcesError(f"--output '{output}' cannot be made: {error.strerror}") from error


def _check_overrides(overrides: list[str]) -> None:
    known = ("all", *(stage for stages in RECIPES.values() for stage in stages))
    for override in overrides:
        stage, colon, option = override.partition(":")
        if not colon or "=" not in option or stage not in known:
            raise DarkforcesError(
                f"--override {override}: expected STAGE:OPTION=VALUE, as in pet-nc:architecture.training.num_epochs=10"
            )


def _overrides(overrides: list[str], stage: str) -> list[str]:
    """Overrides for a stage, or for all."""
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
