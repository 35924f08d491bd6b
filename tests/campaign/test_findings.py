"""Error bars that are believed, and others."""

from __future__ import annotations

import numpy as np
import pytest

from ipi_darkforces.analysis.displacements import displacements
from ipi_darkforces.analysis.io.trajectory import Block
from ipi_darkforces.analysis.motion import Motion
from ipi_darkforces.analysis.spectra import spectra
from ipi_darkforces.campaign.measured import with_known_errors

INTERVAL = 0.004  # ps
N = 5000


def motion(oxygen_leaves: bool) -> Motion:
    """20 ps, without inertia, of hydrogen atoms that diffuse, and oxygen atoms that may hardly leave their cages."""
    rng = np.random.default_rng(0)
    times, cells = INTERVAL * np.arange(N), np.zeros((N, 3, 3))
    steps = rng.normal(size=(N, 12, 3))
    positions = 0.1 * np.cumsum(steps, axis=0)
    if not oxygen_leaves:
        positions[:, :6] = 0.3 * positions[:, :6] + 0.5 * rng.normal(size=(N, 6, 3))
    species, masses = ["O"] * 6 + ["H"] * 6, np.ones(12)
    moved = displacements("made up", [Block(times, positions, cells)], species, masses)
    return Motion(spectra("made up", [Block(times, steps, cells)], species, masses), moved)


def known(found: Motion | None) -> dict[str, bool]:
    """Species whose diffusion coefficients have error bars."""
    assert found is not None
    assert found.displacements is not None
    ways = found.spectra.diffusion, found.displacements.diffusion
    one, other = ({name: each.error is not None for name, each in way.items()} for way in ways)
    assert one == other
    return one


def test_what_diffuses_has_error_bars() -> None:
    assert known(with_known_errors(motion(True), 20.0)) == {"O": True, "H": True}


def test_what_does_not_diffuse_yet_has_none() -> None:
    found = motion(False)
    assert found.spectra.diffusion["O"].error is not None  # which is what must not be believed
    assert known(with_known_errors(found, 20.0)) == {"O": False, "H": True}


def test_what_is_too_short_has_none() -> None:
    assert known(with_known_errors(motion(True), 9.0)) == {"O": False, "H": False}


def test_values_are_kept() -> None:
    found = motion(True)
    short = with_known_errors(found, 9.0)
    assert short is not None
    for name, each in found.spectra.diffusion.items():
        assert short.spectra.diffusion[name].value == pytest.approx(each.value)
    assert with_known_errors(None, 20.0) is None
