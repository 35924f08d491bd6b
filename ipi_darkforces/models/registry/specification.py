"""Specifications of models: one line each, so that whatever carries a model carries all of it.

::

    pet-m                                  a name, or the path of a file
    ase:package.module:factory             what makes an ase calculator, or ase:path/to/file.py:factory
    ase:tblite.ase:TBLite?method=GFN1-xTB;verbosity=0     with options, as in a URL (& is as good as ;)
    my.pt?extensions_directory=extensions  an exported model, and the code that was exported with it
    fast=pet-m slow=ase:my.py:make         two models: fast forces from one, slow ones from another

Without the characters that mean something in i-PI's XML and in its lists: in options, those are written as %26 etc.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, quote

from ...errors import DarkforcesError

CALCULATOR = "ase:"
EXTENSIONS = "extensions_directory"  # the option of exported models; metatomic's name
MODEL_FILES = (".ckpt", ".pt")  # what ends like this is a path
Option = str | int | float | bool | None
_PAIR = re.compile(r"fast=(?P<fast>.+) slow=(?P<slow>.+)")
_SAFE = "/:"
ROLES = ("fast", "slow")  # of two models
_WORDS: dict[str, Option] = {"true": True, "false": False, "none": None}


def split_options(model: str) -> tuple[str, dict[str, Option]]:
    """Split a specification into name and options: numbers, truth values and None are told from text."""
    if os.path.exists(model):  # a file may be called what it likes
        return model, {}
    name, _, query = model.partition("?")
    return name, {key: _value(text) for key, text in parse_qsl(query.replace("&", ";"), True, separator=";")}


def with_options(model: str, options: Mapping[str, Option]) -> str:
    """Add options to a model; for two models, they begin with ``fast.`` and ``slow.``.

    :raises DarkforcesError: if it is not said which of two models an option is for
    """
    pair = split_pair(model)
    if pair is not None:
        return join_pair(*(with_options(each, _of(role, options)) for role, each in zip(ROLES, pair, strict=True)))
    if not options:
        return model
    name, present = split_options(model)
    query = (f"{key}={quote(str(value), safe=_SAFE)}" for key, value in {**present, **options}.items())
    return f"{name}?{';'.join(query)}"


def _of(role: str, options: Mapping[str, Option]) -> dict[str, Option]:
    """Options for one of two models."""
    for key in options:
        if key.partition(".")[0] not in ROLES:
            raise DarkforcesError(f"option '{key}' is for which of the two models? expected fast.{key} or slow.{key}")
    return {key.partition(".")[2]: value for key, value in options.items() if key.partition(".")[0] == role}


def split_pair(model: str) -> tuple[str, str] | None:
    """The models of fast and of slow forces, if they are two."""
    found = _PAIR.fullmatch(model)
    return None if found is None else (found["fast"], found["slow"])


def join_pair(fast: str, slow: str) -> str:
    """Two models as one."""
    return f"fast={fast} slow={slow}"


def chosen(model: str | None, fast: str | None, slow: str | None) -> str:
    """The specification of one model, or of one for fast and one for slow forces.

    :raises DarkforcesError: if it is neither the one nor the other
    """
    if model is not None and fast is None and slow is None:
        return model
    if model is None and fast is not None and slow is not None:
        return join_pair(fast, slow)
    raise DarkforcesError("which model? expected either a model, or one for fast and one for slow forces")


def absolute(model: str, folder: Path = Path()) -> str:
    """A model as other folders know it: files that are there, seen from `folder`, by their absolute paths."""

    def found(text: str) -> str:
        return str((folder / text).resolve()) if (folder / text).is_file() else text

    def option(key: str, value: Option) -> Option:
        if key == EXTENSIONS and (folder / str(value)).is_dir():
            return str((folder / str(value)).resolve())
        return _file_option(value, found)

    if (folder / model).is_file():
        return found(model)
    pair = split_pair(model)
    if pair is not None:
        return join_pair(*(absolute(each, folder) for each in pair))
    name, options = split_options(model)
    return with_options(_with_file(name, found), {key: option(key, value) for key, value in options.items()})


def without_folders(model: str) -> str:
    """A model with its files by their names alone."""

    def named(text: str) -> str:
        return Path(text).name if "/" in text else text

    pair = split_pair(model)
    if pair is not None:
        return join_pair(*(without_folders(each) for each in pair))
    name, options = split_options(model)
    bare = _with_file(name, named) if name.startswith(CALCULATOR) else named(name)
    return with_options(bare, {key: _file_option(value, named) for key, value in options.items()})


def _with_file(name: str, found: Callable[[str], str]) -> str:
    if not name.startswith(CALCULATOR):
        return name
    place, colon, attribute = name.removeprefix(CALCULATOR).rpartition(":")
    return f"{CALCULATOR}{found(place)}{colon}{attribute}"


def _file_option(value: Option, found: Callable[[str], str]) -> Option:
    """Only what looks like a path: a word stays a word, even if there is a file of that name."""
    return found(value) if isinstance(value, str) and ("/" in value or Path(value).suffix) else value


def label_of(model: str) -> str:
    """The name of a model in file names, lists in i-PI's XML, and its comments, which must not have '--'."""
    pair = split_pair(model)
    if pair is not None:
        return "-".join(label_of(each) for each in pair)
    name, options = split_options(model)
    if name.startswith(CALCULATOR):
        name = name.rpartition("/")[2]
    elif "/" in name or name.endswith(MODEL_FILES):
        name = Path(name).stem
    values = (Path(str(value)).name for value in options.values())
    return re.sub(r"-+", "-", re.sub(r"[^\w.-]", "_", "_".join([name, *values])))


def _value(text: str) -> Option:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return _WORDS.get(text.lower(), text)
