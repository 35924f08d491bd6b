"""The kinds of models: pairs, ase calculators, models of other packages, checkpoints, exported models.

A model is specified by one line of text (see `specification`), which `specified` turns into an object of one of these
classes. A new kind is a class here and a line in `KINDS`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from ...errors import DarkforcesError
from ..model import REMARK, ForceModel
from ..pair import PairModel
from .export import EXPORTED_EXTENSIONS, exported, is_checkpoint
from .factory import load_by_factory
from .fingerprint import files_of_module, package_of, short_digest, weights_of
from .hints import calculator
from .interface import ModelKind, SingleModel
from .options import Loading
from .packages import PACKAGED
from .specification import CALCULATOR, EXTENSIONS, Option, split_options, split_pair
from .upet import UPET, upet_checkpoint
from .zoo import ZooEntry, all_models, card_of, is_hidden, no_such_name, user_directory

_COST = "1.5 to 3 times as long on a CPU, and is without CUDA graphs"
log = logging.getLogger(__name__)


class Pair(ModelKind):
    """Two models, of fast and of slow forces: ``fast=pet-m slow=my.pt``."""

    @classmethod
    def recognises(cls, text: str) -> bool:
        return split_pair(text) is not None

    @property
    def models(self) -> tuple[ModelKind, ModelKind]:
        """Both models."""
        pair = split_pair(self.text)
        assert pair is not None
        return specified(pair[0]), specified(pair[1])

    @property
    def takes_options(self) -> bool:
        return any(model.takes_options for model in self.models)

    def takes(self, option: str) -> bool:
        return any(model.takes(option.partition(".")[2]) or model.takes_options for model in self.models)

    def check(self) -> None:
        for model in self.models:
            model.check()

    def load(self, loading: Loading) -> ForceModel:
        self.check()
        options = loading.of_two()
        self._warn_of_other_teacher(options[1].variant)
        fast, slow = (model.load(each) for model, each in zip(self.models, options, strict=True))
        return PairModel(fast, slow, self.text)

    def _warn_of_other_teacher(self, variant: str | None) -> None:
        """Warn if the fast model is a student of another model than the slow one, or of other weights.

        :param variant: of the slow model
        """
        fast, slow = self.models
        try:
            card = card_of(fast.text)
        except DarkforcesError:  # of a broken card, which stops no simulation
            return
        if card is None or card.teacher_fingerprint is None:
            return
        given = weights_of(slow.fingerprint(), variant)
        if given != card.teacher_fingerprint:
            log.warning(
                "%s '%s': it is a student of '%s' (fingerprint %s), and the slow forces are those of '%s' (%s): "
                "expected its teacher, without which strides must be shorter",
                *(REMARK, fast.text, card.teacher, card.teacher_fingerprint, slow.text, given),
            )

    def fingerprint(self) -> str:
        return " and ".join(model.fingerprint() for model in self.models)


class AseCalculator(SingleModel):
    """An ase calculator, from what makes it: ``ase:package.module:factory``, or ``ase:path/to/file.py:factory``."""

    @classmethod
    def recognises(cls, text: str) -> bool:
        return text.startswith(CALCULATOR)

    @property
    def takes_options(self) -> bool:
        return True

    def check(self) -> None:
        """Do nothing: without calling the factory, nothing can be checked."""

    def load_on_device(self, loading: Loading) -> ForceModel:
        return load_by_factory(self.text, loading.device, loading.dtype, loading.remove_net_force)

    def fingerprint(self) -> str:
        """Hash the package, its version and the files that are known; weights are not among them."""
        name, options = split_options(self.text)
        place = name.removeprefix(CALCULATOR).rpartition(":")[0]
        module = name.removeprefix(CALCULATOR).partition(":")[0].partition(".")[0]
        package = None if os.path.isfile(place) else package_of(module)
        packages = [] if package is None else [f"{package} {metadata.version(package)}"]
        files = [Path(each) for each in (place, *map(str, options.values())) if os.path.isfile(each)]
        if not os.path.isfile(place) and not packages:
            files = [*files_of_module(place), *files]
        return ", ".join([*packages, *map(short_digest, files)]) or "unknown"


class Packaged(SingleModel):
    """A model of another package, by its name in `PACKAGED`, perhaps with options."""

    @classmethod
    def recognises(cls, text: str) -> bool:
        return split_options(text)[0] in PACKAGED

    @property
    def takes_options(self) -> bool:
        return True

    def check(self) -> None:
        name, _ = split_options(self.text)
        PACKAGED[name].package.check(name)

    def load_on_device(self, loading: Loading) -> ForceModel:
        name, options = split_options(self.text)
        return PACKAGED[name].load(name, options, loading.device, loading.dtype, loading.remove_net_force)

    def fingerprint(self) -> str:
        """The package and its version, and the files among the options, or its weights."""
        name, options = split_options(self.text)
        package = PACKAGED[name].package
        packages = [f"{package.name} {metadata.version(package.name)}"] if package.version else []
        files = [Path(str(each)) for each in options.values() if os.path.isfile(str(each))]
        cached = PACKAGED[name].weights.cached() if "weights" not in options else None
        files += [] if cached is None else [cached]
        return ", ".join([*packages, *map(short_digest, files)]) or "unknown"


class Checkpoint(SingleModel):
    """A metatrain checkpoint, by its path."""

    @classmethod
    def recognises(cls, text: str) -> bool:
        """Tell whether it is one, by its ending or, whatever it is called, by its content."""
        return os.path.isfile(text) and (text.endswith(".ckpt") or is_checkpoint(Path(text)))

    def entry(self) -> ZooEntry:
        """The checkpoint, and what of it is used."""
        return ZooEntry(Path(self.text))

    def load_on_device(self, loading: Loading) -> ForceModel:
        """PET models are evaluated by ourselves; others, and what we do not support, are exported and kept."""
        entry = self.entry()
        more = (entry.withhold, loading.remove_net_force)
        metatomic = _metatomic_model(self.text)
        remarks: tuple[str, ...] = ()
        if loading.backend == "auto" and not _has_fast_path(loading.device):
            remarks = (f"it is evaluated through metatomic: on '{loading.device}' there is no faster way",)
        elif loading.backend == "auto":
            from ..pet.checkpoint import OtherArchitectureError, UnsupportedModelError
            from ..pet.packed import PetModel
            from ..pet.padded import PaddedPetModel

            try:
                if loading.device != "cpu":
                    return PaddedPetModel(entry.path, self.text, loading.device, loading.dtype, loading.variant, *more)
                return PetModel(entry.path, self.text, loading.dtype, loading.variant, *more)
            except OtherArchitectureError as reason:
                remarks = (f"it is evaluated through metatomic: {reason}, and only PET has a faster way",)
            except UnsupportedModelError as reason:
                remarks = (f"it is evaluated through metatomic, which takes {_COST}: {reason}",)
        options = (loading.device, loading.dtype, loading.variant)
        path = exported(entry.path)
        model: ForceModel = metatomic(path, self.text, *options, *more, path.parent / EXPORTED_EXTENSIONS)
        model.remarks = remarks
        return model

    def fingerprint(self) -> str:
        return short_digest(self.entry().path)

    def checkpoint(self) -> Path:
        return self.entry().path


class Upet(Checkpoint):
    """One of upet's models: ``upet:pet-mad-s``."""

    @classmethod
    def recognises(cls, text: str) -> bool:
        return text.startswith(UPET)

    def entry(self) -> ZooEntry:
        return ZooEntry(upet_checkpoint(self.text))


