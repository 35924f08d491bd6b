"""Factories of ase calculators: found by their names, called with options, with errors in one line."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from ...errors import DarkforcesError
from ..ase_calculator import CalculatorModel, shortened
from ..model import FORCE_KINDS
from .hints import calculator
from .specification import CALCULATOR, Option, split_options

log = logging.getLogger(__name__)


def load_calculator(
    factory: Callable[..., Any],
    name: str,
    options: Mapping[str, Option],
    device: str = "cpu",
    dtype: str | None = None,
    elements: Callable[[Any], frozenset[int] | None] = lambda calculator: None,
    **more: Any,
) -> CalculatorModel:
    """A model from a function that makes a calculator.

    :param factory: called with the options and, if it has parameters of these names, with `device` and, if it is not
        None, `dtype`
    :param name: what the user calls the model
    :param options: keyword arguments
    :param elements: atomic numbers that a calculator knows, None for any
    :param more: see `CalculatorModel`
    :raises DarkforcesError: if the factory fails, has no such parameter or does not make a calculator
    """
    arguments = dict(options)
    accepted = _parameters(factory)
    if "device" in accepted:
        arguments.setdefault("device", device)
    elif device != "cpu":
        raise DarkforcesError(f"model '{name}' cannot be told a device: expected no --device beside it")
    if dtype is not None and "dtype" not in accepted:
        raise DarkforcesError(f"model '{name}' cannot be told a precision: expected no --dtype beside it")
    if dtype is not None:
        arguments.setdefault("dtype", dtype)
    try:
        calculator = factory(**arguments)
    except DarkforcesError:
        raise
    except Exception as error:  # whatever goes wrong in there: missing packages, files, weights of another model
        log.debug("model '%s' failed", name, exc_info=True)
        raise DarkforcesError(f"model '{name}' cannot be made: {shortened(error)}") from error
    return CalculatorModel(calculator, name, species=elements(calculator), **more)


def load_by_factory(
    name: str, device: str = "cpu", dtype: str | None = None, remove_net_force: bool = True
) -> CalculatorModel:
    """A model given as ``ase:package.module:factory``, or ``ase:path/to/file.py:factory``, with options.

    Options are keyword arguments of the factory; but ``forces``, which is ``conservative`` or ``direct``, says what the
    forces are.

    :raises DarkforcesError: see `load_calculator`; if there is no such module or nothing of that name in it
    """
    place, options = split_options(name)
    kind = str(options.pop("forces", "conservative"))
    if kind not in FORCE_KINDS:
        raise DarkforcesError(f"forces={kind} is not known: expected conservative or direct")
    factory = find_factory(place)
    return load_calculator(
        factory, name, options, device, dtype, kind=FORCE_KINDS[kind], remove_net_force=remove_net_force
    )


def find_factory(name: str) -> Callable[..., Any]:
    """Find the factory in ``ase:package.module:factory``.

    :raises DarkforcesError: see `load_by_factory`
    """
    place, _, attribute = name.removeprefix(CALCULATOR).rpartition(":")
    if not place or not attribute:
        near = calculator(name)
        hint = f"; did you mean '{near}'?" if near and near != name else ""
        raise DarkforcesError(f"model '{name}' is not complete: expected ase:package.module:factory{hint}")
    module = _module(place, name)
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise DarkforcesError(f"model '{name}': there is no '{attribute}' in '{place}'")
        found = getattr(found, part)
    if not callable(found):
        raise DarkforcesError(
            f"model '{name}': '{attribute}' is {type(found).__name__}: expected what makes a calculator"
        )
    return found


def _module(place: str, name: str) -> ModuleType:
    try:
        return _module_from_file(place) if place.endswith(".py") else importlib.import_module(place)
    except DarkforcesError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(f"{error.name}.")):
            package = place.partition(".")[0]
            lacking = f"package '{package}' is not installed" if error.name == package else f"no module '{error.name}'"
            raise DarkforcesError(f"model '{name}': {lacking} in the environment of {sys.executable}") from error
        raise DarkforcesError(f"model '{name}': '{place}' needs '{error.name}', which is not installed") from error
    except Exception as error:  # it is a program that runs
        log.debug("model '%s' failed", name, exc_info=True)
        raise DarkforcesError(f"model '{name}': '{place}' cannot be imported: {shortened(error)}") from error


def _module_from_file(path: str) -> ModuleType:
    if not os.path.isfile(path):
        raise DarkforcesError(f"file '{path}' does not exist (looked in {os.getcwd()})")
    spec = importlib.util.spec_from_file_location("ipi_darkforces_calculator", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _parameters(factory: Callable[..., Any]) -> Sequence[str]:
    try:
        return list(inspect.signature(factory).parameters)
    except (TypeError, ValueError):  # not written in Python
        return []
