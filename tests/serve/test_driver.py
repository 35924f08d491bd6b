"""Real i-PI processes, served by a real driver: every transport, every order of events, and the number of passes."""

import os
import re
import select
import socket
import threading
import xml.etree.ElementTree as ET
from copy import deepcopy

import ase.io
import numpy as np
import pytest
from ase.units import Bohr, Hartree
from ipi.engine.forcefields import ForceRequest
from ipi.interfaces.sockets import Driver as Client
from ipi_processes import (
    INPUTS,
    SPECIES,
    Workplace,
    assert_has_not_left,
    assert_same_run,
    free_port,
    passes,
    prepare,
    prepare_leaving,
    read_run,
    with_address,
    with_beads,
    with_parameters,
    with_sockets,
)
from programs import PATIENCE, wait_until
from toy_models import DirectFirstModel

from ipi_darkforces.serve.address import UnixAddress
from ipi_darkforces.serve.driver import Driver
from ipi_darkforces.serve.settings import Settings
from ipi_darkforces.simulate.compose import write_start
from ipi_darkforces.split.split import Split

DOUBLE = ("--model", "pet-m", "--dtype", "float64")
STEPS = 3
MANY = 10_000  # more than are done
POSITIONS = np.array([[1.0, 0.0, 0.5], [-1.0, 2.0, 0.0]])  # Å


@pytest.fixture(scope="module")
def served():
    """A driver in double precision that stays: most tests have only to start an i-PI."""
    with Workplace() as workplace:
        driver = workplace.driver(*DOUBLE, "--stay")
        yield workplace
        assert driver.running, driver.said()
        assert driver.interrupt() == 130
        assert "Traceback" not in driver.said()


@pytest.fixture(scope="module")
def shared_memory():
    """A driver whose clients get numbers through shared memory."""
    with Workplace() as workplace:
        driver = workplace.driver(*DOUBLE, "--stay", "--shm")
        yield workplace
        assert driver.running, driver.said()
        assert driver.interrupt() == 130
        # Python complains here if a segment was not let go of, or was taken for our own.
        assert not re.search("Traceback|resource_tracker|BufferError", driver.said()), driver.said()


@pytest.fixture(scope="module")
def alone(served, tmp_path_factory):
    """The run with which all transports are compared: direct forces through a unix socket."""
    return simulate(served, tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def beads(served, tmp_path_factory):
    """A path integral of four beads, one structure to a message."""
    return simulate(served, tmp_path_factory.mktemp("beads"), with_beads(4))


def simulate(workplace, folder, *edits, name="nve-direct", steps=STEPS):
    """Let i-PI run an input with the drivers that are there."""
    ipi = workplace.ipi(prepare(name, folder, steps, *edits))
    assert ipi.wait() == 0, ipi.said()
    run = read_run(folder)
    assert len(run["step"]) == steps + 1, ipi.said()
    return run


def test_it_stays_for_the_next_simulation(served, alone, tmp_path):
    for name in ("first", "second"):
        assert_same_run(simulate(served, tmp_path / name), alone)
    said = (served.folder / "driver-0.log").read_text()
    assert said.count("said goodbye") >= 3
    assert said.count("waiting for i-PI") >= 3


def test_each_message_on_its_own(served, alone, tmp_path):
    assert_same_run(simulate(served, tmp_path, with_sockets(consolidate_messages="False")), alone)


def test_batched_messages(served, beads, tmp_path):
    assert_same_run(simulate(served, tmp_path, with_beads(4), with_sockets(batch_size="4")), beads)


def test_batched_messages_that_are_not_full(served, beads, tmp_path):
    # i-PI fills the second message up with copies of the last structure.
    assert_same_run(simulate(served, tmp_path, with_beads(4), with_sockets(batch_size="3")), beads)


def test_shared_memory(shared_memory, alone, tmp_path):
    assert_same_run(simulate(shared_memory, tmp_path, with_sockets("shm")), alone)


def test_shared_memory_with_each_message_on_its_own(shared_memory, alone, tmp_path):
    run = simulate(shared_memory, tmp_path, with_sockets("shm", consolidate_messages="False"))
    assert_same_run(run, alone)


def test_shared_memory_with_batches(shared_memory, beads, tmp_path):
    run = simulate(shared_memory, tmp_path, with_beads(4), with_sockets("shm", batch_size="4"))
    assert_same_run(run, beads)


def test_shared_memory_with_multiple_time_stepping(shared_memory, served, tmp_path):
    run = simulate(shared_memory, tmp_path / "shm", with_sockets("shm"), name="nve-mts2")
    assert_same_run(run, simulate(served, tmp_path / "unix", name="nve-mts2"))


def test_fast_and_slow_are_conservative_and_direct(served, tmp_path):
    def conservative_and_direct(root):
        for forcefield in root.findall("ffsocket"):
            other = {"slow": "conservative", "fast": "direct"}[forcefield.get("name")]
            forcefield.find("parameters").text = f"{{ component: {other}, species: {SPECIES} }}"
        slow, fast = root.findall("system/forces/force")
        assert (slow.get("forcefield"), fast.get("forcefield")) == ("slow", "fast")
        slow.find("mts_weights").text = "[ 1, 0 ]"
        fast.find("mts_weights").text = "[ -1, 1 ]"

    split = simulate(served, tmp_path / "split", name="nve-mts4")
    weighted = simulate(served, tmp_path / "weighted", conservative_and_direct, name="nve-mts4")
    assert_same_run(split, weighted)


class WaitingModel(DirectFirstModel):
    """Springs whose conservative forces are not known before somebody says so."""

    def __init__(self):
        super().__init__()
        self.go_on = threading.Event()

    def _evaluate_in_turn(self, structures, need):
        for turn, results in enumerate(super()._evaluate_in_turn(structures, need)):
            assert turn == 0 or self.go_on.wait(PATIENCE)
            yield results


def test_slow_forces_are_computed_after_fast_ones_are_answered_and_before_they_are_asked_for(tmp_path):
    """i-PI's own client class lets the test act between its requests."""
    model = WaitingModel()
    addresses = [UnixAddress(str(tmp_path / component)) for component in ("fast", "slow")]
    listeners = [listening(address) for address in addresses]
    driver = threading.Thread(target=Driver(Split(model), addresses, Settings()).serve)
    driver.start()
    fast, slow = (Client(listener.accept()[0]) for listener in listeners)
    direct = forces_from(fast, "fast")
    assert not model.go_on.is_set()  # or else this line is never reached
    model.go_on.set()
    wait_until(lambda: model.passes.backward > 0)
    assert (model.passes.forward, model.passes.backward) == (1, 1)
    difference = forces_from(slow, "slow")
    np.testing.assert_allclose(direct + difference, -POSITIONS, atol=1e-12)  # springs in eV, of 1 eV/Å²
    assert (model.passes.forward, model.passes.backward) == (1, 1)
    for client in (fast, slow):
        client.shutdown(socket.SHUT_RDWR)
    driver.join(PATIENCE)
    assert not driver.is_alive()


def listening(address):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address.path)
    listener.listen()
    listener.settimeout(PATIENCE)
    return listener


