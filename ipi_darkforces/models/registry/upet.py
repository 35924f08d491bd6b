"""The general-purpose models of upet, by name: PET-MAD and its kin, which are metatrain checkpoints as ours are.

They come from a repository on Hugging Face through the cache of its library, which metatrain needs too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ...errors import DarkforcesError, one_line

UPET = "upet:"
REPOSITORY = "lab-cosmo/upet"
_PATIENCE = 10.0  # seconds until the list of models must be there
_FILE = re.compile(r"(?P<model>pet-\w+-(?:xs|s|m|l|xl))-v?(?P<version>\d+\.\d+\.\d+)\.ckpt")


def upet_checkpoint(name: str) -> Path:
    """The checkpoint of one of upet's models, downloaded if need be.

    :param name: ``upet:pet-mad-s``, the newest version on this machine, or else of all; ``upet:pet-mad-s-v1.5.0``
    :raises DarkforcesError: if it is not to be had
    """
    wanted = name.removeprefix(UPET)
    newest = _newest(wanted, cached_checkpoints())
    if newest is not None:
        return Path(newest)
    try:
        from huggingface_hub import HfApi, hf_hub_download

        # Unlike the library's other ways to ask for it, this one does not try again and again, which it would log.
        files = HfApi().model_info(REPOSITORY, timeout=_PATIENCE).siblings or []
        offered = [file.rfilename for file in files]
        newest = _newest(wanted, offered)
        if newest is not None:
            return Path(hf_hub_download(REPOSITORY, newest))
    except Exception as error:  # the library raises whatever the libraries below it raise
        raise DarkforcesError(
            f"model '{name}' is not on this machine and cannot be downloaded ({one_line(error)[:100]}); get a "
            f"models/{wanted}*.ckpt of https://huggingface.co/{REPOSITORY} and give its path in place of the name"
        ) from error
    known = sorted({f"{UPET}{found['model']}" for file in offered if (found := _FILE.search(file))})
    raise DarkforcesError(f"upet has no model '{name}'; expected one of {', '.join(known)}, or that with -vVERSION")


def cached_checkpoints() -> list[str]:
    """Paths of upet's models that are on this machine."""
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        return []
    folder = Path(HF_HUB_CACHE) / f"models--{REPOSITORY.replace('/', '--')}"
    return [str(path) for path in folder.glob("snapshots/*/models/*.ckpt")]


def _newest(wanted: str, files: Iterable[str]) -> str | None:
    """The file of the newest version of a model, which may be called by its version."""
    found = ((match, file) for file in files if (match := _FILE.fullmatch(file.rpartition("/")[2])))
    fitting = (
        (tuple(map(int, match["version"].split("."))), file)
        for match, file in found
        if wanted in (match["model"], f"{match['model']}-v{match['version']}")
    )
    return max(fitting, default=((), None))[1]
