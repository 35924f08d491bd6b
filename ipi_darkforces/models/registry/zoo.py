"""Names of models: those that come with the package, and the user's own.

A named model of ours or the user's is a metatrain checkpoint and a card next to it: ``NAME.ckpt`` and ``NAME.json``.
Cards are for people: they are read where they are shown, and a broken one stops no simulation.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ...atomic import atomic_file
from ...errors import DarkforcesError, one_line
from ..model import Need
from .card import Card
from .export import is_checkpoint
from .hints import meant
from .packages import PACKAGED
from .specification import MODEL_FILES

_WEIGHTS = Path(str(files(__package__) / "weights"))


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
    "pet-xs": ZooEntry(_WEIGHTS / "pet-xs.ckpt", Need.CONSERVATIVE | Need.VIRIAL),
}


def user_directory() -> Path:
    """The folder of users' models: ``$XDG_DATA_HOME/ipi-darkforces/models``, by default in ``~/.local/share``."""
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

    The card comes last, so that nobody sees the model before it is complete.

    :param checkpoint: a metatrain checkpoint
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
        with atomic_file(target) as fresh:
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


def _card_path(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(".json")


def _own_models() -> dict[str, ZooEntry]:
    """Complete models in the user's folder, bundled names included; read anew, as the folder may change."""
    return {
        path.stem: ZooEntry(path, own=True)
        for path in sorted(user_directory().glob("*.ckpt"))
        # A name must not hide a path, nor show what some program has not finished.
        if not path.stem.endswith(MODEL_FILES) and not path.name.startswith(".") and os.path.isfile(_card_path(path))
    }


def is_hidden(name: str) -> bool:
    """Tell whether a model of the user's own has a name that another one has already."""
    return name in ZOO and name in _own_models()


def no_such_name(name: str) -> DarkforcesError:
    """The error for a name of which there is no model, with a hint."""
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
