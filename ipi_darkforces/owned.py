"""Ownership checks of files and folders whose contents are run as code."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from .errors import DarkforcesError


def make_private(folder: Path) -> None:
    """Make a folder that only its owner can use, and what is missing of the folders above it, likewise.

    :raises OSError: if it cannot be made
    """
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def check_folder(folder: Path) -> None:
    """Raise a DarkforcesError unless a folder belongs to us and nobody else can write to it, or replace it.

    :param folder: one that exists; a symbolic link must be ours too
    """
    if folder.is_symlink():
        _check_owner(folder, os.lstat(folder), "a link")
    place = folder.resolve()
    found = place.stat()
    _check_owner(folder, found, "a folder")
    _check_mode(folder, found, "a folder")
    for above in place.parents:
        mode = above.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise DarkforcesError(
                f"'{folder}' is below '{above}', which everybody can write to: what is there may be theirs"
            )


def check_file(file: Path) -> None:
    """Raise a DarkforcesError unless a file is a regular one that belongs to us and nobody else can write to."""
    found = os.lstat(file)
    if not stat.S_ISREG(found.st_mode):
        raise DarkforcesError(f"'{file}' is no regular file")
    _check_owner(file, found, "a file")
    _check_mode(file, found, "a file")


def _check_owner(path: Path, found: os.stat_result, kind: str) -> None:
    if found.st_uid != os.geteuid():
        raise DarkforcesError(f"'{path}' is {kind} of user {_name(found.st_uid)}, not of {_name(os.geteuid())}")


def _check_mode(path: Path, found: os.stat_result, kind: str) -> None:
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise DarkforcesError(f"'{path}' is {kind} that others can write to (mode {stat.S_IMODE(found.st_mode):o})")


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
