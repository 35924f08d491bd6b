"""Closing a connection so that i-PI notices and goes on.

i-PI 3.3.1 takes the end of what it reads for a driver that has left: it sends EXIT, closes, and gives the request to
the next driver. A reset instead, which the system sends if a socket is closed with something unread in it, kills the
thread in which i-PI talks to drivers. So first we stop sending, then throw away what still comes in, and then close.
"""

from __future__ import annotations

import contextlib
import socket
import time

PATIENCE = 60.0  # seconds for i-PI to notice, which may be busy with other things
_CHUNK = 2**20
_ENOUGH = 2**25  # bytes; i-PI does not go on with more than the message that it is in


class LingeringSocket:
    """A connection on which nothing is said any more, until the other side has closed it.

    :param connection: the socket, which does not block
    """

    def __init__(self, connection: socket.socket):
        self._socket = connection
        self._drained = 0
        self._deadline = time.monotonic() + PATIENCE
        with contextlib.suppress(OSError):  # it has closed already
            connection.shutdown(socket.SHUT_WR)

    def fileno(self) -> int:
        """The file descriptor of the socket, for `selectors`."""
        return self._socket.fileno()

    @property
    def overdue(self) -> bool:
        """Tell whether to close it, though the other side has not."""
        return time.monotonic() > self._deadline or self._drained > _ENOUGH

    def drain(self) -> bool:
        """Throw away what has come in; whether that was the end."""
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        self._drained += len(data)
        return not data

    def close(self) -> None:
        """Close it, even if the other side has not noticed."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)  # through a unix socket, nothing can come in any more
            while self._socket.recv(_CHUNK):
                pass
        self._socket.close()
