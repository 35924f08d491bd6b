"""Mistakes are said in one line, with a non-zero exit code, and i-PI gets no answer that is not forces.

The driver's command runs in a thread of this process; it talks to a small server here that follows i-PI's protocol, or
does not.
"""

import contextlib
import os
import re
import socket
import struct
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from ipi.pes import scan_pes_file
from ipi_processes import Workplace, free_port, prepare
from programs import PATIENCE, finish

import ipi_darkforces
from ipi_darkforces.cli import entry
from ipi_darkforces.cli.driver import build_parser
from ipi_darkforces.cli.serving import serve
from ipi_darkforces.errors import ERROR
from ipi_darkforces.serve.address import InetAddress, NobodyListeningError

CELL = 20.0 * np.eye(3)
POSITIONS = np.array([[1.0, 1.0, 1.0], [4.0, 1.0, 1.0]])  # bohr, of two atoms of argon
NOBODY = 65534  # a user


@pytest.fixture
def place():
    """A prefix for unix sockets."""
    with Workplace() as workplace:
        yield workplace.prefix


def run_driver(*options: str) -> int:
    return entry.run(lambda: serve(build_parser().parse_args(options)))


def error_line(capsys) -> str:
    """The one line that the driver has left on stderr besides what it logs."""
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith(ERROR)]
    assert len(errors) == 1, lines
    assert not any("Traceback" in line for line in lines), lines
    return errors[0].removeprefix(ERROR)


@pytest.fixture
def fails(capsys, breaking_model):
    """Run the driver's command, which must fail; return what it says."""

    def run(*options: str, model: Path | str = breaking_model) -> str:
        assert run_driver("--model", str(model), *options) == 1
        return error_line(capsys)

    return run


class Server:
    """The i-PI side of one unix socket, and a driver of argon that connects to it."""

    def __init__(self, place: str, model: Path, *options: str):
        self.address = place + "darkforces"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.address)
        self._listener.listen()
        self._listener.settimeout(0.1)
        self._pool = ThreadPoolExecutor(1)
        self._driver: Future[int] = self._pool.submit(run_driver, "--model", str(model), "-S", place, *options)
        self._connection = self._accept()
        self._connection.settimeout(PATIENCE)
        self._listener.close()

    def _accept(self) -> socket.socket:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self._listener.accept()[0]
            except TimeoutError:
                assert not self._driver.done(), f"the driver has not come: {self._driver.result()}"
                assert time.monotonic() < deadline, "the driver does not come"

    def __enter__(self):
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()
        self._pool.shutdown()

    def send(self, header: str, *parts: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # the driver may have seen enough already
            self._connection.sendall(header.ljust(12).encode() + b"".join(parts))

    def init(self, parameters: str = "species : Ar2 ,") -> None:
        self.send("INIT", struct.pack("ii", 0, len(parameters)), parameters.encode())

    def positions(self, positions: np.ndarray = POSITIONS, cell: np.ndarray = CELL) -> None:
        unused = cell.tobytes()  # its inverse
        self.send("POSDATA", cell.tobytes(), unused, struct.pack("i", len(positions)), positions.tobytes())

    def receive(self, n: int) -> bytes:
        data = b""
        with contextlib.suppress(ConnectionError):
            while len(data) < n and (piece := self._connection.recv(n - len(data))):
                data += piece
        return data

    def flood(self) -> None:
        """Ask without reading the answers, until the driver cannot get rid of them and does not listen any more."""
        self._connection.settimeout(3.0)
        with contextlib.suppress(TimeoutError):
            while not self._driver.done():
                self.positions()
                self.send("GETFORCE")
                self.send("STATUS")

    def leave(self) -> None:
        """Go, without reading what has been answered."""
        self._connection.close()

    def exit_code(self) -> int:
        return self._driver.result(timeout=PATIENCE)

    def hang_up(self) -> None:
        self._connection.shutdown(socket.SHUT_WR)

    def ending(self) -> tuple[int, bytes]:
        """The driver's exit code, and all that it still sent."""
        return self.exit_code(), self.receive(2**20)


@pytest.fixture
def server(place, breaking_model):
    with Server(place, breaking_model) as server:
        yield server


@pytest.fixture
def refuses(server, capsys):
    """The driver must leave with an error and without an answer; return what it says of the client."""

    def check() -> str:
        code, answer = server.ending()
        assert code == 1
        assert answer == b""
        said = error_line(capsys).removeprefix(f"i-PI at {server.address} (unix)")
        return re.sub("^(, conservative forces of Ar2)?: ", "", said)

    return check


# What the command line says.


def test_as_a_process_it_says_one_line():
    command = [sys.executable, "-m", "ipi_darkforces.cli.driver", "--model", "pet_m"]
    done = finish(command)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(
        ERROR + "model 'pet_m' is neither a name nor a path; did you mean 'pet-m'? Names: pet-m"
    )
    assert done.stderr.count("\n") == 1


def test_it_says_its_version_and_where_the_plugin_is():
    command = [sys.executable, "-m", "ipi_darkforces.cli.driver"]
    done = finish([*command, "--version"])
    assert (done.returncode, done.stdout) == (0, f"i-pi-darkdriver {ipi_darkforces.__version__}\n")
    done = finish([*command, "--pes-path"])
    assert done.returncode == 0
    assert scan_pes_file(done.stdout.strip()) == ("DarkforcesDriver", "darkforces")  # by which i-PI knows its plugins


def test_a_file_that_is_no_model(fails, tmp_path):
    path = tmp_path / "model.pt"
    path.write_text("weights")
    assert fails(model=path) == f"'{path}' is not an exported metatomic model (.pt)"


def test_a_model_file_that_does_not_exist(fails):
    assert fails(model="nowhere/model.pt") == "model file 'nowhere/model.pt' does not exist"


@pytest.mark.parametrize("component", ["direct", "fast", "slow"])
def test_direct_forces_of_a_model_without(fails, breaking_model, component):
    said = fails("--component", component)
    assert said.startswith(
        f"component '{component}' cannot be served: model '{breaking_model}' does not provide direct"
    )


def test_direct_forces_of_pet_c(fails):
    said = fails("-o", "component=fast", model="pet-c")
    assert said.startswith(
        "component 'fast' cannot be served: model 'pet-c' does not provide direct forces; it provides"
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--component", "quick"], "component 'quick' is not known: expected one of conservative, direct, fast, slow"),
        (["--species", "CAr"], "does not know C; it knows Ar"),
        (["--species", "Xx3"], "species 'Xx3' is not a formula"),
        (["--template", "nowhere.xyz"], "template 'nowhere.xyz' does not exist"),
        (["-o", "speces=Ar2"], "'speces' in -o is not known: expected component, energy"),
        (["-o", "template="], "the name of the template is empty"),
        (["--wait", "nan"], "--wait nan cannot be used: expected seconds, at least 0"),
        (["-o", "Ar2"], "'Ar2' in -o has no name"),
        (["-u", "-p", "1234"], "port 1234 is not used: unix sockets have none"),
        (["-p", "123456"], "it must be 1 to 65535"),
        (["--input", "nowhere.xml"], "input 'nowhere.xml' does not exist"),
        (["-u", "-a", "x" * 120], "is too long"),
        (["-S", "/dev/null/", "-u", "-a", "x"], "cannot connect to /dev/null/x (unix): Not a directory"),
        (["-a", "no-such-host.invalid"], "there is no host for no-such-host.invalid:12345"),
    ],
)
def test_options_that_cannot_work(fails, options, says):
    assert says in fails("--wait", "1", *options)


