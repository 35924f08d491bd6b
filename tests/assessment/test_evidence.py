"""How fast a simulation heats, from series of which everything is known."""

from __future__ import annotations

import numpy as np
import pytest

from ipi_darkforces.analysis.drift import Drift
from ipi_darkforces.analysis.units import BOLTZMANN_EV
from ipi_darkforces.assessment.evidence import heating

MEV_PER_KELVIN = 3000.0 * BOLTZMANN_EV  # for each atom


def drift(conserved: np.ndarray | None, interval: float = 0.004) -> Drift:
    """In meV/atom, one value after the other."""
    n = 100 if conserved is None else len(conserved)
    time = interval * np.arange(n)
    return Drift("made up", 192, time, np.full(n, 300.0), None if conserved is None else time, conserved, 1.0)


def test_a_drift_as_a_temperature() -> None:
    """Water of 300 K with the paper's direct forces: 7 K/ps."""
    series = 7.0 * MEV_PER_KELVIN * 0.004 * np.arange(1000) + 0.01 * np.random.default_rng(0).normal(size=1000)
    found = heating(drift(series))
    assert found is not None
    assert found.error is not None
    assert found.error < 0.1
    assert found.value == pytest.approx(7.0, abs=3.5 * found.error)


def test_the_interval_of_a_random_walk_covers_its_drift() -> None:
    """The slope of a whole random walk knows no error: parts do."""
    random = np.random.default_rng(1)
    covered = []
    for _ in range(200):
        steps = 5.0 * MEV_PER_KELVIN * 0.004 + 0.02 * random.normal(size=100)
        found = heating(drift(np.cumsum(steps)))
        assert found is not None
        margin = found.margin()
        assert margin is not None
        covered.append(abs(found.value - 5.0) <= margin)
    assert 0.90 <= np.mean(covered) <= 1.0


def test_what_is_too_short_has_no_error() -> None:
    found = heating(drift(np.arange(10.0)))
    assert found is not None
    assert found.error is None
    assert found.value == pytest.approx(1.0 / (0.004 * MEV_PER_KELVIN))


def test_without_a_conserved_quantity_nothing_is_known() -> None:
    assert heating(drift(None)) is None
