"""Streams of messages with something wrong in them, to the decoder alone and to a driver that serves others as well."""

from __future__ import annotations

import multiprocessing
import random
import selectors
import socket
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ipi.engine.forcefields import ForceRequest
from ipi.interfaces.sockets import Driver as Client
from ipi.interfaces.sockets import Status
from ipi.utils.messages import verbosity
from ipi.utils.units import unit_to_internal, unit_to_user

from ipi_darkforces.errors import ERROR
from ipi_darkforces.serve.protocol import Decoder, ProtocolError

from .crystal import DRIVER, THEIRS
from .programs import PATIENCE, Group, has_ended, wait_until
from .records import Records

MESSAGES = 400  # in a stream to a driver
SHORT = 20  # in a stream to the decoder
BAD = 16  # bad peers at a time
SILENCE = 2.0  # seconds after which a driver has dealt with all that it got
HANGS = 30.0  # seconds after which a driver that has done nothing more is taken to wait for ever
ANGSTROM = unit_to_user("length", "angstrom", 1.0)  # of a bohr, by i-PI's constants
EV_PER_ANGSTROM = unit_to_internal("force", "ev/ang", 1.0)  # hartree/bohr
SPECIES = "Al4"
CELL = 4.05 * np.eye(3) / ANGSTROM
POSITIONS = bulk("Al", cubic=True).positions / ANGSTROM + 0.05 * np.arange(12).reshape(4, 3)


def header(text: str) -> bytes:
    """Twelve characters."""
    return text.ljust(12).encode()


def init(parameters: str = f"species : {SPECIES} , ") -> bytes:
    """The message of i-PI about a forcefield."""
    return header("INIT") + struct.pack("=ii", 0, len(parameters)) + parameters.encode()


def positions() -> bytes:
    """A structure."""
    cells = CELL.T.tobytes() + np.linalg.inv(CELL).T.tobytes()
    return header("POSDATA") + cells + struct.pack("=i", len(POSITIONS)) + POSITIONS.tobytes()


def conversation(n: int) -> list[bytes]:
    """The messages of i-PI, most of which are questions for the status."""
    step = [positions(), *[header("STATUS")] * 6, header("GETFORCE"), *[header("STATUS")] * 2]
    return [header("STATUS"), init(), header("STATUS"), *(step[i % len(step)] for i in range(n - 3))]


def flipped(data: bytes, choice: random.Random) -> bytes:
    """Change a byte."""
    i = choice.randrange(len(data))
    return data[:i] + bytes([data[i] ^ choice.randrange(1, 256)]) + data[i + 1 :]


def cut(data: bytes, choice: random.Random) -> bytes:
    """Leave out some bytes."""
    i = choice.randrange(len(data))
    return data[:i] + data[i + choice.randrange(1, 200) :]


def grown(data: bytes, choice: random.Random) -> bytes:
    """Add some bytes."""
    i = choice.randrange(len(data))
    return data[:i] + choice.randbytes(choice.randrange(1, 200)) + data[i:]


def repeated(data: bytes, choice: random.Random) -> bytes:
    """Repeat some bytes."""
    i, n = choice.randrange(len(data)), choice.randrange(1, 200)
    return data[: i + n] + data[i:]


def absurd(data: bytes, choice: random.Random) -> bytes:
    """Put a number that cannot be, or none, in place of another."""
    i = choice.randrange(max(1, len(data) - 8))
    number = choice.choice(
        [struct.pack("=i", n) for n in (-1, 0, 2**31 - 1, -(2**31))]
        + [struct.pack("=d", x) for x in (np.nan, np.inf, 1e300)]
    )
    return data[:i] + number + data[i + len(number) :]


def broken_off(data: bytes, choice: random.Random) -> bytes:
    """End the stream in the middle."""
    return data[: choice.randrange(len(data))]


def out_of_order(data: bytes, choice: random.Random) -> bytes:
    """Put a message where it should not come."""
    message = choice.choice([header("GETFORCE"), header("EXIT"), positions(), init(), init("batch_size : 3 , ")])
    return data + message + data


def garbage(data: bytes, choice: random.Random) -> bytes:
    """Anything."""
    return choice.randbytes(len(data))


MUTATIONS = (flipped, cut, grown, repeated, absurd, broken_off, out_of_order, garbage)


