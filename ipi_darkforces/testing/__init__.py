"""Checks that any model can be run through: ``from ipi_darkforces.testing import check_model``."""

from .model_checks import Check, check_model

__all__ = ["Check", "check_model"]
