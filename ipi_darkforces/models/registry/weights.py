"""Files of weights of other packages' models: where they are on this machine, and how they are downloaded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from ...errors import DarkforcesError, one_line
from .specification import Option


@dataclass(frozen=True)
class Weights:
    """The file of a model's weights.

    :param source: where it comes from, for people
    :param cached: where it is on this machine, None if it is not there
    :param download: gets it into the package's own cache, and says where
    """

    name: str
    source: str
    cached: Callable[[], Path | None]
    download: Callable[[], str]

    def path(self, model: str, given: Option) -> Path:
        """The path of the weights, downloaded if need be.

        :param given: by the user; None if they are to be found
        :raises DarkforcesError: if they are not to be had
        """
        if given is not None:
            path = Path(str(given))
            if not path.is_file():
                raise DarkforcesError(f"weights '{given}' of model '{model}' do not exist (looked in {Path.cwd()})")
            return path
        try:
            return self.cached() or Path(self.download())
        except Exception as error:  # each library that downloads raises errors of its own
            raise DarkforcesError(
                f"model '{model}': its weights are not on this machine and cannot be downloaded "
                f"({one_line(error)[:100]}); get {self.name} from {self.source} and say where it is: "
                f"-o weights={self.name}"
            ) from error


def installed_weights(module: str, path: str) -> Weights:
    """A file that is installed with a package, which is not imported.

    :param path: in the folder of the module
    """

    def cached() -> Path | None:
        spec = util.find_spec(module)
        folders = spec.submodule_search_locations if spec else None
        return next((Path(folder, path) for folder in folders or () if Path(folder, path).is_file()), None)

    def download() -> str:
        raise FileNotFoundError("they come with the package, whose installation is not complete")

    return Weights(path.rpartition("/")[2], f"the package {module}", cached, download)


def mace_weights(name: str) -> Weights:
    """The file of MACE-MP-0, large, in the cache of mace."""

    def cached() -> Path | None:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mace"
        path = folder / "".join(letter for letter in name if letter.isalnum() or letter == "_")
        return path if path.is_file() else None

    def download() -> str:
        from mace.calculators.foundations_models import download_mace_mp_checkpoint

        return str(download_mace_mp_checkpoint("large"))

    return Weights(name, f"https://github.com/ACEsuit/mace-mp/releases/download/mace_mp_0/{name}", cached, download)


def orb_weights(address: str) -> Weights:
    """A file in the cache of ``cached_path``: the newest of those whose names begin with the hash of the address."""

    def cached() -> Path | None:
        folder = Path(os.environ.get("CACHED_PATH_CACHE_ROOT") or Path.home() / ".cache" / "cached_path")
        files = folder.glob(hashlib.sha256(address.encode()).hexdigest() + "*")
        whole = (path for path in files if path.suffix not in (".json", ".lock"))
        return max(whole, key=lambda path: path.stat().st_mtime, default=None)

    def download() -> str:
        from cached_path import cached_path

        return str(cached_path(address))

    return Weights(address.rpartition("/")[2], address, cached, download)


def hugging_face_weights(repository: str, name: str) -> Weights:
    """A file of a repository of Hugging Face, in its cache."""

    def cached() -> Path | None:
        try:
            from huggingface_hub import try_to_load_from_cache
        except ImportError:
            return None
        found = try_to_load_from_cache(repository, name)
        return Path(found) if isinstance(found, str) else None

    def download() -> str:
        from huggingface_hub import hf_hub_download

        return str(hf_hub_download(repository, name))

    return Weights(name, f"https://huggingface.co/{repository}", cached, download)
