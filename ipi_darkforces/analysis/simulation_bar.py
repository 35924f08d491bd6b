"""The progress bar of a simulation."""

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


class SimulationBar:
    """The progress bar of one run."""

    def __init__(self, name: str, n_atoms: int | None, constraints: Constraints = FREE):
        self._name = name
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
                bar_format="{desc}: {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} steps, {remaining} left{postfix}",
            )
        self._recent.append((progress, time.monotonic()))
        drift = 1000.0 * progress.drift / (self._n_atoms or 1)
        unit = "meV/atom" if self._n_atoms else "meV"
        temperature = progress.temperature
        if self._n_atoms:
            temperature = self._constraints.of_moving(temperature, np.arange(self._n_atoms))
        self._bar.set_postfix_str(
            f"{temperature:.0f} K, drift {drift:+.2f} {unit}, {self._apart()}{self._pace()}", refresh=False
        )
        self._bar.update(progress.step - self._bar.n)

    def _pace(self) -> str:
        (first, started), (last, now) = self._recent[0], self._recent[-1]
        steps = last.step - first.step
        return f"{1000.0 * (now - started) / steps:.1f} ms/step" if steps > 0 else "..."

    def _apart(self) -> str:
        """Difference of both kinds of forces and power of the direct ones, with multiple time stepping."""
        first, last = self._recent[0][0], self._recent[-1][0]
        seen, before = last.disagreement, first.disagreement
        if seen is None:
            return ""
        apart = f"forces apart {1000.0 * seen.rms:.0f} meV/Å, {seen.largest:.2g} eV/Å on atom {seen.worst}, "
        if before is None or not last.time > first.time:
            return apart
        power = 1e6 * (seen.work - before.work) / (last.time - first.time) / (self._n_atoms or 1)
        return f"{apart}power {power:+.3g} {'meV/atom' if self._n_atoms else 'meV'}/ps, "

    def finish(self, steps: int) -> None:
        """Show where it ended, which may be between two reports."""
        if self._bar is not None:
            with suppress(OSError):
                self._bar.update(steps - self._bar.n)
