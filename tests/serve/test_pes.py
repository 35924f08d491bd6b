"""The plugin: inside i-PI as `<ffdirect>`, and inside i-PI's own driver."""

import pytest
from ipi_processes import (
    INPUTS,
    ROOT,
    SPECIES,
    Workplace,
    assert_has_not_left,
    assert_same_run,
    in_process,
    ipi_here,
    prepare,
    prepare_leaving,
    read_run,
    with_address,
    with_beads,
)

from ipi_darkforces.models.registry.options import Loading
from ipi_darkforces.serve.pes import DarkforcesDriver
from ipi_darkforces.split.shared import shared_split

PLUGIN = ROOT / "drivers" / "darkforces.py"
STEPS = 3


def parameters(component: str) -> str:
    return f"{{ model: pet-m, dtype: float64, component: {component}, species: {SPECIES} }}"


INSIDE = in_process("custom", parameters, PLUGIN)


@pytest.fixture
def passes():
    """Passes since the beginning of the test, of the model that all plugins of this process share."""
    shared_split.cache_clear()  # other tests in this process may have run the same simulation
    counted = shared_split("pet-m", Loading(dtype="float64")).model.passes
    before = (counted.forward, counted.backward)
    return lambda: (counted.forward - before[0], counted.backward - before[1])


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """Runs served through sockets by our driver, to compare with."""
    folder = tmp_path_factory.mktemp("outside")
    with Workplace() as workplace:
        workplace.driver("--model", "pet-m", "--dtype", "float64", "--stay")
        for name in ("nve-mts4", "nve-direct"):
            ipi = workplace.ipi(prepare(name, folder / name, STEPS))
            assert ipi.wait() == 0, ipi.said()
        ipi = workplace.ipi(prepare("nve-direct", folder / "beads", STEPS, with_beads(4)))
        assert ipi.wait() == 0, ipi.said()
    return {path.name: read_run(path) for path in folder.iterdir()}


def test_inside_ipi(outside, tmp_path):
    with Workplace() as workplace:
        ipi = workplace.ipi(prepare("nve-mts4", tmp_path, STEPS, INSIDE))
        assert ipi.wait() == 0, ipi.said()
    assert_same_run(read_run(tmp_path), outside["nve-mts4"])


def threaded(root):
    """Let i-PI call each plugin from a thread of its own."""
    for forcefield in root.findall("ffdirect"):
        forcefield.set("threaded", "True")


def test_in_threads_of_ipi(outside, tmp_path):
    with Workplace() as workplace:
        ipi = workplace.ipi(prepare("nve-mts4", tmp_path, STEPS, INSIDE, threaded))
        assert ipi.wait() == 0, ipi.said()
    assert_same_run(read_run(tmp_path), outside["nve-mts4"])


@pytest.mark.parametrize("edits", [[], [threaded]], ids=["main thread", "thread"])
def test_without_numbers_ipi_ends_with_its_last_good_state(tmp_path, breaking_model, edits):
    inside = in_process("custom", lambda name: f"{{ model: {breaking_model}, species: Ar2 }}", PLUGIN)
    with Workplace() as workplace:
        ipi = workplace.ipi(prepare_leaving(tmp_path, inside, *edits))
        ipi.wait()
        assert "darkforces: error: model" in ipi.said()
        assert "Traceback" not in ipi.said()
    assert_has_not_left(tmp_path)


def test_two_forcefields_share_model_and_evaluations(tmp_path, passes):
    with ipi_here(prepare("nve-mts4", tmp_path, STEPS, INSIDE)) as simulation:
        slow, fast = (forcefield.driver for forcefield in simulation.fflist.values())
        assert slow is not fast
        assert slow.split is fast.split
        simulation.run(STEPS)
        forward, backward = passes()
    # One more if this process has not seen the first geometry before, and one for learning the stride.
    assert 4 * STEPS <= forward <= 4 * STEPS + 2
    assert STEPS <= backward <= STEPS + 1


def test_batches(outside, tmp_path, passes):
    def batched(root):
        root.find("ffdirect").append(type(root)("batch_size"))
        root.find("ffdirect/batch_size").text = "4"

    path = prepare("nve-direct", tmp_path, STEPS, with_beads(4), INSIDE, batched)
    with ipi_here(path) as simulation:
        simulation.run(STEPS)
        # All beads begin at the same geometry, which is evaluated once, if this process has not seen it before.
        assert passes() in [(4 * STEPS, 0), (4 * STEPS + 1, 0)]
    assert_same_run(read_run(tmp_path), outside["beads"])


def test_inside_the_driver_of_ipi(outside, tmp_path):
    path = prepare("nve-direct", tmp_path, STEPS, with_address("theirs"))
    with Workplace() as workplace:
        ipi = workplace.ipi(path)
        ipi.wait_for("polling thread")
        options = f"model=pet-m,dtype=float64,component=direct,species={SPECIES}"
        driver = workplace.ipi_driver("-u", "-a", "theirs", "-m", "custom", "-P", str(PLUGIN), "-o", options)
        assert (ipi.wait(), driver.wait()) == (0, 0), driver.said()
    assert_same_run(read_run(tmp_path), outside["nve-direct"])


def test_a_wrong_number_of_atoms_inside_the_driver_of_ipi(tmp_path):
    path = prepare("nve-direct", tmp_path, STEPS, with_address("theirs"))
    with Workplace() as workplace:
        ipi = workplace.ipi(path)
        ipi.wait_for("polling thread")
        options = "model=pet-m,component=direct,species=OH2"
        driver = workplace.ipi_driver("-u", "-a", "theirs", "-m", "custom", "-P", str(PLUGIN), "-o", options)
        assert driver.wait() == 1
        assert "darkforces: error: i-PI sends 48 atoms but the template (or species) has 3\n" in driver.said()
        assert "Traceback" not in driver.said()
        assert ipi.running


def test_what_cannot_work_inside_ipi_ends_it_at_once(tmp_path):
    def wrong(component):
        return f"{{ model: pet-c, component: {component}, species: {SPECIES} }}"

    with Workplace() as workplace:
        ipi = workplace.ipi(prepare("nve-direct", tmp_path, STEPS, in_process("custom", wrong, PLUGIN)))
        assert ipi.wait() == 1
        assert "darkforces: error: component 'direct' cannot be served: model 'pet-c' does not provide" in ipi.said()
        assert "Traceback" not in ipi.said()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model": "pet_m"}, "model 'pet_m' is neither a name nor a path"),
        ({"model": "pet-m"}, "which elements are these?"),
        ({"model": "pet-m", "species": "CO2"}, "does not know C"),
        ({"model": "pet-m", "tamplate": "water.xyz"}, "'tamplate' in the parameters of the forcefield is not known"),
        ({"model": "pet-m", "template": "nowhere.xyz"}, "template 'nowhere.xyz' does not exist"),
    ],
)
def test_parameters_that_cannot_work(settings, says):
    with pytest.raises(SystemExit, match=f"^darkforces: error: .*{says}"):
        DarkforcesDriver(**settings)


def test_a_parameter_without_a_name():
    with pytest.raises(SystemExit, match="'water.xyz' has no name"):
        DarkforcesDriver("pet-m", "water.xyz")


def test_elements_come_from_a_template():
    driver = DarkforcesDriver("pet-m", template=str(INPUTS / "water.xyz"), verbosity="low")
    assert driver.role.species.tolist() == [8] * 64 + [1] * 128
