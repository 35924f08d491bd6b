"""A client of i-PI: its socket, its requests, and the replies that it waits for."""

from __future__ import annotations

import logging
import selectors
import socket
import time
from collections.abc import Hashable, Sequence

from ..errors import DarkforcesError
from ..models.structure import MOST_ATOMS, formula_from_species
from ..split.component import ComponentForces
from ..split.monitor import TOO_FAR, Watch
from ..split.split import Request, Split
from .address import Address, UnixAddress
from .protocol import (
    Decoder,
    Exit,
    GetForce,
    Init,
    Message,
    Positions,
    ProtocolError,
    Reply,
    SharedPositions,
    Status,
    encode_forces,
    encode_shared_forces,
    encode_status,
)
from .settings import Role, Settings
from .shared_memory import SharedArrays
from .units import reply_to_ipi, structure_from_ipi

log = logging.getLogger(__name__)
_CHUNK = 2**20
# Seconds that i-PI may take for its next word while it waits for ours: microseconds, unless it is stopped.
_SOON = 0.05
_LONGEST_FORMULA = 40  # characters, of the name of a client
_MOST_NAMED = 10_000  # atoms, likewise


class Connection:
    """The conversation with one force component of one i-PI simulation.

    :param address: where i-PI listens
    :param connection: the connected socket, which does not block
    :param split: who computes
    :param settings: options of the command line; they come before what i-PI sends
    :param too_far: see `Watch`
    :param simulation: the same for all connections with one i-PI

    `pending` is what is to be evaluated. Nothing is read while an answer is not sent: what is held for a client that
    does not read is one answer, and nobody waits for it.
    """

    def __init__(
        self,
        address: Address,
        connection: socket.socket,
        split: Split,
        settings: Settings,
        too_far: float = TOO_FAR,
        simulation: Hashable = None,
    ):
        self.address = address
        self.simulation = simulation
        self.identity = address.identity()
        self.open = True
        self._socket = connection
        self._split = split
        self._settings = settings
        self._decoder = Decoder(isinstance(address, UnixAddress) and address.shared_memory)
        self._decoder.check_size = self._refuse_positions
        self._shared: SharedArrays | None = None
        self._role: Role | None = None
        self._stream = split.open_stream(simulation)
        self._watch = Watch(str(address), too_far)
        self._replies: list[Reply] | None = None
        self._unsent = memoryview(b"")
        self._waited_for_until = 0.0
        self.last_word = time.monotonic()  # when i-PI or we said something
        self.pending: list[Request] = []

    def fileno(self) -> int:
        """The file descriptor of the socket, for `selectors`."""
        return self._socket.fileno()

    @property
    def interest(self) -> int:
        """Events to wait for before `proceed`, as the `selectors` have them."""
        return selectors.EVENT_WRITE if self._unsent else selectors.EVENT_READ

    @property
    def name(self) -> str:
        """Whose forces these are, for messages."""
        if self._role is None:
            return str(self.address)
        species = self._role.species
        formula = formula_from_species(species) if len(species) <= _MOST_NAMED else ""
        atoms = formula if 0 < len(formula) <= _LONGEST_FORMULA else f"{len(species)} atoms"
        return f"{self.address}, {self._role.component.value} forces of {atoms}"

    @property
    def waited_for(self) -> bool:
        """Tell whether i-PI does not go on before it has heard from us.

        Not before it has fetched the forces, and asked for our status, which it does before it looks at them. Both
        come at once; who does not ask does not wait.
        """
        return time.monotonic() < self._waited_for_until

    def proceed(self) -> None:
        """Send what could not be sent, or read what has arrived; answer, and leave structures to evaluate in `pending`.

        :raises DarkforcesError: if it is not what i-PI sends, or not for this model
        """
        self.last_word = time.monotonic()
        if self._unsent:
            self._send(self._unsent)
        elif not self._receive():
            return
        self._act()

    def answer(self, answers: Sequence[ComponentForces]) -> None:
        """Take the results for what was pending, and send them if i-PI has asked for them already.

        :raises DarkforcesError: as `proceed`, for what has arrived in the meantime
        """
        self._replies = [reply_to_ipi(answer) for answer in answers]
        assert self._role is not None
        for answer in answers:
            self._role.watch(self._watch, answer)
        self.pending = []
        self.last_word = time.monotonic()
        self._waited_for_until = self.last_word + _SOON
        self._act()

    def close(self) -> None:
        """End it: the other side has gone."""
        if self.open:
            self.release().close()

    def release(self) -> socket.socket:
        """Free what this conversation held, but for the socket."""
        self.open = False
        self.pending = []
        self._split.close_stream(self._stream)
        if self._shared is not None:
            self._shared.close()
        return self._socket

    def _receive(self) -> bool:
        """Read what has arrived; whether anything had."""
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # closed by force, or the other machine is gone
            data = b""
        if not data:
            self._decoder.finish()
            self._leave("closed the connection")
            return False
        self._decoder.feed(data)
        return True

    def _act(self) -> None:
        """Act on the messages that have arrived, until there is something to evaluate, or to send first."""
        while self.open and not self.pending and not self._unsent:
            message = self._decoder.next_message()
            if message is None:
                return
            log.debug("%s: %s", self.address, type(message).__name__)
            self._act_on(message)

    def _act_on(self, message: Message) -> None:
        match message:
            case Status():
                if self._replies is None:
                    self._waited_for_until = 0.0
                self._send(encode_status(self._role is not None, self._replies is not None))
            case Init():
                self._initialize(message)
            case Positions() | SharedPositions():
                self._take(message)
            case GetForce():
                self._send_forces()
            case Exit():
                self._leave("said goodbye")

    def _initialize(self, message: Init) -> None:
        sent = Settings.from_ipi(message.parameters, f"the <parameters> that i-PI sent from {self.address}")
        role = self._settings.completed(sent).resolved(self._split.model)
        n_atoms, batch = len(role.species), self._decoder.batch_size or 1
        if n_atoms * batch > MOST_ATOMS:
            raise ProtocolError(
                f"i-PI announces messages of {batch} structures of {n_atoms} atoms; expected at most {MOST_ATOMS} atoms"
            )
        self._role = role
        self._decoder.check_size = role.check_size
        log.info("%s asks for %s forces of %d atoms", self.address, role.component.value, n_atoms)

    def _refuse_positions(self, n_atoms: int) -> None:
        raise ProtocolError(f"{self.address} sent positions before INIT")

    def _take(self, message: Positions | SharedPositions) -> None:
        role = self._role
        assert role is not None  # or else they would have been refused
        if isinstance(message, SharedPositions):
            batch = self._decoder.batch_size or 1
            if message.segments is not None:
                self._shared = SharedArrays(message.segments, batch, message.n_atoms)
            assert self._shared is not None  # the decoder expects the names with the first positions
            cells, positions = self._shared.read(batch, message.n_atoms)
        else:
            cells, positions = message.cells, message.positions
        structures = [
            structure_from_ipi(cell, position, role.species, role.periodic)
            for cell, position in zip(cells, positions, strict=True)
        ]
        self.pending = [Request(each, role.component, self._stream, role.extras) for each in structures]

    def _send_forces(self) -> None:
        if self._replies is None:
            raise ProtocolError(f"{self.address} sent GETFORCE without positions")
        if self._shared is not None:
            self._shared.write(self._replies)
            self._send(encode_shared_forces(self._replies))
        else:
            self._send(encode_forces(self._replies))
        self._replies = None
        self._waited_for_until = time.monotonic() + _SOON

    def _send(self, data: bytes | memoryview) -> None:
        """Send as much as can be sent at once, and keep the rest."""
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._unsent = memoryview(b"")
            self._leave("closed the connection")
            return
        self._unsent = memoryview(data)[sent:]

    def _leave(self, why: str) -> None:
        log.info("i-PI at %s %s", self.address, why)
        self.close()


def simulation_error(connection: Connection, error: Exception) -> str:
    """An error of one client, in one line that says whose it is; also what it sent may stand in it."""
    text = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, DarkforcesError):
        text = f"{type(error).__name__}: {text}"
    printable = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return f"i-PI at {connection.name}: {printable}"
