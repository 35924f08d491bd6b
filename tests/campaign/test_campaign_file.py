"""The file of a campaign: all that it may say, and the messages where something is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipi_darkforces.campaign.campaign_file import read_campaign
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.simulate.compose import compose
from ipi_darkforces.simulate.start import read_start
from ipi_darkforces.split.component import Component

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
    campaign = read_campaign(write(WHOLE))
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
    campaign = read_campaign(write(WHOLE))
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
    beside = read_campaign(write(WHOLE.replace("[pet-m]", "[pet-m, my model.ckpt]")))
    assert beside.models == ("pet-m", str(tmp_path / "my model.ckpt"))
    assert beside.simulations[-1].name == "my_model-langevin100-conservative-seed7"
    assert read_campaign(write(WHOLE), ["pet-nc"]).models == ("pet-nc",)
    monkeypatch.chdir(tmp_path)  # jobs run elsewhere
    assert read_campaign(write(WHOLE), ["my model.ckpt"]).models == (str(tmp_path / "my model.ckpt"),)


@pytest.mark.parametrize("size", ["quick", "full"])
def test_those_that_come_with_the_package(size):
    campaign = read_campaign(INPUTS / "campaigns" / f"{size}.yaml")
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
        ("time: 10", "time: 1e400", "time is '1e400': expected a number of ps above 0"),
        ("time: 10", "time: 1.0e+400", "time is inf: expected a number of ps"),
        ("time: 10", "time: .nan", "time is nan: expected a number of ps"),
        ("time: 10", "time: -.inf", "time is -inf: expected a number of ps"),
        ("time: 10", "time: -0", "time is 0: expected a number of ps above 0"),
        ("time: 10", "time: true", "time is True: expected a number of ps"),
        ("time: 10", "time: [10]", r"time is \[10\]: expected a number of ps"),
        ("time: 10", "time: {ps: 10}", "time is {'ps': 10}: expected a number of ps"),
        ("time: 10", "time: 2020-01-01", r"time is datetime.date\(2020, 1, 1\): expected a number of ps"),
        ("time: 10", f"time: 1{400 * '0'}", "expected a number of ps above 0"),
        ("time: 10", f"time: 1{5000 * '0'}", "is not YAML: Exceeds the limit"),
        ("time: 10", f"time: 0x{5000 * 'f'}", "time is a int without end: expected a number of ps"),
        ("time: 10", "time: 1e30", r"of 1e\+30 ps has 2e\+33 steps of 0.5 fs: expected at most 1e\+12"),
        ("time: 2\n", "time: 2\ntimestep: 1e-300\n", "steps of 1e-300 fs: expected at most"),
        ("time: 10", "timestep: 10000", "'timestep' is not known"),
        ("[direct, mts8]", "[mts8000]", "mts8000-seed1 of 2 ps is shorter than one step of 4000 fs"),
        ("[direct, mts8]", "[mts99999999999]", "forces 'mts99999999999' are not known"),
        ("[direct, mts8]", "[[direct]]", r"forces \['direct'\] are not known"),
        ("[direct, mts8]", "[true]", "forces True are not known"),
        ("[nve]", "[[nve]]", r"thermostat \['nve'\] is not known"),
        ("langevin 100", "langevin 1.2.3", "expected a number of fs above 0"),
        ("langevin 100", "100", "thermostat 100 is not known"),
        ("seeds: 2", "seeds: 1000000000000", "seeds 1000000000000 are too many: expected at most 100000"),
        ("seeds: 2", "seeds: 2.5", "seeds 2.5 cannot be"),
        ("seeds: 2", "seeds: '2'", "seeds '2' cannot be"),
        ("seeds: [7]", "seeds: [2147483648]", r"seeds \[2147483648\] cannot be"),
        ("seeds: [7]", "seeds: &a [*a]", r"seeds \[+\.\.\.\]+ cannot be"),
        ("[pet-m]", "[[pet-m]]", r"a model is \['pet-m'\]: expected a name or a path"),
        ("[pet-m]", "[12]", "a model is 12: expected a name or a path"),
        ("[pet-m]", "{a: 1}", "a model is {'a': 1}: expected a name or a path"),
        ("[pet-m]", "['']", "a model is '': expected a name or a path"),
        ("time: 2", "time: 2\ntime: 3", "says 'time' twice: expected it once"),
        ("time: 10", "time: 10\n    time: 20", "says 'time' twice: expected it once"),
        ("time: 2", "time: 2\n[a, b]: 3", "is not YAML|is not known"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(write, old, new, message):
    assert old in WHOLE
    with pytest.raises(DarkforcesError, match=message) as caught:
        read_campaign(write(WHOLE.replace(old, new)))
    assert "\n" not in str(caught.value)
    assert "some.yaml" in str(caught.value)


def test_numbers_as_people_write_them(write):
    text = WHOLE.replace("time: 2", "time: 2e0").replace("discard: 0.5", "discard: -0.0").replace("100", "1e2")
    with pytest.raises(DarkforcesError, match="thermostat 'langevin 1e2' is not known"):
        read_campaign(write(text))
    campaign = read_campaign(write(text.replace("1e2", "100.0")))
    assert (campaign.simulations[0].time, str(campaign.discard)) == (2.0, "0.0")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "a: &a [x, x]\n"
        + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefghijklmno", "bcdefghijklmnop", strict=True)),
        "matrix: " + "{a: " * 5000 + "}" * 5000,
    ],
)
def test_lists_in_lists_in_lists(write, text):
    with pytest.raises(DarkforcesError, match="nested too deeply|is not known: expected|is not YAML") as caught:
        read_campaign(write(text))
    assert len(str(caught.value)) < 400


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "some.yaml").write_bytes(WHOLE.encode() + b"# \xff")
    with pytest.raises(DarkforcesError, match="some.yaml' is not YAML: 'utf-8' codec"):
        read_campaign(tmp_path / "some.yaml")


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
        read_campaign(write(text))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DarkforcesError, match=r"campaign '.*none.yaml' does not exist"):
        read_campaign(tmp_path / "none.yaml")
