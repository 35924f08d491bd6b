"""The arrays that i-PI shares with its drivers in mode ``shm``."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from multiprocessing import resource_tracker, shared_memory

import numpy as np

from ..errors import DarkforcesError
from .protocol import Reply


class SharedArrays:
    """i-PI's shared memory for one client, attached to but not owned.

    :param segments: name of the segment for each kind of array, as i-PI told
    :param batch: structures to a message
    :param n_atoms: atoms to a structure
    :raises DarkforcesError: if a segment is not there or too small; those before it are detached again
    """

    def __init__(self, segments: dict[str, str], batch: int, n_atoms: int):
        shapes = {
            "pos": (batch, n_atoms, 3),
            "h": (batch, 3, 3),
            "ih": (batch, 3, 3),
            "pot": (batch,),
            "force": (batch, n_atoms, 3),
            "vir": (batch, 3, 3),
        }
        self._segments: dict[str, shared_memory.SharedMemory] = {}
        self._arrays: dict[str, np.ndarray] = {}
        try:
            for kind, shape in shapes.items():
                self._segments[kind] = segment = _attach(segments[kind])
                if segment.size < 8 * math.prod(shape):
                    raise DarkforcesError(
                        f"i-PI's shared memory '{segments[kind]}' is too small for {batch} × {n_atoms} atoms"
                    )
                self._arrays[kind] = np.ndarray(shape, np.float64, buffer=segment.buf)
        except DarkforcesError:
            self.close()
            raise

    def read(self, batch: int, n_atoms: int) -> tuple[np.ndarray, np.ndarray]:
        """Copies of the cells (batch, 3, 3), vectors as columns, and positions (batch, n_atoms, 3), in bohr.

        :raises DarkforcesError: if i-PI now speaks of other numbers than when the memory was made
        """
        if self._arrays["pos"].shape != (batch, n_atoms, 3):
            raise DarkforcesError(
                f"i-PI sends {batch} × {n_atoms} atoms through shared memory that it has made for "
                f"{' × '.join(map(str, self._arrays['pos'].shape[:2]))}"
            )
        return self._arrays["h"].copy(), self._arrays["pos"].copy()

    def write(self, replies: Sequence[Reply]) -> None:
        """Put the results where i-PI looks for them; to be done before it is told that they are there."""
        for i, reply in enumerate(replies):
            self._arrays["pot"][i] = reply.energy
            self._arrays["force"][i] = reply.forces
            self._arrays["vir"][i] = reply.virial

    def close(self) -> None:
        """Detach; i-PI removes the memory."""
        self._arrays.clear()
        for segment in self._segments.values():
            segment.close()


def _attach(name: str) -> shared_memory.SharedMemory:
    try:
        if sys.version_info >= (3, 13):
            return shared_memory.SharedMemory(name=name, track=False)
        segment = shared_memory.SharedMemory(name=name)
    except (FileNotFoundError, ValueError, OSError) as error:
        raise DarkforcesError(f"i-PI's shared memory '{name}' is not there: is it on another machine?") from error
    # Before Python 3.13, attaching counts as owning, and the memory would be removed when we leave.
    resource_tracker.unregister(segment._name, "shared_memory")  # type: ignore[attr-defined]
    return segment
