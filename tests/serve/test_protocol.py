"""The wire format alone, against i-PI's own encoder and decoder; no driver and no simulation."""

from __future__ import annotations

import socket
import struct
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ipi.engine.atoms import Atoms
from ipi.engine.cell import Cell
from ipi.engine.forcefields import ForceField
from ipi.interfaces.sockets import Driver, SHMDriver
from ipi.interfaces.sockets import Status as IPIStatus
from programs import PATIENCE

from ipi_darkforces.serve.protocol import (
    LARGEST_BATCH,
    LONGEST_TEXT,
    MOST_ATOMS,
    SHARED_SEGMENTS,
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
    parse_parameters,
)


def header(text: str) -> bytes:
    return text.ljust(12).encode()


def integer(value: int) -> bytes:
    return struct.pack("=i", value)


def init(parameters: str, bead: int = 0) -> bytes:
    text = parameters.encode()
    return header("INIT") + integer(bead) + integer(len(text)) + text


def decode(decoder: Decoder, data: bytes) -> list[Message]:
    """Decode all messages that are complete with the next bytes."""
    decoder.feed(data)
    return list(iter(decoder.next_message, None))


def equal(ours: Message, theirs: Message) -> bool:
    """Messages compare by their fields, but arrays do not compare to one truth."""
    if isinstance(ours, Positions) and isinstance(theirs, Positions):
        return np.array_equal(ours.cells, theirs.cells) and np.array_equal(ours.positions, theirs.positions)
    return ours == theirs


# --- any sequence of messages, as bytes and as what they mean, however it is cut


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def plain_positions(seed: int, n_atoms: int) -> tuple[bytes, Message]:
    cells, positions = numbers(seed, 2, 3, 3), numbers(seed + 1, 1, n_atoms, 3)
    data = header("POSDATA") + cells.tobytes() + integer(n_atoms) + positions.tobytes()
    return data, Positions(cells[:1], positions)


words = st.text(st.characters(exclude_characters=",:", codec="utf-8", exclude_categories=["Z", "C"]), min_size=1)


def init_of(parameters: dict[str, str], bead: int) -> tuple[bytes, Message]:
    text = "".join(f"{key} : {value} , " for key, value in parameters.items())
    return init(" " + text, bead), Init(bead, parameters)


parameters = st.dictionaries(words.filter(lambda key: key != "batch_size"), words, max_size=4)
any_message = st.one_of(
    st.sampled_from([(header("STATUS"), Status()), (header("GETFORCE"), GetForce()), (header("EXIT"), Exit())]),
    st.builds(init_of, parameters, st.integers(-(2**31), 2**31 - 1)),
    st.builds(plain_positions, st.integers(0, 1000), st.integers(1, 5)),
)


