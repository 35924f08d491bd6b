"""The cost of the driver beyond the model, from i-PI's request to our answer, over a unix socket.

    python benchmarks/driver_share.py                      # 192 atoms, about three minutes
    python benchmarks/driver_share.py --requests 80        # to try it

Drivers run in processes of their own and take turns; at the other end is i-PI's own client class, which sends its
messages as i-PI does. From the time that i-PI waits for each answer, the time of the model is subtracted: reading,
checking, keeping and answering remain, both ways through the socket, and i-PI's own part of that. CPU time is the
driver's alone, and still means something on a machine that does other things meanwhile; what it does while i-PI does
not wait is in it too.

Everything is measured twice: with the real model, after which nothing that the driver needs is left in the processor's
caches, and time for i-PI's part of a step; and with a model that says at once what it said before, which is what the
driver itself can do. The bare loop is the least that a driver in Python can do: it serves one client with conservative
forces, checks nothing and keeps nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import select
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.units import Bohr, Hartree
from ipi.engine.forcefields import ForceRequest
from ipi.interfaces.sockets import Driver as Client
from ipi.interfaces.sockets import Status
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
STRIDE = 8
WARM_UP = 20  # requests that do not count
STEP = 0.02  # bohr by which atoms tremble, more than from one time step to the next
TURN = 20  # requests to one driver before it is the next one's turn
OWN_TIME = 0.002  # seconds that i-PI takes for its part of a step
PATIENCE = 120.0  # seconds for the driver to come
BARE = "bare loop"
KINDS = {"conservative": ["conservative"], BARE: ["conservative"], "direct": ["direct"], "MTS-8": ["fast", "slow"]}


def main() -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pet-m", help="a name or a path of a model (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=400, help="of each kind (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print everything for machines")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    results: dict[str, dict[str, np.ndarray]] = {}
    with tqdm(total=2 * args.requests * len(KINDS), disable=None, unit="request") as bar:
        for instant in (False, True):
            measured = measure(args.model, instant, args.requests, bar)
            results |= {f"{name}, instant model" if instant else name: each for name, each in measured.items()}
    if args.json:
        print(json.dumps({k: {n: v.tolist() for n, v in r.items()} for k, r in results.items()}, indent=2))
    else:
        report(results)


def measure(model: str, instant: bool, n_requests: int, bar: tqdm) -> dict[str, dict[str, np.ndarray]]:
    """Cost of requests of each kind beyond the model, ms: by the clock, and of the driver's CPU time."""
    with tempfile.TemporaryDirectory(prefix="share") as folder:
        drivers = {kind: StartedDriver(kind, model, instant, folder) for kind in KINDS}
        try:
            for kind, driver in drivers.items():
                bar.set_description(f"starting {kind}")
                driver.accept()
            bar.set_description("instant model" if instant else "real model")
            for i in range(0, n_requests, TURN):
                for driver in drivers.values():
                    for _ in range(i, min(i + TURN, n_requests)):
                        work(0.0 if instant else OWN_TIME)
                        driver.ask()
                        bar.update()
            return {
                name: each
                for kind, driver in drivers.items()
                for name, each in shares(kind, driver.asked, driver.evaluations()).items()
            }
        finally:
            for driver in drivers.values():
                driver.process.join(10)
                driver.process.kill()


class StartedDriver:
    """A driver in a process of its own, seen from i-PI's side.

    :param kind: of `KINDS`
    :param model: its name
    :param instant: whether it says at once what it said before
    :param folder: for sockets
    """

    def __init__(self, kind: str, model: str, instant: bool, folder: str):
        context = multiprocessing.get_context("spawn")  # nothing of this process is in the driver
        paths = [f"{folder}/{kind}-{component}" for component in KINDS[kind]]
        self._components = KINDS[kind]
        self._listeners = [listen(path) for path in paths]
        self._clients: list[Client] = []
        self._pipe, its = context.Pipe()
        self._steps = steps()
        self.asked: list[tuple[str, int, int]] = []  # component, when it was sent, and when its answer was there, ns
        self.process = context.Process(target=serve, args=(model, instant, kind == BARE, paths, its))
        self.process.start()

    def accept(self) -> None:
        """Wait for the driver."""
        self._clients = [Client(listener.accept()[0]) for listener in self._listeners]

    def ask(self) -> None:
        """A step of the simulation: one request, or two where slow forces are due."""
        correct = len(self.asked) % (STRIDE + 1) == STRIDE - 1  # the last of so many steps
        positions, cell, species = next(self._steps)
        for component, client in list(zip(self._components, self._clients, strict=True))[: 2 if correct else 1]:
            request = ForceRequest(
                id=0,
                pos=positions,
                active=np.arange(len(positions)),
                cell=(cell, np.linalg.inv(cell)),
                pars=f"component : {component} , species : {species} , ",
                offset=0.0,
            )
            self.asked.append((component, *exchange(client, request)))

    def evaluations(self) -> np.ndarray:
        """Times at which the model began and ended, by the clock and in CPU time, ns; the driver ends."""
        for client in self._clients:
            client.shutdown(socket.SHUT_RDWR)
        return self._pipe.recv()