class Named(Checkpoint):
    """A checkpoint with a name: a bundled one, or one of the user's own."""

    @classmethod
    def recognises(cls, text: str) -> bool:
        return split_options(text)[0] in all_models()

    def entry(self) -> ZooEntry:
        return all_models()[split_options(self.text)[0]]

    def load_on_device(self, loading: Loading) -> ForceModel:
        if is_hidden(self.text):
            log.warning("'%s' is the bundled model; rename your own one in %s to use it", self.text, user_directory())
        return super().load_on_device(loading)


class Exported(SingleModel):
    """An exported metatomic model, by its path; and whatever is of no other kind."""

    @classmethod
    def recognises(cls, text: str) -> bool:
        return True

    def takes(self, option: str) -> bool:
        return option == EXTENSIONS

    def check(self) -> None:
        name, options = split_options(self.text)
        if os.path.exists(name):
            _check_extensions(name, options)
            return
        if (Path(name).suffix or "/" in name) and calculator(name) is None:
            raise DarkforcesError(f"model file '{name}' does not exist")
        raise no_such_name(name)

    def load_on_device(self, loading: Loading) -> ForceModel:
        metatomic = _metatomic_model(self.text)
        name, options = split_options(self.text)
        model = metatomic(
            name,
            self.text,
            loading.device,
            loading.dtype,
            loading.variant,
            remove_net_force=loading.remove_net_force,
            extensions_directory=options.get(EXTENSIONS),
        )
        if loading.backend == "auto" and model.is_pet and _has_fast_path(loading.device):
            model.remarks = (f"it is an exported PET model, which takes {_COST}: its checkpoint (.ckpt) is faster",)
        loaded: ForceModel = model
        return loaded

    def fingerprint(self) -> str:
        name, _ = split_options(self.text)
        if not os.path.isfile(name):
            raise DarkforcesError(f"model '{name}' is neither a name from `darkforces models` nor a file")
        return short_digest(Path(name))


# The first that recognises a line has it.
KINDS: tuple[type[ModelKind], ...] = (Pair, AseCalculator, Upet, Packaged, Named, Checkpoint, Exported)


def specified(text: str) -> ModelKind:
    """The model that a line specifies, whether or not there is one."""
    return next(kind for kind in KINDS if kind.recognises(text))(text)


def _metatomic_model(name: str) -> Any:
    """The class of exported models: torch takes seconds to import, and who misspells a name need not wait."""
    try:
        from ..metatomic import MetatomicModel
    except ModuleNotFoundError as error:  # in the environment of a calculator
        raise DarkforcesError(
            f"model '{name}' needs the package '{error.name}', which is not installed here: pip install {error.name}, "
            "or install this package with its dependencies"
        ) from error
    return MetatomicModel


def _has_fast_path(device: str) -> bool:
    """Tell whether PET models are evaluated by ourselves on this device."""
    return device == "cpu" or device.startswith("cuda")


def _check_extensions(name: str, options: Mapping[str, Option]) -> None:
    """Raise a DarkforcesError for options that an exported model does not have, or a folder that is not there."""
    for key, value in options.items():
        if key != EXTENSIONS:
            raise DarkforcesError(f"model '{name}' has no option '{key}': expected {EXTENSIONS}")
        if not os.path.isdir(str(value)):
            raise DarkforcesError(f"{EXTENSIONS} '{value}' of model '{name}' is not a folder")
