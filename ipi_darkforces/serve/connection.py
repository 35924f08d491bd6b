"""One client of i-PI: a socket, what was said on it, and what is still to be answered."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence

from ..forces.split import Answer, Request, Split
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
from .watch import TOO_FAR, Watch

log = logging.getLogger(__name__)
_CHUNK = 2**20


class Connection:
    """The conversation with one force component of one i-PI simulation.

    :param address: where i-PI listens
    :param connection: the connected socket
    :param split: who computes
    :param settings: what the user said on the command line; it comes before what i-PI sends
    :param too_far: see `Watch`

    `pending` is what is to be evaluated. `waited_for` says that i-PI does not go on before it has heard from us: not
    before it has fetched the forces, and asked for our status, which it does before it looks at them.
    """

    def __init__(
        self, address: Address, connection: socket.socket, split: Split, settings: Settings, too_far: float = TOO_FAR
    ):
        self.address = address
        self.open = True
        self._socket = connection
        self._split = split
        self._settings = settings
        self._shared_memory = isinstance(address, UnixAddress) and address.shared_memory
        self._decoder = Decoder(self._shared_memory)
        self._shared: SharedArrays | None = None
        self._role: Role | None = None
        self._stream = split.open_stream()
        self._watch = Watch(str(address), too_far)
        self._replies: list[Reply] | None = None
        # What has come in but cannot be acted on before the forces are there.
        self._postponed: list[Message] = []
        self.pending: list[Request] = []
        self.waited_for = False

    def fileno(self) -> int:
        """So that it can be waited for like a file."""
        return self._socket.fileno()

    def receive(self) -> None:
        """Read what has arrived, answer what can be answered, and leave structures to evaluate in `pending`.

        :raises DarkforcesError: if it is not what i-PI sends, or not for this model
        """
        try:
            data = self._socket.recv(_CHUNK)
        except OSError:  # closed by force, or the other machine is gone
            data = b""
        if not data:
            self._decoder.finish()
            self._leave("closed the connection")
            return
        self._act(self._decoder.feed(data))

    def answer(self, answers: Sequence[Answer]) -> None:
        """Take the results for what was pending, and send them if i-PI has asked for them already."""
        self._replies = [reply_to_ipi(answer) for answer in answers]
        for answer in answers:
            if answer.disagreement is not None:
                assert self._role is not None
                self._watch.see(answer.disagreement, self._role.species)
        self.pending = []
        postponed, self._postponed = self._postponed, []
        self._act(postponed)

    def close(self) -> None:
        """Free what this conversation held."""
        if self.open:
            self.open = False
            self._split.close_stream(self._stream)
            if self._shared is not None:
                self._shared.close()
            self._socket.close()

    def _act(self, messages: Sequence[Message]) -> None:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s: %s", self.address, ", ".join(type(message).__name__ for message in messages))
        for message in messages:
            if not self.open:  # whatever else has come in, nobody waits for the answer
                return
            if self.pending and not isinstance(message, Exit):
                self._postponed.append(message)
            else:
                self._act_on(message)

    def _act_on(self, message: Message) -> None:
        match message:
            case Status():
                self.waited_for = self._replies is not None
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
        said = Settings.parsed(message.parameters, f"the <parameters> that i-PI sent from {self.address}")
        self._role = self._settings.completed(said).resolved(self._split.model)
        log.info("%s asks for %s forces of %d atoms", self.address, self._role.component.value, len(self._role.species))

    def _take(self, message: Positions | SharedPositions) -> None:
        role = self._role
        if role is None:
            raise ProtocolError(f"{self.address} sent positions before INIT")
        if isinstance(message, SharedPositions):
            role.check_size(message.n_atoms)
            if message.segments is not None:
                self._shared = SharedArrays(message.segments, self._decoder.batch_size or 1, message.n_atoms)
            assert self._shared is not None  # the decoder expects the names with the first positions
            cells, positions = self._shared.read()
        else:
            cells, positions = message.cells, message.positions
            role.check_size(positions.shape[1])
        self.waited_for = True
        self.pending = [
            Request(structure_from_ipi(cell, position, role.species, role.periodic), role.component, self._stream)
            for cell, position in zip(cells, positions, strict=True)
        ]

    def _send_forces(self) -> None:
        if self._replies is None:
            raise ProtocolError(f"{self.address} sent GETFORCE without positions")
        if self._shared is not None:
            self._shared.write(self._replies)
            self._send(encode_shared_forces(self._replies))
        else:
            self._send(encode_forces(self._replies))
        self._replies = None

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError:
            self._leave("closed the connection")

    def _leave(self, why: str) -> None:
        log.info("i-PI at %s %s", self.address, why)
        self.close()


def connect(address: Address, split: Split, settings: Settings, too_far: float) -> Connection:
    """Connect to i-PI.

    :raises NobodyListeningError: if nobody listens there (yet)
    :raises DarkforcesError: if there is no such host, or the socket is somebody else's
    """
    connection = Connection(address, address.connect(), split, settings, too_far)
    log.info("connected to i-PI at %s", address)
    return connection
