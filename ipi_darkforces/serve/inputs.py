"""Reading an i-PI input: which forcefields it has and what the driver must do for them; and preparing it for a run.

An input is held as the tree of i-PI's own XML reader and checked by i-PI's own input classes, so that what we accept is
what i-PI accepts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from xml.sax import SAXParseException

import numpy as np
from ipi.inputs.forcefields import InputFFSocket
from ipi.inputs.simulation import InputSimulation
from ipi.utils.io.inputs.io_xml import read_dict, write_dict, xml_node, xml_parse_file, xml_parse_string, xml_write
from ipi.utils.units import unit_to_user

from ..errors import DarkforcesError, one_line
from ..forces.disagreement import EXTRAS
from ..forces.split import Component
from .address import DEFAULT_PREFIX, Address, InetAddress, UnixAddress
from .settings import Settings

# Forcefields that wait for a driver of a kind that we are not.
_NOT_SERVED = ("ffmpi", "ffcavphsocket")
# Forcefields that combine what those inside of them say.
_WRAPPERS = ("ffcommittee", "ffrotations")
PROGRESS = "progress"
DISAGREEMENT = "disagreement"
_PROGRESS_PROPERTIES = "[ step, time{femtosecond}, temperature{kelvin}, conserved{electronvolt} ]"
# What follows a file name inside `<initialize>`; other modes hold their values in the input itself.
_FILE_MODES = ("xyz", "pdb", "chk", "ase")
_PLUGIN = Path(__file__).with_name("pes.py")


@dataclass(frozen=True)
class SocketForcefield:
    """A forcefield of the input that our driver shall serve.

    :param name: by which the input's `<force>` refers to it
    :param mode: ``unix``, ``inet`` or ``shm``
    :param address: name of the unix socket, or host
    :param port: for ``inet``
    :param settings: what its `<parameters>` say
    :param wrapped: whether it stands in a `<ffcommittee>` or `<ffrotations>`
    """

    name: str
    mode: str
    address: str
    port: int
    settings: Settings
    wrapped: bool = False

    def place(self, prefix: str) -> Address:
        """Where i-PI will listen; `prefix` is that of unix sockets."""
        if self.mode == "inet":
            return InetAddress(self.address, self.port)
        if self.wrapped:  # i-PI 3.3.1 does not hand a prefix on to these
            prefix = DEFAULT_PREFIX
        return UnixAddress(prefix + self.address, shared_memory=self.mode == "shm")


class SimulationInput:
    """An i-PI input (or RESTART) as a tree that can be changed and written again.

    :param root: the `<simulation>` node
    :param source: where it came from, for messages
    :raises DarkforcesError: if i-PI would not accept it
    """

    def __init__(self, root: xml_node, source: Path):
        self.root = root
        self.source = source
        self._parsed = self._check()

    @classmethod
    def read(cls, path: Path) -> SimulationInput:
        """Read a file.

        :raises DarkforcesError: if it does not exist, is no XML or no i-PI input
        """
        try:
            with path.open() as stream:
                root = xml_parse_file(stream)
        except (FileNotFoundError, IsADirectoryError) as error:
            raise DarkforcesError(f"input '{path}' does not exist or is not a file") from error
        except (SAXParseException, UnicodeDecodeError) as error:
            raise DarkforcesError(f"'{path}' is not XML: {one_line(error)}") from error
        name, simulation = root.fields[0]
        if name != "simulation":
            raise DarkforcesError(f"'{path}' is not an i-PI input: it begins with <{name}>, expected <simulation>")
        return cls(simulation, path)

    def _check(self) -> InputSimulation:
        parsed = InputSimulation()
        try:
            with redirect_stdout(StringIO()):
                parsed.parse(self.root)
        except Exception as error:  # i-PI's classes raise anything on what they cannot read
            raise DarkforcesError(f"'{self.source}' is not an input that i-PI accepts: {one_line(error)}") from error
        return parsed

    @property
    def total_steps(self) -> int:
        """Steps when the simulation is finished."""
        return int(self._parsed.total_steps.fetch())

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self._parsed.step.fetch())

    @property
    def prefix(self) -> str:
        """What the names of the outputs begin with."""
        return str(self._parsed.output.prefix.fetch())

    @property
    def system_prefixes(self) -> list[str]:
        """What the names of the outputs of each system begin with; several have names of their own."""
        names = [str(system.prefix.fetch()) for kind, system in self._parsed.extra if kind == "system"]
        return [f"{name}_{self.prefix}" if name else self.prefix for name in names] or [self.prefix]

    @property
    def sockets_prefix(self) -> str:
        """Of unix sockets, unless i-PI is told otherwise when it is started."""
        return str(self._parsed.sockets_prefix.fetch())

    @property
    def timestep(self) -> float | None:
        """Length of a step in fs, as far as the motion of the first system has one."""
        with redirect_stdout(StringIO()):
            system = next((value for name, value in self._parsed.extra if name == "system"), None)
            if system is None or system.motion.mode.fetch() != "dynamics":
                return None
            timestep = system.motion.dynamics.timestep.fetch()
        return float(unit_to_user("time", "femtosecond", timestep))

    def socket_forcefields(self) -> list[SocketForcefield]:
        """The forcefields that our driver shall serve.

        :raises DarkforcesError: if a force refers to a forcefield that is not there, or one cannot be served
        """
        for kind, node in self.root.fields:
            if kind in _NOT_SERVED:
                raise DarkforcesError(
                    f"forcefield '{node.attribs.get('name', '')}' of '{self.source}' is an <{kind}>, which this driver "
                    "cannot serve; expected <ffsocket>"
                )
        found = [
            self._socket_forcefield(node, parent is not self.root)
            for parent in self._parents_of_sockets()
            for kind, node in parent.fields
            if kind == "ffsocket"
        ]
        self._check_references()
        return found

    def _parents_of_sockets(self) -> list[xml_node]:
        """Where an `<ffsocket>` can stand."""
        return [self.root, *(node for kind, node in self.root.fields if kind in _WRAPPERS)]

    def _socket_forcefield(self, node: xml_node, wrapped: bool) -> SocketForcefield:
        parsed = InputFFSocket()
        parsed.parse(node)
        name = parsed.name.fetch()
        settings = Settings.parsed(
            parsed.parameters.fetch(), f"the <parameters> of forcefield '{name}' of '{self.source}'"
        )
        if settings.component is not None:
            Component.named(settings.component)
        mode, address, port = parsed.mode.fetch(), parsed.address.fetch(), int(parsed.port.fetch())
        return SocketForcefield(name, mode, address, port, settings, wrapped)

    @property
    def species(self) -> np.ndarray | None:
        """Atomic numbers (n_atoms,), as far as the input says, before i-PI has read what it starts from."""
        for forcefield in self.socket_forcefields():
            species = forcefield.settings.elements(self.source.parent)
            if species is not None:
                return species
        return None

    @property
    def n_atoms(self) -> int | None:
        """As far as the input says."""
        return None if self.species is None else len(self.species)

    def _check_references(self) -> None:
        names = {node.attribs.get("name", "") for kind, node in self.root.fields if kind.startswith("ff")}
        for force in _forces(self.root, "forces", "bias"):
            wanted = force.attribs.get("forcefield", "")
            if wanted not in names:
                raise DarkforcesError(
                    f"a <force> of '{self.source}' refers to forcefield '{wanted}', which is not defined; "
                    f"defined: {', '.join(sorted(names)) or 'none'}"
                )

    def set_total_steps(self, steps: int) -> None:
        """Say when the simulation shall be finished."""
        _replace(self.root, "total_steps", f"<total_steps> {steps} </total_steps>")
        self._parsed = self._check()

    def add_progress(self, stride: int) -> None:
        """Add outputs for those who watch, unless they are there.

        Of step, temperature and conserved quantity and, where a component is slow, of how far both kinds of forces are
        apart.
        """
        output = next((node for name, node in self.root.fields if name == "output"), None)
        if output is None:
            output = _parse_node("<output prefix='simulation'/>")
            self.root.fields.append(("output", output))
        nodes = [f"<properties filename='{PROGRESS}' stride='{stride}'> {_PROGRESS_PROPERTIES} </properties>"]
        slow = self._slow_component()
        if slow is not None:
            nodes.append(
                f"<trajectory filename='{DISAGREEMENT}' stride='{stride}' extra_type='{', '.join(EXTRAS)}'> "
                f"extras_component_raw({slow}) </trajectory>"
            )
        there = {(name, node.attribs.get("filename")) for name, node in output.fields if name != "_text"}
        for text in nodes:
            node = _parse_node(text)
            if (node.name, node.attribs["filename"]) not in there:
                output.fields.append((node.name, node))

    def _slow_component(self) -> int | None:
        """Which of the first system's forces is slow, counted from zero."""
        slow = {f.name for f in self.socket_forcefields() if f.settings.component == Component.SLOW.value}
        system = next((node for name, node in self.root.fields if name == "system"), None)
        forces = [] if system is None else [force.attribs.get("forcefield") for force in _forces(system, "forces")]
        return next((i for i, forcefield in enumerate(forces) if forcefield in slow), None)

    def make_files_local(self) -> list[Path]:
        """Refer to the files that the input starts from by their names alone, as if they lay beside it.

        :return: where they lie now
        :raises DarkforcesError: if one does not exist
        """
        here = self.source.parent
        files = []
        for node in self._file_nodes():
            files.append(self._existing(here / _text(node)))
            _set_text(node, files[-1].name)
        for node in _descendants(self.root, "parameters"):
            parameters = read_dict(_text(node))
            if "template" in parameters:
                files.append(self._existing(here / parameters["template"]))
                _set_text(node, write_dict({**parameters, "template": files[-1].name}))
        return files

    def _existing(self, file: Path) -> Path:
        if not file.is_file():
            raise DarkforcesError(f"'{self.source}' refers to the file '{file}', which does not exist")
        return file

    def _file_nodes(self) -> Iterator[xml_node]:
        for initialize in _descendants(self.root, "initialize"):
            for name, node in initialize.fields:
                default = "chk" if name == "file" else ""
                if name != "_text" and node.attribs.get("mode", default) in _FILE_MODES:
                    yield node

    def serve_in_process(self, model: dict[str, str]) -> None:
        """Turn the sockets into plugins that run inside i-PI.

        :param model: keys and values that say which model: ``model``, ``device``, ...
        """
        for parent in self._parents_of_sockets():
            parent.fields = [
                ("ffdirect", self._plugin(node, model)) if kind == "ffsocket" else (kind, node)
                for kind, node in parent.fields
            ]

    def _plugin(self, node: xml_node, model: dict[str, str]) -> xml_node:
        """What serves inside i-PI what this `<ffsocket>` has asked for."""
        forcefield = self._socket_forcefield(node, wrapped=False)
        said = {key: value for key, value in vars(forcefield.settings).items() if value is not None}
        return _parse_node(
            f"<ffdirect name='{forcefield.name}' pbc='False'><pes>custom</pes><pes_path>{_PLUGIN}</pes_path>"
            f"<parameters>{write_dict({**model, **said})}</parameters></ffdirect>"
        )

    def adopt_forcefields(self, other: SimulationInput) -> None:
        """Take over the forcefields of another input; for a RESTART that shall be served in another way."""
        mine = [(kind, node) for kind, node in self.root.fields if not kind.startswith("ff")]
        theirs = [(kind, node) for kind, node in other.root.fields if kind.startswith("ff")]
        self.root.fields = theirs + mine

    def text(self) -> str:
        """The XML, checked once more."""
        self._parsed = self._check()
        return str(xml_write(self.root, "simulation")) + "\n"


def _descendants(node: xml_node, wanted: str) -> Iterator[xml_node]:
    for name, child in node.fields:
        if name == "_text":
            continue
        if name == wanted:
            yield child
        yield from _descendants(child, wanted)


def _forces(node: xml_node, *groups: str) -> Iterator[xml_node]:
    """The `<force>` nodes in groups of that name; the tolerances of optimizers have a `<force>` of another kind."""
    for name in groups:
        for group in _descendants(node, name):
            yield from _descendants(group, "force")


def _parse_node(text: str) -> xml_node:
    return xml_parse_string(text).fields[0][1]


def _replace(parent: xml_node, name: str, text: str) -> None:
    parent.fields = [(kind, node) for kind, node in parent.fields if kind != name]
    parent.fields.append((name, _parse_node(text)))


def _text(node: xml_node) -> str:
    return "".join(value for name, value in node.fields if name == "_text").strip()


def _set_text(node: xml_node, text: str) -> None:
    node.fields = [(name, value) for name, value in node.fields if name != "_text"]
    node.fields.append(("_text", text))