@given(st.lists(any_message, max_size=6), st.data())
def test_any_messages_survive_being_cut_into_any_pieces(
    messages: list[tuple[bytes, Message]], data: st.DataObject
) -> None:
    stream = b"".join(encoded for encoded, _ in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    decoder, decoded = Decoder(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        decoded += decode(decoder, stream[start:end])
    decoder.finish()
    assert len(decoded) == len(messages)
    assert all(equal(ours, theirs) for ours, (_, theirs) in zip(decoded, messages, strict=True))


def test_byte_by_byte_each_message_comes_with_its_last_byte() -> None:
    messages = [(header("STATUS"), Status()), init_of({"component": "fast"}, 3), plain_positions(1, 2)]
    decoder = Decoder()
    for encoded, message in messages:
        for i in range(len(encoded) - 1):
            assert decode(decoder, encoded[i : i + 1]) == []
        (decoded,) = decode(decoder, encoded[-1:])
        assert equal(decoded, message)


# --- what i-PI itself writes and reads


@pytest.fixture
def wires() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a connection: i-PI's and ours."""
    theirs, ours = socket.socketpair()
    for end in (theirs, ours):
        end.settimeout(PATIENCE)
    with theirs, ours:
        yield theirs, ours


class Unsent:
    """A request as i-PI's forcefields make it, for one structure."""

    def __init__(self, seed: int, n_atoms: int):
        self.cell = (numbers(seed, 3, 3), numbers(seed + 1, 3, 3))
        self.pos = numbers(seed + 2, 3 * n_atoms)
        self.request = {
            "id": 0,
            "pars": " ",
            "pos": self.pos,
            "active": np.arange(3 * n_atoms),
            "cell": self.cell,
        }


def ready(driver: Driver, batch_size: int = 1) -> Driver:
    driver.status = IPIStatus.Up | IPIStatus.Ready
    driver.batch_size = batch_size
    return driver


def received(ours: socket.socket, decoder: Decoder) -> list[Message]:
    return decode(decoder, ours.recv(2**20))


class TestWhatIPISends:
    def test_positions(self, wires: tuple[socket.socket, socket.socket]) -> None:
        theirs, ours = wires
        unsent = Unsent(0, n_atoms=5)
        ready(Driver(theirs)).sendpos(unsent.pos, unsent.cell)
        (message,) = received(ours, Decoder())
        assert np.array_equal(message.positions, unsent.pos.reshape(1, 5, 3))
        assert np.array_equal(message.cells, unsent.cell[0][None])

    def test_positions_and_the_question_for_forces_in_one_piece(
        self, wires: tuple[socket.socket, socket.socket]
    ) -> None:
        theirs, ours = wires
        assert ready(Driver(theirs)).dispatch_send(Unsent(0, n_atoms=5).request)
        assert [type(message) for message in received(ours, Decoder())] == [Positions, GetForce]

    def test_a_batch(self, wires: tuple[socket.socket, socket.socket]) -> None:
        """Padded by i-PI to its full size with the last structure."""
        theirs, ours = wires
        unsent = [Unsent(seed, n_atoms=4) for seed in (0, 10)]
        assert ready(Driver(theirs), batch_size=3).dispatch_send_batch([u.request for u in unsent])
        decoder = Decoder()
        decode(decoder, init("batch_size:3"))
        message, question = received(ours, decoder)
        padded = [*unsent, unsent[-1]]
        assert np.array_equal(message.positions, [u.pos.reshape(4, 3) for u in padded])
        assert np.array_equal(message.cells, [u.cell[0] for u in padded])
        assert question == GetForce()

    def test_shared_memory_names_its_segments_once(self, wires: tuple[socket.socket, socket.socket]) -> None:
        theirs, ours = wires
        driver, decoder = ready(SHMDriver(theirs)), Decoder(shared_memory=True)
        try:
            for first in (True, False):
                unsent = Unsent(0, n_atoms=6)
                theirs.sendall(driver._fill_shm([(unsent.pos, unsent.cell)]))
                (message,) = received(ours, decoder)
                names = {kind: segment.name for kind, segment in driver._shm.items()}
                assert message == SharedPositions(6, names if first else None)
                assert set(names) == set(SHARED_SEGMENTS)
        finally:
            driver._free_shm()

    @pytest.mark.parametrize("batch_size", [1, 4])
    @pytest.mark.parametrize("given", [{}, {"component": "fast", "species": "(OH2)64"}])
    def test_parameters(
        self, given: dict[str, str], batch_size: int, wires: tuple[socket.socket, socket.socket]
    ) -> None:
        """As `ForceField.queue` writes them, with the size of the batch put on by the socket."""
        theirs, ours = wires
        driver = ready(Driver(theirs), batch_size)
        driver.status = IPIStatus.Up | IPIStatus.NeedsInit
        driver.initialize(7, written_by_ipi(given))
        decoder = Decoder()
        assert received(ours, decoder) == [Init(7, given)]
        assert decoder.batch_size == (None if batch_size == 1 else batch_size)


def written_by_ipi(parameters: dict[str, str]) -> str:
    forcefield = ForceField(pars=parameters, threaded=True)
    return forcefield.queue(Atoms(1), Cell(np.eye(3)))["pars"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" ", {}),
        ("", {}),
        (" a : 1 , b : x y , ", {"a": "1", "b": "x y"}),
        (" template : C:/water.xyz , ", {"template": "C:/water.xyz"}),  # only the first colon separates
        (" a : 1 , , batch_size:4", {"a": "1", "batch_size": "4"}),
    ],
)
def test_parameters_as_i_pi_writes_them(text: str, expected: dict[str, str]) -> None:
    assert parse_parameters(text) == expected


