"""The driver: one process, one model, any number of i-PI sockets.

The loop waits until something has arrived on any socket, reads all that has, evaluates all structures that are now
pending as one batch, and answers. While i-PI is busy with the answers, it computes what will be asked for next. Sockets
that are not there yet are looked for in between.

A client can end only itself: what is wrong with one is reported, and its simulation gets no answers any more, while
the others go on. And nobody waits for another one: no socket ever blocks, neither to connect, to send, nor to close.
"""

from __future__ import annotations

import logging
import selectors
import socket
import sys
import time
from collections.abc import Hashable, Sequence

from ..errors import ERROR, DarkforcesError
from ..split.component import ComponentForces
from ..split.monitor import TOO_FAR
from ..split.split import Split
from .address import Address, process_behind
from .connection import Connection, simulation_error
from .lingering import LingeringSocket
from .search import Attempt, Place, Search
from .settings import Settings

log = logging.getLogger(__name__)

# Seconds between looks for sockets that are not there: while there is nothing else to do, and while forces are served.
SEARCH_IDLE = 0.1
SEARCH_BUSY = 1.0
# Seconds for sockets of one process to go on after one of it had to be ended, if they can.
ORPHANED = 5.0
GOING = 1.0  # seconds for i-PI to notice, in the end, that we go


