"""The interface of a kind of models: how one is recognised, checked, loaded and fingerprinted."""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import DarkforcesError
from ..devices import DevicesModel
from ..model import REMARK, ForceModel
from .options import Loading
from .specification import split_options

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

    @abstractmethod
    def check(self) -> None:
        """Raise a DarkforcesError unless there is such a model, as far as can be told in no time."""

    @abstractmethod
    def load(self, loading: Loading) -> ForceModel:
        """Check the model and load it; log what its users should know.

        :raises DarkforcesError: if there is no such model, or it cannot be loaded
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


class SingleModel(ModelKind):
    """A model that is not a pair of others."""

    def check(self) -> None:
        name, options = split_options(self.text)
        if options:
            raise DarkforcesError(f"model '{name}' has no options, but was given '{next(iter(options))}'")

    def load(self, loading: Loading) -> ForceModel:
        if loading.variant is not None and self.takes_options:
            raise DarkforcesError(
                f"model '{self.text}' is an ase calculator, which has no variants: expected no --variant"
            )
        self.check()
        devices = re.split("[,;]", loading.device)
        if len(devices) == 1:
            loaded = self.load_on_device(loading)
        elif self.takes_options:
            raise DarkforcesError(f"model '{self.text}' is an ase calculator: expected one --device, not several")
        else:
            loaded = DevicesModel([self.load_on_device(replace(loading, device=each.strip())) for each in devices])
        for remark in loaded.remarks:
            log.warning("%s '%s': %s", REMARK, loaded.name, remark)
        return loaded

    @abstractmethod
    def load_on_device(self, loading: Loading) -> ForceModel:
        """Load the model, which has been checked, on one device.

        :raises DarkforcesError: if it cannot be loaded
        """