def forces_from(client, component, positions=POSITIONS, begin=True):
    """Forces on two atoms, eV/Å."""
    request = ForceRequest(
        id=0,
        pos=positions.ravel() / Bohr,
        active=np.arange(positions.size),
        cell=(30.0 * np.eye(3), np.eye(3) / 30.0),
        pars=f"component : {component} , species : H2 , ",
        offset=0.0,
    )
    client.get_status()
    if begin:
        client.initialize(0, request["pars"])
        client.get_status()
    assert client.dispatch_send(request)
    readable, _, _ = select.select([client], [], [], PATIENCE)
    assert readable, f"no {component} forces"
    assert client.dispatch_recv(request)
    _, forces, *_ = request["result"]
    return forces.reshape(-1, 3) * Hartree / Bohr


def test_a_request_for_fast_forces_enters_the_files_that_the_document_lists(tmp_path, request):
    """The walk in docs/architecture.md: at most eight files, without the model."""
    text = (request.config.rootpath / "docs" / "architecture.md").read_text()
    section = text.partition("## One request")[2].partition("Then comes the model")[0]
    entered, watching = set(), threading.Event()

    def note(frame, event, argument):
        room, _, path = frame.f_code.co_filename.partition("ipi_darkforces/")[2].partition("/")
        if watching.is_set() and path and room != "models":
            entered.add(f"{room}/{path}")

    addresses = [UnixAddress(str(tmp_path / component)) for component in ("fast", "slow")]
    listeners = [listening(address) for address in addresses]
    driver = Driver(Split(DirectFirstModel()), addresses, Settings())
    threading.setprofile(note)
    thread = threading.Thread(target=driver.serve)
    thread.start()
    threading.setprofile(None)
    fast, slow = (Client(listener.accept()[0]) for listener in listeners)
    for component, client in (("fast", fast), ("slow", slow)):
        forces_from(client, component)
    driver._update_connections = lambda: None  # which comes by the clock, and is of no request
    forces_from(fast, "fast", POSITIONS + 0.01, begin=False)
    watching.set()
    forces_from(fast, "fast", POSITIONS + 0.02, begin=False)
    watching.clear()
    for client in (fast, slow):
        client.shutdown(socket.SHUT_RDWR)
    thread.join(PATIENCE)
    assert entered == set(re.findall(r"`((?:serve|split)/\w+\.py)`", section))
    assert len(entered) <= 8


