"""Velocities and positions of a run, taken together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ipi_darkforces.analysis.io.runs import Run
from ipi_darkforces.analysis.io.setup import Constraints
from ipi_darkforces.analysis.io.trajectory import Frame, Notice, Progress, Quantity, Trajectory
from ipi_darkforces.analysis.io.units import BOLTZMANN
from ipi_darkforces.analysis.motion import measure
from ipi_darkforces.analysis.selection import Selection
from ipi_darkforces.analysis.temperatures import temperature_series

N, INTERVAL = 4000, 0.01  # frames, ps
SPECIES = np.array(["O"] * 6 + ["H"] * 6)


@dataclass(frozen=True)
class InMemory:
    """Frames of an array (n, n_atoms, 3)."""

    values: np.ndarray

    def frames(self, progress: Progress | None, notice: Notice) -> Iterator[Frame]:
        for i, each in enumerate(self.values):
            yield Frame(i * INTERVAL, each, 10.0 * np.eye(3), f"frame {i}")


def trajectory(quantity: Quantity, values: np.ndarray) -> Trajectory:
    return Trajectory(Path("made up"), SPECIES, np.ones(12), quantity, INTERVAL, InMemory(values))


@pytest.mark.parametrize("caged", [False, True])
def test_the_spectrum_does_not_know_how_many_leave_their_cages(caged):
    """Random walks; where O is caged, it hardly moves on, but its velocities do not say so."""
    steps = np.random.default_rng(0).normal(size=(N, 12, 3))
    positions = 0.1 * np.cumsum(steps, axis=0)
    if caged:
        noise = np.random.default_rng(1).normal(size=(N, 6, 3))
        positions[:, :6] = 0.3 * positions[:, :6] + 0.5 * noise
    trajectories = trajectory("velocities", steps), trajectory("positions", positions)
    run = Run("made up", Path("made up"), (), trajectories, None, None, None, 12)
    found = measure(run, Selection(notice=lambda text: None))
    for diffusion in (found.spectra.diffusion, found.displacements.diffusion):
        assert {name: each.error is not None for name, each in diffusion.items()} == {"O": not caged, "H": True}
        assert all(each.value > 0.0 for each in diffusion.values())
    alone = measure(Run("made up", Path("made up"), (), trajectories[:1], None, None, None, 12), Selection())
    assert alone.spectra.diffusion["O"].error is not None


@pytest.mark.parametrize(("frames", "discard", "told"), [(500, 0.0, True), (1001, 0.0, False), (1001, 3.0, False)])
def test_short_runs_are_told_that_they_may_know_nothing_of_diffusion(frames, discard, told):
    steps = np.random.default_rng(0).normal(size=(frames, 12, 3))
    run = Run("made up", Path("made up"), (), (trajectory("velocities", steps),), None, None, None, 12)
    notices: list[str] = []
    assert measure(run, Selection(discard, notice=notices.append)).spectra.diffusion["O"].error is not None
    assert any("left their cages yet" in notice for notice in notices) is told


@pytest.mark.parametrize(
    ("of_each_atom", "frames", "known"), [(False, 1900, False), (False, 2001, True), (True, 1900, True)]
)
def test_errors_of_the_temperatures_of_species_are_those_that_can_be_known(of_each_atom, frames, known):
    """The same as in `temperatures`: none in less than 20 ps, but for a thermostat on each atom."""
    velocities = np.random.default_rng(0).normal(size=(frames, 12, 3))
    trajectories = (trajectory("velocities", velocities),)
    run = Run("made up", Path("made up"), (), trajectories, None, of_each_atom, Constraints(), 12)
    found = measure(run, Selection(notice=lambda text: None)).spectra.temperatures
    _, _, series = temperature_series(run, Selection())
    assert found["all"].error is not None
    for name in ("O", "H"):
        assert (found[name].error is not None) is known
        assert found[name].value == pytest.approx(series[name].mean(), rel=0.01)  # of velocities at rest, or not


def test_what_moves_counts_relative_to_what_is_fixed():
    """H drifts over a surface of O, of which two atoms vibrate along z; in a frame of reference that rests."""
    random = np.random.default_rng(2)
    velocities = np.zeros((400, 12, 3))
    velocities[:, 4:6, 2] = random.normal(size=(400, 2))
    velocities[:, 6:] = random.normal(size=(400, 6, 3)) + [3.0, 0.0, 0.0]
    positions = np.cumsum(velocities, axis=0) * INTERVAL
    fixed = (*range(12), 12, 13, 15, 16)  # four atoms of O, and x and y of the other two
    trajectories = trajectory("velocities", velocities), trajectory("positions", positions)
    run = Run("made up", Path("made up"), (), trajectories, None, None, Constraints(300.0, False, fixed), 12)
    found = measure(run, Selection(notice=lambda text: None))
    twice_kinetic = np.square(velocities).sum(axis=2).mean(axis=0)  # of masses of 1 amu
    temperatures = {name: each.value for name, each in found.spectra.temperatures.items()}
    expected = {"O": twice_kinetic[:6].sum() / 2, "H": twice_kinetic[6:].sum() / 18, "all": twice_kinetic.sum() / 20}
    for name, value in expected.items():
        assert temperatures[name] == pytest.approx(value / BOLTZMANN)
    moved = found.displacements
    drift = np.square(3.0 * moved.lags[-1])
    assert moved.squares[moved.rows.index("H"), -1] == pytest.approx(drift, rel=0.2)
    assert moved.squares[moved.rows.index("O"), -1] < 0.1 * drift


def test_species_that_do_not_move_have_no_row():
    velocities = np.random.default_rng(3).normal(size=(200, 12, 3))
    velocities[:, :6] = 0.0
    constraints = Constraints(300.0, False, tuple(range(18)))
    run = Run("made up", Path("made up"), (), (trajectory("velocities", velocities),), None, None, constraints, 12)
    assert measure(run, Selection(notice=lambda text: None)).spectra.rows == ("all", "H")
    _, _, temperatures = temperature_series(run, Selection())
    assert list(temperatures) == ["all", "H"]
    np.testing.assert_allclose(temperatures["all"], temperatures["H"])
    np.testing.assert_allclose(temperatures["H"], np.square(velocities).sum(axis=(1, 2)) / (18 * BOLTZMANN))
