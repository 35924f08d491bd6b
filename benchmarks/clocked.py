"""Our driver, and i-PI's own, with a clock around the model: begin and end of each evaluation, ns, go to a file.

CLOCK=times python benchmarks/clocked.py --model pet-m     # our driver and its options
<pes> custom </pes> <pes_path> clocked.py </pes_path>      # i-PI's own, with the parameters of its metatomic driver
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ipi.pes.metatomic import MetatomicDriver

__DRIVER_NAME__ = "clocked"
__DRIVER_CLASS__ = "ClockedDriver"
_TIMES = struct.Struct("=2q")


def clocked(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose times are written to the file that the variable CLOCK names."""
    stream = open(os.environ["CLOCK"], "ab", buffering=0)  # noqa: SIM115, as long as the process lives

    def timed(*args: Any) -> Any:
        begun = time.monotonic_ns()
        result = evaluate(*args)
        stream.write(_TIMES.pack(begun, time.monotonic_ns()))
        return result

    return timed


def clocked_turns(evaluate: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """The same for what comes bit by bit: the times of each."""
    following = clocked(lambda turns: next(turns, None))

    def timed(*args: Any) -> Iterator[Any]:
        turns = evaluate(*args)
        while (results := following(turns)) is not None:
            yield results

    return timed


def evaluations(path: Path) -> np.ndarray:
    """The times that were written, ns: shape (n, 2)."""
    data = path.read_bytes() if path.exists() else b""
    return np.frombuffer(data[: len(data) // _TIMES.size * _TIMES.size], np.int64).reshape(-1, 2)


class ClockedDriver(MetatomicDriver):
    """i-PI's own."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.compute = clocked(self.compute)


if __name__ == "__main__":
    from ipi_darkforces.cli.driver import main
    from ipi_darkforces.models.model import ForceModel

    ForceModel.evaluate_in_turn = clocked_turns(ForceModel.evaluate_in_turn)
    main()
