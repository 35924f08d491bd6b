"""One driver, many clients: a bad one ends only itself, and nobody waits for it.

The driver runs in a thread here, or as a process; its model is an analytic one, whose forces are known exactly. What
speaks with it is i-PI's own client class, or real i-PI processes, and beside them small servers that misbehave.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import struct
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ase.units import Bohr, Hartree
from calculators import FILE, copper
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ipi.engine.forcefields import ForceRequest
from ipi.interfaces.sockets import Driver as Client
from ipi_processes import Workplace, assert_same_run, free_port, read_run
from programs import PATIENCE, wait_until
from toy_models import SpringModel

from ipi_darkforces.errors import ERROR, DarkforcesError
from ipi_darkforces.serve import driver as driver_module
from ipi_darkforces.serve import search as search_module
from ipi_darkforces.serve.address import InetAddress, UnixAddress, UnixPattern
from ipi_darkforces.serve.driver import Driver
from ipi_darkforces.serve.settings import Settings
from ipi_darkforces.simulate.compose import compose, write_start
from ipi_darkforces.simulate.recipe import Recipe
from ipi_darkforces.split.split import Split

CELL = 40.0 * np.eye(3)  # bohr
POSITIONS = np.array([[1.0, 2.0, 3.0], [-4.0, 5.0, 6.0]])  # bohr
MANY = 30_000  # atoms whose forces do not fit into the buffers of a socket
SPECIES = "species : Ar2 ,"


def header(text: str) -> bytes:
    return text.ljust(12).encode()


def init(parameters: str = SPECIES) -> bytes:
    return header("INIT") + struct.pack("=ii", 0, len(parameters.encode())) + parameters.encode()


def posdata(positions: np.ndarray = POSITIONS) -> bytes:
    return header("POSDATA") + CELL.tobytes() + np.linalg.inv(CELL).tobytes() + announced(len(positions), positions)


def announced(n_atoms: int, positions: np.ndarray = POSITIONS) -> bytes:
    return struct.pack("=i", n_atoms) + positions.tobytes()


GETFORCE, STATUS = header("GETFORCE"), header("STATUS")
ANSWER = 12 + 8 + 4 + 48 + 72 + 4  # bytes, for two atoms
NAN = POSITIONS + [[0.0, 0.0, 0.0], [0.0, np.nan, 0.0]]
BAD = {
    "NaN": (init() + posdata(NAN) + GETFORCE, "positions are NaN or infinite for atom 1 (Ar)"),
    "other atoms": (init() + posdata(np.ones((3, 3))), "i-PI sends 3 atoms but the template (or species) has 2"),
    "unknown key": (init(SPECIES + "speces : Ar2 ,"), "'speces' in the <parameters> that i-PI sent"),
    "unknown component": (init(SPECIES + "component : fa\nts ,"), "component 'fa ts' is not known"),
    "unknown element": (init("species : Wt2 ,"), "species 'Wt2' is not a formula"),
    "escape characters": (init("species : \x1b[2J ,"), r"species '\x1b[2J' is not a formula"),
    "a pipe as template": (init("template : /dev/null ,"), "template '/dev/null' is not a file"),
    "no text": (header("INIT") + struct.pack("=ii", 0, 2) + b"\xff\xfe", "that are not text"),
    "no message": (b"GET / HTTP/1.1\r\n\r\n", "i-PI sent b'GET / HTTP/1'; expected STATUS"),
    "forces before positions": (init() + GETFORCE, "sent GETFORCE without positions"),
    "positions before INIT": (posdata(), "sent positions before INIT"),
    "too many atoms in a formula": (init("species : Ar999999999 ,"), "has too many atoms"),
    "too large a batch": (init("species : Ar9999 , batch_size : 99999 ,"), "99999 structures of 9999 atoms"),
    "too long a text": (header("INIT") + struct.pack("=ii", 0, 2**31 - 1), "length of the parameters"),
    "atoms that were only announced": (
        init() + header("POSDATA") + CELL.tobytes() * 2 + announced(1_999_999, np.zeros(0)),
        "i-PI sends 1999999 atoms but",
    ),
}


class Served:
    """A driver in a thread, and where it looks for i-PI.

    :param place: prefix of unix sockets
    """

    def __init__(self, place: str, **options: object):
        self._place = place
        driver = Driver(Split(SpringModel()), [UnixPattern(place + "i-pi")], Settings(), **options)
        self.all_well: bool | None = None
        self._thread = threading.Thread(target=self._serve, args=(driver,), daemon=True)
        self._listeners: list[socket.socket] = []
        self._thread.start()

    def _serve(self, driver: Driver) -> None:
        self.all_well = driver.serve()

    def connect(self, name: str) -> socket.socket:
        """The connection of the driver to a new socket of that name."""
        with self.listen(name) as listener:
            connection, _ = listener.accept()
        connection.settimeout(PATIENCE)
        return connection

    def listen(self, name: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self._place + name)
        listener.listen()
        listener.settimeout(PATIENCE)
        return listener

    def good(self, name: str = "i-pi-good") -> Good:
        return Good(self.connect(name))

    def wait(self) -> bool | None:
        """Wait until it has left."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self.all_well