def reply(seed: int, n_atoms: int, extras: str = "") -> Reply:
    return Reply(float(seed), numbers(seed, n_atoms, 3), numbers(seed + 1, 3, 3), extras)


EXTRAS = ["", '{"dipole": [1, 2]}', "größer als nichts"]


def assert_read(read: list, sent: Reply) -> None:
    energy, forces, virial, extras = read
    assert energy == sent.energy
    assert np.array_equal(forces, sent.forces.reshape(-1))
    assert np.array_equal(virial, sent.virial)
    assert extras.get("raw", "") == sent.extras


class TestWhatIPIReads:
    @pytest.mark.parametrize("extras", EXTRAS)
    def test_forces(self, extras: str, wires: tuple[socket.socket, socket.socket]) -> None:
        theirs, ours = wires
        sent = reply(1, 5, extras)
        ours.sendall(encode_forces([sent]))
        assert_read(Driver(theirs)._recv_forces_bulk(5), sent)

    def test_forces_in_the_threaded_mode(self, wires: tuple[socket.socket, socket.socket]) -> None:
        theirs, ours = wires
        driver, sent = Driver(theirs), reply(1, 5, EXTRAS[1])
        driver.status = IPIStatus.Up | IPIStatus.HasData
        ours.sendall(encode_forces([sent]))
        assert_read(driver.getforce(), sent)

    def test_forces_of_a_batch(self, wires: tuple[socket.socket, socket.socket]) -> None:
        theirs, ours = wires
        sent = [reply(10 * i, 4, extras) for i, extras in enumerate(EXTRAS)]
        ours.sendall(encode_forces(sent))
        read = ready(Driver(theirs), batch_size=3)._recv_forces_bulk_batch(4, n_real=2)  # one was padding
        for one, expected in zip(read, sent[:2], strict=True):
            assert_read(one, expected)

    def test_forces_in_shared_memory(self, wires: tuple[socket.socket, socket.socket]) -> None:
        theirs, ours = wires
        driver, sent = ready(SHMDriver(theirs)), reply(1, 5, EXTRAS[1])
        try:
            driver._alloc_shm(5)
            driver._view["pot"][0] = sent.energy
            driver._view["force"][0] = sent.forces.reshape(-1)
            driver._view["vir"][0] = sent.virial
            ours.sendall(encode_shared_forces([sent]))
            assert_read(driver._recv_forces_bulk(5), sent)
        finally:
            driver._view.clear()
            driver._free_shm()

    def test_nothing_is_left_on_the_wire(self, wires: tuple[socket.socket, socket.socket]) -> None:
        theirs, ours = wires
        ours.sendall(encode_forces([reply(1, 5, EXTRAS[2])]) + b"!")
        Driver(theirs)._recv_forces_bulk(5)
        assert theirs.recv(10) == b"!"

    @pytest.mark.parametrize("layout", ["C", "F"])
    def test_arrays_of_any_layout(self, layout: str, wires: tuple[socket.socket, socket.socket]) -> None:
        theirs, ours = wires
        plain = reply(1, 5)
        sent = Reply(1.0, np.array(plain.forces, order=layout), np.array(plain.virial, order=layout))
        ours.sendall(encode_forces([sent]))
        assert_read(Driver(theirs)._recv_forces_bulk(5), plain)

    @pytest.mark.parametrize(
        ("initialized", "has_data", "expected"),
        [
            (False, False, IPIStatus.NeedsInit),
            (True, False, IPIStatus.Ready),
            (True, True, IPIStatus.HasData),
        ],
    )
    def test_status(
        self, initialized: bool, has_data: bool, expected: int, wires: tuple[socket.socket, socket.socket]
    ) -> None:
        theirs, ours = wires
        ours.sendall(encode_status(initialized, has_data))
        assert Driver(theirs).get_status() == IPIStatus.Up | expected
        assert received(ours, Decoder()) == [Status()]


