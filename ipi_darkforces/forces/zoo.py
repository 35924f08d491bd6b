"""Names to models: those that come with the package, and any exported model by its path."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from ..errors import DarkforcesError
from .export import exported
from .model import ForceModel, Need
from .split import Split


@dataclass(frozen=True)
class ZooEntry:
    """A model that comes with the package.

    :param checkpoint: file name in ``forces/weights``
    :param withhold: what the model shall not provide although its weights could
    :param description: one line for people
    """

    checkpoint: str
    withhold: Need
    description: str

    @property
    def path(self) -> Path:
        """The checkpoint on this machine."""
        return Path(str(files(__package__) / "weights" / self.checkpoint))


_WATER = "pet-water-seed.ckpt"
ZOO = {
    "pet-m": ZooEntry(_WATER, Need(0), "PET for liquid water (PBE0+TS); conservative and direct forces"),
    "pet-c": ZooEntry(_WATER, Need.DIRECT, "the same weights as pet-m; conservative forces only"),
    "pet-nc": ZooEntry(_WATER, Need.CONSERVATIVE, "the same weights as pet-m; direct forces only"),
}


def load_model(
    name: str,
    device: str = "cpu",
    dtype: str | None = None,
    variant: str | None = None,
    remove_net_force: bool = True,
) -> ForceModel:
    """A model by its name in the zoo or by the path of an exported metatomic model.

    :param name: ``pet-m``, or ``path/to/model.pt``
    :param device: ``cpu``, ``cuda`` or ``cuda:1``
    :param dtype: ``float32`` or ``float64``; default: the precision in which the model was exported. Single precision
        is faster, double precision is for tests and for checks of energy conservation
    :param variant: the head to use of a model that has several
    :param remove_net_force: see `ForceModel`
    :raises DarkforcesError: if there is no such model or it cannot be loaded
    """
    entry = ZOO.get(name)
    if entry is None and not (Path(name).suffix or "/" in name or os.path.exists(name)):
        near = difflib.get_close_matches(name.lower(), ZOO, n=1, cutoff=0.0)[0]
        raise DarkforcesError(
            f"model '{name}' is neither a name nor a path; did you mean '{near}'? "
            f"Names: {', '.join(ZOO)}; or the path of an exported metatomic model (.pt)"
        )
    # torch's threads wait for each other by spinning, unless told otherwise before torch is loaded. Beside i-PI, or
    # anything else that wants a core now and then, that makes evaluations several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Not before it is needed: torch takes seconds to import, and who asks for help or misspells a name need not wait.
    from .metatomic import MetatomicModel

    if entry is not None:
        return MetatomicModel(exported(entry.path), name, device, dtype, variant, entry.withhold, remove_net_force)
    return MetatomicModel(name, None, device, dtype, variant, remove_net_force=remove_net_force)


@cache
def shared_split(model: str, device: str = "cpu", dtype: str | None = None, variant: str | None = None) -> Split:
    """One model per process, shared by all force components that ask for the same one; see `load_model`."""
    return Split(load_model(model, device, dtype, variant))
