"""Putting an input and its files into the folder of a run, so that nothing is lost that somebody has written there."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ..atomic import UNFINISHED
from ..digest import digest
from .files import InputFile

log = logging.getLogger(__name__)


def put_copies(
    folder: Path, texts: Mapping[str, str], files: Sequence[InputFile], source: Path, ours: Mapping[str, str]
) -> dict[str, str]:
    """Put texts and copies of files into a folder.

    All of them are written before the first takes the place of what was there, which it may be made from. What was
    there and is neither the source of something nor ours is kept under another name. Nobody else may be preparing the
    folder: what is left of somebody who was killed while he did is removed.

    :param texts: by their names in the folder
    :param files: those that are in their places already stay there
    :param source: of the texts
    :param ours: digests of what was put there before
    :return: digests of what was put there now, by the names
    :raises OSError: if it cannot be written; then nothing has changed
    """
    for left in filter(is_unfinished, list(folder.iterdir())):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=UNFINISHED) as name:
        staging = Path(name)
        copies = [file for file in files if not same(folder / file.target, file.source)]
        for file in copies:
            file.copy(staging)
        stays = [name for name, text in texts.items() if same(folder / name, source) and is_text(source, text)]
        changed = {name: text for name, text in texts.items() if name not in stays}
        for name, text in changed.items():
            (staging / name).write_text(text)
        put = {target: digest(staging / target) for target in [*(file.target for file in copies), *changed]}
        for target, new in put.items():
            path = folder / target
            if (
                path.is_file()
                and not same(path, source)
                and not any(has(path, known) for known in (new, ours.get(target)))
            ):
                kept = aside(path)
                path.rename(kept)
                log.warning("'%s' is not what was put there: it is kept as '%s'", path, kept)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging / target, path)
    return put


def same(path: Path, other: Path) -> bool:
    """Tell whether two paths are those of one file."""
    return path.exists() and other.exists() and os.path.samefile(path, other)


def is_unfinished(path: Path) -> bool:
    """Tell whether files were written there by somebody who was killed before he had put them in place."""
    return path.name.startswith(UNFINISHED) and path.is_dir() and not path.is_symlink()


def consists_of(path: Path, files: Collection[Path]) -> bool:
    """Tell whether a path is one of some files, or a folder in which there is nothing but some of them."""
    if not path.is_dir():
        return path in files
    return all(inside in files for inside in path.rglob("*") if not inside.is_dir())


def is_text(path: Path, text: str) -> bool:
    """Tell whether a file holds a text, and nothing else."""
    try:
        return path.read_text() == text
    except (OSError, UnicodeDecodeError):
        return False


def has(path: Path, known: str | None) -> bool:
    """Tell whether a file has the content of that digest."""
    return known is not None and path.is_file() and digest(path) == known


def aside(path: Path) -> Path:
    """A name like that of a file, which nothing has."""
    found, number = path.with_name(f"{path.name}.old"), 2
    while found.exists():
        found, number = path.with_name(f"{path.name}.old{number}"), number + 1
    return found
