"""Export of checkpoints on the user's machine, once for each.

An exported model carries the source code and the paths of the packages that exported it, so the package ships metatrain
checkpoints, which are weights alone, and exports them on first use into a cache, as it does with the user's own. The
name of the cached file is made from everything that goes into it; a new version of any of these packages makes a new
file. What is in the cache is run as code, and hence must be the user's own: see `owned`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from ...atomic import atomic_file
from ...errors import DarkforcesError, one_line
from ...owned import check_file, check_folder, make_private

_EXPORTERS = ("metatrain", "metatomic-torch", "metatensor-torch", "torch")
EXPORTED_EXTENSIONS = "extensions"  # folder of the cache, of compiled code that models need
log = logging.getLogger(__name__)


def cache_directory() -> Path:
    """The folder of exported models: ``$XDG_CACHE_HOME/ipi-darkforces``, by default in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ipi-darkforces"


def exported(checkpoint: Path) -> Path:
    """The exported form of a metatrain checkpoint, made now if it is not in the cache.

    Several processes may ask for the same model at the same time: each writes a file of its own and puts it in place in
    one step, so that nobody ever reads half a model.

    :raises DarkforcesError: if the file is no checkpoint or cannot be exported, the cache cannot be written, or it or
        the file in it may be somebody else's
    """
    key = _key(checkpoint)
    target = cache_directory() / f"{checkpoint.stem}-{key}.pt"
    if os.path.lexists(target):
        _check_owned(target)
        return target
    if not is_checkpoint(checkpoint):
        raise DarkforcesError(f"'{checkpoint}' is not a metatrain checkpoint (.ckpt)")
    log.info("exporting %s for this machine (once) to %s", checkpoint.stem, target)
    try:
        make_private(target.parent)
        _check_owned(target)
        with atomic_file(target) as fresh:
            # By its absolute path: metatrain takes 'a:b.ckpt' for an address on the web.
            _export(checkpoint.absolute(), fresh)
            if _key(checkpoint) != key:  # or the cache would have other weights under this name, for good
                raise DarkforcesError(f"'{checkpoint}' has changed while it was exported; wait until it is written")
            fresh.chmod(0o600)
    except OSError as error:
        raise DarkforcesError(
            f"cannot write the model cache {target.parent} ({error.strerror}); set XDG_CACHE_HOME to a folder that can "
            "be written"
        ) from error
    return target


def _check_owned(target: Path) -> None:
    """Raise a DarkforcesError if the cache, or the file in it, may be somebody else's."""
    try:
        check_folder(target.parent)
        if os.path.lexists(target):
            check_file(target)
    except DarkforcesError as error:
        raise DarkforcesError(
            f"the model cache holds code that is run, and is not used: {error}; remove that, or set XDG_CACHE_HOME to "
            "a folder of your own"
        ) from error


def is_checkpoint(path: Path) -> bool:
    """Tell whether a file is a complete metatrain checkpoint, from the names in it; no code in it is run."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
            return len(pickles) == 1 and b"architecture_name" in archive.read(pickles[0])
    except Exception:  # zipfile raises many kinds about what is no archive, or a spoilt one
        return False


def _key(checkpoint: Path) -> str:
    try:
        digest = hashlib.sha256(checkpoint.read_bytes())
    except OSError as error:
        raise DarkforcesError(f"'{checkpoint}' cannot be read: {error.strerror}") from error
    for package in _EXPORTERS:
        digest.update(f"{package} {version(package)}".encode())
    return digest.hexdigest()[:16]


def _export(checkpoint: Path, target: Path) -> None:
    from metatrain.cli.export import export_model  # takes seconds to import and is needed once

    try:
        with quiet():
            export_model(checkpoint, target, extensions=target.parent / EXPORTED_EXTENSIONS)
    except OSError:
        raise
    except Exception as error:  # metatrain and torch raise many kinds, with many lines
        raise DarkforcesError(f"'{checkpoint}' cannot be exported: {one_line(error)}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep metatrain's and torch's remarks about models from the user, who can do nothing about them."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
