"""Simulations at constant pressure that a model can serve, known before they start."""

from pathlib import Path

import pytest
from calculators import FILE

from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.registry.load import load_model
from ipi_darkforces.simulate.inputs import SimulationInput
from ipi_darkforces.simulate.virials import Virials
from ipi_darkforces.split.component import Component

INPUTS = Path(__file__).parents[2] / "inputs"
BAROSTAT = "<barostat mode='isotropic'> <tau units='femtosecond'> 200 </tau> </barostat>"


def at_constant_pressure(tmp_path: Path, name: str, *replacements: tuple[str, str]) -> Virials:
    """The virials that one of the inputs needs, once it is made one at constant pressure."""
    text = (INPUTS / f"{name}.xml").read_text()
    for old, new in (("<dynamics mode='nve'>", f"<dynamics mode='npt'> {BAROSTAT}"), *replacements):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "npt.xml").write_text(text)
    return SimulationInput.read(tmp_path / "npt.xml").virials


FAST, SLOW = "<force forcefield='fast'>", "<force forcefield='slow'>"


@pytest.mark.parametrize(
    ("name", "replacements", "direct"),
    [
        ("nve-conservative", [], False),
        ("nve-direct", [], True),
        ("nve-direct", [("component: direct, ", "")], True),  # what a model of direct forces alone would be asked for
        ("nve-mts4", [], False),
        ("nve-mts4", [(SLOW, "<force forcefield='slow' weight='0.5'>")], True),
        ("nve-mts4", [("component: slow", "component: conservative")], True),
        (
            "nve-mts4",
            [
                ("component: slow", "component: conservative"),
                ("component: fast", "component: direct"),
                ("<mts_weights> [ 0, 1 ] </mts_weights>", "<mts_weights> [ -1, 1 ] </mts_weights>"),
            ],
            False,
        ),
        ("nve-mts4", [("nbeads='1'", "nbeads='8'"), (SLOW, "<force forcefield='slow' nbeads='8'>")], False),
        ("nve-mts4", [("nbeads='1'", "nbeads='8'"), (SLOW, "<force forcefield='slow' nbeads='2'>")], True),
        ("nve-direct", [("<ensemble>", "<ensemble> <pressure units='bar'> 1 </pressure>")], True),
    ],
)
def test_direct_forces_have_a_part_in_the_pressure_or_not(tmp_path, name, replacements, direct):
    assert at_constant_pressure(tmp_path, name, *replacements) == Virials(True, direct)


@pytest.mark.parametrize("name", ["nve-direct", "svr-direct", "nve-mts4"])
def test_constant_volume_needs_no_virial(name):
    assert SimulationInput.read(INPUTS / f"{name}.xml").virials == Virials(False, False)


def test_a_model_without_direct_stress_serves_conservative_forces_and_the_split(tmp_path):
    model = load_model("pet-m")
    at_constant_pressure(tmp_path, "nve-conservative").check(model, Component.CONSERVATIVE)
    for component in (Component.SLOW, Component.FAST):
        at_constant_pressure(tmp_path, "nve-mts4").check(model, component)
    with pytest.raises(DarkforcesError, match="'pet-m' has no direct stress for component 'direct'"):
        at_constant_pressure(tmp_path, "nve-direct").check(model, Component.DIRECT)


def test_a_calculator_without_stress_serves_no_constant_pressure(tmp_path):
    model = load_model(f"ase:{FILE}:without?name=stress")
    with pytest.raises(DarkforcesError, match="has no stress; expected a simulation at constant volume"):
        at_constant_pressure(tmp_path, "nve-conservative").check(model, Component.CONSERVATIVE)