def test_two_simulations_at_once(alone, tmp_path):
    names = ("first", "second")
    with Workplace() as workplace:
        simulations = []
        for name in names:
            path = prepare("nve-direct", tmp_path / name, MANY, with_address(f"darkforces-{name}"))
            simulations.append(workplace.ipi(path))
            simulations[-1].wait_for_file(workplace.folder / f"darkforces-{name}")
        driver = workplace.driver(*DOUBLE)
        for name, ipi in zip(names, simulations, strict=True):
            ipi.wait_for_file(tmp_path / name / f"run.state_{STEPS + 1}")
        for ipi in simulations:
            ipi.interrupt()
        assert driver.wait() == 0, driver.said()
    for name in names:
        assert_same_run(beginning(read_run(tmp_path / name), STEPS), alone)


def beginning(run, steps):
    """The first steps of a run."""
    return {name: values[: steps + 1] for name, values in run.items()}


def test_started_first_it_waits_and_says_where(tmp_path):
    n = 3
    with Workplace() as workplace:
        driver = workplace.driver("--model", "pet-m")
        driver.wait_for(rf"waiting for i-PI at {workplace.prefix}darkforces\* \(unix\)")
        simulate(workplace, tmp_path, name="nve-mts8", steps=n)
        assert driver.wait() == 0, driver.said()
        requests, forward, backward = passes(driver)
    # At the start and after each outer step both components at the same geometry, in between the fast one alone.
    assert requests == 8 * n + n + 2
    assert 8 * n + 1 <= forward <= 8 * n + 2
    assert n <= backward <= n + 1


def test_systems_in_threads_cost_what_they_cost_alone(tmp_path):
    """Several systems of one i-PI, out of step, in messages that i-PI fills up with copies."""
    n_systems, stride, n = 3, 4, 8

    def systems(root):
        (system,) = root.findall("system")
        for i in range(1, n_systems):
            other = deepcopy(system)
            other.set("prefix", f"system{i}")
            other.find("initialize/file").text = f"moved{i}.chk"
            ET.SubElement(other.find("initialize"), "velocities", mode="thermal", units="kelvin").text = "300"
            root.append(other)

    water = ase.io.read(INPUTS / "water-16.xyz")
    for i in range(1, n_systems):
        water.translate([1.0, 2.0, 3.0])
        write_start(water, tmp_path / f"moved{i}.chk")
    with Workplace() as workplace:
        driver = workplace.driver("--model", "pet-m")
        driver.wait_for("waiting for i-PI")
        simulate(workplace, tmp_path, systems, with_sockets(batch_size=str(n_systems)), name="nve-mts4", steps=n)
        assert driver.wait() == 0, driver.said()
        _, forward, backward = passes(driver)
    # One geometry more, for the start, and two wrong guesses while the stride is being learned.
    assert n_systems * (stride * n + 1) <= forward <= n_systems * (stride * n + 3)
    assert n_systems * (n + 1) <= backward <= n_systems * (n + 2)


def test_beads_that_ipi_asks_for_in_changing_order_cost_no_more(tmp_path):
    """i-PI asks for beads one by one, and gives a driver first the bead that it had last."""
    beads, stride, n = 4, 2, 8
    with Workplace() as workplace:
        driver = workplace.driver("--model", "pet-m")
        driver.wait_for("waiting for i-PI")
        simulate(workplace, tmp_path, with_beads(beads), name="nve-mts2", steps=n)
        assert driver.wait() == 0, driver.said()
        requests, forward, backward = passes(driver)
    assert requests >= beads * (stride * n + n + 2)
    assert forward <= beads * (stride * n + 2)
    assert backward <= beads * (n + 2)


def test_started_after_ipi_over_a_port(alone, tmp_path):
    port = free_port()
    path = prepare("nve-direct", tmp_path, STEPS, with_sockets("inet", port))
    with Workplace() as workplace:
        ipi = workplace.ipi(path)
        ipi.wait_for("polling thread")
        driver = workplace.driver(*DOUBLE, "-a", "localhost", "-p", str(port))
        assert (ipi.wait(), driver.wait()) == (0, 0), driver.said()
        assert "waiting" not in driver.said()
        assert passes(driver) == (STEPS + 1, STEPS + 1, 0)
    assert_same_run(read_run(tmp_path), alone)


