"""Real i-PI and driver processes for the tests: to start them, wait for them, and read what they wrote.

Nothing here waits for ever, and nothing outlives its `Workplace`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ase
import ase.units
import numpy as np
from forked import popen
from ipi.scripting import InteractiveSimulation, read_output
from ipi.utils.softexit import softexit
from programs import PATIENCE

from ipi_darkforces.simulate.compose import compose, write_start
from ipi_darkforces.simulate.recipe import Recipe

ROOT = Path(__file__).parents[1]
INPUTS = ROOT / "inputs"
SPECIES = "O16H32"  # of what inputs of `prepare` start from
N_ATOMS = 48
PROGRAMS = Path(sys.executable).parent
# One thread each: several of these processes run at once, and threads that wait for each other's core are slow. No
# buffers: tests wait for what they say.
_ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}

Edit = Callable[[ET.Element], None]


class Process:
    """A program that runs in a folder and writes what it says to a log there."""

    def __init__(self, name: str, command: list[str], folder: Path):
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as stream:
            self._process = popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=_ENVIRONMENT
            )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self) -> int:
        """Wait for its end; return its exit code."""
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.log.name} still runs after {PATIENCE:g} s; it said:\n{self.said()}") from None

    def wait_for(self, pattern: str, times: int = 1) -> None:
        """Wait until it has said something that matches, so many times."""
        self._wait_until(lambda: len(re.findall(pattern, self.said())) >= times, f"'{pattern}', {times} times")

    def wait_for_file(self, path: Path) -> None:
        """Wait until it has made a file (or socket)."""
        self._wait_until(path.exists, str(path))

    def _wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.running, f"{self.log.name} has ended without {what}; it said:\n{self.said()}"
            assert time.monotonic() < deadline, f"{self.log.name}: no {what} in time; it said:\n{self.said()}"
            time.sleep(0.05)

    def wait_until_idle(self) -> None:
        """Wait until it has done all that it was asked for: it sleeps, whenever one looks."""
        stat = Path(f"/proc/{self._process.pid}/stat")
        self._wait_until(lambda: all(_sleeps(stat) for _ in range(10)), "rest")

    def interrupt(self) -> int:
        """Ask it to stop, as Ctrl-C does; return its exit code."""
        self._process.send_signal(signal.SIGINT)
        return self.wait()

    def pause(self) -> None:
        """Let it do nothing until `resume`."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self.running:
            self._process.kill()
        self._process.wait()


def _sleeps(stat: Path) -> bool:
    """Tell whether a process waits for something, after a moment in which it could have been at work."""
    time.sleep(0.02)
    return stat.read_text().rpartition(")")[2].split()[0] == "S"


class Workplace:
    """A place for processes, with a prefix for unix sockets that nobody else uses; all of it ends together."""

    def __init__(self) -> None:
        # Not in pytest's folders: the path of a unix socket must be shorter than about 100 characters.
        self._scratch = tempfile.TemporaryDirectory(prefix="darkforces-test-")
        self.folder = Path(self._scratch.name)
        self.prefix = f"{self.folder}/"
        self._processes: list[Process] = []

    def __enter__(self) -> Workplace:
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._processes:
            process.kill()
        self._scratch.cleanup()

    def ipi(self, path: Path) -> Process:
        """Start i-PI with an input, in the folder of the input."""
        return self.start(
            "ipi", sys.executable, str(PROGRAMS / "i-pi"), "-S", self.prefix, path.name, folder=path.parent
        )

    def driver(self, *options: str, folder: Path | None = None) -> Process:
        """Start our driver."""
        command = [sys.executable, "-m", "ipi_darkforces.cli.driver", "-S", self.prefix]
        return self.start("driver", *command, *options, folder=folder or self.folder)

    def ipi_driver(self, *options: str) -> Process:
        """Start i-PI's own driver."""
        command = [sys.executable, str(PROGRAMS / "i-pi-driver-py"), "-S", self.prefix]
        return self.start("ipi-driver", *command, *options, folder=self.folder)

    def start(self, name: str, *command: str, folder: Path) -> Process:
        """Start any program."""
        process = Process(f"{name}-{len(self._processes)}", list(command), folder)
        self._processes.append(process)
        return process


