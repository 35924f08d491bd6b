"""The forcefields of an i-PI input: which of them the driver shall serve, and how."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from ipi.inputs.forcefields import InputFFSocket
from ipi.utils.io.inputs.io_xml import write_dict, xml_node

from ..errors import DarkforcesError
from ..serve.address import DEFAULT_PREFIX, Address, InetAddress, UnixAddress
from ..serve.settings import Settings
from ..split.component import Component
from .tree import child, descendants, forces_in, parse, text_of, write
from .virials import Virials

# Forcefields that wait for a driver of another kind, and what else can be done with them.
_NOT_SERVED = {
    "ffmpi": " (i-PI's own driver can, with this package's plugin: i-pi-driver-py --mpi -m custom -P FILE, "
    "where i-pi-darkdriver --pes-path prints FILE)",
    "ffcavphsocket": "",
}
# Forcefields that combine what those inside of them say.
_WRAPPERS = ("ffcommittee", "ffrotations")


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
        """The address where i-PI will listen; `prefix` is that of unix sockets."""
        if self.mode == "inet":
            return InetAddress(self.address, self.port)
        if self.wrapped:  # i-PI 3.3.1 does not hand a prefix on to these
            prefix = DEFAULT_PREFIX
        return UnixAddress(prefix + self.address, shared_memory=self.mode == "shm")


class Forcefields:
    """The forcefields of an input, and the forces that refer to them.

    :param source: where it came from, for messages
    """

    def __init__(self, root: xml_node, source: Path):
        self._root = root
        self._source = source

    def sockets(self) -> list[SocketForcefield]:
        """The forcefields that our driver shall serve.

        :raises DarkforcesError: if a force refers to a forcefield that is not there, or one cannot be served
        """
        for kind, node in self._root.fields:
            if kind in _NOT_SERVED:
                raise DarkforcesError(
                    f"forcefield '{node.attribs.get('name', '')}' of '{self._source}' is an <{kind}>, which this "
                    f"driver cannot serve; expected <ffsocket>{_NOT_SERVED[kind]}"
                )
        found = [
            self._socket(node, parent is not self._root)
            for parent in self._parents_of_sockets()
            for kind, node in parent.fields
            if kind == "ffsocket"
        ]
        self._check_references()
        return found

    def components(self) -> set[str | None]:
        """The components that are asked for, by name; None for what the driver chooses."""
        return {forcefield.settings.component for _, forcefield in self._served()}

    def slow_component(self) -> int | None:
        """The index of the slow force of the first system, counted from zero."""
        slow = {f.name for f in self.sockets() if f.settings.component == Component.SLOW.value}
        system = next((node for name, node in self._root.fields if name == "system"), None)
        forces = [] if system is None else [force.attribs.get("forcefield") for force in forces_in(system, "forces")]
        return next((i for i, forcefield in enumerate(forces) if forcefield in slow), None)

    def virials(self) -> Virials:
        """The virials that the pressure is made of, if it is to be constant."""
        components = {
            node.attribs.get("name", ""): None if component is None else Component.named(component)
            for node, component in ((node, forcefield.settings.component) for node, forcefield in self._served())
        }
        return Virials.of(self._root, components)

    def species(self, folder: Path) -> np.ndarray | None:
        """Atomic numbers (n_atoms,), as far as a forcefield says; None if none does.

        :param folder: where templates are looked for
        """
        each = (forcefield.settings.elements(folder) for forcefield in self.sockets())
        return next((species for species in each if species is not None), None)

    def check_species(self, folder: Path) -> None:
        """Raise a DarkforcesError if a forcefield does not say which elements its atoms are.

        :param folder: where templates are looked for
        """
        for forcefield in self.sockets():
            if forcefield.settings.elements(folder) is None:
                raise DarkforcesError(
                    f"forcefield '{forcefield.name}' of '{self._source}' does not say which elements its atoms are, "
                    f"and i-PI sends positions only: add {self._elements_to_say()} to its <parameters>; if "
                    "another driver serves it, start i-PI and the drivers by hand"
                )

    def serve_in_process(self, plugin: str, choice: str) -> None:
        """Turn the sockets into plugins that run inside i-PI.

        :param plugin: the file of the plugin
        :param choice: the file that says which model it loads
        """
        for parent in self._parents_of_sockets():
            parent.fields = [
                ("ffdirect", self._plugin(node, plugin, choice)) if kind == "ffsocket" else (kind, node)
                for kind, node in parent.fields
            ]

    def _plugin(self, node: xml_node, plugin: str, choice: str) -> xml_node:
        """The `<ffdirect>` that serves inside i-PI what this `<ffsocket>` has asked for."""
        forcefield = self._socket(node, wrapped=False)
        settings = {key: value for key, value in vars(forcefield.settings).items() if value is not None}
        batch = child(node, "batch_size")
        return parse(
            f"<ffdirect name={quoteattr(forcefield.name)} pbc='False'><pes>custom</pes><pes_path>{plugin}</pes_path>"
            f"<parameters>{escape(write_dict({'choice': choice, **settings}))}</parameters>"
            f"{'' if batch is None else write(batch, 'batch_size')}</ffdirect>"
        )

    def _parents_of_sockets(self) -> list[xml_node]:
        """Nodes in which an `<ffsocket>` can stand."""
        return [self._root, *(node for kind, node in self._root.fields if kind in _WRAPPERS)]

    def _socket(self, node: xml_node, wrapped: bool) -> SocketForcefield:
        parsed = InputFFSocket()
        parsed.parse(node)
        name = parsed.name.fetch()
        settings = Settings.from_ipi(
            parsed.parameters.fetch(), f"the <parameters> of forcefield '{name}' of '{self._source}'"
        )
        if settings.component is not None:
            Component.named(settings.component)
        mode, address, port = parsed.mode.fetch(), parsed.address.fetch(), int(parsed.port.fetch())
        return SocketForcefield(name, mode, address, port, settings, wrapped)

    def _served(self) -> Iterator[tuple[xml_node, SocketForcefield]]:
        """The forcefields to which forces refer, and the sockets that they are, or that are in them."""
        for kind, node in self._root.fields:
            if kind == "ffsocket":
                yield node, self._socket(node, False)
            elif kind in _WRAPPERS:
                yield from ((node, self._socket(held, True)) for held in descendants(node, "ffsocket"))

    def _check_references(self) -> None:
        names = {node.attribs.get("name", "") for kind, node in self._root.fields if kind.startswith("ff")}
        for force in forces_in(self._root, "forces", "bias"):
            wanted = force.attribs.get("forcefield", "")
            if wanted not in names:
                raise DarkforcesError(
                    f"a <force> of '{self._source}' refers to forcefield '{wanted}', which is not defined; "
                    f"defined: {', '.join(sorted(names)) or 'none'}"
                )

    def _elements_to_say(self) -> str:
        """An example that fits."""
        for node in descendants(self._root, "file"):
            if node.attribs.get("mode") in ("xyz", "pdb", "ase") and fits_parameters(text_of(node)):
                return f"{{ template: {text_of(node)} }}"
        return "{ species: FORMULA }, such as O64H128 or (OH2)64,"


def fits_parameters(name: str) -> bool:
    """Tell whether the name of a file can stand among `<parameters>`, which end at commas."""
    return not re.search(r"[,:{}]", name)
