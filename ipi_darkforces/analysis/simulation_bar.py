"""The line that shows the progress of a simulation, in 80 columns."""

from __future__ import annotations

import sys
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from ..progress_bar import progress_bar
from ..simulate.progress import Progress
from .io.setup import FREE, Constraints

if TYPE_CHECKING:
    from tqdm import tqdm

_NS_PER_DAY = 86400e-6  # for one fs per second
_LONGEST_NAME = 16


class SimulationBar:
    """The progress of one run: part done, simulated time, speed, temperature, drift of the conserved quantity (ΔE, in
    meV/atom) and, with multiple time stepping, the rms difference of both kinds of forces (ΔF, in meV/Å).

    :param n_atoms: None if not known; then ΔE is in meV
    :param constraints: of the simulation: the temperature is that of what moves
    """

    def __init__(self, name: str, n_atoms: int | None, constraints: Constraints = FREE):
        self._name = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
        self._n_atoms = n_atoms
        self._constraints = constraints
        self._bar: tqdm | None = None
        self._recent: deque[tuple[Progress, float]] = deque(maxlen=50)  # and when it was reported

    def __enter__(self) -> SimulationBar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            with suppress(OSError):
                self._bar.close()

    def show(self, progress: Progress, total: int) -> None:
        """Show how far it is."""
        with suppress(OSError):  # the terminal, or whoever reads what we write, is gone: no reason to stop
            self._show(progress, total)

    def _show(self, progress: Progress, total: int) -> None:
        if self._bar is None:
            self._bar = progress_bar(
                total=total,
                initial=progress.step,
                desc=self._name,
                mininterval=0.1 if sys.stderr.isatty() else 30.0,  # in a log, a line every half minute is enough
                bar_format="{desc} {remaining} left",
            )
        self._recent.append((progress, time.monotonic()))
        done = f"{100 * progress.step // max(total, 1)} %"
        parts = [self._name, done, self._simulated(progress, total), self._speed(), self._state(progress)]
        self._bar.set_description_str(" ".join(filter(None, parts)), refresh=False)
        self._bar.update(progress.step - self._bar.n)

    def _simulated(self, progress: Progress, total: int) -> str:
        """Simulated time, of all that is to be simulated; steps in what is no dynamics."""
        if not (progress.step and progress.time):
            return f"{progress.step}/{total} steps"
        per_step = progress.time / progress.step
        return f"{1e-3 * progress.time:.3g}/{1e-3 * per_step * total:.3g} ps"

    def _speed(self) -> str:
        (first, started), (last, now) = self._recent[0], self._recent[-1]
        if last.step == first.step or now == started:
            return ""
        if last.time > first.time:
            return f"{_NS_PER_DAY * (last.time - first.time) / (now - started):.2g} ns/day"
        return f"{1000.0 * (now - started) / (last.step - first.step):.0f} ms/step"

    def _state(self, progress: Progress) -> str:
        temperature = progress.temperature
        if self._n_atoms:
            temperature = self._constraints.of_moving(temperature, np.arange(self._n_atoms))
        state = f"{temperature:.0f} K ΔE {1000.0 * progress.drift / (self._n_atoms or 1):+.2f}"
        if progress.disagreement is not None:
            state += f" ΔF {1000.0 * progress.disagreement.rms:.0f}"
        return state

    def finish(self, steps: int) -> None:
        """Show where it ended, which may be between two reports."""
        if self._bar is not None:
            with suppress(OSError):
                self._bar.update(steps - self._bar.n)
