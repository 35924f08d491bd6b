"""Evaluate any number of structures, at some of which a model may fail."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import DarkforcesError
from ..models.model import ForceModel, Need
from ..models.result import Forces
from ..models.structure import Structure

ATOMS = 100  # of a batch: more do not make it faster on a core


def evaluate_each(model: ForceModel, structures: Sequence[Structure], need: Need) -> list[Forces | DarkforcesError]:
    """Energies and forces of each structure; the error where the model fails, or gives nothing finite.

    :param structures: of any number and size
    """
    batches: list[list[Structure]] = []
    atoms = ATOMS
    for structure in structures:
        atoms += len(structure.species)
        if atoms > ATOMS:
            batches.append([])
            atoms = len(structure.species)
        batches[-1].append(structure)
    return [result for batch in batches for result in _evaluate(model, batch, need)]


def _evaluate(model: ForceModel, batch: Sequence[Structure], need: Need) -> list[Forces | DarkforcesError]:
    try:
        return list(model.evaluate(batch, need))
    except DarkforcesError as error:
        if len(batch) == 1:
            return [error]
        return [_evaluate(model, [structure], need)[0] for structure in batch]
