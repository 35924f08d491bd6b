"""Model cards: what a model is, what it has learned from, how wrong it is and where it may be used.

A card is a JSON file next to the weights, ``NAME.json`` beside ``NAME.ckpt``, with the fields of `Card` and no others:
who writes one learns of a misspelt field at once, and not when somebody misses what it says. It says what a list of
models shows: weights can hold code, and are not loaded for a list.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ase.data import atomic_numbers

from ...atomic import write_atomically
from ...errors import DarkforcesError, about, one_line
from ..model import Need


@dataclass(frozen=True)
class Card:
    """The card of a model: what people should know before they use it.

    :param description: one line
    :param architecture: the kind of network and its size
    :param data: what it was trained on
    :param license: of the data
    :param citation: of the data
    :param training: what was done, for how long, on what machine
    :param errors: measured on data that training did not see; the units are in the keys, as in
        ``energy_mae_meV_per_atom``. Empty if nobody has measured
    :param valid_range: for what systems, conditions and strides it may be used
    :param provides: what the model can be asked for, some of `OUTPUTS`; None if the card does not say it
    :param elements: chemical symbols that the model knows; None if the card does not say it
    :param teacher: of a student, the model whose forces it was trained on; None for others
    :param teacher_fingerprint: of that model, which changes with its weights
    :raises DarkforcesError: if a text is empty or no text, or an error is no number
    """

    description: str
    architecture: str
    data: str
    license: str
    citation: str
    training: str
    errors: dict[str, float]
    valid_range: str
    provides: tuple[str, ...] | None = None
    elements: tuple[str, ...] | None = None
    teacher: str | None = None
    teacher_fingerprint: str | None = None

    def __post_init__(self) -> None:
        for name in _NEEDED:
            value = getattr(self, name)
            if name == "errors":
                _check_errors(value)
            else:
                _check_text(name, value)
        for name, known in _OPTIONAL.items():
            if getattr(self, name) is not None:
                # JSON has lists, which do not stay as they are.
                object.__setattr__(self, name, _some_of(known, name, getattr(self, name)))
        for name in _OPTIONAL_TEXTS:
            if getattr(self, name) is not None:
                _check_text(name, getattr(self, name))
        if len(self.description.splitlines()) > 1:
            raise DarkforcesError("'description' has several lines; expected one")

    @classmethod
    def read(cls, path: Path) -> Card:
        """The card in a file.

        :raises DarkforcesError: if the file cannot be read, is not JSON, or its fields are not those of a card
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DarkforcesError(f"model card '{path}' cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise DarkforcesError(f"model card '{path}' is not JSON: {one_line(error)}") from error
        with about(f"model card '{path}'"):
            _check_fields(content)
            return cls(**content)

    def write(self, path: Path) -> None:
        """Put the card into a file, in one step: whoever reads it finds a whole card, the old one or this.

        :raises DarkforcesError: if the file cannot be written
        """
        try:
            write_atomically(path, json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            raise DarkforcesError(f"model card '{path}' cannot be written: {error.strerror}") from error

    def as_dict(self) -> dict[str, Any]:
        """The fields by their names, in the order in which people read them."""
        return {name: _plain(value) for name, value in asdict(self).items() if value is not None}


OUTPUTS = tuple(map(str, Need))  # what a model can provide
_OPTIONAL: dict[str, Collection[str]] = {"provides": OUTPUTS, "elements": frozenset(atomic_numbers) - {"X"}}
_OPTIONAL_TEXTS = ("teacher", "teacher_fingerprint")
_NOT_NEEDED = (*_OPTIONAL, *_OPTIONAL_TEXTS)
_NEEDED = [field.name for field in fields(Card) if field.name not in _NOT_NEEDED]
_FIELDS = f"the fields {', '.join(_NEEDED)}, and perhaps {', '.join(_NOT_NEEDED)}"


def _check_fields(content: Any) -> None:
    if not isinstance(content, dict):
        raise DarkforcesError(f"expected an object with {_FIELDS}; got {_kind(content)}")
    lacking = [name for name in _NEEDED if name not in content]
    unknown = [name for name in content if name not in (*_NEEDED, *_NOT_NEEDED)]
    if lacking or unknown:
        problems = [f"lacks {', '.join(lacking)}"] if lacking else []
        problems += [f"has the unknown {', '.join(map(repr, unknown))}"] if unknown else []
        raise DarkforcesError(f"{' and '.join(problems)}; expected {_FIELDS}")


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise DarkforcesError(f"'{name}' is {_kind(value)}; expected text")
    if not value.strip():
        raise DarkforcesError(f"'{name}' is empty; expected text")
    if not all(line.isprintable() for line in value.splitlines()):
        raise DarkforcesError(f"'{name}' has characters that cannot be printed; expected text")


def _some_of(known: Collection[str], name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise DarkforcesError(f"'{name}' is {_kind(value)}; expected a list")
    for each in value:
        if not isinstance(each, str) or each not in known:
            found = repr(each) if isinstance(each, str) else _kind(each)
            expected = "a chemical symbol" if name == "elements" else f"some of {', '.join(known)}"
            raise DarkforcesError(f"'{name}' has {found}; expected {expected}")
    return tuple(value)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _check_errors(value: Any) -> None:
    if not isinstance(value, dict):
        raise DarkforcesError(f"'errors' is {_kind(value)}; expected an object of numbers")
    for key, number in value.items():
        if not (isinstance(key, str) and key and key.isprintable()):
            raise DarkforcesError(f"'errors' has the key {key!r}; expected a name with its unit")
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise DarkforcesError(f"'errors' has {_kind(number)} for '{key}'; expected a number")
        if not abs(number) <= sys.float_info.max:  # JSON as Python reads it has NaN, infinity and endless integers
            raise DarkforcesError(f"'errors' has NaN or infinity for '{key}'; expected a number")


def _kind(value: Any) -> str:
    """The kind of a value, as JSON calls it."""
    if value is None:
        return "null"
    kinds = {bool: "true or false", str: "text", list: "a list", dict: "an object"}
    return kinds.get(type(value), "a number" if isinstance(value, (int, float)) else type(value).__name__)
