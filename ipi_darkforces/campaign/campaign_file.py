"""Reading and checking the YAML file of a campaign.

structure: ../water.xyz             # beside the file; a file of i-PI, or anything that ase reads
models: [pet-m]                     # names from `darkforces models`, or paths
temperature: 300                    # K
timestep: 0.5                       # fs, of the fast forces
time: 10                            # ps, of each simulation
discard: 2                          # ps at the beginning that do not count
seeds: 4                            # how many, or a list of them
matrix:                             # each with each, block by block
  - thermostats: [nve]
    forces: [conservative, direct, mts8]
  - thermostats: [langevin 100, svr 10, gle 10]     # fs
    forces: [conservative, direct]
    time: 100                       # a block can have models, time and seeds of its own
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import DarkforcesError, about, one_line
from ..models.registry.specification import absolute, label_of
from ..simulate.recipe import ENSEMBLES, check_steps
from ..split.component import Component
from .matrix import NVE, Campaign, Condition, Simulation

_LARGEST_SEED = 2**31 - 1  # of i-PI's random numbers
_MOST_SEEDS = 100_000
_REQUIRED = ("structure", "models", "time", "matrix")
_OF_BLOCKS = ("thermostats", "forces", "models", "time", "seeds")


def read_campaign(path: Path, models: Sequence[str] = ()) -> Campaign:
    """Read a file.

    :param models: instead of those in the file
    :raises DarkforcesError: if it does not exist, or something in it cannot be used
    """
    given = _parsed(path)
    with about(f"'{path}'"):
        return _Reader(path, [absolute(model) for model in models], **given).campaign()


def _parsed(path: Path) -> dict[str, Any]:
    """Read the file, whose keys must be known."""
    import yaml  # help needs none of it

    try:
        text = path.read_text(encoding="utf-8")
        given = yaml.safe_load(text)
        twice = _key_twice(yaml.compose(text, yaml.SafeLoader))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise DarkforcesError(f"campaign '{path}' does not exist or is not a file") from error
    except RecursionError as error:
        raise DarkforcesError(f"'{path}' is no campaign: its lists are nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # the latter for text that is none, or numbers without end
        raise DarkforcesError(f"'{path}' is not YAML: {one_line(error)}") from error
    if twice is not None:
        raise DarkforcesError(f"'{path}' says '{twice}' twice: expected it once")
    known = [each.name for each in fields(_Reader) if each.name not in ("path", "replaced")]
    if not isinstance(given, dict):
        raise DarkforcesError(f"'{path}' is no campaign: expected {', '.join(known)}")
    _check_keys(given, known, f"'{path}'")
    for key in _REQUIRED:
        if given.get(key) is None:
            raise DarkforcesError(f"'{path}' does not say '{key}', which a campaign needs")
    return given


def _key_twice(node: Any) -> str | None:
    """A key that is there twice, of which YAML takes the last without a word, in the file or a block of its matrix."""
    for mapping in (node, *_blocks(node)):
        keys = [str(key.value) for key, _ in mapping.value] if mapping is not None and mapping.id == "mapping" else []
        for key in keys:
            if keys.count(key) > 1:
                return key
    return None


def _blocks(node: Any) -> list[Any]:
    pairs = node.value if node is not None and node.id == "mapping" else []
    return [block for key, value in pairs if key.value == "matrix" and value.id == "sequence" for block in value.value]


def _check_keys(given: dict[Any, Any], known: Sequence[str], where: str) -> None:
    unknown = [_shown(key) for key in given if key not in known]
    if unknown:
        raise DarkforcesError(f"{where}: {unknown[0]} is not known: expected {', '.join(known)}")


def _shown(given: Any) -> str:
    """A value of the file in a message, shortened: it may be endless."""
    try:
        return reprlib.repr(given)
    except ValueError:  # a number with thousands of digits
        return f"a {type(given).__name__} without end"


def _text(name: str, given: Any) -> str:
    """Names and paths; YAML makes numbers and dates of some."""
    if not isinstance(given, str) or not given.strip():
        raise DarkforcesError(f"{name} is {_shown(given)}: expected a name or a path")
    return given


@dataclass(frozen=True)
class _Reader:
    """The file as it is, with the defaults; see the docstring of the module."""

    path: Path
    replaced: Sequence[str]
    structure: Any
    models: Any
    time: Any
    matrix: Any
    temperature: Any = 300.0
    timestep: Any = 0.5
    discard: Any = 0.0
    seeds: Any = 1

    def campaign(self) -> Campaign:
        structure = self.path.parent / _text("structure", self.structure)
        if not structure.is_file():
            raise DarkforcesError(f"structure '{structure}' does not exist or is not a file")
        simulations = tuple(self._simulations())
        if not simulations:
            raise DarkforcesError("the matrix is empty: expected at least one block with thermostats and forces")
        _check_names(simulations)
        discard = _number("discard", self.discard, "ps", zero=True)
        timestep = _number("timestep", self.timestep, "fs")
        for simulation in simulations:
            _check_length(simulation, timestep)
        shortest = min(simulations, key=lambda each: each.time)
        if discard >= shortest.time:
            raise DarkforcesError(f"nothing is left of {shortest.time:g} ps without the first {discard:g} ps (discard)")
        return Campaign(
            self.path.stem,
            structure,
            _number("temperature", self.temperature, "K"),
            timestep,
            discard,
            simulations,
        )

    def _simulations(self) -> Iterator[Simulation]:
        for i, block in enumerate(_listed(self.matrix)):
            where = f"block {i + 1} of the matrix"
            if not isinstance(block, dict):
                raise DarkforcesError(f"{where} is {_shown(block)}: expected {', '.join(_OF_BLOCKS)}")
            _check_keys(block, _OF_BLOCKS, where)
            for key in ("thermostats", "forces"):
                if not _listed(block.get(key)):
                    raise DarkforcesError(f"{where} has no {key}")
            time = _number("time", block.get("time", self.time), "ps")
            models = self.replaced or [
                absolute(_text("a model", model), self.path.parent)
                for model in _listed(block.get("models", self.models))
            ]
            seeds = _seeds(block.get("seeds", self.seeds))
            yield from (
                Simulation(Condition(model, label_of(model), *_thermostat(thermostat), *_forces(forces)), seed, time)
                for model in models
                for thermostat in _listed(block["thermostats"])
                for forces in _listed(block["forces"])
                for seed in seeds
            )


def _listed(value: Any) -> list[Any]:
    """A list of what may be one value or several."""
    return [] if value is None else value if isinstance(value, list) else [value]


def _thermostat(given: Any) -> tuple[str, float | None]:
    match = re.fullmatch(r"([a-z]+)\s*(?:([0-9.]+)\s*(?:fs)?)?", given.strip()) if isinstance(given, str) else None
    kind, tau = match.groups() if match else (None, None)
    if kind not in ENSEMBLES or (kind == NVE) != (tau is None):
        thermostats = ", ".join(f"'{ensemble} 100'" for ensemble in ENSEMBLES if ensemble != NVE)
        raise DarkforcesError(
            f"thermostat {_shown(given)} is not known: expected {NVE}, or with its time in fs {thermostats}"
        )
    return kind, None if tau is None else _number(f"the time of thermostat {_shown(given)}", tau, "fs")


def _forces(given: Any) -> tuple[Component, int | None]:
    match = re.fullmatch(r"mts\s*([0-9]{1,9})", given.strip()) if isinstance(given, str) else None
    if match and int(match[1]) >= 2:
        return Component.CONSERVATIVE, int(match[1])
    for component in (Component.CONSERVATIVE, Component.DIRECT):
        if given == component.value:
            return component, None
    raise DarkforcesError(f"forces {_shown(given)} are not known: expected conservative, direct, or mts2, mts8, ...")


def _seeds(given: Any) -> list[int]:
    if _is_whole(given) and given > _MOST_SEEDS:
        raise DarkforcesError(f"seeds {_shown(given)} are too many: expected at most {_MOST_SEEDS}")
    seeds = given if isinstance(given, list) else list(range(1, given + 1)) if _is_whole(given) else []
    if not seeds or not all(_is_whole(seed) and 0 < seed <= _LARGEST_SEED for seed in seeds):
        raise DarkforcesError(f"seeds {_shown(given)} cannot be: expected how many, or a list of whole numbers above 0")
    return seeds


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(name: str, given: Any, unit: str, zero: bool = False) -> float:
    """A finite number above 0, or also 0; YAML takes 1e3 for text."""
    try:
        value = float("nan") if isinstance(given, bool) else float(given)
    except (TypeError, ValueError, OverflowError):
        value = float("nan")
    if not (value >= 0.0 if zero else value > 0.0) or value == float("inf"):
        raise DarkforcesError(
            f"{name} is {_shown(given)}: expected a number of {unit}{' or 0' if zero else ' above 0'}"
        )
    return abs(value)  # -0 is 0


def _check_length(simulation: Simulation, timestep: float) -> None:
    """Raise a DarkforcesError unless a simulation has a number of steps that can be.

    :param timestep: fs, of the fast forces
    """
    step = timestep * (simulation.condition.stride or 1)
    steps = 1000.0 * simulation.time / step
    if steps < 0.999:
        raise DarkforcesError(
            f"simulation {simulation.name} of {simulation.time:g} ps is shorter than one step of {step:g} fs"
        )
    check_steps(simulation.time, step, f"simulation {simulation.name} of {simulation.time:g} ps")


def _check_names(simulations: Sequence[Simulation]) -> None:
    seen: dict[str, Simulation] = {}
    for simulation in simulations:
        other = seen.setdefault(simulation.name, simulation)
        if other is not simulation:
            why = (
                "is in the matrix twice"
                if other.condition == simulation.condition
                else f"is that of two models: '{other.condition.model}' and '{simulation.condition.model}'"
            )
            raise DarkforcesError(f"simulation {simulation.name} {why}")
