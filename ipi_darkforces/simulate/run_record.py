"""The record of what a run was begun with, so that it does not go on with something else."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path

from ipi.utils.io.inputs.io_xml import xml_node

from ..atomic import write_atomically
from ..errors import DarkforcesError
from .tree import children, parse, text_of

# What may change while a simulation stays the same: its length, how much i-PI says, and how it is served.
_LENGTH = ("total_steps", "total_time")
_SERVING = ("address", "port", "latency", "timeout", "slots", "exit_on_disconnect")
_ATTRIBUTES = {"simulation": ("verbosity", "sockets_prefix"), "ffsocket": ("mode",)}
_LONGEST = 60  # characters of a value in a message


@dataclass(frozen=True)
class RunRecord:
    """The input, files and model with which a run was begun.

    :param input: the text of its input
    :param step: of i-PI, at which it began
    :param files: digests of the files of the input by their names in the folder, of those that the simulation does not
        write to
    :param copies: digests of what was put into the folder; what else is there is somebody's own
    """

    input: str
    step: int
    files: dict[str, str]
    copies: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> RunRecord | None:
        """The record in a file; None if there is none.

        :raises DarkforcesError: if it is not one
        """
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise DarkforcesError(
                f"'{path}' is not a record of what a run was begun with; choose another --output"
            ) from error

    def write(self, path: Path) -> None:
        """Write the record, atomically."""
        write_atomically(path, json.dumps(asdict(self), indent=1) + "\n")


def difference(begun: str, now: str) -> str | None:
    """The first difference of two inputs, in words; None if they are the same, but for the length of the simulation.

    :param begun: the text of one
    :param now: the text of the other
    """
    before, after = (_essence("simulation", parse(text)) for text in (begun, now))
    return _difference(before, after, "simulation")


def _essence(name: str, node: xml_node) -> xml_node:
    """A node without what does not matter."""
    node = copy.deepcopy(node)
    for key in _ATTRIBUTES.get(name, ()):
        node.attribs.pop(key, None)
    without = {"simulation": _LENGTH, "ffsocket": _SERVING}.get(name, ())
    node.fields = [
        (kind, held if kind == "_text" else _essence(kind, held)) for kind, held in node.fields if kind not in without
    ]
    return node


def _difference(begun: xml_node, now: xml_node, name: str) -> str | None:
    for key in {**begun.attribs, **now.attribs}:
        old, new = begun.attribs.get(key), now.attribs.get(key)
        if old != new:
            return f"{key} of <{name}> is {_quoted(new)}, not {_quoted(old)}"
    old, new = text_of(begun).split(), text_of(now).split()
    if old != new:
        return f"<{name}> is {_quoted(' '.join(new))}, not {_quoted(' '.join(old))}"
    for before, after in zip_longest(children(begun), children(now)):
        if before is None or after is None or before[0] != after[0]:
            return f"<{name}> has {_tag(after)} where it had {_tag(before)}"
        found = _difference(before[1], after[1], before[0])
        if found is not None:
            return found
    return None


def _quoted(value: str | None) -> str:
    if value is None:
        return "not given"
    return f"'{value if len(value) <= _LONGEST else value[:_LONGEST] + '...'}'"


def _tag(child: tuple[str, xml_node] | None) -> str:
    return "nothing" if child is None else f"<{child[0]}>"
