"""Names to models: those that come with the package, the user's own, other packages', and any model by its path.

A named model of ours or the user's is a metatrain checkpoint and a card next to it: ``NAME.ckpt`` and ``NAME.json``.
Cards are for people: they are read where they are shown, and a broken one stops no simulation.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ...errors import DarkforcesError, one_line
from ...whole import whole_file
from ..model import ForceModel, Need
from ..pair import PairModel
from .card import Card
from .export import exported, is_checkpoint
from .factory import load_by_factory
from .hints import calculator, meant
from .packages import PACKAGED
from .specification import CALCULATOR, MODEL_FILES, absolute, split_options, split_pair
from .upet import UPET, upet_checkpoint

_WEIGHTS = Path(str(files(__package__) / "weights"))
BACKENDS = ("auto", "metatomic")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ZooEntry:
    """A model that has a name.

    :param path: the metatrain checkpoint; its card is next to it
    :param withhold: what the model shall not provide although its weights could
    :param view: of a model that withholds something: one line for people, in place of the card's description
    :param own: whether it is the user's own, and not one that comes with the package
    """

    path: Path
    withhold: Need = Need(0)
    view: str | None = None
    own: bool = False

    @property
    def card(self) -> Card:
        """The card, read now; raises a DarkforcesError if it is broken."""
        return Card.read(_card_path(self.path))


ZOO = {
    "pet-m": ZooEntry(_WEIGHTS / "pet-m.ckpt"),
    "pet-c": ZooEntry(_WEIGHTS / "pet-m.ckpt", Need.DIRECT, "the same weights as pet-m; conservative forces only"),
    "pet-nc": ZooEntry(_WEIGHTS / "pet-m.ckpt", Need.CONSERVATIVE, "the same weights as pet-m; direct forces only"),
}


def user_directory() -> Path:
    """Where users' models are: ``$XDG_DATA_HOME/ipi-darkforces/models``, by default in ``~/.local/share``."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "ipi-darkforces" / "models"


def all_models() -> dict[str, ZooEntry]:
    """Names at this moment of models that are checkpoints: the bundled ones, then the user's own under other names."""
    return ZOO | {name: entry for name, entry in _own_models().items() if name not in ZOO and name not in PACKAGED}


def card_of(model: str) -> Card | None:
    """The card of a model, given as to `load_model`; None for a model without, which only one given by its path may be.

    :raises DarkforcesError: if there is a card and it is broken
    """
    entry = all_models().get(model)
    if entry is not None:
        return entry.card
    path = _card_path(Path(model)) if model.endswith(".ckpt") else None
    return Card.read(path) if path is not None and os.path.isfile(path) else None


def checkpoint_of(model: str) -> Path:
    """The metatrain checkpoint of a model, given as to `load_model`.

    :raises DarkforcesError: if there is no such model, or it is none of a checkpoint
    """
    check_model(model)
    entry = all_models().get(model)
    if entry is not None:
        return entry.path
    if model.startswith(UPET):
        return upet_checkpoint(model)
    if not _is_given_as_checkpoint(model):
        raise DarkforcesError(f"model '{model}' is not a metatrain checkpoint (.ckpt), nor the name of one")
    return Path(model)


