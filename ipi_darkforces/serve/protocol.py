"""i-PI's wire format: bytes to messages and back, without sockets.

Everything starts with a header of twelve characters; numbers are native-endian int32 and float64, in atomic units::

    i-PI sends                                                we answer
    STATUS                                                    NEEDINIT, READY or HAVEDATA
    INIT      bead (int), length (int), parameters
    POSDATA   cell (9), inverse cell (9), n (int),
              positions (3n)
    GETFORCE                                                  FORCEREADY energy, n (int), forces (3n), virial (9),
                                                                         length (int), extras
    EXIT

With ``batch_size:b`` among the parameters of INIT, POSDATA is n, b times (cell, inverse cell), b times positions, and
FORCEREADY is b energies, n, forces, virials, and b extras. With shared memory, POSDATA is n and, the first time, the
names of six segments (length (int), name), and FORCEREADY is followed by the extras alone.

Cells travel as the matrix whose columns are the cell vectors.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DarkforcesError
from ..models.structure import MOST_ATOMS

HEADER_LENGTH = 12
# Far more than i-PI will ever be used for; a larger number means that the two sides are out of step.
LARGEST_BATCH = 100_000
LONGEST_TEXT = 2**24
LONGEST_NAME = 255  # of a segment of shared memory: that of a file
SHARED_SEGMENTS = ("pos", "h", "ih", "pot", "force", "vir")

_INT = struct.Struct("=i")
_DOUBLE = struct.Struct("=d")
_NEEDINIT, _READY, _HAVEDATA, _FORCEREADY = (
    text.ljust(HEADER_LENGTH) for text in (b"NEEDINIT", b"READY", b"HAVEDATA", b"FORCEREADY")
)
_NO_EXTRAS = _INT.pack(0)
# Yields how many bytes it wants next, or a message; is sent the bytes.
_Parser = Generator[Any, bytes, Any]


class ProtocolError(DarkforcesError):
    """Something arrived that i-PI does not send."""


@dataclass(frozen=True)
class Status:
    """i-PI asks what we are doing."""


@dataclass(frozen=True)
class Init:
    """i-PI tells which replica this is for, and the `<parameters>` of the forcefield."""

    bead: int
    parameters: dict[str, str]


@dataclass(frozen=True)
class Positions:
    """Structures to evaluate, in bohr.

    :param cells: cell vectors as columns, shape (batch, 3, 3)
    :param positions: shape (batch, n_atoms, 3)
    """

    cells: np.ndarray
    positions: np.ndarray


@dataclass(frozen=True)
class SharedPositions:
    """Structures to evaluate lie in shared memory; the names of the segments come with the first of these messages."""

    n_atoms: int
    segments: dict[str, str] | None


@dataclass(frozen=True)
class GetForce:
    """i-PI asks for the results."""


@dataclass(frozen=True)
class Exit:
    """i-PI says goodbye."""


Message = Status | Init | Positions | SharedPositions | GetForce | Exit


@dataclass(frozen=True)
class Reply:
    """The reply for one structure, in atomic units: energy, forces (n_atoms, 3), virial (3, 3)."""

    energy: float
    forces: np.ndarray
    virial: np.ndarray
    extras: str = ""


class Decoder:
    """Cuts the bytes that i-PI sends into messages, however they arrive.

    :param shared_memory: whether positions come through shared memory

    `check_size` may raise an error for a number of atoms, which then are refused as soon as they are announced. What is
    held is never more than the message that is coming in and what has arrived behind it.
    """

    def __init__(self, shared_memory: bool = False):
        self._shared_memory = shared_memory
        self._names_known = False
        self._buffer = bytearray()
        self._parser = self._parse()
        self._wanted = next(self._parser)
        self._between_messages = True
        self.batch_size: int | None = None
        self.check_size: Callable[[int], None] = lambda n_atoms: None

    def feed(self, data: bytes) -> None:
        """Take the next bytes, in pieces of any size."""
        self._buffer += data

    def next_message(self) -> Message | None:
        """The next message that is complete; None if there is none yet.

        :raises ProtocolError: if this is not what i-PI sends
        """
        while len(self._buffer) >= self._wanted:
            with memoryview(self._buffer) as view:
                piece = view[: self._wanted].tobytes()
            del self._buffer[: self._wanted]
            self._between_messages = False
            step: Message | int = self._parser.send(piece)
            if not isinstance(step, int):
                self._between_messages = True
                self._wanted = next(self._parser)
                return step
            self._wanted = step
        return None

    def finish(self) -> None:
        """The other side has closed the connection.

        :raises ProtocolError: if it did so in the middle of a message
        """
        missing = self._wanted - len(self._buffer)  # or there are whole messages, for whose answers nobody waits now
        if missing > 0 and (self._buffer or not self._between_messages):
            raise ProtocolError(
                f"the connection ended in the middle of a message: expected at least {missing} more bytes"
            )

    def _parse(self) -> _Parser:
        while True:
            header = (yield HEADER_LENGTH).rstrip()
            if header == b"STATUS":
                yield Status()
            elif header == b"GETFORCE":
                yield GetForce()
            elif header == b"EXIT":
                yield Exit()
            elif header == b"INIT":
                bead = _int((yield 4), "replica", lowest=-(2**31), highest=2**31 - 1)
                text = yield from _text("parameters")
                parameters = parse_parameters(text)
                self.batch_size = _batch_size(parameters)
                yield Init(bead, parameters)
            elif header == b"POSDATA":
                yield (yield from self._parse_positions())
            else:
                raise ProtocolError(
                    f"i-PI sent {header!r}; expected STATUS, INIT, POSDATA, GETFORCE or EXIT (is this an i-PI socket?)"
                )

    def _parse_positions(self) -> _Parser:
        if self._shared_memory:
            return (yield from self._parse_shared_positions())
        if self.batch_size is None:
            start = yield 148
            cells = np.frombuffer(start, count=18)
            n = self._number_of_atoms(start[144:], MOST_ATOMS, "if its mode is shm, the driver needs --shm")
            batch = 1
        else:
            batch = self.batch_size
            n = self._number_of_atoms((yield 4), MOST_ATOMS // batch, "if its mode is shm, the driver needs --shm")
            cells = np.frombuffer((yield 144 * batch))
        positions = np.frombuffer((yield 24 * n * batch))
        return Positions(cells.reshape(batch, 2, 3, 3)[:, 0], positions.reshape(batch, n, 3))

    def _parse_shared_positions(self) -> _Parser:
        n = self._number_of_atoms((yield 4), MOST_ATOMS, "if its mode is not shm, the driver must do without --shm")
        segments = None
        if not self._names_known:
            segments = {}
            for kind in SHARED_SEGMENTS:
                segments[kind] = yield from _text(f"name of the shared-memory segment '{kind}'", LONGEST_NAME)
            self._names_known = True
        return SharedPositions(n, segments)

    def _number_of_atoms(self, data: bytes, most: int, hint: str) -> int:
        try:
            n = _int(data, "number of atoms", 1, most)
        except ProtocolError as error:
            raise ProtocolError(f"{error}; {hint}") from error
        self.check_size(n)
        return n


def _int(data: bytes, what: str, lowest: int, highest: int) -> int:
    (value,) = _INT.unpack(data)
    if not lowest <= value <= highest:
        raise ProtocolError(f"i-PI sent {value} as the {what}; expected {lowest} to {highest}")
    return value


def _text(what: str, longest: int = LONGEST_TEXT) -> _Parser:
    length = _int((yield 4), f"length of the {what}", 0, longest)
    data = (yield length) if length else b""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProtocolError(f"i-PI sent {what} that are not text: {data[:40]!r}") from error


def parse_parameters(text: str) -> dict[str, str]:
    """The `<parameters>` of a forcefield as i-PI writes them: ``key : value , key : value ,``."""
    pairs = (item.partition(":") for item in text.split(","))
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def _batch_size(parameters: dict[str, str]) -> int | None:
    """The number of structures to a message; None for the unbatched format."""
    text = parameters.pop("batch_size", "1")
    # The length first: Python refuses to read numbers of thousands of digits.
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= LARGEST_BATCH:
        raise ProtocolError(f"i-PI sent {text[:40]!r} as the batch size; expected 1 to {LARGEST_BATCH}")
    return int(text) if int(text) > 1 else None


def encode_status(initialized: bool, has_data: bool) -> bytes:
    """The answer to STATUS."""
    return _NEEDINIT if not initialized else _HAVEDATA if has_data else _READY


def encode_forces(replies: Sequence[Reply]) -> bytes:
    """The answer to GETFORCE, of one structure or of a batch, in one piece."""
    pieces = [_FORCEREADY]
    pieces += [_DOUBLE.pack(reply.energy) for reply in replies]
    pieces += [_INT.pack(len(replies[0].forces))]
    pieces += [reply.forces.tobytes() for reply in replies]  # row by row, whatever the layout in memory
    pieces += [reply.virial.tobytes() for reply in replies]
    pieces += [_extras(reply) for reply in replies]
    return b"".join(pieces)


def encode_shared_forces(replies: Sequence[Reply]) -> bytes:
    """The answer to GETFORCE when the numbers have been put into shared memory."""
    return b"".join([_FORCEREADY, *(_extras(reply) for reply in replies)])


def _extras(reply: Reply) -> bytes:
    if not reply.extras:
        return _NO_EXTRAS
    extras = reply.extras.encode("utf-8")
    return _INT.pack(len(extras)) + extras
