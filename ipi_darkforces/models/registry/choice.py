"""A model by its name or path, and the settings of its evaluation."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from ...errors import DarkforcesError
from ..model import ForceModel
from .kinds import specified
from .specification import absolute


@dataclass(frozen=True)
class ModelChoice:
    """A model, for a process that is to load it; see `load_model`."""

    model: str
    device: str = "cpu"
    dtype: str | None = None
    variant: str | None = None
    backend: str = "auto"

    @classmethod
    def of(cls, model: str | os.PathLike[str] | ForceModel, **options: str | None) -> ModelChoice:
        """The model, as it can be loaded from any folder.

        :param model: a name, a path, or what `load_model` has returned
        :param options: fields that are not as by default, or as the model was loaded; None counts as not given
        :raises DarkforcesError: for a model that `load_model` has not made, or with ``remove_net_force=False``
        """
        given = {key: value for key, value in options.items() if value is not None}
        if not isinstance(model, ForceModel):
            return replace(cls(absolute(os.fspath(model))), **given)
        if model.loaded is None:
            raise DarkforcesError(
                f"model '{model.name}' cannot be loaded by another process: expected a name, a path, or what "
                "load_model returns without remove_net_force=False"
            )
        return replace(cls(**model.loaded), **given)

    def options(self) -> dict[str, str]:
        """The fields that are known, by name."""
        return {key: value for key, value in vars(self).items() if value is not None}

    def identity(self) -> dict[str, str]:
        """The fields that decide the forces; and the fingerprint of the model, which changes with it."""
        kept = {key: value for key, value in self.options().items() if key not in ("device", "backend")}
        return {**kept, "fingerprint": specified(self.model).fingerprint()}
