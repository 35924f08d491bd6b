"""Reading i-PI inputs and preparing them for a run."""

from pathlib import Path

import pytest

from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.serve.address import InetAddress, UnixAddress
from ipi_darkforces.simulate.inputs import SimulationInput

INPUTS = Path(__file__).parents[2] / "inputs"


def edited(tmp_path, *replacements, name="nve-mts4"):
    """A shipped input with some of its text replaced."""
    text = (INPUTS / f"{name}.xml").read_text()
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "edited.xml"
    path.write_text(text)
    return SimulationInput.read(path)


def test_what_an_input_says():
    simulation = SimulationInput.read(INPUTS / "nve-mts4.xml")
    assert (simulation.step, simulation.total_steps, simulation.prefix) == (0, 1000, "nve-mts4")
    assert simulation.timestep == pytest.approx(2.0)
    slow, fast = simulation.socket_forcefields()
    assert (slow.name, slow.settings.component, fast.settings.component) == ("slow", "slow", "fast")
    assert fast.place("/tmp/prefix_") == UnixAddress("/tmp/prefix_darkforces-fast")


@pytest.mark.parametrize(
    ("mode", "place"),
    [
        ("shm", UnixAddress("/tmp/ipi_localhost", shared_memory=True)),
        ("inet", InetAddress("localhost", 31415)),
    ],
)
def test_every_kind_of_socket_is_found(tmp_path, mode, place):
    simulation = edited(
        tmp_path,
        ("mode='unix'", f"mode='{mode}'"),
        ("<address> darkforces </address>", "<address> localhost </address> <port> 31415 </port>"),
        name="nve-direct",
    )
    assert [f.place("/tmp/ipi_") for f in simulation.socket_forcefields()] == [place]


def test_the_number_of_steps_can_be_changed():
    simulation = SimulationInput.read(INPUTS / "nve-mts4.xml")
    simulation.set_total_steps(7)
    assert simulation.total_steps == 7
    assert simulation.text().count("<total_steps>") == 1


def test_progress_is_added_once():
    simulation = SimulationInput.read(INPUTS / "nve-mts4.xml")
    simulation.add_outputs(3)
    simulation.add_outputs(5)
    assert simulation.text().count("filename='progress' stride='3'") == 1
    assert "stride='5'>[ step" not in simulation.text()


def test_what_is_written_reads_back_the_same(tmp_path):
    simulation = SimulationInput.read(INPUTS / "gle-direct.xml")
    (tmp_path / "again.xml").write_text(simulation.text())
    assert SimulationInput.read(tmp_path / "again.xml").text() == simulation.text()


def test_sockets_become_plugins():
    simulation = SimulationInput.read(INPUTS / "nve-mts4.xml")
    simulation.serve_in_process("plugin.py", "choice.json")
    text = simulation.text()
    assert "ffsocket" not in text
    assert text.count("<pes_path>plugin.py</pes_path>") == 2
    assert "{choice: choice.json, component: fast, species: O64H128}" in text
    assert simulation.socket_forcefields() == []


def test_a_restart_takes_over_forcefields():
    restart = SimulationInput.read(INPUTS / "nve-mts4.xml")
    restart.serve_in_process("plugin.py", "choice.json")
    restart.adopt(SimulationInput.read(INPUTS / "nve-mts4.xml"))
    restart.text()
    assert [f.name for f in restart.socket_forcefields()] == ["slow", "fast"]


TOLERANCES = "<energy> 1e-6 </energy> <force> 1e-4 </force> <position> 1e-4 </position>"
OPTIMIZER = f"<motion mode='minimize'> <optimizer mode='lbfgs'> <tolerances> {TOLERANCES} </tolerances> </optimizer>"


def test_the_force_that_an_optimizer_tolerates_is_no_forcefield(tmp_path):
    text = (INPUTS / "nve-direct.xml").read_text()
    dynamics = text[text.index("<motion") : text.index("</motion>")]
    simulation = edited(tmp_path, (dynamics, OPTIMIZER), name="nve-direct")
    assert [f.name for f in simulation.socket_forcefields()] == ["direct"]
    assert simulation.timestep is None


def test_a_bias_is_none_of_the_forces_that_ipi_counts(tmp_path):
    text = (INPUTS / "nve-mts4.xml").read_text()
    forces = text[text.index("    <forces>") : text.index("    <ensemble>")]
    bias = "<ensemble> <bias> <force forcefield='fast'/> </bias>"
    simulation = edited(tmp_path, (forces, ""), ("<ensemble>", bias), ("</ensemble>", "</ensemble>\n" + forces))
    simulation.add_outputs(1)
    assert "extras_component_raw(0)" in simulation.text()


def wrapped(tmp_path, wrapper):
    """The sockets of an input, each in a forcefield that makes something else of it."""
    text = (INPUTS / "nve-mts4.xml").read_text()
    for name in ("slow", "fast"):
        text = text.replace(f"<ffsocket name='{name}'", f"<{wrapper} name='{name}'> <ffsocket name='inner'")
    text = text.replace("</ffsocket>", f"</ffsocket> </{wrapper}>")
    (tmp_path / "wrapped.xml").write_text(text)
    return SimulationInput.read(tmp_path / "wrapped.xml")