class Driver:
    """Serves one model to i-PI.

    :param split: the model and its shared evaluations
    :param places: where to look for i-PI: addresses, or patterns that stand for whatever matches them
    :param settings: settings of every client from the command line
    :param stay: wait for the next simulation when all have gone, instead of returning
    :param wait: seconds to wait for the first connection; None for ever
    :param too_far: see `Watch`
    :param one_simulation: whether all places are those of one i-PI, which cannot go on without any of them
    """

    def __init__(
        self,
        split: Split,
        places: Sequence[Place],
        settings: Settings,
        stay: bool = False,
        wait: float | None = None,
        too_far: float = TOO_FAR,
        one_simulation: bool = False,
    ):
        self._split = split
        self._settings = settings
        self._stay = stay
        self._wait = wait
        self._too_far = too_far
        self._one_simulation = one_simulation
        self._selector = selectors.DefaultSelector()
        self._search = Search(places, self._selector)
        self._connections: dict[Address, Connection] = {}
        self._orphans: dict[Connection, float] = {}  # since when they or others of their process have failed
        self._lingering: set[LingeringSocket] = set()
        self._pending: dict[Connection, None] = {}  # an ordered set: one may be heard again before it is answered
        self._answered: list[Connection] = []  # since there was time to compute ahead
        self._no_errors = True

    def serve(self) -> bool:
        """Serve until i-PI goes away, or for ever if asked to stay.

        If something is wrong with what one i-PI sends, the model cannot serve it, or its results are not finite, that
        is reported in one line on stderr; it then gets no answer and keeps its last good state, and all others go on.

        :return: whether nothing was wrong with any simulation
        :raises DarkforcesError: if nobody listens in the time given, or there cannot be anybody
        """
        try:
            while True:
                self._wait_until_connected()
                self._serve_all()
                if not self._stay:
                    return self._no_errors
        finally:
            self._close()

    def _wait_until_connected(self) -> None:
        self._search.begin()
        self._update_connections()
        waiting = False
        while not self._connections:
            if not waiting and not self._search.undecided:
                waiting = True
                log.info("waiting for i-PI at %s", self._search)
            self._poll(SEARCH_IDLE)
            if not self._connections:
                self._update_connections()

    def _serve_all(self) -> None:
        """Serve until i-PI has closed all connections."""
        next_update = 0.0
        while self._connections:
            idle = not self._poll(SEARCH_IDLE)
            if idle or time.monotonic() > next_update:
                self._update_connections()
                next_update = time.monotonic() + SEARCH_BUSY

    # Connections.

    def _update_connections(self) -> None:
        """Connect to sockets that have begun to listen, and close those on which nothing more is heard.

        :raises DarkforcesError: if somebody is still missing after the time to wait, or there cannot be anybody
        """
        for orphan, since in list(self._orphans.items()):
            if time.monotonic() > max(since, orphan.last_word) + ORPHANED:
                log.info("nothing more is heard from i-PI at %s", orphan.name)
                self._disconnect(orphan, "its simulation has failed")
        for lingering in list(self._lingering):
            if lingering.overdue:
                self._close_lingering(lingering)
        for address, connection in self._search.connected(self._connections):
            self._add_connection(address, connection)
        if self._search.missing and self._wait is not None and self._search.seconds > self._wait:
            self._stop_waiting()

    def _stop_waiting(self) -> None:
        """Stop waiting for places where nobody listens; other simulations go on without them."""
        places = " and ".join(map(str, self._search.missing))
        reason = f"nobody is listening at {places} after {self._wait:g} s; is i-PI running?"
        if self._one_simulation or not self._connections:
            raise DarkforcesError(reason)
        self._report_error(reason)
        self._search.missing.clear()

    def _add_connection(self, address: Address, connected: socket.socket) -> None:
        """Serve a connection from now on."""
        simulation = self._simulation(address, connected)
        connection = Connection(address, connected, self._split, self._settings, self._too_far, simulation)
        self._connections[address] = connection
        self._selector.register(connection, connection.interest, connection)
        if self._search.has_failed(simulation):
            self._orphans[connection] = time.monotonic()
        log.info("connected to i-PI at %s", address)

    def _simulation(self, address: Address, connected: socket.socket) -> Hashable:
        """Identity of the i-PI behind a connection, as far as it can be told."""
        if self._one_simulation:
            return "the input's"
        return process_behind(connected) or address

    # Messages.

    def _poll(self, timeout: float) -> bool:
        """Read what has arrived, evaluate what is pending, answer; whether anything had arrived."""
        events = self._selector.select(0.0 if self._pending else timeout)
        for key, _ in events:
            match key.data:
                case Connection() as connection:
                    if connection.open:  # it may have been ended with another one
                        self._proceed(connection)
                case Attempt() as attempt:
                    connected = self._search.finish_connecting(attempt)
                    if connected is not None:
                        self._add_connection(attempt.address, connected)
                case LingeringSocket() as lingering:
                    if lingering.drain() or lingering.overdue:
                        self._close_lingering(lingering)
        pending = [connection for connection in self._pending if connection.open]
        self._pending = {}
        if pending:
            self._evaluate(pending)
        if self._answered and not any(connection.waited_for for connection in self._answered):
            self._answered.clear()
            self._split.finish()
        return bool(events)

    def _proceed(self, connection: Connection) -> None:
        try:
            connection.proceed()
        except Exception as error:
            self._fail(connection, error)
        else:
            self._follow(connection)

    def _evaluate(self, pending: Sequence[Connection]) -> None:
        """Evaluate what is pending as one batch; if that fails, one by one, as it may be due to one alone."""
        try:
            answers = iter(self._split.serve([request for c in pending for request in c.pending]))
        except Exception as error:
            if len(pending) == 1:
                self._fail(pending[0], error)
                return
            for connection in pending:
                if connection.open:
                    self._evaluate([connection])
            return
        owned = [[next(answers) for _ in connection.pending] for connection in pending]
        for connection, own in zip(pending, owned, strict=True):
            if connection.open:
                self._answer(connection, own)

    def _answer(self, connection: Connection, answers: Sequence[ComponentForces]) -> None:
        try:
            connection.answer(answers)
        except Exception as error:
            self._fail(connection, error)
        else:
            self._answered.append(connection)
            if self._orphans:
                self._recover(connection)
            self._follow(connection)

    def _follow(self, connection: Connection) -> None:
        """Wait for what the connection waits for now."""
        if not connection.open:
            self._remove_connection(connection)
            return
        if connection.pending:
            self._pending[connection] = None
        if self._selector.get_key(connection).events != connection.interest:
            self._selector.modify(connection, connection.interest, connection)

    def _recover(self, connection: Connection) -> None:
        """Note that a connection has its forces after all; it goes on, unless others of its simulation have failed."""
        self._search.clear_failure(connection.address)
        if not self._search.has_failed(connection.simulation):
            self._orphans.pop(connection, None)

    # Errors and ends.

    def _fail(self, connection: Connection, error: Exception) -> None:
        """End a client with which something is wrong, and with it what cannot go on without it."""
        reason = simulation_error(connection, error)
        self._no_errors = False
        before = self._search.failure(connection.address)
        if before is None or before.reason != reason:
            self._report_error(reason)
        if not isinstance(error, DarkforcesError):
            log.error("this was not expected:", exc_info=error)
        self._disconnect(connection, reason)
        for other in list(self._connections.values()):
            if other.simulation == connection.simulation:
                if self._one_simulation:
                    self._disconnect(other, reason)
                else:
                    self._orphans[other] = time.monotonic()

    def _report_error(self, what: str) -> None:
        self._no_errors = False
        print(f"{ERROR}{what}", file=sys.stderr, flush=True)

    def _disconnect(self, connection: Connection, reason: str) -> None:
        """Close a connection from our side, so that i-PI notices."""
        self._search.back_off(connection.address, reason, connection.simulation, connection.identity)
        self._remove_connection(connection)
        self._linger(connection)

    def _remove_connection(self, connection: Connection) -> None:
        del self._connections[connection.address]
        self._orphans.pop(connection, None)
        self._selector.unregister(connection)

    def _linger(self, connection: Connection) -> None:
        if connection.open:
            lingering = LingeringSocket(connection.release())
            self._lingering.add(lingering)
            self._selector.register(lingering, selectors.EVENT_READ, lingering)

    def _close_lingering(self, lingering: LingeringSocket) -> None:
        self._lingering.remove(lingering)
        self._selector.unregister(lingering)
        lingering.close()

    def _close(self) -> None:
        """Close all connections, so that i-PI notices."""
        self._search.close()
        for connection in list(self._connections.values()):
            self._remove_connection(connection)
            self._linger(connection)
        deadline = time.monotonic() + GOING
        while self._lingering and time.monotonic() < deadline:
            for key, _ in self._selector.select(SEARCH_IDLE):
                if isinstance(key.data, LingeringSocket) and key.data.drain():
                    self._close_lingering(key.data)
        for lingering in list(self._lingering):
            self._close_lingering(lingering)
        self._selector.close()