# --- what i-PI never sends

POSDATA = header("POSDATA")
CELLS = bytes(144)
INIT = header("INIT") + integer(0)
GARBAGE = {
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "zeros": bytes(12),
    "lower case": header("status"),
    "no padding": b"STATUSSTATUS",
    "binary": b"\xff" * 12,
    "no atoms": POSDATA + CELLS + integer(0),
    "less than no atoms": POSDATA + CELLS + integer(-1),
    "too many atoms": POSDATA + CELLS + integer(MOST_ATOMS + 1),
    "most atoms of all": POSDATA + CELLS + integer(2**31 - 1),
    "batch of too many atoms": init("batch_size:1000") + POSDATA + integer(MOST_ATOMS // 1000 + 1),
    "parameters of negative length": INIT + integer(-1),
    "parameters too long": INIT + integer(LONGEST_TEXT + 1),
    "parameters that are no text": INIT + integer(2) + b"\xff\xfe",
    "no batch": init("batch_size:0"),
    "negative batch": init("batch_size:-4"),
    "broken batch": init("batch_size:4.5"),
    "batch that is no number": init("batch_size:four"),
    "batch in other digits": init("batch_size:\u0664"),
    "batch of two lines": init("batch_size:4\n4"),
    "batch too large": init(f"batch_size:{LARGEST_BATCH + 1}"),
    "batch of five thousand digits": init("batch_size:" + "9" * 5000),
}
SHARED_GARBAGE = {
    "no atoms": POSDATA + integer(0),
    "negative name": POSDATA + integer(1) + integer(-1),
    "name too long": POSDATA + integer(1) + integer(2**31 - 1),
    "name that is no text": POSDATA + integer(1) + integer(1) + b"\x80",
    "cells where names belong": POSDATA + integer(1) + np.full(9, -1.5).tobytes(),
}


def refused(decoder: Decoder, data: bytes) -> str:
    with pytest.raises(ProtocolError) as caught:
        decode(decoder, data)
    return str(caught.value)


class TestGarbage:
    @pytest.mark.parametrize("case", GARBAGE)
    def test_is_refused_in_one_short_line(self, case: str) -> None:
        message = refused(Decoder(), GARBAGE[case])
        assert message.startswith("i-PI sent ")
        assert "\n" not in message
        assert len(message) < 300

    @pytest.mark.parametrize("case", SHARED_GARBAGE)
    def test_in_shared_memory_mode_too(self, case: str) -> None:
        message = refused(Decoder(shared_memory=True), SHARED_GARBAGE[case])
        assert "\n" not in message
        assert len(message) < 300

    def test_says_what_came_and_what_was_expected(self) -> None:
        assert "-5 as the number of atoms; expected 1 to" in refused(Decoder(), POSDATA + CELLS + integer(-5))
        assert "expected STATUS, INIT, POSDATA, GETFORCE or EXIT" in refused(Decoder(), b"HELLO WORLD!")

    def test_a_socket_of_the_other_mode_is_guessed(self, wires: tuple[socket.socket, socket.socket]) -> None:
        theirs, ours = wires
        driver, unsent = ready(SHMDriver(theirs)), Unsent(0, n_atoms=6)
        try:
            theirs.sendall(driver._fill_shm([(unsent.pos, unsent.cell)]) + header("GETFORCE"))
            assert "needs --shm" in refused(Decoder(), ours.recv(10000))
        finally:
            driver._free_shm()
        unshared, _ = plain_positions(0, n_atoms=6)
        assert "without --shm" in refused(Decoder(shared_memory=True), unshared)

    @given(st.binary(max_size=400), st.booleans())
    def test_any_bytes_are_messages_or_a_protocol_error(self, data: bytes, shared_memory: bool) -> None:
        decode_whatever_comes(Decoder(shared_memory), data)

    @given(
        st.lists(st.sampled_from([header(h) for h in ("STATUS", "INIT", "POSDATA", "GETFORCE", "EXIT")]), min_size=1),
        st.lists(st.one_of(st.binary(max_size=200), st.integers(-(2**31), 2**31 - 1).map(integer)), min_size=1),
        st.booleans(),
    )
    def test_garbage_after_good_headers(self, headers: list[bytes], rubbish: list[bytes], shared_memory: bool) -> None:
        """Gets deeper into the parser than bytes that fail at the first header."""
        pieces = [piece for pair in zip(headers, rubbish, strict=False) for piece in pair]
        decode_whatever_comes(Decoder(shared_memory), b"".join(pieces))


def decode_whatever_comes(decoder: Decoder, data: bytes) -> None:
    """Anything that is raised but a ProtocolError fails the test."""
    try:
        decode(decoder, data)
        decoder.finish()
    except ProtocolError:
        pass


class TestTruncated:
    @pytest.mark.parametrize(
        ("data", "missing"),
        [
            (b"STAT", 8),
            (INIT, 4),
            (INIT + integer(10) + b"abc", 7),
            (POSDATA, 148),
            (POSDATA + CELLS + integer(2), 48),
            (POSDATA + CELLS + integer(2) + bytes(47), 1),
        ],
    )
    def test_says_how_much_is_missing(self, data: bytes, missing: int) -> None:
        decoder = Decoder()
        assert decode(decoder, data) == []
        with pytest.raises(ProtocolError, match="in the middle of a message") as caught:
            decoder.finish()
        assert f"at least {missing} more bytes" in str(caught.value)

    @given(st.data(), any_message)
    def test_anywhere(self, data: st.DataObject, message: tuple[bytes, Message]) -> None:
        encoded = message[0]
        decoder = Decoder()
        decode(decoder, encoded[: data.draw(st.integers(1, len(encoded) - 1))])
        with pytest.raises(ProtocolError):
            decoder.finish()

    def test_between_messages_is_a_proper_end(self) -> None:
        decoder = Decoder()
        decoder.finish()
        decode(decoder, header("STATUS"))
        decoder.finish()

    def test_with_requests_that_nobody_waits_for_is_a_proper_end(self) -> None:
        decoder = Decoder()
        decoder.feed(POSDATA + CELLS + integer(2) + bytes(48))
        decoder.finish()


class TestMemory:
    @pytest.mark.parametrize(
        "announced",
        [
            POSDATA + CELLS + integer(MOST_ATOMS),
            INIT + integer(LONGEST_TEXT),
            init(f"batch_size:{LARGEST_BATCH}") + POSDATA + integer(1),
        ],
        ids=["atoms", "text", "batch"],
    )
    def test_what_is_only_announced_takes_no_memory(self, announced: bytes) -> None:
        decoder = Decoder()
        tracemalloc.start()
        try:
            decode(decoder, announced)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 100_000

    def test_many_messages_at_once_take_time_in_proportion(self) -> None:
        """A hundred thousand messages in one piece: seconds if each were cut off by copying the rest."""
        assert len(decode(Decoder(), header("STATUS") * 100_000)) == 100_000


class TestInitAgain:
    def test_without_a_batch_ends_the_batches(self) -> None:
        decoder = Decoder()
        decode(decoder, init("batch_size:3"))
        decode(decoder, init("component : fast , "))
        assert decoder.batch_size is None
        data, expected = plain_positions(0, 2)
        (message,) = decode(decoder, data)
        assert equal(message, expected)

    def test_a_batch_of_one_is_the_plain_format(self) -> None:
        decoder = Decoder()
        decode(decoder, init("batch_size:1"))
        data, expected = plain_positions(0, 2)
        (message,) = decode(decoder, data)
        assert equal(message, expected)
