"""A model by its name or path, and the options of loading it, for another process."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from ...errors import DarkforcesError
from ..model import ForceModel
from .kinds import specified
from .loading import Loading
from .specification import absolute


@dataclass(frozen=True)
class ModelChoice:
    """A model, for a process that is to load it.

    :param model: a name or path, see `load_model`
    :param loading: how it is loaded
    """

    model: str
    loading: Loading = field(default_factory=Loading)

    @classmethod
    def of(cls, model: str | os.PathLike[str] | ForceModel, **options: str | None) -> ModelChoice:
        """The model, as it can be loaded from any folder.

        :param model: a name, a path, or what `load_model` has returned
        :param options: of `Loading`, that are not as by default, or as the model was loaded; None counts as not given
        :raises DarkforcesError: for a model that `load_model` has not made, or with ``remove_net_force=False``
        """
        if isinstance(model, str | os.PathLike):
            return cls(absolute(os.fspath(model)), Loading().with_options(**options))
        if not isinstance(model, ForceModel):
            raise DarkforcesError(
                f"{model!r:.80} cannot be loaded by another process: expected a name, a path, what load_model returns, "
                "or for an ase calculator ase:package.module:factory"
            )
        if model.loaded is None:
            raise DarkforcesError(
                f"model '{model.name}' cannot be loaded by another process: expected a name, a path, or what "
                "load_model returns without remove_net_force=False"
            )
        return cls(model.loaded["model"], Loading.of(model.loaded).with_options(**options))

    def parameters(self) -> dict[str, str]:
        """Parameters of the driver that load the model, by name; those that are None are left out."""
        parameters = {"model": self.model, **self.loading.as_json()}
        return {key: value for key, value in parameters.items() if value is not None}

    def identity(self) -> dict[str, str]:
        """Model, options that decide the forces, and fingerprint, which changes with the weights."""
        decisive = {key: value for key, value in self.loading.identity.items() if value is not None}
        return {"model": self.model, **decisive, "fingerprint": specified(self.model).fingerprint()}
