"""The outputs that are added to an input for a run: for those who watch, and checkpoints that are not overwritten."""

from __future__ import annotations

from ipi.utils.io.inputs.io_xml import read_list, xml_node

from ..split.disagreement import EXTRAS
from .outputs import DISAGREEMENT, PROGRESS, STATE, free_name
from .tree import child, children, parse, text_of

STATE_EVERY = 100  # steps
_PROGRESS_PROPERTIES = ["step", "time{femtosecond}", "temperature{kelvin}", "conserved{electronvolt}"]
_DISAGREEMENT = "extras_component_raw"


class AddedOutputs:
    """What has been added to an input, or would be. An output of the user's that has its name keeps it.

    :param root: of the input
    """

    def __init__(self, root: xml_node):
        self._root = root

    def _nodes(self) -> list[xml_node]:
        output = child(self._root, "output")
        return [] if output is None else [node for _, node in children(output)]

    @property
    def progress(self) -> str | None:
        """What the output is called of step, time, temperature and conserved quantity; None if there is none."""
        for node in self._nodes():
            if node.name == "properties" and read_list(text_of(node)) == _PROGRESS_PROPERTIES:
                return node.attribs.get("filename")
        return None

    @property
    def disagreement(self) -> str | None:
        """What the output is called of how far both kinds of forces are apart; None if there is none."""
        for node in self._nodes():
            extras = [extra.strip() for extra in node.attribs.get("extra_type", "").split(",")]
            if node.name == "trajectory" and text_of(node).startswith(_DISAGREEMENT) and extras == list(EXTRAS):
                return node.attribs.get("filename")
        return None

    @property
    def state(self) -> str:
        """What the checkpoints are called, or would be."""
        there = next((node for node in self._nodes() if _is_state(node)), None)
        return self._free_name(STATE) if there is None else there.attribs["filename"]

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
            said = f"filename='{self._free_name(PROGRESS)}' stride='{stride}'"
            self._add(f"<properties {said}> [ {', '.join(_PROGRESS_PROPERTIES)} ] </properties>")
        if slow is not None and self.disagreement is None:
            said = f"filename='{self._free_name(DISAGREEMENT)}' stride='{stride}' extra_type='{', '.join(EXTRAS)}'"
            self._add(f"<trajectory {said}> {_DISAGREEMENT}({slow}) </trajectory>")
        said = f"filename='{self.state}' stride='{STATE_EVERY}' overwrite='False'"
        self._add(f"<checkpoint {said}> {states} </checkpoint>")

    def _add(self, text: str) -> None:
        output = child(self._root, "output")
        assert output is not None
        node = parse(text)
        output.fields.append((node.name, node))

    def remove_state(self) -> None:
        """Take the checkpoints out, which are numbered anew."""
        output = child(self._root, "output")
        if output is not None:
            output.fields = [(kind, node) for kind, node in output.fields if kind == "_text" or not _is_state(node)]


def _is_state(node: xml_node) -> bool:
    """Whether this is the output of checkpoints that has been added."""
    said = {"stride": str(STATE_EVERY), "overwrite": "False"}
    return (
        node.name == "checkpoint" and node.attribs["filename"].endswith(STATE) and said.items() <= node.attribs.items()
    )
