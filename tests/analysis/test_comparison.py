"""Runs side by side."""

from pathlib import Path

import numpy as np
import pytest

from ipi_darkforces.analysis.comparison import draw, rows, verdict
from ipi_darkforces.analysis.overview import Overview
from ipi_darkforces.analysis.summarized_run import SummarizedRun
from ipi_darkforces.simulate.run import Outcome


def run_of(name, drift, length=2.0, forces="direct", stride=1, noise=0.01, seconds=0.02, moving=1.0):
    """A run of 100 atoms, whose energy per atom rises by so many meV/ps, with noise of so many meV."""
    time = np.linspace(0.0, length, 400)
    rng = np.random.default_rng(0)
    conserved = drift * time + noise * rng.normal(size=len(time))
    overview = Overview(
        name=name,
        n_atoms=100,
        time=time,
        temperature=np.full(len(time), 300.0),
        conserved_time=time,
        conserved=conserved,
        kinetic_deviation=None,
        moving=moving,
        step=np.arange(len(time)),
    )
    outcome = Outcome(
        folder=Path(name), prefix=name, steps=400, total_steps=400, interrupted=False, seconds_per_step=seconds
    )
    return SummarizedRun(name, outcome, overview, {}, forces, 0.5 * stride, stride)


def test_speeds_are_those_of_simulated_time():
    fast, split = rows([run_of("fast", 0.0, seconds=0.02), run_of("split", 0.0, forces="MTS-4", stride=4)])
    assert fast["ms per 0.5 fs"] == pytest.approx(20.0)
    assert split["ms per 0.5 fs"] == pytest.approx(5.0)
    assert fast["ns/day"] == pytest.approx(86400 / 0.02 * 0.5e-6)
    assert split["ns/day"] == pytest.approx(4 * fast["ns/day"])


@pytest.mark.parametrize(
    ("drift", "noise", "said"),
    [
        (0.0, 0.01, "steady within 0.1 K/ps"),
        (0.02, 0.01, "steady within 0.6 K/ps"),  # what heats at random by 0.08 K/ps can do so in 2 ps
        (5.17, 0.01, "heats by 20 K/ps"),  # 3 k_B are 0.2585 meV/K
        (-5.17, 0.01, "cools by 20 K/ps"),
        (0.0, 30.0, "too short to tell"),
    ],
)
def test_what_a_drift_means(drift, noise, said):
    assert verdict(run_of("run", drift, noise=noise)) == said


def test_where_atoms_are_fixed_the_others_are_heated():
    assert verdict(run_of("run", 5.17, moving=0.5)) == "heats by 40 K/ps"


def test_a_picture_is_drawn(tmp_path):
    runs = [run_of("conservative", 0.0, forces="conservative"), run_of("_direct$", 5.0), run_of("mts", 0.0, stride=4)]
    draw(runs, tmp_path / "comparison.png")
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")
