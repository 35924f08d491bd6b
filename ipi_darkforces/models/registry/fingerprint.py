"""Fingerprints of models, which change with their weights, and the packages and files that they are made from."""

from __future__ import annotations

from contextlib import suppress
from importlib import metadata, util
from pathlib import Path

from ...digest import digest


def weights_of(fingerprint: str, variant: str | None) -> str:
    """The fingerprint of a teacher in the card of its student, with the variant, if any."""
    return fingerprint if variant is None else f"{fingerprint} {variant}"


def package_of(module: str) -> str | None:
    """The package that has a module: of the same name, as a rule, since to look through all of them takes long."""
    with suppress(metadata.PackageNotFoundError, ValueError):
        package = metadata.distribution(module)
        if any(file.parts[0] == module for file in package.files or ()):
            return package.name
    return next(iter(metadata.packages_distributions().get(module, [])), None)


def files_of_module(place: str) -> list[Path]:
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


def short_digest(path: Path) -> str:
    return digest(path)[:12]
