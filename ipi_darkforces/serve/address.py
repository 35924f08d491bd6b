"""Where i-PI listens, and how to get through to it."""

from __future__ import annotations

import errno
import glob
import os
import socket
import stat
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import DarkforcesError

DEFAULT_PREFIX = "/tmp/ipi_"
DEFAULT_NAME = "darkforces"
# Bytes that the path of a unix socket may have.
LONGEST_PATH = 107 if sys.platform == "linux" else 103
_NOBODY_THERE = {errno.ENOENT, errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH}


class NobodyListeningError(Exception):
    """There is no i-PI at this address, or not yet."""


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
        """Connect, to nobody but a process of the same user.

        :raises NobodyListeningError: if nobody listens there (yet)
        :raises DarkforcesError: if the socket is somebody else's
        """
        if len(os.fsencode(self.path)) > LONGEST_PATH:  # nobody will ever listen there
            raise DarkforcesError(
                f"the path of the socket {self.path} is too long: expected at most {LONGEST_PATH} bytes; choose a "
                "shorter prefix with -S, for i-PI too"
            )
        self._check_owner()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
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
        if not hasattr(socket, "SO_PEERCRED"):  # not Linux
            return
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        _, owner, _ = struct.unpack("3i", credentials)  # process, user, group
        if owner != os.getuid():
            raise DarkforcesError(f"the process behind {self.path} belongs to another user ({owner})")


@dataclass(frozen=True)
class InetAddress:
    """A TCP port, for i-PI on this or another machine."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port} (inet)"

    def connect(self) -> socket.socket:
        """Connect.

        :raises NobodyListeningError: if nobody listens there (yet)
        :raises DarkforcesError: if there is no such host
        """
        try:
            connection = socket.create_connection((self.host, self.port), timeout=3.0)
        except OSError as error:
            raise _translated(error, str(self)) from error
        if connection.getsockname() == connection.getpeername():
            # Where nobody listens, the system may give us the very port that we try to reach, and connect us to
            # ourselves; we would then keep i-PI from listening there.
            connection.close()
            raise NobodyListeningError
        connection.settimeout(None)
        # So that we notice, in the end, if the other machine has gone without a word.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # i-PI's messages are short and waited for: sending them at once is worth more than sending fewer packets.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


Address = UnixAddress | InetAddress


def _translated(error: OSError, address: str) -> Exception:
    if error.errno in _NOBODY_THERE or isinstance(error, TimeoutError):
        return NobodyListeningError()
    if isinstance(error, socket.gaierror):
        return DarkforcesError(f"there is no host for {address}: {error.strerror}")
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
        start = Path(self.start)
        sockets = []
        for path in sorted(start.parent.glob(glob.escape(start.name) + "*")):
            try:
                info = path.stat()
            except OSError:  # gone already
                continue
            if stat.S_ISSOCK(info.st_mode) and info.st_uid == os.getuid():
                sockets.append(UnixAddress(str(path), self.shared_memory))
        return sockets
