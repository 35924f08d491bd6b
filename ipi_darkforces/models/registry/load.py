"""Loading of models: by a name, a path, or the factory of an ase calculator."""

from __future__ import annotations

import os

from ..model import ForceModel
from .kinds import specified
from .loading import Loading
from .specification import absolute


def load_model(
    name: str | os.PathLike[str],
    *,
    device: str = "cpu",
    dtype: str | None = None,
    variant: str | None = None,
    backend: str = "auto",
    remove_net_force: bool = True,
) -> ForceModel:
    """Load a model: a metatrain checkpoint or exported metatomic model by its name or path, or an ase calculator.

    Checkpoints of PET models are evaluated by this package itself, on CPUs and on CUDA devices. Others, and those that
    it does not support, are exported when they are first used, into a cache. A checkpoint may hold any code, as an
    exported model may: load those that you trust.

    :param name: ``pet-m``, ``path/to/model.ckpt``, ``path/to/model.pt``, ``ase:package.module:factory``, the name of a
        model of another package or one of upet's, ``upet:pet-mad-s``; or two models, ``fast=pet-m slow=my.pt``.
        Options follow as in ``ase:tblite.ase:TBLite?method=GFN1-xTB;verbosity=0``
    :param device: ``cpu``, ``cuda`` or ``cuda:1``; of several, ``cuda:0,cuda:1``, each evaluates a part of every batch
    :param dtype: ``float32`` or ``float64``; default: the precision in which the model was exported. Single precision
        is faster, double precision is for tests and for checks of energy conservation
    :param variant: the head to use of a model that has several; of two models, ``slow.NAME``
    :param backend: ``metatomic`` for the exported model even where there is a faster way, ``auto`` for the fastest
    :param remove_net_force: see `ForceModel`
    :raises DarkforcesError: if there is no such model or it cannot be loaded

    >>> import ipi_darkforces as dark
    >>> print(dark.load_model("pet-m", dtype="float64").provides)
    energy, conservative forces, direct forces, virial
    """
    loading = Loading(device=device, dtype=dtype, variant=variant, backend=backend, remove_net_force=remove_net_force)
    return load_as(os.fspath(name), loading)


def load_as(name: str, loading: Loading) -> ForceModel:
    """Load a model with the options that were chosen elsewhere; see `load_model`.

    :raises DarkforcesError: if there is no such model or it cannot be loaded
    """
    model = specified(name).load(loading)
    if loading.remove_net_force:
        model.loaded = {"model": absolute(name), **loading.as_json()}
    return model
