"""The fingerprint of a model: what tells it from others of the same name, or from itself before it was changed."""

from __future__ import annotations

import os
from importlib import metadata, util
from pathlib import Path

from ...digest import digest
from ...errors import DarkforcesError
from .packages import PACKAGED
from .specification import CALCULATOR, split_options, split_pair
from .upet import UPET, upet_checkpoint
from .zoo import all_models, takes_options


def fingerprint(model: str) -> str:
    """The beginning of the SHA-256 of the file of its weights.

    Of an ase calculator, which has them where it likes: its package and version, and the files that are known.

    :raises DarkforcesError: if the model is neither a name nor a file, nor an ase calculator
    """
    pair = split_pair(model)
    if pair is not None:
        return " and ".join(fingerprint(each) for each in pair)
    entry = all_models().get(model)
    if entry is not None:
        return _digest(entry.path)
    path = upet_checkpoint(model) if model.startswith(UPET) else Path(model)
    if path.is_file():
        return _digest(path)
    if takes_options(model):
        return ", ".join([*_package(model), *map(_digest, _files(model))]) or "unknown"
    raise DarkforcesError(f"model '{model}' is neither a name from `darkforces models` nor a file")


def _package(model: str) -> list[str]:
    """Which package and version makes an ase calculator, if it is one."""
    name, _ = split_options(model)
    if name in PACKAGED:
        packages = [PACKAGED[name].package.name] if PACKAGED[name].package.version else []
    else:
        module = name.removeprefix(CALCULATOR).partition(":")[0].partition(".")[0]
        packages = list(metadata.packages_distributions().get(module, []))[:1]
    return [f"{package} {metadata.version(package)}" for package in packages]


def _files(model: str) -> list[Path]:
    """Those that an ase calculator is made from: its own, those among its options, or the weights of its package."""
    name, options = split_options(model)
    place = name.removeprefix(CALCULATOR).rpartition(":")[0]
    files = [Path(each) for each in (place, *map(str, options.values())) if os.path.isfile(each)]
    if name in PACKAGED:
        cached = PACKAGED[name].weights.cached() if "weights" not in options else None
        return files if cached is None else [*files, cached]
    return files if os.path.isfile(place) or _package(model) else [*_module(place), *files]


def _module(place: str) -> list[Path]:
    """The file of a module that belongs to no package, such as one in a folder of the user's; nothing is imported."""
    first, *others = place.split(".")
    try:
        spec = util.find_spec(first) if first else None
    except (ImportError, ValueError):
        return []
    if spec is None or spec.origin is None:
        return []
    found = Path(spec.origin) if not others else Path(spec.origin).parent.joinpath(*others).with_suffix(".py")
    return [found] if found.is_file() else []


def _digest(path: Path) -> str:
    return digest(path)[:12]
