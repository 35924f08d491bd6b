"""Splits of a process, one for each model, shared by all force components that name it."""

from __future__ import annotations

from functools import cache

from ..models.registry.load import load_as
from ..models.registry.options import Loading
from .split import Split


@cache
def shared_split(model: str, loading: Loading) -> Split:
    """The split of a model, shared by all force components that ask for the same one; see `load_model`."""
    return Split(load_as(model, loading))
