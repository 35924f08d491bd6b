"""Addresses where i-PI listens, and connecting to them."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import sys
from collections.abc import Hashable
from dataclasses import dataclass

from ..errors import DarkforcesError, one_line

# Family of an IP address, and the address.
Target = tuple[int, str]

DEFAULT_PREFIX = "/tmp/ipi_"
DEFAULT_NAME = "darkforces"
# Bytes that the path of a unix socket may have.
LONGEST_PATH = 107 if sys.platform == "linux" else 103
_NOBODY_THERE = {
    *(errno.ENOENT, errno.ECONNREFUSED, errno.ETIMEDOUT, errno.ECONNRESET, errno.ENOTCONN),
    # A host or network that is not there now; an address of a kind that this machine does not have, such as IPv6.
    *(errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN),
    *(errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT),
    errno.EAGAIN,  # more want to connect than i-PI lets wait
}
_LOCALHOST: list[Target] = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


class NobodyListeningError(Exception):
    """Error: there is no i-PI at this address, or not yet."""


@dataclass(frozen=True)
class UnixAddress:
    """A unix socket, for i-PI on the same machine.

    :param path: the socket's file: i-PI's prefix and address put together
    :param shared_memory: whether the numbers travel through shared memory (i-PI's mode ``shm``)
    """

    path: str
    shared_memory: bool = False

    def __str__(self) -> str:
        return f"{self.path} ({'shm' if self.shared_memory else 'unix'})"

    def connect(self) -> socket.socket:
        """Connect at once or not at all, to nobody but a process of the same user.

        :return: a socket that does not block
        :raises NobodyListeningError: if nobody listens there (yet), or too many wait to be let in
        :raises DarkforcesError: if the socket is somebody else's
        """
        if len(os.fsencode(self.path)) > LONGEST_PATH:  # nobody will ever listen there
            raise DarkforcesError(
                f"the path of the socket {self.path} is too long: expected at most {LONGEST_PATH} bytes; choose a "
                "shorter prefix with -S, for i-PI too"
            )
        self._check_owner()
        connection = _new_socket(socket.AF_UNIX, str(self))
        try:
            connection.connect(self.path)
            self._check_peer(connection)
        except OSError as error:
            connection.close()
            raise _translated(error, str(self)) from error
        except DarkforcesError:
            connection.close()
            raise
        return connection

    def identity(self) -> Hashable:
        """The identity of the socket's file, which no later file at this path shares; None if there is none now."""
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_ctime_ns

    def _check_owner(self) -> None:
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise _translated(error, str(self)) from error
        if not stat.S_ISSOCK(found.st_mode):
            raise DarkforcesError(f"{self.path} is not a socket")
        if found.st_uid != os.getuid():
            raise DarkforcesError(f"the socket {self.path} belongs to another user ({found.st_uid}, not {os.getuid()})")

    def _check_peer(self, connection: socket.socket) -> None:
        """The file's owner can have changed between looking and connecting; the kernel knows who is really there."""
        credentials = _credentials(connection)
        if credentials is not None and credentials[1] != os.getuid():
            raise DarkforcesError(f"the process behind {self.path} belongs to another user ({credentials[1]})")


def process_behind(connection: socket.socket) -> int | None:
    """The number of the process that listens at the other end of a unix socket, as far as the system tells."""
    credentials = _credentials(connection)
    return None if credentials is None else credentials[0] or None  # 0: it is in another container


def _credentials(connection: socket.socket) -> tuple[int, int, int] | None:
    """Process, user and group behind a unix socket."""
    if not hasattr(socket, "SO_PEERCRED") or connection.family != socket.AF_UNIX:  # not Linux
        return None
    process, user, group = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return process, user, group


@dataclass(frozen=True)
class InetAddress:
    """A TCP port, for i-PI on this or another machine."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port} (inet)"

    def identity(self) -> Hashable:
        """None: one i-PI at a port is not to be told from another one that comes later."""
        return None

    def targets(self) -> list[Target]:
        """All IP addresses that the host has, in the order in which to try them; looking them up may take seconds.

        :raises DarkforcesError: if there is no such host
        """
        extra = _LOCALHOST if self.host == "localhost" else []  # i-PI knows IPv4 alone; not all machines have both
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            if extra:
                return extra
            raise DarkforcesError(f"there is no host for {self}: {one_line(error)}") from error
        targets: list[Target] = [(family, str(address[0])) for family, _, _, _, address in found]
        return list(dict.fromkeys(targets + extra))

    def begin(self, target: Target) -> socket.socket:
        """Begin to connect.

        :return: a socket that does not block; `finish` says how it went, as soon as it can be written to
        :raises NobodyListeningError: if it is clear already that nobody listens there (yet)
        :raises DarkforcesError: if the system does not allow it
        """
        family, host = target
        connection = _new_socket(family, str(self))
        problem = connection.connect_ex((host, self.port))
        if problem not in (0, errno.EINPROGRESS):
            connection.close()
            raise _translated(OSError(problem, os.strerror(problem)), str(self))
        return connection

    def finish(self, connection: socket.socket) -> None:
        """Prepare a connection that was begun; it is closed if an error is raised.

        :raises NobodyListeningError: if nobody listens there (yet)
        :raises DarkforcesError: if the system does not allow it
        """
        try:
            problem = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if problem:
                raise OSError(problem, os.strerror(problem))
            if connection.getsockname() == connection.getpeername():
                # Where nobody listens, the system may give us the very port that we try to reach, and connect us to
                # ourselves; we would then keep i-PI from listening there.
                raise OSError(errno.ECONNREFUSED, "connected to itself")
            # So that we notice, in the end, if the other machine has gone without a word.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            # i-PI's messages are short and waited for: sending them at once is worth more than sending fewer packets.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connection.close()
            raise _translated(error, str(self)) from error


Address = UnixAddress | InetAddress


def _new_socket(family: int, address: str) -> socket.socket:
    try:
        connection = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _translated(error, address) from error
    connection.setblocking(False)
    return connection


def _translated(error: OSError, address: str) -> Exception:
    if error.errno in _NOBODY_THERE or isinstance(error, TimeoutError):
        return NobodyListeningError()
    return DarkforcesError(f"cannot connect to {address}: {error.strerror or error}")


@dataclass(frozen=True)
class UnixPattern:
    """All unix sockets whose name begins alike: where the driver looks if it is not told where.

    The inputs that come with the package call their sockets ``darkforces``, ``darkforces-fast`` and so on.

    :param start: prefix and beginning of the address
    :param shared_memory: see `UnixAddress`
    """

    start: str
    shared_memory: bool = False

    def __str__(self) -> str:
        return f"{self.start}* ({'shm' if self.shared_memory else 'unix'})"

    def found(self) -> list[UnixAddress]:
        """The sockets of this user that are there now."""
        folder, start = os.path.split(self.start)
        sockets = []
        try:
            with os.scandir(folder or ".") as entries:
                paths = sorted(entry.path for entry in entries if entry.name.startswith(start))
        except OSError:  # no such folder, or not yet
            return []
        for path in paths:
            try:
                info = os.stat(path)
            except OSError:  # gone already
                continue
            if stat.S_ISSOCK(info.st_mode) and info.st_uid == os.getuid():
                sockets.append(UnixAddress(path, self.shared_memory))
        return sockets
