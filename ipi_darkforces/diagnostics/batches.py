"""Evaluate any number of structures, at some of which a model may fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from ..errors import DarkforcesError
from ..models.model import ForceModel, Need
from ..models.result import Forces
from ..models.structure import Structure

ATOMS = 100  # of a batch: more do not make it faster on a core
T = TypeVar("T")


def evaluate_each(model: ForceModel, structures: Sequence[Structure], need: Need) -> list[Forces | DarkforcesError]:
    """Energies and forces of each structure; the error where the model fails, or gives nothing finite.

    :param structures: of any number and size
    """
    sizes = [len(structure.species) for structure in structures]
    return [result for batch in in_batches(structures, sizes) for result in _evaluate(model, batch, need)]


def in_batches(items: Sequence[T], sizes: Sequence[int]) -> Iterator[list[T]]:
    """Lists of items, in order, of at most `ATOMS` atoms, or of one item.

    :param sizes: how many atoms each of them has
    """
    batch: list[T] = []
    atoms = 0
    for item, size in zip(items, sizes, strict=True):
        if batch and atoms + size > ATOMS:
            yield batch
            batch, atoms = [], 0
        batch.append(item)
        atoms += size
    if batch:
        yield batch


def _evaluate(model: ForceModel, batch: Sequence[Structure], need: Need) -> list[Forces | DarkforcesError]:
    try:
        return list(model.evaluate(batch, need))
    except DarkforcesError as error:
        if len(batch) == 1:
            return [error]
        return [_evaluate(model, [structure], need)[0] for structure in batch]