def copy_input(name: str, folder: Path) -> Path:
    """Copy one of inputs/ that starts from 64 molecules of water, and let it start from 16 of them, which is faster."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(INPUTS / "water-16.chk", folder)
    text = (INPUTS / f"{name}.xml").read_text()
    assert "O64H128" in text
    path = folder / f"{name}.xml"
    path.write_text(text.replace("O64H128", SPECIES).replace("water.chk", "water-16.chk"))
    return path


def prepare(name: str, folder: Path, steps: int, *edits: Edit, full: bool = False) -> Path:
    """Make a short version of one of inputs/ that writes everything at every step, to the last digit.

    :param full: all 64 molecules of water in place of 16
    """
    if full:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(INPUTS / "water.chk", folder)
    root = ET.parse(INPUTS / f"{name}.xml" if full else copy_input(name, folder)).getroot()
    root.set("floatformat", "%24.16e")
    root.find("total_steps").text = str(steps)
    output = root.find("output")
    output.set("prefix", "run")
    output.find("properties").set("stride", "1")
    for written in output.findall("trajectory") + output.findall("checkpoint"):
        output.remove(written)
    ET.SubElement(output, "checkpoint", filename="state", stride="1", overwrite="False")
    return _write(root, edits, folder)


def prepare_leaving(folder: Path, *edits: Edit) -> Path:
    """Make an input for the model of the fixture `breaking_model`.

    After some 40 steps, one of its two atoms of argon leaves the region where that model gives numbers, x < 7 Å.
    """
    atoms = ase.Atoms("Ar2", positions=[[3.0, 1.0, 1.0], [5.0, 1.0, 1.0]], cell=[20.0] * 3, pbc=True)
    atoms.set_velocities([[-0.05 / ase.units.fs, 0.0, 0.0], [0.05 / ase.units.fs, 0.0, 0.0]])
    write_start(atoms, folder / "start.chk")
    recipe = Recipe("leaving", "nve", "Ar2", "start.chk", timestep=1.0, duration=1000.0)
    return _write(ET.fromstring(compose(recipe)), edits, folder)


def assert_has_not_left(folder: Path) -> None:
    """The RESTART of `prepare_leaving` is the last state for which there were forces."""
    x = read_beads(folder / "RESTART", "q")[0, 3] * ase.units.Bohr
    assert 6.9 < x < 7.0
    assert 35 < restart_step(folder) < 45


def _write(root: ET.Element, edits: Iterable[Edit], folder: Path) -> Path:
    for edit in edits:
        edit(root)
    path = folder / "input.xml"
    ET.ElementTree(root).write(path)
    return path


def with_sockets(mode: str = "unix", port: int | None = None, **settings: str) -> Edit:
    """Say how the forcefields of an input are reached; `settings` are child elements of `<ffsocket>`."""

    def edit(root: ET.Element) -> None:
        for forcefield in root.findall("ffsocket"):
            forcefield.set("mode", mode)
            if port is not None:
                forcefield.find("address").text = "localhost"
                ET.SubElement(forcefield, "port").text = str(port)
            for name, value in settings.items():
                ET.SubElement(forcefield, name).text = value

    return edit


def with_address(address: str) -> Edit:
    """Give the only forcefield another address."""

    def edit(root: ET.Element) -> None:
        root.find("ffsocket/address").text = address

    return edit


def with_parameters(text: str) -> Edit:
    """Replace what i-PI tells the driver."""

    def edit(root: ET.Element) -> None:
        for parameters in root.findall("ffsocket/parameters"):
            parameters.text = text

    return edit


def with_beads(n: int) -> Edit:
    """Make it a path integral of n beads, all of them starting from the same structure, with their own momenta."""

    def edit(root: ET.Element) -> None:
        initialize = root.find("system/initialize")
        initialize.set("nbeads", str(n))
        ET.SubElement(initialize, "velocities", mode="thermal", units="kelvin").text = str(300 * n)

    return edit


def in_process(pes: str, parameters: Callable[[str], str], path: Path | None = None) -> Edit:
    """Turn the sockets into plugins that run inside i-PI; `parameters` makes theirs from the forcefield's name."""

    def edit(root: ET.Element) -> None:
        for forcefield in root.findall("ffsocket"):
            name = forcefield.get("name")
            forcefield.clear()
            forcefield.tag = "ffdirect"
            forcefield.set("name", name)
            ET.SubElement(forcefield, "pes").text = pes
            if path is not None:
                ET.SubElement(forcefield, "pes_path").text = str(path)
            ET.SubElement(forcefield, "parameters").text = parameters(name)

    return edit