def test_sockets_of_any_kind_and_name_are_found_in_the_input(tmp_path):
    port = free_port()

    def edit(root):
        with_sockets("inet", port)(root)
        slow = root.find("ffsocket[@name='slow']")
        slow.set("mode", "shm")
        slow.find("address").text = "another"

    path = prepare("nve-mts2", tmp_path, STEPS, edit)
    with Workplace() as workplace:
        driver = workplace.driver("--model", "pet-m", "--input", str(path))
        driver.wait_for(rf"waiting for i-PI at .*another \(shm\) and localhost:{port} \(inet\)")
        ipi = workplace.ipi(path)
        assert (ipi.wait(), driver.wait()) == (0, 0), driver.said()
    assert len(read_run(tmp_path)["step"]) == STEPS + 1


def test_sockets_of_forcefields_in_forcefields_are_found_in_the_input(alone, tmp_path):
    """Both of two rotations, the identity and the inversion, of a model that hardly cares."""
    address = f"darkforces-test-{os.getpid()}"

    def averaged_over_inversion(root):
        inner = root.find("ffsocket")
        root.remove(inner)
        outer = ET.SubElement(root, "ffrotations", name=inner.get("name"), pbc="False")
        ET.SubElement(outer, "inversion").text = "True"
        inner.set("name", "inner")
        outer.append(inner)

    path = prepare("nve-direct", tmp_path, STEPS, with_address(address), averaged_over_inversion)
    with Workplace() as workplace:
        driver = workplace.driver(*DOUBLE, "--input", str(path))
        driver.wait_for(f"waiting for i-PI at /tmp/ipi_{address}")
        ipi = workplace.ipi(path)
        assert (ipi.wait(), driver.wait()) == (0, 0), driver.said()
        assert passes(driver)[0] == 2 * (STEPS + 1)
    assert_same_run(read_run(tmp_path), alone, tolerance=1e-2)


def test_the_command_line_comes_before_the_input(tmp_path):
    # The input speaks of the wrong elements, and of conservative forces, which would cost backward passes.
    wrong = with_parameters("{ component: conservative, species: Ar48 }")
    path = prepare("nve-direct", tmp_path, STEPS, with_address("mine"), wrong)
    with Workplace() as workplace:
        driver = workplace.driver(
            "--model", "pet-m", "-u", "-a", "mine", "-o", f"component=direct,template={INPUTS / 'water-16.xyz'}"
        )  # fmt: skip
        ipi = workplace.ipi(path)
        assert (ipi.wait(), driver.wait()) == (0, 0), driver.said()
        assert passes(driver) == (STEPS + 1, STEPS + 1, 0)


def test_another_driver_takes_over(served, tmp_path):
    """A driver that is killed costs nothing but time: i-PI waits for the next one, which goes on where it stopped."""
    folder = tmp_path / "run"
    with Workplace() as workplace:
        ipi = workplace.ipi(prepare("nve-direct", folder, MANY))
        first = workplace.driver(*DOUBLE)
        first.wait_for("asks for direct forces")
        ipi.wait_for_file(folder / f"run.state_{STEPS}")
        # i-PI 3.3.1 does not survive a reset of the connection, which it gets if the driver is killed with a request
        # unread. So the driver is killed when it has answered all there is.
        ipi.pause()
        first.wait_until_idle()
        first.kill()
        done = len(list(folder.glob("run.state_*")))
        ipi.resume()
        assert ipi.running
        second = workplace.driver(*DOUBLE)
        ipi.wait_for_file(folder / f"run.state_{done + STEPS}")
        ipi.interrupt()
        assert second.wait() == 0, second.said()
    steps = done + STEPS - 1  # the last one may be half written
    reference = simulate(served, tmp_path / "reference", steps=steps)
    assert_same_run(beginning(read_run(folder), steps), reference)


def test_an_ipi_that_is_killed_has_gone_too(tmp_path):
    with Workplace() as workplace:
        ipi = workplace.ipi(prepare("nve-direct", tmp_path, MANY))
        driver = workplace.driver("--model", "pet-m")
        ipi.wait_for_file(tmp_path / "run.state_2")
        ipi.kill()
        assert driver.wait() == 0, driver.said()  # its socket is still there, but nobody behind it
        assert passes(driver)[0] >= 3


def test_when_the_driver_dies_ipi_keeps_its_last_good_state(tmp_path, breaking_model):
    path = prepare_leaving(tmp_path)
    with Workplace() as workplace:
        ipi = workplace.ipi(path)
        driver = workplace.driver("--model", str(breaking_model))
        assert driver.wait() == 1
        assert re.search(r"^darkforces: error: .* NaN or infinite", driver.said(), re.MULTILINE), driver.said()
        assert "Traceback" not in driver.said()
        assert ipi.running, ipi.said()
        ipi.interrupt()
    assert_has_not_left(tmp_path)
