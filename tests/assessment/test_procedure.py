"""The choice of simulations, each by the results of those before; their outputs are made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ipi_darkforces.analysis.io.units import BOLTZMANN_EV
from ipi_darkforces.assessment import procedure
from ipi_darkforces.assessment.assessment import Assessment
from ipi_darkforces.assessment.criteria import Judgement
from ipi_darkforces.assessment.plan import AssessmentPlan
from ipi_darkforces.assessment.procedure import SimulationResults
from ipi_darkforces.assessment.strides import Strides
from ipi_darkforces.assessment.verdict import decide
from ipi_darkforces.campaign.folder import CampaignFolder, Ended
from ipi_darkforces.campaign.matrix import Simulation
from ipi_darkforces.models.model import Need
from ipi_darkforces.models.registry.options import Loading
from ipi_darkforces.simulate.folder import RunFolder
from ipi_darkforces.simulate.inputs import SimulationInput
from ipi_darkforces.stats.estimates import Estimate

WATER = Path(__file__).parents[2] / "inputs" / "water.xyz"
BOTH = Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT
COLUMNS = [
    "step",
    "time{femtosecond}",
    "conserved{electronvolt}",
    "kinetic_md{electronvolt}",
    "temperature{kelvin}",
    "temperature(O){kelvin}",
    "temperature(H){kelvin}",
]


# Heating, K/ps: M = 5 is the last below the limit of 3 K/ps, M = 7 is lower by chance.
PREDICTED = Strides(
    {2: Estimate(0.1, 0.1), 3: Estimate(0.4, 0.1), 4: Estimate(0.5, 0.1), 5: Estimate(1.2, 0.1), 6: Estimate(2.9, 0.2),
     7: Estimate(1.0, 0.1)},
    {"langevin": 0.1, "svr": 0.2, "gle": 0.05},
    100.0,
    2.0,
)  # fmt: skip


def plan(provides: Need = BOTH, time: float = 10.0) -> AssessmentPlan:
    return AssessmentPlan("pet-m", provides, WATER, 300.0, 0.5, time)


def write(folder: CampaignFolder, simulation: Simulation, heating: float, inequality: float) -> None:
    """Outputs with a given heating (K/ps) and difference between O and H (K)."""
    run = RunFolder(folder.run(simulation.name))
    run.path.mkdir()
    run.begin(SimulationInput.read(folder.input(simulation.name)), {"model": "pet-m"}, None, False)
    random = np.random.default_rng(len(simulation.name))
    time = np.arange(0.0, 1000.0 * simulation.time, 10.0)
    oxygen, hydrogen = (300.0 + sign * inequality / 2.0 + 10.0 * random.normal(size=len(time)) for sign in (1, -1))
    conserved = 192 * 3.0 * BOLTZMANN_EV * (1e-3 * heating * time + 0.03 * random.normal(size=len(time)))
    mean = (oxygen + 2.0 * hydrogen) / 3.0
    rows = np.stack([2.0 * time, time, conserved, 0.0259 * mean, mean, oxygen, hydrogen], axis=1)
    head = "".join(f"# column {i + 1:3}     --> {name} : made up\n" for i, name in enumerate(COLUMNS))
    text = "\n".join("  ".join(f"{value:.10e}" for value in row) for row in rows)
    (run.path / f"{simulation.name}.out").write_text(f"{head}{text}\n")
    folder.record_end(simulation.name, Ended(simulation.time, None, 60.0, 0.01, {"cpu": "made up"}))


@pytest.fixture
def simulate(tmp_path: Path) -> Callable[..., tuple[SimulationResults | None, list[str]]]:
    """The procedure, and the simulations that it asks for, as ``nve mts4``."""

    def run(
        heats: dict[str, float],
        uneven: dict[str, float],
        stop_before: str = "",
        strides: Strides | None = PREDICTED,
        **changes: Any,
    ) -> tuple[SimulationResults | None, list[str]]:
        folder = CampaignFolder(tmp_path / "assessed")
        asked = []

        def one(simulation: Simulation) -> bool:
            of = simulation.condition
            name = f"{of.ensemble} {of.forces}"
            if name == stop_before:
                return False
            asked.append(name)
            write(folder, simulation, heats.get(of.forces, 0.0), uneven.get(of.forces, 0.0))
            return True

        with folder.locked():
            if Need.CONSERVATIVE not in changes.get("provides", BOTH):
                strides = None
            return procedure.simulate(plan(**changes), strides, folder, Loading(), one), asked

    return run


FIRST = ["nve conservative", "nve direct", "svr direct"]
DIRECT = {"direct": 7.0}


def judgements(result: SimulationResults) -> dict[str, Judgement]:
    return {each.choice.forces: each.judgement for each in result.judged}


def test_the_largest_stride_that_is_predicted_to_be_safe_is_confirmed(simulate, tmp_path: Path) -> None:
    result, asked = simulate(DIRECT, {"direct": 14.0})
    assert asked == [*FIRST, "nve mts5", "svr mts5"]
    safe, unsafe = Judgement.SAFE, Judgement.UNSAFE
    assert judgements(result) == {"conservative": safe, "direct": unsafe, "mts5": safe}
    choices = {each.choice.forces: each.choice for each in result.judged}
    assert choices["direct"].heating.value == pytest.approx(7.0, abs=0.1)
    assert choices["direct"].inequality.value == pytest.approx(14.0, abs=1.5)
    assert choices["mts5"].milliseconds == pytest.approx(2.0)
    assert choices["mts5"].predicted == PREDICTED.heating[5]
    assert (choices["mts5"].nve, choices["mts5"].svr) == (10.0, 20.0)
    verdict = decide("pet-m", result.judged, PREDICTED, 300.0)
    asymmetry = {"lambda": {"value": 0.01, "error": 0.001}, "elements": {}}
    found = Assessment(plan(), Loading(), "H128O64", tmp_path, verdict, result, asymmetry, {"missing": "no cell"})
    assert str(found).startswith("Not with direct forces alone: run pet-m with multiple time stepping with M = 5")
    page = found.write()
    assert page == tmp_path / "report.html"
    text = page.read_text()
    assert "Is pet-m safe to run with direct forces?" in text
    assert escape(found.command) in text
    assert json.loads((tmp_path / "assessment.json").read_text())["verdict"]["command"] == found.command
    assert text.count('<img src="data:image/png') == len(list(tmp_path.glob("*.png"))) > 0
    shown = found._repr_html_()
    assert "--mts 5 --timestep 0.5" in shown
    assert shown.count("<tr><td>") == len(result.judged) == 3


def test_if_it_fails_with_a_thermostat_half_of_it_is_tried(simulate) -> None:
    result, asked = simulate(DIRECT, {"mts5": 14.0})
    assert asked == [*FIRST, "nve mts5", "svr mts5", "nve mts2", "svr mts2"]
    assert judgements(result)["mts5"] is Judgement.UNSAFE
    assert judgements(result)["mts2"] is Judgement.SAFE


def test_if_it_heats_more_than_predicted_half_of_it_is_tried_at_once(simulate) -> None:
    _, asked = simulate({**DIRECT, "mts5": 7.0}, {})
    assert asked == [*FIRST, "nve mts5", "nve mts2", "svr mts2"]


def test_none_is_tried_if_none_is_safe(simulate) -> None:
    for strides in (None, Strides({2: Estimate(7.0, 0.1)}, {}, 100.0, 2.0)):
        result, asked = simulate(DIRECT, {}, strides=strides)
        assert result is not None
        assert asked in (FIRST, [])  # the second time, all is there


def test_none_is_tried_where_direct_forces_are_safe_or_conservative_ones_are_not(simulate) -> None:
    result, asked = simulate({"conservative": 7.0}, {})
    assert asked == FIRST
    assert judgements(result) == {"conservative": Judgement.UNSAFE, "direct": Judgement.SAFE}


def test_what_is_done_is_not_done_again(simulate) -> None:
    alone = {"provides": Need.ENERGY | Need.DIRECT}
    nothing, first = simulate(DIRECT, {}, stop_before="svr direct", **alone)
    assert nothing is None
    result, second = simulate(DIRECT, {}, **alone)
    assert (first, second) == (["nve direct"], ["svr direct"])
    again, third = simulate(DIRECT, {}, **alone)
    assert third == []
    assert [each.as_json() for each in again.judged] == [each.as_json() for each in result.judged]


def test_a_model_with_direct_forces_alone_is_tried_with_these(simulate) -> None:
    result, asked = simulate({}, {}, provides=Need.ENERGY | Need.DIRECT)
    assert asked == ["nve direct", "svr direct"]
    assert [each.judgement for each in result.judged] == [Judgement.SAFE]


def test_too_short_is_not_known(simulate) -> None:
    result, _ = simulate({}, {}, provides=Need.ENERGY | Need.DIRECT, time=0.1)
    assert {each.judgement for each in result.judged} == {Judgement.UNKNOWN}


def test_before_species_have_exchanged_energy_their_temperatures_decide_nothing(simulate) -> None:
    result, asked = simulate({}, {"direct": 14.0}, time=5.0)
    assert asked == ["nve conservative", "nve direct", "nve mts5"]  # nothing with a thermostat
    direct = next(each for each in result.judged if each.choice.forces == "direct")
    assert direct.judgement is Judgement.UNKNOWN
    assert "between O and H takes 20 ps with a thermostat to see: --thorough" in direct.reasons[-1].text
    assert (direct.choice.svr, direct.choice.inequality, direct.choice.excess) == (None, None, {})
    assert judgements(result)["mts5"] is Judgement.SAFE
