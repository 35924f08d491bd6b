"""The distance between both kinds of forces, read from i-PI's outputs of extras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ipi_darkforces.analysis.force_difference import measure

HEAD = " #EXTRAS_COMPONENT_RAW(rms_difference_eV_per_angstrom, worst_atom, ...)# Step:  {:10d}  Bead:      0  \n"


def step(number: int, rms: float) -> str:
    """The lines of a step, as i-PI writes them."""
    return HEAD.format(number) + f"  {rms:.13e}   1.0000000000000e-01   8.0000000000000e+00   0.0000000000000e+00\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.disagreement"


def test_an_average_over_steps(path):
    rms = 0.02 + 0.002 * np.random.default_rng(0).normal(size=200)
    path.write_text("".join(step(i, each) for i, each in enumerate(rms)))
    found = measure(path)
    assert found.value == pytest.approx(1000.0 * rms.mean())
    assert found.error == pytest.approx(1000.0 * rms.std() / np.sqrt(200), rel=0.3)


def test_steps_that_were_done_twice_count_once_and_the_later_ones(path):
    path.write_text("".join([step(0, 0.01), step(1, 0.5), step(1, 0.02), step(2, 0.03)]))
    assert measure(path).value == pytest.approx(20.0)


def test_a_simulation_that_was_killed_anywhere_and_went_on(path):
    piece = step(1, 0.5)
    for end in range(len(piece)):
        path.write_text(step(0, 0.01) + piece[:end] + step(1, 0.02) + step(2, 0.03))
        assert measure(path).value == pytest.approx(20.0), end


def test_a_file_that_ends_anywhere_has_the_steps_before(path):
    text = step(0, 0.01) + step(1, 0.02)
    for end in range(len(text)):
        path.write_text(text[:end])
        found = measure(path)
        assert found is None if end < len(step(0, 0.01)) else found.value == pytest.approx(10.0), end
