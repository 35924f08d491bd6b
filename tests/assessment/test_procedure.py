"""Which simulations are asked for, by what the ones before said; their outputs are made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ipi_darkforces.analysis.io.units import BOLTZMANN_EV
from ipi_darkforces.assessment import procedure
from ipi_darkforces.assessment.assessment import Assessment
from ipi_darkforces.assessment.criteria import Judgement
from ipi_darkforces.assessment.plan import Plan
from ipi_darkforces.assessment.procedure import Result
from ipi_darkforces.assessment.verdict import decide
from ipi_darkforces.campaign.evaluation import Evaluation
from ipi_darkforces.campaign.folder import CampaignFolder, Ended
from ipi_darkforces.campaign.matrix import Simulation
from ipi_darkforces.models.model import Need
from ipi_darkforces.simulate.folder import RunFolder
from ipi_darkforces.simulate.inputs import SimulationInput

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


def plan(provides: Need = BOTH, time: float = 10.0) -> Plan:
    return Plan("pet-m", provides, WATER, 300.0, 0.5, time)


def write(folder: CampaignFolder, simulation: Simulation, heating: float, inequality: float) -> None:
    """What i-PI would have: K/ps, and K between O and H."""
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
    folder.has_ended(simulation.name, Ended(simulation.time, None, 60.0, 0.01, {"cpu": "made up"}))


@pytest.fixture
def simulate(tmp_path: Path) -> Callable[..., tuple[Result | None, list[str]]]:
    """The procedure, and the simulations that it asks for, as ``nve mts4``."""

    def run(
        heats: dict[str, float], uneven: dict[str, float], stop_before: str = "", **changes: Any
    ) -> tuple[Result | None, list[str]]:
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
            return procedure.simulate(plan(**changes), folder, Evaluation(), one), asked

    return run


NVE = ["nve conservative", "nve direct", "nve mts2", "nve mts4", "nve mts8", "nve mts16"]
DIRECT = {"direct": 7.0, "mts8": 5.0, "mts16": 70.0}


def test_the_largest_stride_that_seems_safe_is_confirmed(simulate) -> None:
    result, asked = simulate(DIRECT, {"direct": 14.0})
    assert asked == [*NVE, "svr direct", "svr mts4"]
    judgements = {each.choice.forces: each.judgement for each in result.judged}
    unsafe = {forces for forces, judgement in judgements.items() if judgement is Judgement.UNSAFE}
    assert unsafe == {"direct", "mts8", "mts16"}
    choices = {each.choice.forces: each.choice for each in result.judged}
    assert choices["direct"].heating.value == pytest.approx(7.0, abs=0.1)
    assert choices["direct"].inequality.value == pytest.approx(14.0, abs=1.5)
    assert choices["mts4"].milliseconds == pytest.approx(2.5)
    assert (choices["mts4"].nve, choices["mts4"].svr, choices["mts2"].svr) == (10.0, 20.0, None)
    found = Assessment(plan(), Evaluation(), "H128O64", Path("assessed"), decide("pet-m", result.judged), result)
    assert str(found).startswith("Not with direct forces alone: run pet-m with multiple time stepping with M = 4")
    shown = found._repr_html_()
    assert "--mts 4 --timestep 0.5" in shown
    assert shown.count("<tr><td>") == len(result.judged) == 6


def test_if_it_fails_with_a_thermostat_the_next_one_down_is_tried(simulate) -> None:
    result, asked = simulate(DIRECT, {"mts4": 14.0})
    assert asked == [*NVE, "svr direct", "svr mts4", "svr mts2"]
    assert {each.choice.forces: each.judgement for each in result.judged}["mts4"] is Judgement.UNSAFE


def test_if_none_is_safe_none_is_confirmed(simulate) -> None:
    _, asked = simulate({"mts2": -7.0}, {})
    assert asked == [*NVE, "svr direct"]


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
    result, _ = simulate({}, {"direct": 14.0}, provides=Need.ENERGY | Need.DIRECT, time=5.0)
    [direct] = result.judged
    assert direct.judgement is Judgement.UNKNOWN
    assert direct.choice.inequality.value == pytest.approx(14.0, abs=1.5)
    assert direct.choice.inequality.error is None
    assert direct.choice.excess["O"].error is None
    assert direct.choice.excess["all"].error is not None