def check_name(name: str) -> None:
    """Raise a DarkforcesError unless a model of the user's own may be called so."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", name) or name.endswith(MODEL_FILES):
        raise DarkforcesError(
            f"{name!r} cannot be the name of a model; expected at most 100 letters, digits and '.', '_', '+', '-', of "
            "which the first is a letter or digit, without the ending .ckpt or .pt"
        )
    if name in ZOO or name in PACKAGED:
        what = "a bundled model" if name in ZOO else "a model of another package"
        raise DarkforcesError(f"'{name}' is the name of {what}; choose another name")


def install(checkpoint: Path, card: Card, name: str, overwrite: bool = False) -> Path:
    """Make a checkpoint a model with a name, by copying it and its card into the user's folder.

    The card comes last, so that nobody sees the model before it is whole.

    :param checkpoint: a metatrain checkpoint
    :param card: what there is to know of it
    :param name: at most 100 letters, digits and ``.``, ``_``, ``+``, ``-``
    :param overwrite: replace the user's model of that name; never a bundled one
    :return: the copy of the checkpoint
    :raises DarkforcesError: if the name is taken or no name, the file is not a metatrain checkpoint or cannot be copied
    """
    check_name(name)
    target = user_directory() / f"{name}.ckpt"
    if not overwrite and (os.path.lexists(target) or os.path.lexists(_card_path(target))):
        raise DarkforcesError(f"model '{name}' is there already: '{target}'; choose another name, or overwrite it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as fresh:
            shutil.copyfile(checkpoint, fresh)
            if not is_checkpoint(fresh):  # the copy, as a training may be writing the original
                raise DarkforcesError(f"'{checkpoint}' is not a metatrain checkpoint (.ckpt)")
            _card_path(target).unlink(missing_ok=True)  # an old card says nothing about new weights
    except OSError as error:
        raise DarkforcesError(
            f"cannot copy '{checkpoint}' to '{target}': {error.strerror or one_line(error)}"
        ) from error
    card.write(_card_path(target))
    return target


def check_model(name: str) -> None:
    """Raise a DarkforcesError unless there is a model of that name, as far as can be told in no time.

    :param name: see `load_model`
    :raises DarkforcesError: if there is none, or the package is missing that it needs
    """
    pair = split_pair(name)
    if pair is not None:
        for each in pair:
            check_model(each)
        return
    bare, options = split_options(name)
    if options and not takes_options(name):
        raise DarkforcesError(f"model '{bare}' has no options, but was given '{next(iter(options))}'")
    if bare in PACKAGED:
        PACKAGED[bare].package.check(bare)
    elif not (name.startswith((CALCULATOR, UPET)) or bare in all_models() or os.path.exists(bare)):
        if (Path(bare).suffix or "/" in bare) and calculator(bare) is None:
            raise DarkforcesError(f"model file '{bare}' does not exist")
        raise _no_such_name(bare)


def load_model(
    name: str | os.PathLike[str],
    device: str = "cpu",
    dtype: str | None = None,
    variant: str | None = None,
    remove_net_force: bool = True,
    backend: str = "auto",
) -> ForceModel:
    """A model by its name, by the path of a metatrain checkpoint or exported metatomic model, or an ase calculator.

    Checkpoints of PET models are evaluated by `PetModel` on CPUs and `PaddedPetModel` on CUDA devices. Others, and
    those that these do not support, are exported when they are first used, into a cache; see `exported`. A checkpoint
    may hold any code, as an exported model may: load those that you trust.

    :param name: ``pet-m``, ``path/to/model.ckpt``, ``path/to/model.pt``, ``ase:package.module:factory``, a name in
        `PACKAGED`, or one of upet's models, ``upet:pet-mad-s``; or two
        models, ``fast=pet-m slow=my.pt``: see `specification`
    :param device: ``cpu``, ``cuda`` or ``cuda:1``
    :param dtype: ``float32`` or ``float64``; default: the precision in which the model was exported. Single precision
        is faster, double precision is for tests and for checks of energy conservation
    :param variant: the head to use of a model that has several
    :param remove_net_force: see `ForceModel`
    :param backend: ``metatomic`` for the exported model even where there is a faster way, ``auto`` for the fastest
    :raises DarkforcesError: if there is no such model or it cannot be loaded
    """
    model = _load(os.fspath(name), device, dtype, variant, remove_net_force, backend)
    if remove_net_force:
        said = {"device": device, "dtype": dtype, "variant": variant, "backend": backend}
        model.loaded = {"model": absolute(os.fspath(name)), **said}
    return model


def _load(
    name: str, device: str, dtype: str | None, variant: str | None, remove_net_force: bool, backend: str
) -> ForceModel:
    """See `load_model`."""
    if backend not in BACKENDS:
        raise DarkforcesError(f"backend '{backend}' is not known: expected {' or '.join(BACKENDS)}")
    pair = split_pair(name)
    if pair is not None:
        fast, slow = (_load(each, device, dtype, variant, remove_net_force, backend) for each in pair)
        return PairModel(fast, slow, name)
    if variant is not None and takes_options(name):
        raise DarkforcesError(f"model '{name}' is an ase calculator, which has no variants: expected no --variant")
    if name.startswith(CALCULATOR):
        return load_by_factory(name, device, dtype, remove_net_force)
    bare, options = split_options(name)
    check_model(name)
    if bare in PACKAGED:
        return PACKAGED[bare].load(bare, options, device, dtype, remove_net_force)
    entry = ZooEntry(upet_checkpoint(name)) if name.startswith(UPET) else all_models().get(name)
    if name in ZOO and name in _own_models():
        log.warning("'%s' is the bundled model; rename your own one in %s to use it", name, user_directory())
    if entry is None and _is_given_as_checkpoint(name):
        entry = ZooEntry(Path(name))
    # Not before it is needed: torch takes seconds to import, and who asks for help or misspells a name need not wait.
    try:
        from ..metatomic import MetatomicModel
    except ModuleNotFoundError as error:  # in the environment of a calculator
        raise DarkforcesError(
            f"model '{name}' needs the package '{error.name}', which is not installed here: pip install {error.name}, "
            "or install this package with its dependencies"
        ) from error

    if entry is None:
        return MetatomicModel(name, name, device, dtype, variant, remove_net_force=remove_net_force)
    unsupported = None
    if backend == "auto" and (device == "cpu" or device.startswith("cuda")):
        from ..pet.packed import PetModel, UnsupportedModelError
        from ..pet.padded import PaddedPetModel

        try:
            if device != "cpu":
                return PaddedPetModel(entry.path, name, device, dtype, variant, entry.withhold, remove_net_force)
            return PetModel(entry.path, name, dtype, variant, entry.withhold, remove_net_force)
        except UnsupportedModelError as reason:
            unsupported = reason
    model = MetatomicModel(exported(entry.path), name, device, dtype, variant, entry.withhold, remove_net_force)
    if unsupported is not None:
        log.info("model '%s' is evaluated through metatomic: %s", name, unsupported)
    return model


def takes_options(name: str) -> bool:
    """Whether a model, given as to `load_model`, has options, or one of its two models has."""
    return any(
        each.startswith(CALCULATOR) or split_options(each)[0] in PACKAGED for each in split_pair(name) or (name,)
    )


def _card_path(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(".json")


def _own_models() -> dict[str, ZooEntry]:
    """What is whole in the user's folder, bundled names included; read anew, as the folder may change."""
    return {
        path.stem: ZooEntry(path, own=True)
        for path in sorted(user_directory().glob("*.ckpt"))
        # A name must not hide a path, nor show what some program has not finished.
        if not path.stem.endswith(MODEL_FILES) and not path.name.startswith(".") and os.path.isfile(_card_path(path))
    }


def _no_such_name(name: str) -> DarkforcesError:
    checkpoint = user_directory() / f"{name}.ckpt"
    if name and os.path.isfile(checkpoint):
        return DarkforcesError(f"model '{name}' has no card: expected '{_card_path(checkpoint)}'")
    names = [*all_models(), *PACKAGED]
    near = meant(name, names)
    hint = f"; did you mean '{near}'?" if near else "."
    return DarkforcesError(
        f"model '{name}' is neither a name nor a path{hint} Names: {', '.join(names)}; or the path of a metatrain "
        "checkpoint (.ckpt) or of an exported metatomic model (.pt), or ase:package.module:factory"
    )


def _is_given_as_checkpoint(path: str) -> bool:
    """Whether a path is to be read as a checkpoint: by its ending or, whatever it is called, by its content."""
    return os.path.isfile(path) and (path.endswith(".ckpt") or is_checkpoint(Path(path)))