@contextmanager
def ipi_here(path: Path) -> Iterator[InteractiveSimulation]:
    """An i-PI simulation in this very process, for forcefields that are plugins."""
    before = Path.cwd()
    os.chdir(path.parent)  # i-PI reads and writes where it is
    try:
        with path.open() as stream:
            yield InteractiveSimulation(stream)
    finally:
        softexit.reset()  # i-PI takes the signals of the process that it is in
        os.chdir(before)


def free_port() -> int:
    """A TCP port where nobody listens, outside the range from which the system gives ports to clients."""
    for port in range(20000 + time.time_ns() // 1000 % 10000, 32000):
        with socket.socket() as probe:
            try:
                probe.bind(("localhost", port))
            except OSError:
                continue
            return port
    raise AssertionError("all ports are in use")


def read_run(folder: Path) -> dict[str, np.ndarray]:
    """Read the outputs of i-PI for an input of `prepare`.

    `conserved`, `potential`, `kinetic_md` (eV) and so on, one value per step; `positions` and `momenta` (atomic units),
    shape (n_steps, n_beads, 3 n_atoms).
    """
    result, _ = read_output(str(folder / "run.out"))
    states = sorted(folder.glob("run.state_*"), key=lambda path: int(path.name.rpartition("_")[2]))
    for name, tag in (("positions", "q"), ("momenta", "p")):
        result[name] = np.array([read_beads(path, tag) for path in states])
    return result


def read_beads(path: Path, tag: str) -> np.ndarray:
    """Positions (tag ``q``) or momenta (``p``) in a checkpoint or RESTART, atomic units, shape (n_beads, 3 n_atoms)."""
    node = ET.parse(path).getroot().find(f"system/beads/{tag}")
    shape = [int(n) for n in re.findall(r"\d+", node.get("shape"))]
    return np.array(node.text.strip(" []\n").split(","), float).reshape(shape)


def restart_step(folder: Path) -> int:
    """The number of steps done, according to i-PI's RESTART."""
    return int(ET.parse(folder / "RESTART").getroot().find("step").text)


def passes(driver: Process) -> tuple[int, int, int]:
    """Numbers of requests that a driver has answered and of its forward and backward passes, from its last words."""
    found = re.search(r"(\d+) requests answered with (\d+) forward and (\d+) backward passes", driver.said())
    assert found, driver.said()
    return tuple(int(number) for number in found.groups())


def assert_same_run(run: dict[str, np.ndarray], reference: dict[str, np.ndarray], tolerance: float = 1e-10) -> None:
    """Positions, momenta and energies agree, over all steps of `run`; `reference` may have more.

    Positions and momenta to within `tolerance` of the largest of them. Energies to within `tolerance` of the kinetic
    energy, which is what a step changes, but not to better than 1e-9 eV: the potential energy is some -7 500 eV
    and has its last digit at 1e-12 eV.
    """
    n = len(run["positions"])
    assert 1 < n == len(run["conserved"]) <= len(reference["conserved"])
    for name in ("positions", "momenta"):
        atol = tolerance * np.abs(reference[name]).max()
        np.testing.assert_allclose(run[name], reference[name][:n], rtol=0, atol=atol, err_msg=name)
    atol = max(tolerance * np.abs(reference["kinetic_md"]).max(), 1e-9)
    for name in ("potential", "kinetic_md", "conserved"):
        np.testing.assert_allclose(run[name], reference[name][:n], rtol=0, atol=atol, err_msg=name)
