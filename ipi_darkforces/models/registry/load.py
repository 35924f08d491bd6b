"""Loading of models, here or in another process: by a name, a path, the factory of an ase calculator, a calculator."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TypeAlias

from ase.calculators.calculator import BaseCalculator

from ...errors import DarkforcesError
from ..ase_calculator import CalculatorModel
from ..model import FORCE_KINDS, ForceModel
from .kinds import specified
from .options import Loading
from .specification import CALCULATOR, absolute, with_options

# A loaded model, or what `load_model` takes.
ModelLike: TypeAlias = str | os.PathLike[str] | BaseCalculator | ForceModel


def load_model(
    model: str | os.PathLike[str] | BaseCalculator,
    *,
    device: str = "cpu",
    dtype: str | None = None,
    variant: str | None = None,
    backend: str = "auto",
    forces: str | None = None,
    remove_net_force: bool = True,
) -> ForceModel:
    """Load a model: a metatrain checkpoint or exported metatomic model by its name or path, or an ase calculator.

    Checkpoints of PET models are evaluated by this package itself, on CPUs and on CUDA devices. Others, and those that
    it does not support, are exported when they are first used, into a cache. A checkpoint may hold any code, as an
    exported model may: load those that you trust.

    :param model: ``pet-m``, ``path/to/model.ckpt``, ``path/to/model.pt``, ``ase:package.module:factory``, the name of a
        model of another package or one of upet's, ``upet:pet-mad-s``; or two models, ``fast=pet-m slow=my.pt``.
        Options follow as in ``ase:tblite.ase:TBLite?method=GFN1-xTB;verbosity=0``. Or an ase calculator, which serves
        in this process alone: `run` and `assess`, which start others, take a line that says how to make it
    :param device: ``cpu``, ``cuda`` or ``cuda:1``; of several, ``cuda:0,cuda:1``, each evaluates a part of every batch
    :param dtype: ``float32`` or ``float64``; default: the precision in which the model was exported. Single precision
        is faster, double precision is for tests and for checks of energy conservation
    :param variant: the head to use of a model that has several; of two models, ``slow.NAME``
    :param backend: ``metatomic`` for the exported model even where there is a faster way, ``auto`` for the fastest
    :param forces: of an ase calculator, ``conservative`` (default) or ``direct``: checked at the first structure
    :param remove_net_force: see `ForceModel`
    :raises DarkforcesError: if there is no such model or it cannot be loaded

    >>> import ipi_darkforces as dark
    >>> print(dark.load_model("pet-m", dtype="float64").provides)
    energy, conservative forces, direct forces, virial
    >>> from ase.calculators.emt import EMT
    >>> print(dark.load_model(EMT()).provides)
    energy, conservative forces, virial
    """
    loading = Loading(device=device, dtype=dtype, variant=variant, backend=backend, remove_net_force=remove_net_force)
    if isinstance(model, str | os.PathLike):
        name = os.fspath(model)
        return load_as(name if forces is None else with_options(name, {"forces": forces}), loading)
    return _from_calculator(model, loading, forces or "conservative")


def load_as(name: str, loading: Loading) -> ForceModel:
    """Load a model with the options that were chosen elsewhere; see `load_model`.

    :raises DarkforcesError: if there is no such model or it cannot be loaded
    """
    model = specified(name).load(loading)
    if loading.remove_net_force:
        model.loaded = {"model": absolute(name), **loading.as_json()}
    return model


def as_model(model: ModelLike) -> ForceModel:
    """A model that is loaded, or what `load_model` makes of anything else."""
    return model if isinstance(model, ForceModel) else load_model(model)


def _from_calculator(calculator: BaseCalculator, loading: Loading, forces: str) -> ForceModel:
    if not callable(getattr(calculator, "get_property", None)):
        raise DarkforcesError(f"{calculator!r:.80} is not a model: expected a name, a path or an ase calculator")
    name = f"{CALCULATOR}{type(calculator).__name__}"
    unused = [option for option in loading.changed if option != "remove_net_force"]
    if unused:
        raise DarkforcesError(f"model '{name}' is made already: expected no {unused[0]}, which is for its maker")
    if forces not in FORCE_KINDS:
        raise DarkforcesError(f"forces '{forces}' are not known: expected {' or '.join(FORCE_KINDS)}")
    return CalculatorModel(calculator, name, FORCE_KINDS[forces], remove_net_force=loading.remove_net_force)


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