def test_an_input_without_sockets(fails, tmp_path):
    def without(root):
        forcefield = root.find("ffsocket")
        forcefield.tag = "ffdirect"
        forcefield.remove(forcefield.find("address"))
        del forcefield.attrib["mode"]

    path = prepare("nve-direct", tmp_path, 1, without)
    assert fails("--input", str(path)) == f"'{path}' has no <ffsocket>: there is nothing to serve"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none(fails):
    assert fails("--device", "cuda") == (
        "device 'cuda' was asked for but PyTorch finds no CUDA device; use --device cpu"
    )


# Where i-PI shall be.


def test_nobody_at_a_unix_socket(fails, place):
    started = time.monotonic()
    said = fails("--wait", "1", "-S", place, "-u", "-a", "water")
    assert said == f"nobody is listening at {place}water (unix) after 1 s; is i-PI running?"
    assert time.monotonic() - started > 1


def test_nobody_at_any_unix_socket(fails, place):
    assert f"nobody is listening at {place}darkforces* (unix)" in fails("--wait", "0.2", "-S", place)


def test_nobody_at_a_port(fails):
    port = free_port()
    assert f"nobody is listening at localhost:{port} (inet)" in fails("--wait", "0.2", "-p", str(port))


def test_itself_at_a_port():
    # The system gives a client any free port; if it is the one that the client is trying, it reaches itself.
    port = free_port()
    with socket.socket() as client:
        client.bind(("127.0.0.1", port))
        client.connect(("127.0.0.1", port))
        with pytest.raises(NobodyListeningError):
            InetAddress("127.0.0.1", port).finish(client)


def test_a_socket_that_was_left_behind(fails, place):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(place + "water")
    assert "nobody is listening" in fails("--wait", "0.2", "-S", place, "-u", "-a", "water")


def test_a_path_that_is_no_socket(fails, place):
    Path(place + "water").write_text("")
    assert fails("-S", place, "-u", "-a", "water") == f"{place}water is not a socket"


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")


@needs_root
def test_a_socket_of_another_user(fails, place):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(place + "darkforces")
        other.listen()
        os.chown(place + "darkforces", NOBODY, NOBODY)
        said = fails("-S", place, "-u", "-a", "darkforces")
        assert said == f"the socket {place}darkforces belongs to another user ({NOBODY}, not 0)"
        # Not asked for by name, it is none of our business.
        assert "nobody is listening" in fails("--wait", "0.2", "-S", place)