def mutated(n: int, choice: random.Random) -> bytes:
    """A conversation of n messages, the last fifth of which has one to three faults."""
    messages = conversation(n)
    good, bad = messages[: n - n // 5], b"".join(messages[n - n // 5 :])
    for _ in range(choice.randrange(1, 4)):
        bad = choice.choice(MUTATIONS)(bad, choice) or b"\0"
    return b"".join(good) + bad


def to_the_decoder(n_messages: int, seed: int, progress: Callable[[int], object]) -> dict[str, Any]:
    """Streams in pieces of any size; only what says that this is no message of i-PI's may come of it."""
    choice = random.Random(seed)
    endings: Counter[str] = Counter()
    for done in range(0, n_messages, SHORT):
        stream, decoder = mutated(SHORT, choice), Decoder()
        try:
            while stream:
                n = choice.choice((1, 7, 100, 5000))
                decoder.feed(stream[:n])
                while decoder.next_message() is not None:
                    pass
                stream = stream[n:]
            decoder.finish()
            endings["nothing was noticed"] += 1
        except ProtocolError:
            endings["refused"] += 1
        except Exception as error:  # what is looked for here
            endings[repr(error)[:100]] += 1
        progress(min(SHORT, n_messages - done))
    return {"messages": n_messages, "endings": dict(endings)}


def to_a_driver(records: Records, n_messages: int, seed: int, progress: Callable[[int], object]) -> None:
    """Streams to a driver that serves a good client at the same time; one record to each driver that ends over it."""
    sent = 0
    while sent < n_messages:
        with tempfile.TemporaryDirectory(prefix="faults-") as name, Group() as group:
            names = ["good", *(f"bad{i}" for i in range(BAD))]
            log = Path(name) / "driver.log"
            options = ["--stay", "-u", *(word for each in names for word in ("-a", each)), "-S", f"{name}/"]
            driver = group.start((*DRIVER, *options), Path(name), log)
            good = _GoodClient(f"{name}/good")
            peers = _BadPeers([f"{name}/{each}" for each in names[1:]], random.Random(seed + sent))
            while peers.messages < n_messages - sent and not has_ended(driver) and not good.failed:
                before = peers.messages
                peers.go_on()
                progress(peers.messages - before)
            ended = wait_until(partial(has_ended, driver), 20.0) if good.failed else has_ended(driver)
            answers = good.stop()
            peers.close()
            memory = 0 if ended else _memory(driver.pid)
            said = log.read_text(errors="replace")
        sent += peers.messages
        errors = [line for line in said.splitlines() if line.startswith(ERROR)]
        records.add(
            part="streams",
            messages=peers.messages,
            streams=peers.streams,
            ended=ended,
            refused=len(errors),
            last=errors[-1:],
            traceback="Traceback" in said,
            megabytes=memory,
            **answers,
        )


def to_their_driver(records: Records, n_streams: int, seed: int, progress: Callable[[int], object]) -> None:
    """Streams to i-PI's own driver, which serves nobody else meanwhile; one record to each."""
    choice = random.Random(seed)
    for _ in range(n_streams):
        records.add(part="their streams", ending=_their_ending(choice))
        progress(1)


def _their_ending(choice: random.Random) -> str:
    """The way in which i-PI's own driver ends on a stream."""
    with tempfile.TemporaryDirectory(prefix="faults-") as name, Group() as group:
        log = Path(name) / "driver.log"
        peers = _BadPeers([f"{name}/darkforces"], choice)
        driver = group.start((*THEIRS, "-S", f"{name}/"), Path(name), log)
        wait_until(lambda: peers.go_on() or peers.streams or has_ended(driver))
        ended = wait_until(partial(has_ended, driver), HANGS)
        peers.close()
        if not ended:
            return "waits for ever"
        return "ended with a traceback" if "Traceback" in log.read_text(errors="replace") else "ended"


def _listening(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)
    return listener


def _memory(pid: int) -> int:
    """Memory of a process, MB."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) // 1024


class _BadPeers:
    """Listeners that send a stream to who comes, do not mind how that ends, and then listen anew."""

    def __init__(self, paths: Sequence[str], choice: random.Random):
        self.streams = self.messages = 0
        self._choice = choice
        self._waiting = selectors.DefaultSelector()
        self._rest: dict[socket.socket, bytes] = {}  # of each stream
        self._heard: dict[socket.socket, float] = {}  # when something was last sent or received
        for path in paths:
            self._listen(path)

    def go_on(self) -> None:
        """Accept, send and read what can be, for a moment."""
        for key, events in self._waiting.select(0.2):
            assert isinstance(key.fileobj, socket.socket)
            if key.fileobj in self._rest:
                self._serve(key.fileobj, events, key.data)
            else:
                self._accept(key.fileobj, key.data)
        for connection, heard in list(self._heard.items()):
            if not self._rest[connection] and time.monotonic() - heard > SILENCE:  # the driver waits for more
                del self._heard[connection]
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Leave."""
        for key in list(self._waiting.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._waiting.close()

    def _listen(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)  # or the driver takes it for the one that has misbehaved
        self._waiting.register(_listening(path), selectors.EVENT_READ, path)

    def _accept(self, listener: socket.socket, path: str) -> None:
        connection, _ = listener.accept()
        self._waiting.unregister(listener)
        listener.close()
        connection.setblocking(False)
        self._rest[connection] = mutated(MESSAGES, self._choice)
        self._waiting.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE, path)

    def _serve(self, connection: socket.socket, events: int, path: str) -> None:
        try:
            self._heard[connection] = time.monotonic()
            if events & selectors.EVENT_READ and not connection.recv(2**20):
                raise ConnectionResetError  # the driver has had enough
            if events & selectors.EVENT_WRITE:
                rest = self._rest[connection]
                self._rest[connection] = rest[connection.send(rest[:65536]) :]
                if not self._rest[connection]:
                    self._waiting.modify(connection, selectors.EVENT_READ, path)
        except OSError:
            self._waiting.unregister(connection)
            connection.close()
            del self._rest[connection]
            self._heard.pop(connection, None)
            self.streams += 1
            self.messages += MESSAGES
            self._listen(path)


class _GoodClient:
    """i-PI's own client class, in a process of its own, which asks for the same forces again and again."""

    def __init__(self, path: str):
        context = multiprocessing.get_context("fork")
        self._pipe, its = context.Pipe()
        self._process = context.Process(target=_ask, args=(path, its), daemon=True)
        self._process.start()

    @property
    def failed(self) -> bool:
        """Tell whether it has given up."""
        return self._pipe.poll()

    def stop(self) -> dict[str, Any]:
        """Stop; the number of answers, the error of the worst, and the time of the slowest (s)."""
        self._pipe.send(None)
        found = self._pipe.recv() if self._pipe.poll(PATIENCE) else {}
        self._process.kill()
        self._process.join()
        return {"answers": 0, "difference": np.inf, "slowest": np.inf, **found}


def _ask(path: str, pipe: Connection) -> None:
    """The good client's process: it goes on until it hears something, and then tells what it got."""
    verbosity.level = "quiet"  # what i-PI's class says when the driver has gone
    atoms = bulk("Al", cubic=True)
    atoms.positions = POSITIONS * ANGSTROM
    atoms.calc = EMT()
    right = atoms.get_forces() * EV_PER_ANGSTROM
    n, largest, longest = 0, 0.0, 0.0
    try:
        client = Client(_listening(path).accept()[0])
        while not pipe.poll():
            begun = time.monotonic()
            found = _forces(client)
            longest = max(longest, time.monotonic() - begun)
            largest = max(largest, float(np.abs(found - right).max()))
            n += 1
            time.sleep(0.002)  # i-PI's own work
    finally:
        pipe.send({"answers": n, "difference": largest, "slowest": round(longest, 3)})


def _forces(client: Any) -> np.ndarray:
    """Answer to one request, made as i-PI makes it.

    :raises ConnectionError: if the driver has gone
    """
    request = ForceRequest(
        id=0,
        pos=POSITIONS.ravel(),
        active=np.arange(POSITIONS.size),
        cell=(CELL, np.linalg.inv(CELL)),
        pars=f"species : {SPECIES} , ",
        offset=0.0,
    )
    if not client.status & Status.Ready:
        client.get_status()
        client.initialize(0, request["pars"])
        client.get_status()
    if not client.dispatch_send(request):
        raise ConnectionError
    while not client.dispatch_recv(request):
        if not client.status & Status.Up:
            raise ConnectionError
    return np.reshape(request["result"][1], (-1, 3))
