"""Structures in, energies and forces out: the models, and the one interface to them."""

from .model import ForceModel, Need
from .registry.load import load_model
from .result import Forces
from .structure import Structure

__all__ = ["ForceModel", "Forces", "Need", "Structure", "load_model"]
