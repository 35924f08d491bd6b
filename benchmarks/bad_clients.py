"""Does a bad client slow the others? Answers per second that a good one gets beside each kind of bad one, and alone.

    python benchmarks/bad_clients.py                              # all kinds, about five minutes
    python benchmarks/bad_clients.py --kind "is suspended" --seconds 0.5 --turns 3

A driver in a process of its own serves a good client, which is i-PI's own client class, and looks for another one.
That one comes and goes, and each time that it comes it is a new process, which misbehaves in one way. So what the good
client gets with and without it is measured in turns, in one driver. All answers are compared with what they must be.
The model takes two milliseconds, which is less than most take: what the driver itself does beside it counts for more.

Peers that send as fast as they can need a processor of their own; on a machine without one to spare, what they take
from the good client is not the driver's doing. CPU time of the driver per answer is hardly affected by that, and
printed too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import socket
import statistics
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
from ase.units import Bohr, Hartree
from driver_share import exchange, listen
from ipi.engine.forcefields import ForceRequest
from ipi.interfaces.sockets import Driver as Client
from tqdm import tqdm

MODEL_TIME = 0.002  # seconds of each evaluation
N_ATOMS = 64
MANY = 100_000  # atoms of which the forces do not fit into the buffers of a socket
CELL = 40.0 * np.eye(3)  # bohr
PATIENCE = 120.0  # seconds for processes to start on a busy machine
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Rates:
    """Answers per second to a good client, beside a bad one and without it, turn by turn.

    :param alone: answers per second
    :param beside: likewise
    :param cpu_alone: ms of the driver's CPU time per answer
    :param cpu_beside: likewise
    """

    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    cpu_alone: list[float] = field(default_factory=list)
    cpu_beside: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Ratios of the rates, for each turn."""
        return [beside / alone for beside, alone in zip(self.beside, self.alone, strict=True)]


def main() -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=PEERS, action="append", help="of bad clients; may be repeated (default: all)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=10, help="with and without each (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print everything for machines")
    args = parser.parse_args()
    results = {}
    for kind in tqdm(args.kind or list(PEERS), disable=None):
        results[kind] = measure(kind, args.seconds, args.turns)
    if args.json:
        print(json.dumps({kind: vars(rates) for kind, rates in results.items()}, indent=2))
        return
    print(f"{'beside one that':32s} {'answers/s alone':>16s} {'beside':>8s}   ratio (middle half)    CPU ms per answer")
    for kind, rates in results.items():
        low, middle, high = np.percentile(rates.ratios, [25, 50, 75])
        print(
            f"{kind:32s} {statistics.median(rates.alone):16.1f} {statistics.median(rates.beside):8.1f}"
            f"   {middle:.3f} ({low:.3f} to {high:.3f})"
            f"   {statistics.median(rates.cpu_alone):.2f}, {statistics.median(rates.cpu_beside):.2f}"
        )


def measure(kind: str, seconds: float, turns: int) -> Rates:
    """Measure the answers to a good client beside a bad one and without it.

    :param kind: of `PEERS`
    :param seconds: of each turn
    :param turns: with it, and as many without it
    :raises AssertionError: if the good client gets a wrong answer, or none, or the driver ends
    """
    rates = Rates()
    with tempfile.TemporaryDirectory(prefix="bad", dir="/tmp") as folder, _driver(folder, kind) as good:
        good.ask_for(seconds)  # to warm up
        for _ in range(turns):
            rate, cpu = good.ask_for(seconds)
            rates.alone.append(rate)
            rates.cpu_alone.append(cpu)
            with bad_peer(kind, folder, good.ask):
                rate, cpu = good.ask_for(seconds)
                rates.beside.append(rate)
                rates.cpu_beside.append(cpu)
    return rates


class GoodClient:
    """i-PI's client class, which asks for forces at positions that change.

    :param listener: where the driver connects
    :param driver: its process
    """

    def __init__(self, listener: socket.socket, driver: int):
        self._client = Client(listener.accept()[0])
        self._driver = driver
        self._random = np.random.default_rng(0)

    def ask(self) -> None:
        """Send one request; what comes back must be right."""
        positions = self._random.normal(0.0, 1.0, 3 * N_ATOMS)
        request = ForceRequest(
            id=0,
            pos=positions,
            active=np.arange(len(positions)),
            cell=(CELL, np.linalg.inv(CELL)),
            pars=f"component : conservative , species : Ar{N_ATOMS} , ",
            offset=0.0,
        )
        exchange(self._client, request)
        _, forces, *_ = request["result"]
        np.testing.assert_allclose(forces, -positions * Bohr**2 / Hartree, rtol=1e-6)

    def ask_for(self, seconds: float) -> tuple[float, float]:
        """Requests one after the other; answers per second, and ms of the driver's CPU time per answer."""
        begun, cpu, n = time.perf_counter(), _cpu_time(self._driver), 0
        while time.perf_counter() < begun + seconds or n < 2:
            self.ask()
            n += 1
        return n / (time.perf_counter() - begun), 1000.0 * (_cpu_time(self._driver) - cpu) / n

    def leave(self) -> None:
        """Say goodbye."""
        with contextlib.suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)


