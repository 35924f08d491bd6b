"""Settings of the evaluation of models: device, precision, variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..models.model import ForceModel
from ..models.registry.choice import ModelChoice
from ..models.registry.kinds import load_model

# What decides the forces, beside the model; without it, and in older folders, is as with None.
_IDENTITY = ("dtype", "variant")


@dataclass(frozen=True)
class Evaluation:
    """Settings with which all models of a campaign are loaded; see `load_model`."""

    device: str = "cpu"
    dtype: str | None = None
    variant: str | None = None
    backend: str = "auto"

    @property
    def identity(self) -> dict[str, str | None]:
        """Settings that decide the forces: simulations of a campaign have them in common."""
        return {key: getattr(self, key) for key in _IDENTITY}

    @property
    def changed(self) -> dict[str, str]:
        """Settings that are not as by default, by name."""
        return {key: value for key, value in asdict(self).items() if value != getattr(Evaluation, key)}

    @property
    def in_words(self) -> str:
        """The same, for people; empty if there is nothing to say."""
        return ", ".join(f"{key} {value}" for key, value in self.changed.items() if key != "device")

    def choice(self, model: str) -> ModelChoice:
        """A model, for a simulation."""
        return ModelChoice(model, self.device, self.dtype, self.variant, self.backend)

    def load(self, model: str, **other: Any) -> ForceModel:
        """A model, loaded here.

        :param other: what shall be different
        :raises DarkforcesError: see `load_model`
        """
        return load_model(model, **{**asdict(self), **other})

    def as_json(self) -> dict[str, str | None]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, held: Mapping[str, Any]) -> Evaluation:
        """Read settings from `as_json`, or from an older version, which had the device alone."""
        return cls(**{key: value for key, value in held.items() if key in cls.__dataclass_fields__})
