"""Statements from made up series of which everything is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ipi_darkforces.analysis.drift import Drift
from ipi_darkforces.analysis.temperatures import Temperatures
from ipi_darkforces.campaign import paper
from ipi_darkforces.campaign.campaign_file import read_campaign
from ipi_darkforces.campaign.findings import Finding, Findings
from ipi_darkforces.campaign.folder import Ended
from ipi_darkforces.campaign.measured import Measured
from ipi_darkforces.campaign.statements import (
    AS_IN_PAPER,
    TOO_SHORT,
    UNLIKE_PAPER,
    PaperStatement,
    judge,
    minus,
    ratio,
    statements,
)
from ipi_darkforces.stats.estimates import Estimate

WATER = Path(__file__).parents[2] / "inputs" / "water.xyz"
N = 4000  # values, 0.01 ps apart


def made(
    tmp_path: Path,
    thermostat: str,
    forces: str,
    power: float = 0.0,
    oxygen: float = 300.0,
    hydrogen: float = 300.0,
    n: int = N,
    seeds: int = 3,
    exploded: bool = False,
) -> PaperStatement:
    """The first statement about simulations that heat by so many K/ps, with such temperatures."""
    path = tmp_path / "made.yaml"
    path.write_text(
        f"structure: {WATER}\nmodels: [pet-m]\ntime: 40\nseeds: {seeds}\n"
        f"matrix: [{{thermostats: [{thermostat}], forces: [{forces}]}}]\n"
    )
    campaign = read_campaign(path)
    time = 0.01 * np.arange(n)
    measured = []
    for simulation in campaign.simulations:
        rng = np.random.default_rng(simulation.seed)
        temperature = 300.0 + power * time + 5.0 * rng.normal(size=n)
        # 3 k_B per atom are 0.2585 meV/K
        drift = Drift("made", 192, time, temperature, time, 0.2585 * power * time + 0.1 * rng.normal(size=n), None)
        series = {"O": oxygen + 8.0 * rng.normal(size=n), "H": hydrogen + 6.0 * rng.normal(size=n)}
        series = {"all": (series["O"] + 2.0 * series["H"]) / 3.0, **series}
        temperatures = Temperatures("made", "properties", 300.0, time, series)
        ended = Ended(0.1 * simulation.seed if exploded else 0.01 * n, "4000 K" if exploded else None, 60.0, 0.01, {})
        none = (None, None) if exploded else (drift, temperatures)
        measured.append(Measured(simulation, ended, drift, *none, None, None, None, ()))
    finding = Finding(campaign.conditions[0], tuple(measured), 300.0, "O", "H", 0.0)
    return statements(Findings("pet-m", (finding,)))[0]


@pytest.mark.parametrize(
    ("forces", "power", "verdict"),
    [
        ("direct", 7.0, AS_IN_PAPER),
        ("direct", 0.0, UNLIKE_PAPER),
        ("conservative", 0.0, AS_IN_PAPER),
        ("conservative", 7.0, UNLIKE_PAPER),
        ("mts8", 0.0, AS_IN_PAPER),
        ("mts8", -7.0, UNLIKE_PAPER),
        ("mts16", 70.0, AS_IN_PAPER),
        ("mts16", 0.0, UNLIKE_PAPER),
    ],
)
def test_heating(tmp_path, forces, power, verdict):
    statement = made(tmp_path, "nve", forces, power=power)
    assert statement.verdict == verdict
    slope = float(statement.ours.split("over 3 k_B, ")[1].split(" ±")[0].replace("−", "-"))
    assert slope == pytest.approx(power, abs=0.05)


@pytest.mark.parametrize(
    ("forces", "verdict"), [("mts16", AS_IN_PAPER), ("direct", AS_IN_PAPER), ("mts8", UNLIKE_PAPER)]
)
def test_explosions_are_results(tmp_path, forces, verdict):
    statement = made(tmp_path, "nve", forces, exploded=True)
    assert statement.ours == "unstable after 0.1 to 0.3 ps"
    assert statement.verdict == verdict


def test_too_short_is_said(tmp_path):
    statement = made(tmp_path, "svr 10", "direct", oxygen=310.0, hydrogen=295.0, n=10, seeds=1)
    assert statement.verdict == TOO_SHORT
    assert statement.ours.endswith("K (too short for an error bar)")


@pytest.mark.parametrize(
    ("forces", "oxygen", "hydrogen", "verdict"),
    [
        ("direct", 310.0, 295.0, AS_IN_PAPER),
        ("direct", 290.0, 305.0, AS_IN_PAPER),
        ("direct", 300.0, 300.0, UNLIKE_PAPER),
        ("mts8", 300.0, 300.0, AS_IN_PAPER),
        ("conservative", 310.0, 295.0, UNLIKE_PAPER),
    ],
)
def test_equipartition(tmp_path, forces, oxygen, hydrogen, verdict):
    statement = made(tmp_path, "svr 10", forces, oxygen=oxygen, hydrogen=hydrogen)
    assert "T(O) − T(H)" in statement.claim
    assert float(statement.ours.split(" ±")[0].replace("−", "-")) == pytest.approx(oxygen - hydrogen, abs=0.6)
    assert statement.verdict == verdict


@pytest.mark.parametrize(
    ("temperature", "verdict"),
    [(312.8, AS_IN_PAPER), (350.0, "more than in the paper"), (301.0, "less than in the paper")],
)
def test_langevin_is_compared_with_the_papers_number(tmp_path, temperature, verdict):
    statement = made(tmp_path, "langevin 1000", "direct", oxygen=temperature, hydrogen=temperature)
    assert statement.paper == "12.8 ± 0.5 K"
    assert statement.verdict == verdict


@pytest.mark.parametrize(("temperature", "verdict"), [(300.0, TOO_SHORT), (330.0, AS_IN_PAPER)])
def test_coloured_noise_needs_one_thing_to_be_wrong(tmp_path, temperature, verdict):
    """Diffusion is not known here, so that nothing wrong with temperatures does not say that all is well."""
    assert made(tmp_path, "gle 10", "direct", oxygen=temperature, hydrogen=temperature).verdict == verdict


@pytest.mark.parametrize(("thermostat", "n"), [("langevin100", 1900), ("langevin3000", 2500)])
def test_nothing_is_said_of_a_steady_state_before_20_ps_or_ten_time_constants(tmp_path, thermostat, n, monkeypatch):
    monkeypatch.setitem(paper.EXCESS, ("langevin3000", "direct"), paper.EXCESS["langevin1000", "direct"])
    early = made(tmp_path, thermostat, "direct", oxygen=340.0, hydrogen=340.0, n=n)
    assert early.verdict == TOO_SHORT
    assert early.ours.endswith("K (too short for an error bar)")
    assert made(tmp_path, thermostat, "direct", oxygen=340.0, hydrogen=340.0).verdict == "more than in the paper"


def test_judgements():
    assert judge(Estimate(5.0, 1.0), 2.0) == "above"
    assert judge(Estimate(-5.0, 1.0), 2.0) == "below"
    assert judge(Estimate(0.5, 0.5), 2.0) == "none"
    assert judge(Estimate(0.5, 5.0), 2.0) is None  # could have hidden what matters
    assert judge(Estimate(0.5, 0.01), 2.0, tolerance=1.0) == "none"  # there, but as good as nothing
    assert judge(Estimate(5.0, None), 2.0) is None
    assert judge(None, 2.0) is None


def test_errors_of_differences_and_ratios():
    rng = np.random.default_rng(0)
    one, other = 6.0 + 0.3 * rng.normal(size=100_000), 2.0 + 0.04 * rng.normal(size=100_000)
    difference, quotient = (
        minus(Estimate(6.0, 0.3), Estimate(2.0, 0.04)),
        ratio(Estimate(6.0, 0.3), Estimate(2.0, 0.04)),
    )
    assert (difference.value, difference.error) == pytest.approx((4.0, (one - other).std()), rel=0.02)
    assert (quotient.value, quotient.error) == pytest.approx((3.0, (one / other).std()), rel=0.02)