def _cpu_time(process: int) -> float:
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS


@contextlib.contextmanager
def _driver(folder: str, kind: str) -> Iterator[GoodClient]:
    """A driver that serves the good client, and looks for a bad one."""
    context = multiprocessing.get_context("spawn")  # nothing of this process is in the driver
    listener = listen(f"{folder}/good")
    port = _free_port() if kind in OVER_TCP else None
    if port is not None:
        Path(folder, "port").write_text(str(port))
    process = context.Process(target=serve, args=(folder, port))
    process.start()
    assert process.pid is not None
    try:
        good = GoodClient(listener, process.pid)
        yield good
        good.leave()
        assert process.is_alive(), "the driver has ended"
    finally:
        process.kill()
        process.join()


def serve(folder: str, port: int | None) -> None:
    """The driver's process; what it says of bad clients goes to a file."""
    from ipi_darkforces.models.model import ForceModel, Need
    from ipi_darkforces.models.result import Forces
    from ipi_darkforces.models.structure import Structure
    from ipi_darkforces.serve.address import InetAddress, UnixAddress
    from ipi_darkforces.serve.driver import Driver
    from ipi_darkforces.serve.settings import Settings
    from ipi_darkforces.split.split import Split

    class Springs(ForceModel):
        """Atoms on springs to the origin, of 1 eV/Å²."""

        def __init__(self) -> None:
            super().__init__("springs", Need.ENERGY | Need.CONSERVATIVE | Need.VIRIAL, None)

        def _evaluate(self, structures: Sequence[Structure], need: Need) -> list[Forces]:
            time.sleep(MODEL_TIME)
            return [Forces(0.5 * float((s.positions**2).sum()), -s.positions, virial=np.eye(3)) for s in structures]

    with open(f"{folder}/driver.log", "w") as log:
        os.dup2(log.fileno(), 2)
    bad = UnixAddress(f"{folder}/bad") if port is None else InetAddress("localhost", port)
    Driver(Split(Springs()), [UnixAddress(f"{folder}/good"), bad], Settings(), stay=True).serve()


@contextlib.contextmanager
def bad_peer(kind: str, folder: str, meanwhile: Callable[[], None]) -> Iterator[int]:
    """A bad client in a process of its own, as soon as it has begun to be bad; its process number.

    :param kind: of `PEERS`
    :param folder: it listens at ``bad`` there, or at the port that the file ``port`` holds
    :param meanwhile: called again and again until it is bad
    """
    context = multiprocessing.get_context("fork")
    begun = context.Event()
    process = context.Process(target=_misbehave, args=(kind, folder, begun))
    process.start()
    assert process.pid is not None
    try:
        deadline = time.monotonic() + PATIENCE
        while not begun.is_set():
            assert time.monotonic() < deadline, f"the driver has not come to the peer that {kind}"
            meanwhile()
        yield process.pid
    finally:
        process.kill()
        process.join()
        Path(folder, "bad").unlink(missing_ok=True)


def _misbehave(kind: str, folder: str, begun: Event) -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # the driver has had enough
        PEERS[kind](folder, begun)
    begun.set()
    signal.pause()


def _accepted(folder: str) -> socket.socket:
    """A connection of the driver's."""
    listener = listen(f"{folder}/bad")
    listener.settimeout(None)
    return listener.accept()[0]


def _header(text: str) -> bytes:
    return text.ljust(12).encode()


def _init(parameters: str) -> bytes:
    return _header("INIT") + struct.pack("=ii", 0, len(parameters)) + parameters.encode()


