"""The inputs that come with the package: what i-PI makes of them, and that a driver without options serves them all.

Those of materials need models of other packages: environments/test_sevennet.py runs them.
"""

import json
import re
import runpy
import shutil
import sys
import xml.etree.ElementTree as ET

import pytest
from ipi.scripting import read_output
from ipi_processes import INPUTS, Workplace, restart_step
from programs import finish

PATHS = sorted(INPUTS.glob("*.xml"))
EXPECTED = {
    "nve-conservative",
    "nve-direct",
    *(f"nve-mts{stride}" for stride in (2, 4, 8, 16)),
    *(f"langevin{tau}-{kind}" for tau in (10, 100, 1000) for kind in ("conservative", "direct")),
    *(f"svr-{kind}" for kind in ("conservative", "direct", "mts8")),
    *(f"gle-{kind}" for kind in ("conservative", "direct")),
    *(f"nve-{name}-{kind}" for name in ("graphene", "carbon", "aluminium") for kind in ("conservative", "direct")),
}
# What they start from; the others are of water, in steps of 0.5 fs.
MATERIALS = {"graphene": ("C" * 32, 1.0), "carbon": ("C" * 32, 1.0), "aluminium": ("Al" * 32, 2.0)}
WATER = ("O" * 64 + "H" * 128, 0.5)
each_input = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
each_of_water = pytest.mark.parametrize(
    "path", [path for path in PATHS if "water.chk" in path.read_text()], ids=lambda path: path.stem
)

# In a process of its own: i-PI takes the signals of the process that it is in, and leaves threads behind.
LOAD = """
import json, math, sys
from ipi.engine.simulation import Simulation
from ipi.utils.units import unit_to_user
found = {}
for name in sys.argv[1:]:
    with open(name) as stream:
        simulation = Simulation.load_from_xml(stream, read_only=True)
    [system] = simulation.syslist
    motion = system.motion
    inner = motion.dt / math.prod(int(n) for n in motion.nmts)
    found[name] = {
        "inner": unit_to_user("time", "femtosecond", inner),
        "temperature": unit_to_user("temperature", "kelvin", system.ensemble.temp),
        "ensemble": motion.enstype,
        "thermostat": type(motion.thermostat).__name__,
        "atoms": "".join(system.beads.names),
        "moving": bool((system.beads.p**2).sum() > 0),
    }
print("FOUND" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def loaded():
    """What i-PI makes of each input."""
    command = [sys.executable, "-c", LOAD, *(path.name for path in PATHS)]
    done = finish(command, cwd=INPUTS)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(re.search("^FOUND(.*)$", done.stdout, re.MULTILINE).group(1))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A driver that was told nothing but the model, and where this test keeps its sockets."""
    with Workplace() as workplace:
        driver = workplace.driver("--model", "pet-m", "--stay")
        yield workplace
        assert driver.running, driver.said()


def test_all_are_there():
    assert {path.stem for path in PATHS} == EXPECTED


@each_input
def test_ipi_loads_it(path, loaded):
    found = loaded[path.name]
    atoms, timestep = next((MATERIALS[name] for name in MATERIALS if name in path.stem), WATER)
    assert found["inner"] == pytest.approx(timestep)
    assert found["temperature"] == pytest.approx(300)
    assert found["atoms"] == atoms
    assert found["moving"]
    kind = re.match("[a-z]+", path.stem).group()
    thermostat = {"nve": "Thermostat", "langevin": "ThermoLangevin", "svr": "ThermoSVR", "gle": "ThermoGLE"}[kind]
    assert (found["ensemble"], found["thermostat"]) == ("nve" if kind == "nve" else "nvt", thermostat)


@each_input
def test_it_begins_with_what_it_shows(path):
    comment = re.match(r"<!--\n(.*?)\n-->\n<simulation", path.read_text(), re.DOTALL)
    assert comment
    first, *rest = comment.group(1).strip().splitlines()
    assert re.match("NV[ET] with ", first)
    assert any(f"darkforces run inputs/{path.name}" in line for line in rest)


@each_input
def test_a_driver_without_options_finds_it(path):
    addresses = [node.text.strip() for node in ET.parse(path).getroot().findall("ffsocket/address")]
    assert addresses
    assert len(set(addresses)) == len(addresses)
    assert all(address.startswith("darkforces") for address in addresses)


@each_of_water
def test_it_runs_as_it_is(path, served, tmp_path):
    shutil.copy(INPUTS / "water.chk", tmp_path)
    copy = tmp_path / path.name
    copy.write_text(re.sub("<total_steps> .* </total_steps>", "<total_steps> 2 </total_steps>", path.read_text()))
    ipi = served.ipi(copy)
    assert ipi.wait() == 0, ipi.said()
    values, _ = read_output(str(tmp_path / f"{path.stem}.out"))
    assert abs(values["temperature"].flat[0] - 300) < 30
    assert restart_step(tmp_path) == 2
    for output in ("vel", "pos"):
        assert (tmp_path / f"{path.stem}.{output}_0.xyz").stat().st_size > 0


def test_they_are_what_the_script_makes(tmp_path):
    runpy.run_path(str(INPUTS / "make_inputs.py"), run_name="imported")["main"](tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_bytes() for path in [*PATHS, *INPUTS.glob("*.chk")]}
    assert made.keys() == committed.keys()
    for name in made:
        assert made[name] == committed[name], f"{name} is not what inputs/make_inputs.py makes: run it"
