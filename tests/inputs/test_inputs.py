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
    *("npt-conservative", "npt-mts4", "pimd-mts2", "pimd-mts4-contracted", "hmr-mts4", "d2o-mts8", "remd-mts4"),
}
# By their starts: atoms, and the time step of the fast forces, fs.
STARTS = {
    "water": ("O" * 64 + "H" * 128, 0.5),
    "water-16": ("O" * 16 + "H" * 32, 0.5),
    "water-16-d2o": ("O" * 16 + "H" * 32, 0.5),
    "water-16-hmr": ("O" * 16 + "H" * 32, 1.0),
    "graphene": ("C" * 32, 1.0),
    "carbon": ("C" * 32, 1.0),
    "aluminium": ("Al" * 32, 2.0),
}
HYDROGEN = {"water-16-d2o": 2.014, "water-16-hmr": 3.0}  # u, where it is another
# By the first word of their names: i-PI's ensemble and thermostat.
KINDS = {
    "nve": ("nve", "Thermostat"),
    "langevin": ("nvt", "ThermoLangevin"),
    "svr": ("nvt", "ThermoSVR"),
    "gle": ("nvt", "ThermoGLE"),
    "npt": ("npt", "ThermoSVR"),
    "pimd": ("nvt", "ThermoPILE_L"),
    "hmr": ("nve", "Thermostat"),
    "d2o": ("nve", "Thermostat"),
    "remd": ("nvt", "ThermoLangevin"),
}


def start_of(path):
    return re.search(r"<file mode='chk'> (.*)\.chk </file>", path.read_text())[1]


def kind_of(path):
    return re.match("langevin|[a-z0-9]+", path.stem).group()


each_input = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
each_of_water = pytest.mark.parametrize(
    "path", [path for path in PATHS if start_of(path).startswith("water")], ids=lambda path: path.stem
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
    system = simulation.syslist[0]
    motion = system.motion
    inner = motion.dt / math.prod(int(n) for n in motion.nmts)
    found[name] = {
        "inner": unit_to_user("time", "femtosecond", inner),
        "temperatures": [unit_to_user("temperature", "kelvin", each.ensemble.temp) for each in simulation.syslist],
        "beads": [component.nbeads for component in system.fcomp] + [system.beads.nbeads],
        "hydrogen": unit_to_user("mass", "dalton", system.beads.m[-1]),
        "ensemble": motion.enstype,
        "thermostat": type(motion.thermostat).__name__,
        "atoms": "".join(system.beads.names),
        "moving": bool((system.beads.p**2).sum() > 0),
    }
print("FOUND" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def loaded():
    """Each input as i-PI has read it."""
    command = [sys.executable, "-c", LOAD, *(path.name for path in PATHS)]
    done = finish(command, cwd=INPUTS, fork_code=True)
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
    start = start_of(path)
    atoms, timestep = STARTS[start]
    assert found["inner"] == pytest.approx(timestep)
    temperatures = [300, 320, 341, 364] if path.stem == "remd-mts4" else [300]
    assert found["temperatures"] == pytest.approx(temperatures)
    assert found["atoms"] == atoms
    if start.startswith("water"):
        assert found["hydrogen"] == pytest.approx(HYDROGEN.get(start, 1.008), abs=1e-3)
    assert found["moving"]
    assert (found["ensemble"], found["thermostat"]) == KINDS[kind_of(path)]
    *of_forces, beads = found["beads"]
    assert beads == (32 if path.stem.startswith("pimd") else 1)
    assert of_forces == ([4, 0] if path.stem.endswith("contracted") else [0] * len(of_forces))


@each_input
def test_it_begins_with_what_it_shows(path):
    comment = re.match(r"<!--\n(.*?)\n-->\n<simulation", path.read_text(), re.DOTALL)
    assert comment
    first, *rest = comment.group(1).strip().splitlines()
    assert re.match("(NV[ET]|NPT|PIMD|NVT replica exchange) (with|of) ", first)
    assert any(f"darkforces run inputs/{path.name}" in line for line in rest)


@each_input
def test_a_driver_without_options_finds_it(path):
    addresses = [node.text.strip() for node in ET.parse(path).getroot().findall("ffsocket/address")]
    assert addresses
    assert len(set(addresses)) == len(addresses)
    assert all(address.startswith("darkforces") for address in addresses)


@each_of_water
def test_it_runs_as_it_is(path, served, tmp_path):
    start = f"{start_of(path)}.chk"
    shutil.copy(INPUTS / start, tmp_path)
    copy = tmp_path / path.name
    copy.write_text(re.sub("<total_steps> .* </total_steps>", "<total_steps> 1 </total_steps>", path.read_text()))
    ipi = served.ipi(copy)
    assert ipi.wait() == 0, ipi.said()
    replicas = [f"replica-{i}_" for i in range(4)] if path.stem == "remd-mts4" else [""]
    for prefix in replicas:
        values, _ = read_output(str(tmp_path / f"{prefix}{path.stem}.out"))
        few = start != "water.chk"
        assert abs(values["temperature"].flat[0] - 300) < (100 if few else 30)
        for output in ("vel", "pos"):
            assert list(tmp_path.glob(f"{prefix}{path.stem}.{output}*.xyz"))
    assert restart_step(tmp_path) == 1


def test_they_are_what_the_script_makes(tmp_path):
    runpy.run_path(str(INPUTS / "make_inputs.py"), run_name="imported")["main"](tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_bytes() for path in [*PATHS, *INPUTS.glob("*.chk")]}
    assert made.keys() == committed.keys()
    for name in made:
        assert made[name] == committed[name], f"{name} is not what inputs/make_inputs.py makes: run it"
