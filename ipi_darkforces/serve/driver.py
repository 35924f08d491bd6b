"""One process, one model, any number of i-PI sockets.

The loop waits until something has arrived on any socket, reads all that has, evaluates all structures that are now
pending as one batch, and answers. While i-PI is busy with the answers, it computes what will be asked for next. Sockets
that are not there yet are looked for in between.
"""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Sequence

from ..errors import DarkforcesError
from ..forces.split import Split
from .address import Address, NobodyListeningError, UnixPattern
from .connection import Connection, connect
from .settings import Settings
from .watch import TOO_FAR

log = logging.getLogger(__name__)

# Seconds between looks for sockets that are not there: while there is nothing else to do, and while forces are served.
SEARCH_IDLE = 0.1
SEARCH_BUSY = 1.0


class Driver:
    """Serves one model to i-PI.

    :param split: the model and its shared evaluations
    :param places: where to look for i-PI: addresses, or patterns that stand for whatever matches them
    :param settings: what every client is to do, as far as the user said
    :param stay: wait for the next simulation when all have gone, instead of returning
    :param wait: seconds to wait for the first connection; None for ever
    :param too_far: see `Watch`
    """

    def __init__(
        self,
        split: Split,
        places: Sequence[Address | UnixPattern],
        settings: Settings,
        stay: bool = False,
        wait: float | None = None,
        too_far: float = TOO_FAR,
    ):
        self._split = split
        self._places = places
        self._settings = settings
        self._stay = stay
        self._wait = wait
        self._too_far = too_far
        self._connections: dict[Address, Connection] = {}
        self._missing: list[Address | UnixPattern] = []
        self._started = 0.0

    def serve(self) -> None:
        """Serve until i-PI goes away, or for ever if asked to stay.

        :raises DarkforcesError: if nobody listens in the time given, or something is wrong with what i-PI sends, the
            model cannot serve it, or its results are not finite; i-PI then gets no answer and keeps its last good state
        """
        try:
            while True:
                self._serve_simulation()
                if not self._stay:
                    return
        finally:
            for connection in list(self._connections.values()):
                self._drop(connection)

    def _serve_simulation(self) -> None:
        """Wait until there is somebody to serve, and serve until all have gone."""
        self._missing = list(self._places)
        self._started = time.monotonic()
        self._search()
        if not self._connections:
            log.info("waiting for i-PI at %s", " and ".join(map(str, self._places)))
        while not self._connections:
            time.sleep(SEARCH_IDLE)
            self._search()
        next_search = time.monotonic()
        while self._connections:
            idle = not self._serve_ready(timeout=SEARCH_IDLE)
            if idle or time.monotonic() > next_search:
                self._search()
                next_search = time.monotonic() + SEARCH_BUSY

    def _search(self) -> None:
        """Connect to all addresses where somebody has begun to listen.

        :raises DarkforcesError: if somebody is still missing after the time to wait
        """
        for place in self._places:
            for address in place.found() if isinstance(place, UnixPattern) else [place]:
                if address not in self._connections and self._connect(address) and place in self._missing:
                    self._missing.remove(place)
        waited = time.monotonic() - self._started
        if self._missing and self._wait is not None and waited > self._wait:
            places = " and ".join(map(str, self._missing))
            raise DarkforcesError(f"nobody is listening at {places} after {self._wait:g} s; is i-PI running?")

    def _connect(self, address: Address) -> bool:
        try:
            connection = connect(address, self._split, self._settings, self._too_far)
        except NobodyListeningError:
            return False
        self._connections[address] = connection
        return True

    def _serve_ready(self, timeout: float) -> bool:
        """Read what has arrived, evaluate what is pending, answer; whether anything had arrived."""
        ready, _, _ = select.select(list(self._connections.values()), [], [], timeout)
        for connection in ready:
            connection.receive()
            if not connection.open:
                self._drop(connection)
        pending = [connection for connection in self._connections.values() if connection.pending]
        if pending:
            answers = iter(self._split.serve([request for c in pending for request in c.pending]))
            for connection in pending:
                connection.answer([next(answers) for _ in connection.pending])
                if not connection.open:
                    self._drop(connection)
        if not any(connection.waited_for for connection in self._connections.values()):
            self._split.finish()
        return bool(ready)

    def _drop(self, connection: Connection) -> None:
        del self._connections[connection.address]
        connection.close()
