"""The outputs that are added to an input for a run: for those who watch, and checkpoints that are not overwritten."""

from __future__ import annotations

from collections.abc import Collection
from math import gcd

from ipi.utils.io.inputs.io_xml import read_list, xml_node

from ..split.disagreement import EXTRAS
from .outputs import DISAGREEMENT, PROGRESS, STATE, free_name
from .tree import child, children, parse, text_of

# Steps between our checkpoints: at most, and what is often enough even where the user wants more.
_SELDOM, _OFTEN = 100, 20
_PROGRESS_PROPERTIES = ["step", "time{femtosecond}", "temperature{kelvin}", "conserved{electronvolt}"]
_DISAGREEMENT = "extras_component_raw"


def state_stride(others: Collection[int]) -> int:
    """Steps between our checkpoints, beside others.

    i-PI overwrites the user's checkpoint where it is, so that a kill at that time leaves none: then a run goes on from
    ours, and no more shall be lost than with a kill at another time. So ours come as often, but without a common factor
    in the strides, so that both are hardly ever written at the same step.

    :param others: strides of the checkpoints that the user asked for
    """
    longest = min([_SELDOM, *(max(_OFTEN, stride) for stride in others)])
    coprime = (n for n in range(longest, longest // 2, -1) if all(gcd(n, stride) == 1 for stride in others))
    return next(coprime, longest)


class AddedOutputs:
    """Outputs added to an input, or that would be. An output of the user's that has its name keeps it."""

    def __init__(self, root: xml_node):
        self._root = root

    def _nodes(self) -> list[xml_node]:
        output = child(self._root, "output")
        return [] if output is None else [node for _, node in children(output)]

    @property
    def progress(self) -> str | None:
        """Name of the output of step, time, temperature and conserved quantity; None if there is none."""
        for node in self._nodes():
            if node.name == "properties" and read_list(text_of(node)) == _PROGRESS_PROPERTIES:
                return node.attribs.get("filename")
        return None

    @property
    def disagreement(self) -> str | None:
        """Name of the output of the difference of both kinds of forces; None if there is none."""
        for node in self._nodes():
            extras = [extra.strip() for extra in node.attribs.get("extra_type", "").split(",")]
            if node.name == "trajectory" and text_of(node).startswith(_DISAGREEMENT) and extras == list(EXTRAS):
                return node.attribs.get("filename")
        return None

    @property
    def state(self) -> str:
        """Name of the checkpoints, as it is or would be."""
        there = self._state_node
        return self._free_name(STATE) if there is None else there.attribs["filename"]

    @property
    def _state_node(self) -> xml_node | None:
        """The output of our checkpoints; None if it has not been added."""
        return next((node for node in self._checkpoints() if self._is_ours(node)), None)

    def _is_ours(self, node: xml_node) -> bool:
        kept = node.attribs.get("filename", "").endswith(STATE) and node.attribs.get("overwrite") == "False"
        return kept and _stride(node) == self._state_stride(node)

    def _state_stride(self, ours: xml_node | None = None) -> int:
        return state_stride([_stride(node) for node in self._checkpoints() if node is not ours])

    def _checkpoints(self) -> list[xml_node]:
        return [node for node in self._nodes() if node.name == "checkpoint"]

    def _free_name(self, name: str) -> str:
        return free_name(name, [node.attribs.get("filename") for node in self._nodes()])

    def add(self, stride: int, states: int, slow: int | None) -> None:
        """Add what is not there.

        :param stride: of what is for those who watch
        :param states: how many checkpoints there are already
        :param slow: which of the first system's forces is slow, counted from zero; None if none is
        """
        if child(self._root, "output") is None:
            self._root.fields.append(("output", parse("<output prefix='simulation'/>")))
        if self.progress is None:
            where = f"filename='{self._free_name(PROGRESS)}' stride='{stride}'"
            self._add(f"<properties {where}> [ {', '.join(_PROGRESS_PROPERTIES)} ] </properties>")
        if slow is not None and self.disagreement is None:
            where = f"filename='{self._free_name(DISAGREEMENT)}' stride='{stride}' extra_type='{', '.join(EXTRAS)}'"
            self._add(f"<trajectory {where}> {_DISAGREEMENT}({slow}) </trajectory>")
        where = f"filename='{self.state}' stride='{self._state_stride()}' overwrite='False'"
        self._add(f"<checkpoint {where}> {states} </checkpoint>")

    def _add(self, text: str) -> None:
        output = child(self._root, "output")
        assert output is not None
        node = parse(text)
        output.fields.append((node.name, node))

    def remove_state(self) -> None:
        """Take the checkpoints out, which are numbered anew."""
        output, state = child(self._root, "output"), self._state_node
        if output is not None:
            output.fields = [(kind, node) for kind, node in output.fields if node is not state]


def _stride(node: xml_node) -> int:
    return int(node.attribs.get("stride", "1"))
