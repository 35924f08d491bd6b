"""Structures in, energies and forces out: models, the split between fast and slow forces, caching."""

from .model import ForceModel, Need
from .result import Forces
from .structure import Structure
from .zoo import load_model

__all__ = ["ForceModel", "Forces", "Need", "Structure", "load_model"]