def _positions(n_atoms: int, value: float = 1.0) -> bytes:
    cells = CELL.tobytes() + np.linalg.inv(CELL).tobytes()
    return _header("POSDATA") + cells + struct.pack("=i", n_atoms) + np.full(3 * n_atoms, value).tobytes()


def _begin(folder: str, n_atoms: int = N_ATOMS) -> socket.socket:
    """A connection that has said who it is."""
    connection = _accepted(folder)
    connection.sendall(_init(f"species : Ar{n_atoms} , "))
    return connection


def _says_nothing(folder: str, begun: Event) -> None:
    _connection = _accepted(folder)
    begun.set()
    signal.pause()


def _is_suspended(folder: str, begun: Event) -> None:
    connection = _begin(folder)
    connection.sendall(_positions(N_ATOMS) + _header("GETFORCE"))
    begun.set()
    os.kill(os.getpid(), signal.SIGSTOP)


def _does_not_read(folder: str, begun: Event) -> None:
    connection = _begin(folder, MANY)
    begun.set()
    while True:
        connection.sendall(_positions(MANY) + _header("GETFORCE") + _header("STATUS"))


def _dribbles(folder: str, begun: Event) -> None:
    connection = _begin(folder)
    begun.set()
    while True:
        for byte in _positions(N_ATOMS):
            connection.sendall(bytes([byte]))
            time.sleep(0.001)
        connection.sendall(_header("STATUS"))


def _once(*messages: bytes) -> Callable[[str, Event], None]:
    """Sends something wrong, and stays."""

    def peer(folder: str, begun: Event) -> None:
        connection = _accepted(folder)
        connection.sendall(b"".join(messages))
        begun.set()
        while connection.recv(2**20):
            pass
        signal.pause()

    return peer


def _breaks_off(folder: str, begun: Event) -> None:
    with _begin(folder) as connection:
        connection.sendall(_positions(N_ATOMS)[:-1])


def _sends_random_bytes(folder: str, begun: Event) -> None:
    connection = _accepted(folder)
    begun.set()
    while True:
        connection.sendall(os.urandom(2**16))


def _comes_back(folder: str, begun: Event) -> None:
    """Again and again at a new socket, and is killed in the middle of a message each time."""
    while True:
        path = f"{folder}/bad"
        listener = listen(path)
        connection, _ = listener.accept()
        connection.sendall(_init(f"species : Ar{MANY} , ") + _positions(MANY)[: 2**20])
        connection.close()
        listener.close()
        os.unlink(path)
        begun.set()


def _has_no_room(folder: str, begun: Event) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{folder}/bad")
    _fill(listener, socket.AF_UNIX)
    begun.set()
    signal.pause()


def _does_not_answer(folder: str, begun: Event) -> None:
    """A port where too many wait: connections to it are lost without a word, as if there were no such host."""
    listener = socket.socket(socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(Path(folder, "port").read_text())))
    _fill(listener, socket.AF_INET)
    begun.set()
    signal.pause()


def _fill(listener: socket.socket, family: int) -> None:
    """Let as many wait as there is room for."""
    listener.listen(0)
    waiting = []
    for _ in range(8):
        waiting.append(socket.socket(family))
        waiting[-1].setblocking(False)
        with contextlib.suppress(BlockingIOError):
            waiting[-1].connect(listener.getsockname())
    _kept.extend(waiting)


_kept: list[socket.socket] = []  # open as long as the process
OVER_TCP = {"does not answer"}
PEERS: dict[str, Callable[[str, Event], None]] = {
    "says nothing": _says_nothing,
    "is suspended": _is_suspended,
    "does not read": _does_not_read,
    "dribbles": _dribbles,
    "has no room for us": _has_no_room,
    "does not answer": _does_not_answer,
    "sends random bytes": _sends_random_bytes,
    "sends NaN": _once(_init("species : Ar64 ,"), _positions(N_ATOMS, np.nan), _header("GETFORCE")),
    "sends other atoms": _once(_init("species : Ar64 ,"), _positions(65)),
    "asks for what there is not": _once(_init("species : Ar64 , component : fats ,")),
    "sends no text": _once(_header("INIT"), struct.pack("=ii", 0, 4), b"\xff\xfe\xfd\xfc"),
    "asks before it sends": _once(_init("species : Ar64 ,"), _header("GETFORCE")),
    "announces too much": _once(_init("species : Ar1999999 ,"), _positions(0)[:-4], struct.pack("=i", 1_999_999)),
    "breaks off": _breaks_off,
    "comes back and breaks off": _comes_back,
}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
