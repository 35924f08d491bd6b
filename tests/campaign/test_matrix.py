"""What a campaign's file may say, and what it says when something is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipi_darkforces.campaign.matrix import Campaign
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.forces.split import Component
from ipi_darkforces.serve.compose import compose
from ipi_darkforces.serve.start import read_start

INPUTS = Path(__file__).parents[2] / "inputs"
WHOLE = f"""\
structure: {INPUTS / "water.xyz"}
models: [pet-m]
time: 2
discard: 0.5
seeds: 2
matrix:
  - thermostats: [nve]
    forces: [direct, mts8]
  - thermostats: langevin 100
    forces: conservative
    seeds: [7]
    time: 10
"""


@pytest.fixture
def write(tmp_path):
    def written(text: str) -> Path:
        path = tmp_path / "some.yaml"
        path.write_text(text)
        return path

    return written


def test_each_with_each(write):
    campaign = Campaign.read(write(WHOLE))
    assert (campaign.name, campaign.temperature, campaign.timestep, campaign.discard) == ("some", 300.0, 0.5, 0.5)
    assert {each.name: each.time for each in campaign.simulations} == {
        "pet-m-nve-direct-seed1": 2.0,
        "pet-m-nve-direct-seed2": 2.0,
        "pet-m-nve-mts8-seed1": 2.0,
        "pet-m-nve-mts8-seed2": 2.0,
        "pet-m-langevin100-conservative-seed7": 10.0,
    }
    assert [condition.forces for condition in campaign.conditions] == ["direct", "mts8", "conservative"]
    assert campaign.conditions[1].needs == (Component.SLOW, Component.FAST)


def test_seeds_decide_velocities_and_thermostat(write):
    campaign = Campaign.read(write(WHOLE))
    start = read_start(INPUTS / "water.xyz")
    texts = [compose(campaign.recipe(each, start, "start.chk")) for each in campaign.simulations]
    assert ["<seed> 1 </seed>" in texts[0], "<seed> 2 </seed>" in texts[1], "<seed> 7 </seed>" in texts[4]] == [
        True
    ] * 3
    assert all("<velocities mode='thermal' units='kelvin'> 300 </velocities>" in text for text in texts)
    assert "<nmts> [ 1, 8 ] </nmts>" in texts[2]
    assert "<total_steps> 20000 </total_steps>" in texts[4]
    assert "<tau units='femtosecond'> 100 </tau>" in texts[4]


def test_models_can_be_replaced_and_lie_beside_the_file(write, tmp_path, monkeypatch):
    (tmp_path / "my model.ckpt").write_bytes(b"weights")
    beside = Campaign.read(write(WHOLE.replace("[pet-m]", "[pet-m, my model.ckpt]")))
    assert beside.models == ("pet-m", str(tmp_path / "my model.ckpt"))
    assert beside.simulations[-1].name == "my_model-langevin100-conservative-seed7"
    assert Campaign.read(write(WHOLE), ["pet-nc"]).models == ("pet-nc",)
    monkeypatch.chdir(tmp_path)  # jobs run elsewhere
    assert Campaign.read(write(WHOLE), ["my model.ckpt"]).models == (str(tmp_path / "my model.ckpt"),)


@pytest.mark.parametrize("size", ["quick", "full"])
def test_those_that_come_with_the_package(size):
    campaign = Campaign.read(INPUTS / "campaigns" / f"{size}.yaml")
    there = {(condition.thermostat, condition.forces) for condition in campaign.conditions}
    assert {("nve", forces) for forces in ("conservative", "direct", "mts2", "mts4", "mts8", "mts16")} <= there
    assert {(f"langevin{tau}", forces) for tau in (10, 100, 1000) for forces in ("conservative", "direct")} <= there
    assert {("svr10", forces) for forces in ("conservative", "direct", "mts8")} <= there
    assert {("gle10", forces) for forces in ("conservative", "direct")} <= there


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("models: [pet-m]\n", "", "does not say 'models'"),
        ("time: 2", "tyme: 2", "'tyme' is not known: expected structure, models"),
        ("[nve]", "[nvt]", "thermostat 'nvt' is not known: expected nve, or with its time in fs 'langevin 100'"),
        ("[nve]", "[svr]", "thermostat 'svr' is not known"),
        ("[nve]", "[nve 10]", "thermostat 'nve 10' is not known"),
        ("langevin 100", "langevin 0", "expected a number of fs above 0"),
        ("[direct, mts8]", "[directly]", "forces 'directly' are not known: expected conservative, direct, or mts2"),
        ("[direct, mts8]", "[mts1]", "forces 'mts1' are not known"),
        ("[direct, mts8]", "[]", "block 1 of the matrix has no forces"),
        ("forces: conservative", "force: conservative", "block 2 of the matrix: 'force' is not known"),
        ("[direct, mts8]", "[direct, direct]", "simulation pet-m-nve-direct-seed1 is in the matrix twice"),
        ("[pet-m]", "[a/x.pt, b/x.pt]", "is that of two models: 'a/x.pt' and 'b/x.pt'"),
        ("seeds: 2", "seeds: 0", "seeds 0 cannot be"),
        ("seeds: [7]", "seeds: [true]", r"seeds \[True\] cannot be"),
        ("time: 10", "time: soon", "time is 'soon': expected a number of ps above 0"),
        ("discard: 0.5", "discard: 2", "nothing is left of 2 ps without the first 2 ps"),
        ("water.xyz", "wine.xyz", "wine.xyz' does not exist"),
        ("matrix:", "matrix: [", "is not YAML"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(write, old, new, message):
    assert old in WHOLE
    with pytest.raises(DarkforcesError, match=message) as caught:
        Campaign.read(write(WHOLE.replace(old, new)))
    assert "\n" not in str(caught.value)
    assert "some.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (WHOLE[: WHOLE.index("  - thermostats")].replace("matrix:", "matrix: []"), "the matrix is empty"),
        ("just words", "is no campaign: expected structure, models"),
        ("", "is no campaign"),
    ],
)
def test_nothing_to_do(write, text, message):
    with pytest.raises(DarkforcesError, match=message):
        Campaign.read(write(text))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DarkforcesError, match=r"campaign '.*none.yaml' does not exist"):
        Campaign.read(tmp_path / "none.yaml")