class Good:
    """i-PI's client class, which checks what it gets."""

    def __init__(self, connection: socket.socket):
        self._client = Client(connection)
        self._random = np.random.default_rng(0)

    def ask(self, component: str = "conservative") -> None:
        positions = self._random.normal(size=6)
        request = ForceRequest(
            id=0,
            pos=positions,
            active=np.arange(6),
            cell=(CELL, np.linalg.inv(CELL)),
            pars=f"component : {component} , {SPECIES}",
            offset=0.0,
        )
        if not self._client.lastreq:
            self._client.get_status()
            self._client.initialize(0, request["pars"])
            self._client.get_status()
        assert self._client.dispatch_send(request)
        assert self._client.dispatch_recv(request)
        self._client.lastreq = "any"
        _, forces, *_ = request["result"]
        np.testing.assert_allclose(forces, -positions * Bohr**2 / Hartree, rtol=1e-6)  # 1 eV/Å², ase's constants

    def leave(self) -> None:
        self._client.shutdown(socket.SHUT_RDWR)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise the patience with clients: all of them share one process here, and may be silent for long.

    Most of the time would go into waiting for the driver to look for new ones.
    """
    monkeypatch.setattr(driver_module, "ORPHANED", PATIENCE)
    monkeypatch.setattr(driver_module, "SEARCH_IDLE", 0.01)


@pytest.fixture
def place() -> Iterator[str]:
    with Workplace() as workplace:
        yield workplace.prefix


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return [line.removeprefix(ERROR) for line in said.splitlines() if line.startswith(ERROR)]


def read(connection: socket.socket, n: int) -> bytes:
    """Read so many bytes."""
    data = b""
    while len(data) < n and (piece := connection.recv(n - len(data))):
        data += piece
    return data


def read_to_the_end(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(2**20), b""))


@pytest.mark.parametrize("case", BAD)
def test_a_bad_client_ends_only_itself(case: str, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    message, says = BAD[case]
    served = Served(place)
    good = served.good()
    good.ask()
    bad = served.connect("i-pi-bad")
    bad.sendall(message)
    read_to_the_end(bad)  # an end, and no reset
    for _ in range(5):
        good.ask()
    good.leave()
    assert served.wait() is False
    (said,) = errors(capsys)
    assert said.startswith(f"i-PI at {place}i-pi-bad (unix)")
    assert says in said
    assert said.isprintable()


@pytest.mark.parametrize(
    ("n_atoms", "n_sent"),
    [
        *((2, n_sent) for n_sent in (5, 40, 200, len(posdata()) - 1)),
        (MANY, 12 * MANY),  # half of more than fits into a buffer
    ],
)
def test_the_end_in_the_middle_of_a_message(
    place: str, n_atoms: int, n_sent: int, capsys: pytest.CaptureFixture[str]
) -> None:
    served = Served(place)
    good = served.good()
    good.ask()
    with served.connect("i-pi-bad") as bad:
        bad.sendall(init(f"species : Ar{n_atoms} ,") + posdata(np.ones((n_atoms, 3)))[:n_sent])
    wait_until(lambda: "in the middle of a message" in capsys.readouterr().err)
    good.ask()
    good.leave()
    assert served.wait() is False


def test_the_line_says_whose_forces_they_were(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    served = Served(place)
    served.connect("i-pi-bad").sendall(init("component : fast , species : (OH2)2 ,") + posdata())
    assert served.wait() is False
    assert errors(capsys) == [
        f"i-PI at {place}i-pi-bad (unix), fast forces of (OH2)2: i-PI sends 2 atoms but the template (or species) has 6"
    ]


class FailingModel(SpringModel):
    """Springs that break, with an error of another library, if an atom is far from the origin."""

    def _evaluate(self, structures, need):
        if any(np.abs(s.positions).max() > 10.0 for s in structures):
            raise RuntimeError("out of memory")
        return super()._evaluate(structures, need)


def test_one_bad_structure_does_not_spoil_the_batch(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Asked for together, so that they are evaluated together."""
    listeners = []
    for name in ("i-pi-1", "i-pi-2", "i-pi-3"):
        listeners.append(socket.socket(socket.AF_UNIX))
        listeners[-1].bind(place + name)
        listeners[-1].listen()
    model = FailingModel()
    batches = []
    compute = model._evaluate
    model._evaluate = lambda structures, need: batches.append(len(structures)) or compute(structures, need)
    driver = Driver(Split(model), [UnixPattern(place + "i-pi")], Settings())
    driver._selector = Together(driver._selector, 3)
    result: list[bool] = []
    thread = threading.Thread(target=lambda: result.append(driver.serve()), daemon=True)
    thread.start()
    connections = [listener.accept()[0] for listener in listeners]
    shifts = [0.0, 100.0, 1.0]
    for connection, shift in zip(connections, shifts, strict=True):
        connection.sendall(init() + posdata(POSITIONS + shift) + GETFORCE)
    for i in (0, 2):
        answer = read(connections[i], ANSWER)
        forces = np.frombuffer(answer[24:72]).reshape(2, 3)
        np.testing.assert_allclose(forces, -(POSITIONS + shifts[i]) * Bohr**2 / Hartree, rtol=1e-6)
        connections[i].close()
    assert read_to_the_end(connections[1]) == b""
    thread.join(PATIENCE)
    assert result == [False]
    assert batches[0] > 1  # the last of those that begin is not expected to be asked for direct forces too
    said = capsys.readouterr().err
    assert f"{ERROR}i-PI at {place}i-pi-2 (unix), conservative forces of Ar2: RuntimeError: out of memory" in said


