"""Start of the tests of analysis: real outputs of i-PI, and frames in its format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from ipi_files import frame_text, simulate, with_trajectory


@pytest.fixture(scope="session")
def harmonic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 12 steps of 0.5 fs, with trajectories in all units and formats."""
    return simulate(
        "svr-direct",
        tmp_path_factory.mktemp("harmonic"),
        12,
        with_trajectory("vel", "velocities"),
        with_trajectory("si", "velocities{m/s}", 2),
        with_trajectory("pos", "positions{angstrom}", 4, cell_units="angstrom"),
        with_trajectory("ase", "velocities", 1, format="ase"),
    )


Frames = Callable[..., list[str]]


@pytest.fixture
def frames() -> Frames:
    """Frames of three atoms whose first coordinate is the step, as i-PI writes them."""

    def make(steps: Sequence[int], what: str = "positions{angstrom}") -> list[str]:
        rng = np.random.default_rng(0)
        texts = []
        for step in steps:
            values = rng.normal(size=(3, 3))
            values[0, 0] = step
            texts.append(frame_text(step, values, ["O", "H", "H"], what))
        return texts

    return make