@pytest.mark.parametrize("wrapper", ["ffrotations", "ffcommittee"])
class TestWrappedSockets:
    def test_are_found_where_ipi_puts_them(self, tmp_path, wrapper):
        slow, fast = wrapped(tmp_path, wrapper).socket_forcefields()
        assert (slow.settings.component, fast.settings.component) == ("slow", "fast")
        assert fast.place("/tmp/prefix_") == UnixAddress("/tmp/ipi_darkforces-fast")

    def test_become_plugins(self, tmp_path, wrapper):
        simulation = wrapped(tmp_path, wrapper)
        simulation.serve_in_process("plugin.py", "choice.json")
        text = simulation.text()
        assert text.count(f"<{wrapper} name=") == text.count("<ffdirect name='inner'") == 2
        assert "component: slow" in text
        assert simulation.socket_forcefields() == []


def test_a_prefix_of_sockets_that_the_input_says(tmp_path):
    assert SimulationInput.read(INPUTS / "nve-mts4.xml").sockets_prefix == "/tmp/ipi_"
    simulation = edited(tmp_path, ("<simulation ", "<simulation sockets_prefix='/tmp/mine_' "))
    assert simulation.sockets_prefix == "/tmp/mine_"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("component: fast", "component: swift", "component 'swift' is not known: expected one of conservative"),
        ("component: fast", "compnent: fast", "'compnent' in the <parameters> of forcefield 'fast'.* is not known"),
        ("<force forcefield='fast'>", "<force forcefield='quick'>", "forcefield 'quick', which is not defined; .*fast"),
        ("<nmts>", "<mnts>", "not XML"),
        ("<ensemble> <temperature", "<ensemble> <heat/> <temperature", "not an input that i-PI accepts"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, message):
    with pytest.raises(DarkforcesError, match=message) as caught:
        edited(tmp_path, (old, new)).socket_forcefields()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<timestep units='femtosecond'>", "<timestep units='fs'>", "accepts: <timestep>: fs is an undefined unit"),
        ("<temperature units='kelvin'>", "<temperature units='degC'>", "<temperature>: degC is an undefined unit"),
        ("<dynamics mode='nve'>", "<dynamics mode='nwe'>", "<mode>: nwe is not a valid option"),
        ("stride='2'", "stride='-2'", "stride .* must be positive"),
        ("stride='2'", "stride='0'", "stride is 0: expected at least 1"),
        ("> 2 </timestep>", "> nan </timestep>", "timestep is nan: expected more than 0"),
        ("> 2 </timestep>", "> -2 </timestep>", "timestep is -2: expected more than 0"),
        ("> 300 </temperature>", "> -300 </temperature>", "temperature is -300: expected at least 0"),
        ("nbeads='1'", "nbeads='0'", "expected a number of beads, at least 1"),
        ("mode='nve'", "mode='npt'", "expected a <barostat> with its mode for dynamics of mode 'npt'"),
        ("[ 1, 4 ]", "[ 1, 0 ]", r"nmts is \[ 1, 0 \]: expected at least 1"),
        ("</address>", "</address> <batch_size> -1 </batch_size>", "batch_size is -1: expected at least 1"),
    ],
)
def test_values_that_cannot_be_are_named(tmp_path, old, new, message):
    with pytest.raises(DarkforcesError, match=message) as caught:
        edited(tmp_path, (old, new)).check()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("needs", [("mode='nve'", "mode='npt'"), ("nbeads='1'", "nbeads='4'")])
def test_no_temperature_where_one_is_needed(tmp_path, needs):
    simulation = edited(tmp_path, ("> 300 </temperature>", "> 0 </temperature>"), needs)
    with pytest.raises(DarkforcesError, match=r"edited.xml': expected a <temperature> above 0 for .*npt|several beads"):
        simulation.check()


def test_a_forcefield_that_cannot_be_served_is_named(tmp_path):
    simulation = edited(
        tmp_path,
        ("<ffsocket name='conservative' mode='unix' pbc='False'>", "<ffmpi name='conservative'>"),
        ("</ffsocket>", "</ffmpi>"),
        ("<address> darkforces </address>", ""),
        name="nve-conservative",
    )
    with pytest.raises(DarkforcesError, match="'conservative' .* is an <ffmpi>, which this .* i-pi-driver-py --mpi"):
        simulation.socket_forcefields()


@pytest.mark.parametrize(
    ("content", "message"), [(None, "does not exist"), ("64\nwater", "not XML"), ("<a/>", "begins with <a>")]
)
def test_what_is_no_input_is_named(tmp_path, content, message):
    path = tmp_path / "x.xml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DarkforcesError, match=message):
        SimulationInput.read(path)


@pytest.mark.parametrize("folder", ["/a--b/", "/esc\x1b[31m", "/ends-"])
def test_states_whose_comment_on_their_folder_is_no_xml(tmp_path, folder):
    comment = f"<!--\n      Working Directory: {folder}\n      Machine: here\n-->\n"
    (tmp_path / "RESTART").write_text(comment + (INPUTS / "nve-direct.xml").read_text())
    assert SimulationInput.read(tmp_path / "RESTART").stride == 1
