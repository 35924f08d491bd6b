"""i-PI inputs: reading, checking, and preparing them for a run.

An input is held as the tree of i-PI's own XML reader and checked by i-PI's own input classes, so that what we accept is
what i-PI accepts.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from xml.sax import SAXParseException
from xml.sax.saxutils import escape

import numpy as np
from ipi.inputs.motion.dynamics import InputDynamics
from ipi.inputs.simulation import InputSimulation
from ipi.inputs.system import InputSystem
from ipi.utils.io.inputs.io_xml import xml_node, xml_parse_string
from ipi.utils.units import unit_to_user

from ..errors import DarkforcesError, about, one_line
from ..models.structure_file import WORKS_IN
from .added_outputs import AddedOutputs
from .files import InputFile, Placing, arrays_in_files, replace_name
from .forcefields import Forcefields, SocketForcefield
from .outputs import Outputs
from .tree import child, descendants, fill_templates, replace_child, set_text, text_of, write
from .values import check_ensemble, check_ranges, check_readable
from .virials import Virials

_TOTAL_STEPS = re.compile(r"(<total_steps[^>/]*>)[^<]*(</total_steps>)")


class SimulationInput:
    """An i-PI input (or RESTART) as a tree that can be changed and written again.

    A `<system_template>` is held as the systems that i-PI makes of it.

    :param source: where it came from, for messages; i-PI would look for files from that folder
    :param raw: its text, if it has been read
    :raises DarkforcesError: if i-PI would not accept it
    """

    def __init__(self, root: xml_node, source: Path, raw: str = ""):
        self.root = root
        self.source = source
        self.folder = source.parent
        self._raw = raw
        self._renamed: dict[str, str] = {}
        self._files: dict[str, Path] = {}  # where files lie that are not yet where the input says
        with about(f"'{source}' is not an input that i-PI accepts"):
            fill_templates(root)
        self._parsed: InputSimulation | None = None
        self._check()

    @classmethod
    def read(cls, path: Path) -> SimulationInput:
        """Read a file.

        :raises DarkforcesError: if it does not exist, is no XML or no i-PI input
        """
        try:
            raw = path.read_text()
            root = xml_parse_string(WORKS_IN.sub("", raw))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise DarkforcesError(f"input '{path}' does not exist or is not a file") from error
        except OSError as error:
            raise DarkforcesError(f"input '{path}' cannot be read: {error.strerror}") from error
        except (SAXParseException, UnicodeDecodeError) as error:
            raise DarkforcesError(f"'{path}' is not XML: {one_line(error)}") from error
        name, simulation = root.fields[0]
        if name != "simulation":
            raise DarkforcesError(f"'{path}' is not an i-PI input: it begins with <{name}>, expected <simulation>")
        return cls(simulation, path, raw)

    @classmethod
    def of(cls, text: str, source: Path) -> SimulationInput:
        """Read a text.

        :param source: where its files are looked for
        :raises DarkforcesError: if it is no i-PI input
        """
        return cls(xml_parse_string(text).fields[0][1], source, text)

    @property
    def parsed(self) -> InputSimulation:
        """The input as i-PI's classes hold it; read again after a change."""
        return self._check() if self._parsed is None else self._parsed

    @property
    def systems(self) -> list[InputSystem]:
        """The systems, as i-PI's classes hold them."""
        return [held for kind, held in self.parsed.extra if kind == "system"]

    def _check(self) -> InputSimulation:
        parsed = InputSimulation()
        root = self._with_arrays_found()
        try:
            with redirect_stdout(StringIO()):
                parsed.parse(root)
            check_readable(parsed)
        except Exception as error:  # i-PI's classes raise anything on what they cannot read
            raise DarkforcesError(f"'{self.source}' is not an input that i-PI accepts: {one_line(error)}") from error
        self._parsed = parsed
        return parsed

    def _with_arrays_found(self) -> xml_node:
        """The tree, with absolute paths for the arrays that i-PI reads from files as soon as it reads the input."""
        if not any(arrays_in_files(self.root)):
            return self.root
        root = copy.deepcopy(self.root)
        for node in arrays_in_files(root):
            path = self._files.get(text_of(node), self.folder / text_of(node))
            if not path.is_file():
                raise DarkforcesError(f"'{self.source}' refers to the file '{text_of(node)}', which does not exist")
            set_text(node, str(path))
        return root

    @property
    def outputs(self) -> Outputs:
        """The outputs that i-PI will write."""
        return Outputs(self.root, self.parsed)

    @property
    def total_steps(self) -> int:
        """Steps when the simulation is finished."""
        return int(self.parsed.total_steps.fetch())

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.parsed.step.fetch())

    @property
    def prefix(self) -> str:
        """The beginning of the names of the outputs."""
        return self.outputs.prefix

    @property
    def system_prefixes(self) -> list[str]:
        """The beginnings of the names of the outputs of each system; several have names of their own."""
        return self.outputs.system_prefixes

    @property
    def sockets_prefix(self) -> str:
        """Prefix of unix sockets, unless i-PI is told otherwise when it is started."""
        return str(self.parsed.sockets_prefix.fetch())

    @property
    def timestep(self) -> float | None:
        """Length of a step in fs, as far as the motion of the first system has one."""
        dynamics = self._dynamics
        if dynamics is None:
            return None
        with redirect_stdout(StringIO()):
            return float(unit_to_user("time", "femtosecond", dynamics.timestep.fetch()))

    @property
    def stride(self) -> int:
        """M of multiple time stepping, steps of the fastest forces in one of i-PI's; 1 without it."""
        dynamics = self._dynamics
        if dynamics is None:
            return 1
        with redirect_stdout(StringIO()):
            return int(np.prod(dynamics.nmts.fetch()))  # of none: 1

    @property
    def _dynamics(self) -> InputDynamics | None:
        """The dynamics of the first system; None for another kind of motion."""
        motions = [system.motion for system in self.systems[:1]]
        return next((motion.dynamics for motion in motions if motion.mode.fetch() == "dynamics"), None)

    @property
    def forces(self) -> str:
        """The forces that act: ``conservative``, ``direct``, ``MTS-8``; empty if that is not so simple."""
        components = self._forcefields.components()
        if self.stride > 1:
            return f"MTS-{self.stride}"
        [component, *others] = components or {None}
        return component if component is not None and not others else ""

    @property
    def _forcefields(self) -> Forcefields:
        return Forcefields(self.root, self.source)

    def socket_forcefields(self) -> list[SocketForcefield]:
        """The forcefields that our driver shall serve.

        :raises DarkforcesError: if a force refers to a forcefield that is not there, or one cannot be served
        """
        return self._forcefields.sockets()

    @property
    def species(self) -> np.ndarray | None:
        """Atomic numbers (n_atoms,), as far as the input says, before i-PI has read what it starts from."""
        return self._forcefields.species(self.folder)

    @property
    def n_atoms(self) -> int | None:
        """Number of atoms, as far as the input says."""
        return None if self.species is None else len(self.species)

    def check(self) -> None:
        """Raise a DarkforcesError for what is known to go wrong later, in i-PI or in the driver."""
        self.check_names()
        self._forcefields.check_species(self.folder)

    def check_names(self) -> None:
        """Raise a DarkforcesError for numbers that cannot be, unknown outputs, and forces of what is not there."""
        with about(f"'{self.source}'"):
            check_ranges(self.parsed)
            for system in self.systems:
                check_ensemble(system)
            self.outputs.check()
        self._forcefields.sockets()

    @property
    def virials(self) -> Virials:
        """The virials that the pressure is made of, if it is to be constant."""
        return self._forcefields.virials()

    def set_total_steps(self, steps: int) -> None:
        """Set the step at which the simulation is finished."""
        replace_child(self.root, "total_steps", f"<total_steps> {steps} </total_steps>")
        self._parsed = None

    def copied(self, taken: Callable[[str], bool]) -> tuple[SimulationInput, list[InputFile]]:
        """The input as it is to be in the folder of a run, and the files that belong to it there.

        :param taken: whether a name in that folder is one that something else has
        :raises DarkforcesError: if a file does not exist
        """
        placing = Placing(self.source, self.folder, taken)
        fresh = copy.copy(self)
        fresh.root = copy.deepcopy(self.root)
        placing.place(fresh.root)
        fresh._renamed = placing.renamed
        fresh._files = {file.target: file.source for file in placing.files.values()}
        fresh._parsed = None
        return fresh, list(placing.files.values())

    def settle(self, path: Path) -> None:
        """Note that the input and its files have been put where they are to be."""
        self.source, self.folder, self._files = path, path.parent, {}

    def add_outputs(self, stride: int, states: int = 0) -> None:
        """Add outputs for those who watch, and checkpoints that are not overwritten.

        Of step, temperature and conserved quantity and, where a component is slow, of how far both kinds of forces are
        apart.

        :param stride: of what is for those who watch
        :param states: how many checkpoints there are already
        """
        self.added.add(stride, states, self._forcefields.slow_component())
        self._parsed = None

    @property
    def added(self) -> AddedOutputs:
        """The names of our own outputs."""
        return AddedOutputs(self.root)

    def sockets(self) -> dict[str, str]:
        """The XML of the forcefields that our driver shall serve, by their names."""
        return {node.attribs["name"]: write(node, "ffsocket") for node in descendants(self.root, "ffsocket")}

    def serve_in_process(self, plugin: str, choice: str) -> None:
        """Turn the sockets into plugins that run inside i-PI.

        :param plugin: the file of the plugin
        :param choice: the file that says which model it loads
        """
        self._forcefields.serve_in_process(plugin, choice)
        self._parsed = None

    def adopt(self, other: SimulationInput) -> None:
        """Take over what another input says of forcefields, the length of the simulation, and outputs.

        For a state of the same simulation, which shall be served in another way or go on for longer.
        """
        mine = [(kind, node) for kind, node in self.root.fields if not kind.startswith("ff")]
        theirs = [(kind, node) for kind, node in other.root.fields if kind.startswith("ff")]
        self.root.fields = theirs + mine
        for name in ("total_steps", "total_time"):
            node = child(other.root, name)
            self.root.fields = [(kind, held) for kind, held in self.root.fields if kind != name]
            self.root.fields += [] if node is None else [(name, node)]
        self.added.remove_state()
        self._parsed = None

    def text(self) -> str:
        """The XML, checked once more if it was changed."""
        if self._parsed is None:
            self._check()
        return write(self.root, "simulation") + "\n"

    def faithful_text(self) -> str:
        """The XML as it was read, comments and all, with what has been changed; as `text` where that cannot be done."""
        text = self._raw
        for old, new in self._renamed.items():
            text = replace_name(text, escape(old), new)
        text = _TOTAL_STEPS.sub(rf"\g<1> {self.total_steps} \g<2>", text, count=1)
        try:
            root = xml_parse_string(text).fields[0][1]
            fill_templates(root)
        except (SAXParseException, DarkforcesError):
            return self.text()
        return text if write(root, "simulation") == write(self.root, "simulation") else self.text()