class Together:
    """A selector that waits until so many sockets are ready, once."""

    def __init__(self, selector, n: int):
        self._selector = selector
        self._n = n

    def __getattr__(self, name: str):
        return getattr(self._selector, name)

    def select(self, timeout: float):
        events = self._selector.select(timeout)
        if len(events) < self._n:
            return []
        self._n = 0
        return events


def test_who_asks_ahead_gets_the_forces_of_each_of_its_positions(place: str) -> None:
    served = Served(place)
    ahead = served.connect("i-pi-ahead")
    asked = [POSITIONS + 0.01 * k for k in range(2000)]

    def ask() -> None:
        ahead.sendall(init())
        for positions in asked:
            ahead.sendall(posdata(positions) + GETFORCE)

    asking = threading.Thread(target=ask)
    asking.start()
    for positions in asked:
        forces = np.frombuffer(read(ahead, ANSWER)[24:72]).reshape(2, 3)
        np.testing.assert_allclose(forces, -positions * Bohr**2 / Hartree, rtol=1e-6)
    asking.join()
    ahead.shutdown(socket.SHUT_RDWR)
    assert served.wait()


class TestOneSimulation:
    """A simulation that cannot go on without the client that had to be ended."""

    def sockets(self, place: str, driver: Driver) -> tuple[socket.socket, socket.socket, threading.Thread, list[bool]]:
        listeners = []
        for name in ("i-pi-slow", "i-pi-fast"):
            listeners.append(socket.socket(socket.AF_UNIX))
            listeners[-1].bind(place + name)
            listeners[-1].listen()
        result: list[bool] = []
        thread = threading.Thread(target=lambda: result.append(driver.serve()), daemon=True)
        thread.start()
        slow, fast = (listener.accept()[0] for listener in listeners)
        return slow, fast, thread, result

    def test_of_an_input_all_end_at_once(self, place: str, capsys: pytest.CaptureFixture[str]) -> None:
        places = [UnixAddress(place + name) for name in ("i-pi-slow", "i-pi-fast")]
        driver = Driver(Split(SpringModel()), places, Settings(), one_simulation=True)
        slow, fast, thread, result = self.sockets(place, driver)
        slow.sendall(init(SPECIES + "component : slow ,") + posdata(NAN) + GETFORCE)
        assert read_to_the_end(fast) == b""
        slow.close()
        fast.close()
        thread.join(PATIENCE)
        assert result == [False]
        assert len(errors(capsys)) == 1

    def test_of_one_process_those_that_fall_silent_end_too(
        self, place: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(driver_module, "ORPHANED", 0.5)
        driver = Driver(Split(SpringModel()), [UnixPattern(place + "i-pi")], Settings())
        slow, fast, thread, result = self.sockets(place, driver)
        slow.sendall(init(SPECIES + "component : slow ,") + posdata(NAN) + GETFORCE)
        read_to_the_end(slow)
        assert read_to_the_end(fast) == b""  # nothing was asked for
        slow.close()
        fast.close()
        thread.join(PATIENCE)
        assert result == [False]
        assert len(errors(capsys)) == 1


class TestWhereItFailed:
    """An address where something failed is tried again, after pauses; and the same mistake is said once."""

    @pytest.fixture(autouse=True)
    def _short_pauses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(search_module, "AGAIN", 0.1)

    def test_at_the_same_socket(self, place: str, capsys: pytest.CaptureFixture[str]) -> None:
        served = Served(place, stay=True)
        good = served.good()
        for _ in range(2):
            with served.listen("i-pi-bad") as listener:
                times = []
                for _ in range(3):
                    bad, _ = listener.accept()
                    times.append(time.monotonic())
                    bad.sendall(init() + posdata(NAN) + GETFORCE)
                    read_to_the_end(bad)
                    bad.close()
                    good.ask()
            first, second = np.diff(times)
            assert first > search_module.AGAIN
            assert second > 2 * search_module.AGAIN
            os.unlink(f"{place}i-pi-bad")
        assert len(errors(capsys)) == 2  # another socket is another simulation

    def test_at_a_port(self, capsys: pytest.CaptureFixture[str]) -> None:
        listener = socket.create_server(("127.0.0.1", free_port()))
        port = listener.getsockname()[1]
        driver = Driver(Split(SpringModel()), [InetAddress("localhost", port)], Settings(), stay=True)
        threading.Thread(target=driver.serve, daemon=True).start()
        for _ in range(2):
            bad, _ = listener.accept()
            bad.sendall(init() + posdata(NAN) + GETFORCE)
            assert read_to_the_end(bad) == b""
        Good(listener.accept()[0]).ask()
        assert len(errors(capsys)) == 1


class TestNobodyWaits:
    def test_for_one_that_does_not_read(self, place: str) -> None:
        served = Served(place)
        good = served.good()
        bad = served.connect("i-pi-bad")
        message = posdata(np.ones((MANY, 3))) + GETFORCE + STATUS
        bad.sendall(init(f"species : Ar{MANY} ,"))
        sent = 0
        bad.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            while True:
                sent += bad.send(message[sent % len(message) :])
        for _ in range(20):
            good.ask()
        bad.settimeout(PATIENCE)  # it reads after all, and everything is there
        answer = read(bad, 24 + 24 * MANY)
        forces = np.frombuffer(answer[24:])
        np.testing.assert_allclose(forces, -(Bohr**2) / Hartree, rtol=1e-6)
        bad.close()
        good.leave()
        assert served.wait() is not None

    @pytest.mark.parametrize("message", [b"", STATUS[:5], init() + posdata()[:-1], init() + posdata() + GETFORCE])
    def test_for_one_that_falls_silent(self, place: str, message: bytes) -> None:
        served = Served(place)
        good = served.good()
        served.connect("i-pi-bad").sendall(message)
        for _ in range(20):
            good.ask()

    def test_for_one_that_lets_nobody_in(self, place: str) -> None:
        served = Served(place)
        good = served.good()
        with full(socket.AF_UNIX, f"{place}i-pi-bad"):
            for _ in range(20):
                good.ask()
        good.leave()
        assert served.wait() is True

    def test_for_a_host_that_does_not_answer(self, place: str) -> None:
        port = free_port()
        with full(socket.AF_INET, ("127.0.0.1", port)):
            places = [UnixAddress(f"{place}i-pi-good"), InetAddress("localhost", port)]
            driver = Driver(Split(SpringModel()), places, Settings())
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(f"{place}i-pi-good")
                listener.listen()
                thread = threading.Thread(target=driver.serve, daemon=True)
                thread.start()
                good = Good(listener.accept()[0])
            for _ in range(20):
                good.ask()
            good.leave()
            thread.join(PATIENCE)
            assert not thread.is_alive()


@contextlib.contextmanager
def full(family: int, address: str | tuple[str, int]) -> Iterator[None]:
    """A socket at which as many wait as there is room for."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        listener.bind(address)
        listener.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket(family))
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(address)
        yield


def test_more_descriptors_than_select_takes(place: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4000:
        pytest.skip("the system does not allow as many")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4000), hard))
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        served = Served(place)
        with served.connect("i-pi-good") as good:  # i-PI's own class does not take as many
            good.sendall(init() + posdata() + GETFORCE + STATUS)
            assert read(good, ANSWER + 12)[-12:] == header("READY")
        assert served.wait() is True
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class TestLocalhost:
    def test_is_all_that_this_machine_may_be_called(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def only_ipv6(host: str, port: int, **options: object) -> list[tuple]:
            return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))]

        monkeypatch.setattr(socket, "getaddrinfo", only_ipv6)
        targets = InetAddress("localhost", 1).targets()
        assert targets == [(socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1")]
        assert InetAddress("elsewhere", 1).targets() == [(socket.AF_INET6, "::1")]

    def test_an_address_of_a_kind_that_is_off_is_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def elsewhere(host: str, port: int, **options: object) -> list[tuple]:  # not an address of this machine
            return [
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", port, 0, 0)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
            ]

        monkeypatch.setattr(socket, "getaddrinfo", elsewhere)
        monkeypatch.setattr(search_module, "CONNECTING", 0.5)  # where the network swallows it
        with socket.create_server(("127.0.0.1", free_port())) as listener:
            port = listener.getsockname()[1]
            driver = Driver(Split(SpringModel()), [InetAddress("somewhere", port)], Settings())
            thread = threading.Thread(target=driver.serve, daemon=True)
            thread.start()
            good = Good(listener.accept()[0])
            good.ask()
            good.leave()
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_one_of_several_that_never_comes_does_not_end_the_others(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [UnixAddress(f"{place}i-pi-good"), UnixAddress(f"{place}i-pi-late")]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{place}i-pi-good")
        listener.listen()
        result: list[bool] = []
        driver = Driver(Split(SpringModel()), places, Settings(), wait=0.5)
        thread = threading.Thread(target=lambda: result.append(driver.serve()), daemon=True)
        thread.start()
        good = Good(listener.accept()[0])
        said: list[str] = []

        def given_up() -> list[str]:
            good.ask()
            said.extend(errors(capsys))
            return said

        wait_until(given_up)
        good.ask()
        good.leave()
        thread.join(PATIENCE)
    assert result == [False]
    assert said == [f"nobody is listening at {place}i-pi-late (unix) after 0.5 s; is i-PI running?"]


def test_nobody_at_all_is_an_error(place: str) -> None:
    driver = Driver(Split(SpringModel()), [UnixAddress(f"{place}i-pi")], Settings(), wait=0.2)
    with pytest.raises(DarkforcesError, match="nobody is listening"):
        driver.serve()


# --- mutated streams


VALID = [STATUS, init(), STATUS, posdata(), GETFORCE, STATUS, posdata(), STATUS, GETFORCE, STATUS, header("EXIT")]
mutations = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "repeat", "integer"]), st.integers(0, 10**6), st.binary(max_size=16)
    ),
    max_size=4,
)


def mutated(changes: list[tuple[str, int, bytes]]) -> bytes:
    """A conversation as i-PI has it, and then changed."""
    data = bytearray(b"".join(VALID))
    for kind, place, rubbish in changes:
        where = place % max(1, len(data))
        if kind == "flip" and data:
            data[where] ^= 1 << (place % 8)
        elif kind == "cut":
            del data[where : where + 1 + place % 40]
        elif kind == "insert":
            data[where:where] = rubbish
        elif kind == "repeat":
            data[where:where] = data[where : where + 160]
        elif kind == "integer":
            data[where : where + 4] = struct.pack("=i", (-1) ** place * place)
    return bytes(data)


@pytest.fixture(scope="module")
def staying() -> Iterator[tuple[Served, Good]]:
    with Workplace() as workplace, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(driver_module, "ORPHANED", PATIENCE)
        served = Served(workplace.prefix, stay=True)
        yield served, served.good()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=mutations)
def test_whatever_comes_the_others_are_answered(
    staying: tuple[Served, Good], changes: list[tuple[str, int, bytes]]
) -> None:
    served, good = staying
    with served.connect(f"i-pi-bad-{os.urandom(8).hex()}") as bad, contextlib.suppress(ConnectionError):
        bad.sendall(mutated(changes))
        bad.shutdown(socket.SHUT_WR)
        read_to_the_end(bad)
    good.ask()


# --- real processes


STEPS = 30


def prepare(folder: Path, address: str, steps: int = STEPS) -> Path:
    """NVE of copper, that writes everything at every step."""
    folder.mkdir(exist_ok=True)
    write_start(copper(), folder / "start.chk")
    root = ET.fromstring(compose(Recipe("run", "nve", "Cu32", "start.chk", timestep=2.0, duration=2.0 * steps)))
    root.find("ffsocket/address").text = address
    output = root.find("output")
    output.find("properties").set("stride", "1")
    ET.SubElement(output, "checkpoint", filename="state", stride="1", overwrite="False")
    path = folder / "input.xml"
    ET.ElementTree(root).write(path)
    return path


def test_real_simulations_go_on_as_if_alone(tmp_path: Path) -> None:
    """Beside all kinds of bad clients, and another real one that is suspended, and killed in the end."""
    options = ("--model", f"ase:{FILE}:emt", "--stay", "-u")
    with Workplace() as workplace:
        driver = workplace.driver(*options)
        alone = workplace.ipi(prepare(tmp_path / "alone", "darkforces-alone"))
        assert alone.wait() == 0, alone.said()
        suspended = workplace.ipi(prepare(tmp_path / "suspended", "darkforces-suspended", 10_000))
        suspended.wait_for_file(tmp_path / "suspended" / "run.state_2")
        suspended.pause()
        bad = []
        for i, (message, _) in enumerate(BAD.values()):
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(f"{workplace.prefix}darkforces-bad-{i}")
                listener.listen()
                bad.append(listener.accept()[0])
                bad[-1].sendall(message.replace(b"Ar", b"Cu"))
            if i == 3:
                beside = workplace.ipi(prepare(tmp_path / "beside", "darkforces-beside"))
        assert beside.wait() == 0, beside.said()
        suspended.kill()
        for connection in bad:
            connection.close()
        assert driver.running
        assert driver.interrupt() == 130
        said = driver.said()
    assert said.count(ERROR) == len(BAD)
    assert "Traceback" not in said
    assert_same_run(read_run(tmp_path / "beside"), read_run(tmp_path / "alone"))


def test_after_one_driver_gave_up_another_goes_on(tmp_path: Path) -> None:
    """i-PI has noticed that nobody answers, and waits for the next one."""
    path = prepare(tmp_path, "darkforces")
    with Workplace() as workplace:
        ipi = workplace.ipi(path)
        wrong = workplace.driver("--model", f"ase:{FILE}:emt", "--species", "Cu31")
        assert wrong.wait() == 1, wrong.said()
        assert "i-PI sends 32 atoms but the template (or species) has 31" in wrong.said()
        right = workplace.driver("--model", f"ase:{FILE}:emt")
        assert (ipi.wait(), right.wait()) == (0, 0), ipi.said() + right.said()
    assert len(read_run(tmp_path)["step"]) == STEPS + 1
