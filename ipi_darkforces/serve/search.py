"""Search for sockets of i-PI, with a pause for those that have failed.

Nothing here waits: connections to TCP ports are begun, and concluded when the selector says how they went.
"""

from __future__ import annotations

import logging
import selectors
import socket
import time
from collections.abc import Container, Hashable, Iterator, Sequence
from dataclasses import dataclass

from ..errors import DarkforcesError
from .address import Address, InetAddress, NobodyListeningError, Target, UnixAddress, UnixPattern

log = logging.getLogger(__name__)

CONNECTING = 3.0  # seconds for a host to let us connect
# Seconds before an address is tried again where something was wrong; twice as long each time that it is wrong again.
AGAIN = 1.0
_LONGEST = 60.0
_MOST_FAILURES = 1000  # that are remembered
_SOON = 0.2  # seconds that a host that lets us connect takes at most, as a rule

Place = Address | UnixPattern


@dataclass(frozen=True)
class Attempt:
    """A connection to a TCP port that is being made.

    :param address: whose
    :param socket: not connected yet
    :param others: IP addresses to try if this one fails
    :param deadline: when it has failed
    """

    address: InetAddress
    socket: socket.socket
    others: Sequence[Target]
    deadline: float


@dataclass(frozen=True)
class Failure:
    """Something was wrong at an address, which is left alone for a while, or until there is another socket.

    :param reason: why it was left alone
    :param simulation: see `Connection`; None if it did not come to that
    :param identity: of the socket; None if that cannot be told
    :param pause: seconds to leave it alone
    :param until: when to try again
    """

    reason: str
    simulation: Hashable
    identity: Hashable
    pause: float
    until: float


class Search:
    """The places where i-PI may be.

    :param places: addresses, or patterns that stand for whatever matches them
    :param selector: gets the sockets on which connections are being made, with an `Attempt` each

    `missing` are the places where nobody was since `begin`.
    """

    def __init__(self, places: Sequence[Place], selector: selectors.BaseSelector):
        self.missing: list[Place] = []
        self._places = places
        self._selector = selector
        self._targets: dict[InetAddress, Sequence[Target]] = {}
        self._attempts: dict[Address, Attempt] = {}
        self._failures: dict[Address, Failure] = {}
        self._started = 0.0
        self._anybody_listened = False

    def __str__(self) -> str:
        return " and ".join(map(str, self._places))

    @property
    def seconds(self) -> float:
        """Seconds since `begin`."""
        return time.monotonic() - self._started

    @property
    def undecided(self) -> bool:
        """Tell whether it may turn out at any moment that somebody is there."""
        return bool(self._attempts) and self.seconds < _SOON

    def begin(self) -> None:
        """Begin anew, while nobody is served: looking up the IP addresses of hosts may take seconds.

        :raises DarkforcesError: if there is no such host, and never was
        """
        for place in self._places:
            if isinstance(place, InetAddress):
                try:
                    self._targets[place] = place.targets()
                except DarkforcesError:
                    if place not in self._targets:
                        raise
        self.missing = list(self._places)
        self._started = time.monotonic()

    def connected(self, served: Container[Address]) -> Iterator[tuple[Address, socket.socket]]:
        """Connect to all addresses where somebody has begun to listen; to ports, only begin to.

        :param served: those with which there is a connection
        :raises DarkforcesError: if there cannot be anybody, and never was
        """
        now = time.monotonic()
        for attempt in list(self._attempts.values()):
            if now > attempt.deadline:
                self._drop(attempt)
                attempt.socket.close()
                self._try_others(attempt, NobodyListeningError())
        for place in self._places:
            for address in place.found() if isinstance(place, UnixPattern) else [place]:
                if address in served or address in self._attempts or self._is_paused(address):
                    continue
                connection = self._connect(address)
                if connection is not None:
                    self._note_listening(place)
                    yield address, connection

    def finish_connecting(self, attempt: Attempt) -> socket.socket | None:
        """Finish connecting to a port, or try the next IP address and return None.

        :raises DarkforcesError: if there cannot be anybody, and never was
        """
        self._drop(attempt)
        try:
            attempt.address.finish(attempt.socket)
        except (NobodyListeningError, DarkforcesError) as error:
            self._try_others(attempt, error)
            return None
        self._note_listening(attempt.address)
        return attempt.socket

    def back_off(self, address: Address, reason: str, simulation: Hashable, identity: Hashable) -> None:
        """Note a failure at an address, and try again only after a pause; see `Failure`."""
        before = self._failures.pop(address, None)
        pause = min(2.0 * before.pause, _LONGEST) if before is not None and before.reason == reason else AGAIN
        self._failures[address] = Failure(reason, simulation, identity, pause, time.monotonic() + pause)
        if len(self._failures) > _MOST_FAILURES:
            del self._failures[next(iter(self._failures))]

    def clear_failure(self, address: Address) -> None:
        """Forget the failure at an address, which works again."""
        self._failures.pop(address, None)

    def failure(self, address: Address) -> Failure | None:
        """The last failure of the socket that is at an address now."""
        failure = self._failures.get(address)
        if failure is not None and failure.identity != address.identity():
            self.clear_failure(address)
            return None
        return failure

    def has_failed(self, simulation: Hashable) -> bool:
        """Tell whether something was wrong with a socket of this simulation."""
        known = [address for address, failure in self._failures.items() if failure.simulation == simulation]
        return any(self.failure(address) is not None for address in known)

    def _is_paused(self, address: Address) -> bool:
        failure = self.failure(address)
        return failure is not None and time.monotonic() < failure.until

    def close(self) -> None:
        """Give up what has begun."""
        for attempt in list(self._attempts.values()):
            self._drop(attempt)
            attempt.socket.close()

    def _note_listening(self, place: Place) -> None:
        self._anybody_listened = True
        if place in self.missing:
            self.missing.remove(place)

    def _connect(self, address: Address) -> socket.socket | None:
        """Connect to a unix socket, or begin to connect to a port; None where there is no connection yet."""
        try:
            if isinstance(address, UnixAddress):
                return address.connect()
            self._begin_connecting(address, self._targets[address])
        except NobodyListeningError:
            pass
        except DarkforcesError as error:
            self._refuse(address, error)
        return None

    def _begin_connecting(self, address: InetAddress, targets: Sequence[Target]) -> None:
        """Begin to connect to the first of several IP addresses where that is possible.

        :raises NobodyListeningError: if there is none
        """
        for i, target in enumerate(targets):
            try:
                begun = address.begin(target)
            except NobodyListeningError:
                continue
            attempt = Attempt(address, begun, targets[i + 1 :], time.monotonic() + CONNECTING)
            self._attempts[address] = attempt
            self._selector.register(begun, selectors.EVENT_WRITE, attempt)
            return
        raise NobodyListeningError

    def _drop(self, attempt: Attempt) -> None:
        del self._attempts[attempt.address]
        self._selector.unregister(attempt.socket)

    def _try_others(self, attempt: Attempt, error: Exception) -> None:
        try:
            self._begin_connecting(attempt.address, attempt.others)
        except NobodyListeningError:
            if isinstance(error, DarkforcesError):
                self._refuse(attempt.address, error)

    def _refuse(self, address: Address, error: DarkforcesError) -> None:
        """Refuse an address where nobody can be: the user's mistake, unless it was right before."""
        if not self._anybody_listened:
            raise error
        before = self.failure(address)
        if before is None or before.reason != str(error):
            log.warning("%s", error)
        self.back_off(address, str(error), None, address.identity())