@needs_root
@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="this system does not tell who listens")
def test_another_user_behind_a_socket_that_looks_like_ours(fails, place):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(place + "darkforces")
        os.seteuid(NOBODY)
        try:
            other.listen()
        finally:
            os.seteuid(0)
        assert f"the process behind {place}darkforces belongs to another user ({NOBODY})" in fails("-S", place)


# What comes through the socket.


def test_what_is_right_is_answered(server, capsys):
    server.send("STATUS")
    assert server.receive(12) == b"NEEDINIT    "
    server.init()
    server.send("STATUS")
    assert server.receive(12) == b"READY       "
    server.positions()
    server.send("STATUS")
    assert server.receive(12) == b"HAVEDATA    "
    server.send("GETFORCE")
    answer = server.receive(12 + 8 + 4 + 48 + 72 + 4)
    assert answer[:12] == b"FORCEREADY  "
    forces = np.frombuffer(answer[24:72]).reshape(2, 3)
    np.testing.assert_allclose(forces / POSITIONS, forces[0, 0], rtol=1e-12)
    assert forces[0, 0] < 0
    server.send("EXIT")
    assert server.ending() == (0, b"")
    assert ERROR not in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_positions_that_are_no_numbers(server, refuses, wrong):
    server.init()
    positions = POSITIONS.copy()
    positions[1, 2] = wrong
    server.positions(positions)
    server.send("GETFORCE")
    assert refuses() == "positions are NaN or infinite for atom 1 (Ar)"


def test_a_cell_that_is_no_number(server, refuses):
    server.init()
    server.positions(cell=CELL * np.nan)
    server.send("GETFORCE")
    assert "the cell is NaN or infinite" in refuses()


def test_an_energy_that_is_no_number(server, refuses):
    server.init()
    server.positions(POSITIONS + [15.0, 0.0, 0.0])  # where this model breaks
    server.send("GETFORCE")
    assert "predicts an energy that is NaN or infinite" in refuses()


def test_a_number_of_atoms_that_is_not_the_templates(server, refuses):
    server.init()
    server.positions(np.ones((3, 3)))
    assert refuses() == "i-PI sends 3 atoms but the template (or species) has 2"


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        (" ", "which elements are these? i-PI sends positions only: put species: "),
        ("species : CO2 ,", "does not know C, O; it knows Ar"),
        ("species : Ar2 , component : fats ,", "component 'fats' is not known"),
        ("species : Ar2 , component : fast ,", "does not provide direct forces"),
        ("species : Ar2 , pseudopotential : x ,", "'pseudopotential' in the <parameters> that i-PI sent from"),
        ("species : Ar2 , batch_size : many", "'many' as the batch size"),
    ],
)
def test_parameters_that_cannot_work(server, refuses, parameters, says):
    server.init(parameters)
    assert says in refuses()


def test_forces_before_positions(server, refuses):
    server.init()
    server.send("GETFORCE")
    assert "sent GETFORCE without positions" in refuses()


def test_forces_twice(server, capsys):
    server.init()
    server.positions()
    server.send("GETFORCE")
    assert len(server.receive(148)) == 148
    server.send("GETFORCE")
    assert server.ending() == (1, b"")
    assert "sent GETFORCE without positions" in error_line(capsys)


def test_positions_before_init(server, refuses):
    server.positions()
    server.send("GETFORCE")
    assert "sent positions before INIT" in refuses()


def test_something_else_altogether(server, refuses):
    server.send("GET / HTTP/1.1\r\n\r\n")
    assert refuses().startswith("i-PI sent b'GET / HTTP/1'; expected STATUS, INIT")


@pytest.mark.parametrize("n", [-1, 0, 2**31 - 1])
def test_a_number_of_atoms_that_cannot_be(server, refuses, n):
    server.init()
    server.send("POSDATA", CELL.tobytes(), CELL.tobytes(), struct.pack("i", n))
    assert f"i-PI sent {n} as the number of atoms" in refuses()


def test_parameters_that_are_no_text(server, refuses):
    server.send("INIT", struct.pack("ii", 0, 4), b"\xff\xfe\xfd\xfc")
    assert "that are not text" in refuses()


def test_a_message_that_breaks_off(server, refuses):
    server.init()
    server.send("POSDATA", CELL.tobytes())
    server.hang_up()
    assert "the connection ended in the middle of a message" in refuses()


def test_shared_memory_that_is_not_there(place, breaking_model, capsys):
    with Server(place, breaking_model, "--shm") as server:
        server.init()
        names = [struct.pack("i", 7) + b"missing"] * 6
        server.send("POSDATA", struct.pack("i", 2), *names)
        assert server.ending() == (1, b"")
        assert "shared memory 'missing' is not there" in error_line(capsys)


def test_hanging_up_between_messages_is_no_error(server, capsys):
    server.init()
    server.hang_up()
    assert server.ending() == (0, b"")
    assert ERROR not in capsys.readouterr().err


def test_a_server_that_leaves_without_its_answers(server, capsys):
    server.init()
    server.flood()
    server.leave()
    assert server.exit_code() == 0
    assert ERROR not in capsys.readouterr().err
