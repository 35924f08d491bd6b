"""Options of loading a model: device, precision, variant, backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ...errors import DarkforcesError
from .specification import ROLES

BACKENDS = ("auto", "metatomic")
# What decides the forces, beside the model.
_IDENTITY = ("dtype", "variant")


@dataclass(frozen=True, kw_only=True)
class Loading:
    """Options of loading a model; see `load_model`.

    All of them are those of both of two models, but for the variant: see `of_two`.

    :raises DarkforcesError: for a backend that is not known
    """

    device: str = "cpu"
    dtype: str | None = None
    variant: str | None = None
    backend: str = "auto"
    remove_net_force: bool = True

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise DarkforcesError(f"backend '{self.backend}' is not known: expected {' or '.join(BACKENDS)}")

    @property
    def identity(self) -> dict[str, str | None]:
        """Options that decide the forces; simulations that are compared have them in common."""
        return {key: getattr(self, key) for key in _IDENTITY}

    @property
    def changed(self) -> dict[str, Any]:
        """Options that are not as by default, by name."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) != each.default}

    @property
    def in_words(self) -> str:
        """Options that are not as by default, but for the device, as a sentence has them; perhaps empty."""
        return ", ".join(f"{key} {value}" for key, value in self.changed.items() if key != "device")

    def of_two(self) -> tuple[Loading, Loading]:
        """Options of loading the models of fast and of slow forces.

        A variant is one of the slow model as ``slow.pbe``, and ``fast.pbe,slow.pbe`` are variants of both.

        :raises DarkforcesError: if it is not said which model a variant is for
        """
        variants = dict[str, str]()
        for each in (self.variant or "").split(",") if self.variant else ():
            role, dot, name = each.partition(".")
            if role not in ROLES or not dot or role in variants:
                expected = " or ".join(f"{role}.NAME" for role in ROLES)
                raise DarkforcesError(f"variant '{each}' is of which of the two models? expected {expected}")
            variants[role] = name
        fast, slow = (replace(self, variant=variants.get(role)) for role in ROLES)
        return fast, slow

    def with_options(self, **options: str | None) -> Loading:
        """Change some options; None counts as not given."""
        given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
        return replace(self, **given)

    def as_json(self) -> dict[str, str | None]:
        """JSON values of all options that a command has.

        The net force is always removed where models are loaded from files of this kind.
        """
        return {key: value for key, value in asdict(self).items() if key != "remove_net_force"}

    @classmethod
    def of(cls, held: Mapping[str, Any]) -> Loading:
        """Read options from `as_json`, among other things, or from an older version, which had the device alone."""
        return cls(**{key: value for key, value in held.items() if key in cls.__dataclass_fields__})