def listen(path: str) -> socket.socket:
    """A unix socket, as i-PI opens it."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(4)
    listener.settimeout(PATIENCE)
    return listener


def serve(model: str, instant: bool, bare: bool, paths: Sequence[str], pipe: Connection) -> None:
    """The driver's process: in the end it tells when the model began and ended, by the clock and in CPU time, ns."""
    from ipi_darkforces.models.registry.load import load_model
    from ipi_darkforces.serve.address import UnixAddress
    from ipi_darkforces.serve.driver import Driver
    from ipi_darkforces.serve.settings import Settings
    from ipi_darkforces.split.split import Split

    loaded = load_model(model)
    compute, marks = loaded._evaluate_in_turn, []
    known: dict[Any, Any] = {}

    def timed(structures: Any, need: Any) -> Iterator[Any]:
        if instant and need not in known:
            known[need] = list(compute(structures, need))
        turns = iter(known[need]) if instant else compute(structures, need)
        while True:
            begun = time.perf_counter_ns(), time.process_time_ns()
            results = next(turns, None)
            if results is None:
                return
            marks.append((*begun, time.perf_counter_ns(), time.process_time_ns()))
            yield results

    loaded._evaluate_in_turn = timed  # type: ignore[method-assign]
    if bare:
        serve_barely(timed, paths[0])
    else:
        Driver(Split(loaded), [UnixAddress(path) for path in paths], Settings()).serve()
    pipe.send(np.array(marks))


def serve_barely(evaluate: Callable[..., Iterator[Any]], path: str) -> None:
    """The bare loop."""
    from ipi_darkforces.models.model import Need
    from ipi_darkforces.models.structure import Structure

    species, need = water().numbers.astype(np.int32), Need.ENERGY | Need.CONSERVATIVE | Need.VIRIAL
    status, ready, answer = b"NEEDINIT".ljust(12), b"READY".ljust(12), b"FORCEREADY".ljust(12)
    turns: Iterator[Any] | None = None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(path)
    while data := connection.recv(2**20):
        if data.startswith(b"INIT"):
            status = ready
        if data.endswith(b"STATUS".ljust(12)):
            connection.sendall(status)
            turns = None  # what the model leaves behind is freed while i-PI works
        elif data.startswith(b"POSDATA"):
            cell = np.frombuffer(data, count=9, offset=12).reshape(3, 3).T * Bohr
            positions = np.frombuffer(data, count=3 * len(species), offset=160).reshape(-1, 3) * Bohr
            turns = evaluate([Structure(species, positions, cell)], need)
            (found,) = next(turns)
            forces, virial = found.conservative * (Bohr / Hartree), found.virial / Hartree
            head = answer + struct.pack("=di", found.energy / Hartree, len(species))
            connection.sendall(head + forces.tobytes() + virial.tobytes() + bytes(4))


def water() -> Atoms:
    """The liquid."""
    return ase.io.read(ROOT / "inputs" / "water.xyz")


def steps() -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
    """Positions and cell of one step after the other, bohr, as i-PI has them, and the formula."""
    atoms, random = water(), np.random.default_rng(0)
    cell, start = np.array(atoms.cell).T / Bohr, atoms.positions.ravel() / Bohr
    while True:
        yield start + random.normal(0.0, STEP, start.shape), cell, atoms.get_chemical_formula(mode="reduce")


def work(seconds: float) -> None:
    """Keep a processor busy, as i-PI does: one that sleeps takes its time to wake up."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def exchange(client: Client, request: ForceRequest) -> tuple[int, int]:
    """Exchange one request as in i-PI's polling loop; when it was sent and when the answer had arrived."""
    if not client.status & Status.Ready:  # i-PI's first messages
        client.get_status()
        client.initialize(0, request["pars"])
        client.get_status()
    begun = time.perf_counter_ns()
    assert client.dispatch_send(request)
    select.select([client], [], [])
    assert client.dispatch_recv(request)
    return begun, time.perf_counter_ns()


def shares(
    kind: str, asked: Sequence[tuple[str, int, int]], evaluations: np.ndarray
) -> dict[str, dict[str, np.ndarray]]:
    """Times of all but the model."""
    begun, cpu_begun, ended, cpu_ended = evaluations.T
    clock: dict[str, list[float]] = {}
    for component, sent, arrived in asked[WARM_UP:]:
        inside = (np.minimum(ended, arrived) - np.maximum(begun, sent)).clip(0)  # it may have begun before it was asked
        name = kind if len(KINDS[kind]) == 1 else f"{kind}, {component}"
        clock.setdefault(name, []).append((arrived - sent - inside.sum()) * 1e-6)
    cpu = (cpu_begun[1:] - cpu_ended[:-1])[WARM_UP:] * 1e-6
    return {name: {"clock": np.array(values), "cpu": cpu} for name, values in clock.items()}


def report(results: dict[str, dict[str, np.ndarray]]) -> None:
    """A table: median and quartiles."""
    for name, result in results.items():
        for what, values in result.items():
            low, middle, high = np.percentile(values, [25, 50, 75])
            print(f"{name:28s} {what:6s} {middle:.3f} ({low:.3f} to {high:.3f}) ms, {len(values)} requests")


if __name__ == "__main__":
    main()
