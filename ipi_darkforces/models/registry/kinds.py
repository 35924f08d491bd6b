"""Kinds of models: how each is recognised, checked, loaded and fingerprinted.

A model is said in one line (see `specification`); `specified` makes an object of one of these classes of it. A new kind
is a class here and a line in `KINDS`.
"""

from __future__ import annotations

import logging
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import metadata, util
from pathlib import Path
from typing import Any

from ...digest import digest
from ...errors import DarkforcesError
from ..devices import DevicesModel
from ..model import REMARK, ForceModel
from ..pair import PairModel
from .export import EXPORTED_EXTENSIONS, exported, is_checkpoint
from .factory import load_by_factory
from .hints import calculator
from .loading import Loading
from .packages import PACKAGED
from .specification import CALCULATOR, EXTENSIONS, Option, absolute, split_options, split_pair
from .upet import UPET, upet_checkpoint
from .zoo import ZooEntry, all_models, card_of, is_hidden, no_such_name, user_directory

_COST = "1.5 to 3 times as long on a CPU, and is without CUDA graphs"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelKind(ABC):
    """A model as it was specified.

    :param text: the line that specifies it
    """

    text: str

    @classmethod
    @abstractmethod
    def recognises(cls, text: str) -> bool:
        """Tell whether a line specifies a model of this kind."""

    @property
    def takes_options(self) -> bool:
        """Tell whether the model may have options, whatever they are called."""
        return False

    def takes(self, option: str) -> bool:
        """Tell whether the model may have an option."""
        return self.takes_options

    def check(self) -> None:
        """Raise a DarkforcesError unless there is such a model, as far as can be told in no time."""
        name, options = split_options(self.text)
        if options:
            raise DarkforcesError(f"model '{name}' has no options, but was given '{next(iter(options))}'")

    @abstractmethod
    def load(self, loading: Loading) -> ForceModel:
        """Load the model, which has been checked.

        :raises DarkforcesError: if it cannot be loaded
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """The beginning of the SHA-256 of what decides the forces.

        :raises DarkforcesError: if there is no such model
        """

    def checkpoint(self) -> Path:
        """The metatrain checkpoint.

        :raises DarkforcesError: if it is a model of another kind
        """
        raise DarkforcesError(f"model '{self.text}' is not a metatrain checkpoint (.ckpt), nor the name of one")


class Pair(ModelKind):
    """Two models, of fast and of slow forces: ``fast=pet-m slow=my.pt``."""

    @classmethod
    def recognises(cls, text: str) -> bool:
        return split_pair(text) is not None

    @property
    def parts(self) -> tuple[ModelKind, ModelKind]:
        """Both models."""
        pair = split_pair(self.text)
        assert pair is not None
        return specified(pair[0]), specified(pair[1])

    @property
    def takes_options(self) -> bool:
        return any(part.takes_options for part in self.parts)

    def takes(self, option: str) -> bool:
        return any(part.takes(option.partition(".")[2]) or part.takes_options for part in self.parts)

    def check(self) -> None:
        for part in self.parts:
            part.check()

    def load(self, loading: Loading) -> ForceModel:
        own = loading.of_two()
        self._warn_of_other_teacher(own[1].variant)
        fast, slow = (_load(part, each) for part, each in zip(self.parts, own, strict=True))
        return PairModel(fast, slow, self.text)

    def _warn_of_other_teacher(self, variant: str | None) -> None:
        """Warn if the fast model is a student of another model than the slow one, or of other weights.

        :param variant: of the slow model
        """
        fast, slow = self.parts
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
        return " and ".join(part.fingerprint() for part in self.parts)


class AseCalculator(ModelKind):
    """An ase calculator, from what makes it: ``ase:package.module:factory``, or ``ase:path/to/file.py:factory``."""

    @classmethod
    def recognises(cls, text: str) -> bool:
        return text.startswith(CALCULATOR)

    @property
    def takes_options(self) -> bool:
        return True

    def check(self) -> None:
        """Do nothing: without calling the factory, nothing can be checked."""

    def load(self, loading: Loading) -> ForceModel:
        return load_by_factory(self.text, loading.device, loading.dtype, loading.remove_net_force)

    def fingerprint(self) -> str:
        """Its package and version, and the files that are known: of weights nothing is, wherever they are."""
        name, options = split_options(self.text)
        place = name.removeprefix(CALCULATOR).rpartition(":")[0]
        module = name.removeprefix(CALCULATOR).partition(":")[0].partition(".")[0]
        package = None if os.path.isfile(place) else _package_of(module)
        packages = [] if package is None else [f"{package} {metadata.version(package)}"]
        files = [Path(each) for each in (place, *map(str, options.values())) if os.path.isfile(each)]
        if not os.path.isfile(place) and not packages:
            files = [*_files_of_module(place), *files]
        return ", ".join([*packages, *map(_digest, files)]) or "unknown"


class Packaged(ModelKind):
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

    def load(self, loading: Loading) -> ForceModel:
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
        return ", ".join([*packages, *map(_digest, files)]) or "unknown"


class Checkpoint(ModelKind):
    """A metatrain checkpoint, by its path."""

    @classmethod
    def recognises(cls, text: str) -> bool:
        """Tell whether it is one, by its ending or, whatever it is called, by its content."""
        return os.path.isfile(text) and (text.endswith(".ckpt") or is_checkpoint(Path(text)))

    def entry(self) -> ZooEntry:
        """The checkpoint, and what of it is used."""
        return ZooEntry(Path(self.text))

    def load(self, loading: Loading) -> ForceModel:
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
        return _digest(self.entry().path)

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

    def load(self, loading: Loading) -> ForceModel:
        if is_hidden(self.text):
            log.warning("'%s' is the bundled model; rename your own one in %s to use it", self.text, user_directory())
        return super().load(loading)


class Exported(ModelKind):
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

    def load(self, loading: Loading) -> ForceModel:
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
        return _digest(Path(name))


# The first that recognises a line has it.
KINDS: tuple[type[ModelKind], ...] = (Pair, AseCalculator, Upet, Packaged, Named, Checkpoint, Exported)


def weights_of(fingerprint: str, variant: str | None) -> str:
    """The fingerprint of a teacher in the card of its student, with the variant, if any."""
    return fingerprint if variant is None else f"{fingerprint} {variant}"


def specified(text: str) -> ModelKind:
    """The model that a line specifies, whether or not there is one."""
    return next(kind for kind in KINDS if kind.recognises(text))(text)


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
    model = _load(specified(name), loading)
    if loading.remove_net_force:
        model.loaded = {"model": absolute(name), **loading.as_json()}
    return model


def _load(model: ModelKind, loading: Loading) -> ForceModel:
    if loading.variant is not None and model.takes_options and not isinstance(model, Pair):
        raise DarkforcesError(
            f"model '{model.text}' is an ase calculator, which has no variants: expected no --variant"
        )
    model.check()
    devices = re.split("[,;]", loading.device)
    if len(devices) == 1 or isinstance(model, Pair):  # whose models are on these devices, each
        loaded = model.load(loading)
    elif model.takes_options:
        raise DarkforcesError(f"model '{model.text}' is an ase calculator: expected one --device, not several")
    else:
        loaded = DevicesModel([model.load(replace(loading, device=each.strip())) for each in devices])
    if loaded.parts == (loaded,):  # those of a pair have said theirs
        for remark in loaded.remarks:
            log.warning("%s '%s': %s", REMARK, loaded.name, remark)
    return loaded


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


def _package_of(module: str) -> str | None:
    """The package that has a module: of the same name, as a rule, since to look through all of them takes long."""
    with suppress(metadata.PackageNotFoundError, ValueError):
        package = metadata.distribution(module)
        if any(file.parts[0] == module for file in package.files or ()):
            return package.name
    return next(iter(metadata.packages_distributions().get(module, [])), None)


def _files_of_module(place: str) -> list[Path]:
    """The file of a module that belongs to no package, such as one in a folder of the user's; nothing is imported."""
    first, *others = place.split(".")
    try:
        spec = util.find_spec(first) if first else None
    except (ImportError, ValueError):
        return []
    if spec is None or spec.origin is None:
        return []
    found = Path(spec.origin) if not others else Path(spec.origin).parent.joinpath(*others).with_suffix(".py")
    return [found] if found.is_file() else []


def _digest(path: Path) -> str:
    return digest(path)[:12]
