"""What does the driver cost beyond the model: from i-PI's request to our answer, over a unix socket?

    python benchmarks/driver_share.py                      # 192 atoms, about two minutes
    python benchmarks/driver_share.py --requests 80        # to try it

The driver runs in a process of its own, with the real model; at the other end is i-PI's own client class, which sends
its messages as i-PI does. From the time that i-PI waits for each answer, the time of the model is subtracted: reading,
checking, keeping and answering remain, both ways through the socket, and i-PI's own part of that. CPU time is the
driver's alone, and still means something on a machine that does other things meanwhile.

Everything is measured twice: with the real model, after which nothing that the driver needs is left in the processor's
caches, and with one that says at once what it said before, which is what the driver itself can do.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import select
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase.units import Bohr
from ipi.engine.forcefields import ForceRequest
from ipi.interfaces.sockets import Driver as Client
from ipi.interfaces.sockets import Status
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
STRIDE = 8
WARM_UP = 20  # requests that do not count
STEP = 0.02  # bohr by which atoms tremble, more than from one time step to the next
PATIENCE = 120.0  # seconds for the driver to come
KINDS = {"conservative": ["conservative"], "direct": ["direct"], "MTS-8": ["fast", "slow"]}


def main() -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pet-m", help="a name from `darkforces models` (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=400, help="of each kind (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print everything for machines")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    results: dict[str, dict[str, np.ndarray]] = {}
    with tqdm(total=2 * args.requests * len(KINDS), disable=None, unit="request") as bar:
        for instant in (False, True):
            for kind, components in KINDS.items():
                bar.set_description(kind)
                measured = measure(kind, components, args.model, instant, args.requests, bar)
                results |= {f"{name}, instant model" if instant else name: each for name, each in measured.items()}
    if args.json:
        print(json.dumps({k: {n: v.tolist() for n, v in r.items()} for k, r in results.items()}, indent=2))
    else:
        report(results)


def measure(
    kind: str, components: Sequence[str], model: str, instant: bool, n_requests: int, bar: tqdm
) -> dict[str, dict[str, np.ndarray]]:
    """What requests of each kind cost beyond the model, ms: by the clock, and of the driver's CPU time."""
    context = multiprocessing.get_context("spawn")  # nothing of this process is in the driver
    ours, its = context.Pipe()
    with tempfile.TemporaryDirectory(prefix="share") as folder:
        paths = [f"{folder}/{component}" for component in components]
        listeners = [listen(path) for path in paths]
        driver = context.Process(target=serve, args=(model, instant, paths, its))
        driver.start()
        try:
            clients = [Client(listener.accept()[0]) for listener in listeners]
            asked = ask(clients, components, n_requests, bar)
            for client in clients:
                client.shutdown(socket.SHUT_RDWR)
            evaluations = ours.recv()
        finally:
            driver.join(10)
            driver.kill()
    return shares(kind, asked, evaluations)


def listen(path: str) -> socket.socket:
    """A unix socket, as i-PI opens it."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(4)
    listener.settimeout(PATIENCE)
    return listener


def serve(model: str, instant: bool, paths: Sequence[str], pipe: Connection) -> None:
    """The driver's process: in the end it tells when the model began and ended, by the clock and in CPU time, ns."""
    from ipi_darkforces.forces.split import Split
    from ipi_darkforces.forces.zoo import load_model
    from ipi_darkforces.serve.address import UnixAddress
    from ipi_darkforces.serve.driver import Driver
    from ipi_darkforces.serve.settings import Settings

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
    Driver(Split(loaded), [UnixAddress(path) for path in paths], Settings()).serve()
    pipe.send(np.array(marks))


def ask(clients: Sequence[Client], components: Sequence[str], n_requests: int, bar: tqdm) -> list[tuple[str, int, int]]:
    """Of each request its component, when it was sent, and when its answer was there, ns."""
    water = ase.io.read(ROOT / "inputs" / "water.xyz")
    random = np.random.default_rng(0)
    cell, start = np.array(water.cell).T / Bohr, water.positions.ravel() / Bohr
    species = water.get_chemical_formula(mode="reduce")
    asked: list[tuple[str, int, int]] = []
    while len(asked) < n_requests:
        positions = start + random.normal(0.0, STEP, start.shape)
        correct = len(asked) % (STRIDE + 1) == STRIDE - 1  # the last of so many steps
        for component, client in list(zip(components, clients, strict=True))[: 2 if correct else 1]:
            request = ForceRequest(
                id=0,
                pos=positions,
                active=np.arange(len(positions)),
                cell=(cell, np.linalg.inv(cell)),
                pars=f"component : {component} , species : {species} , ",
                offset=0.0,
            )
            asked.append((component, *exchange(client, request)))
            bar.update()
    return asked


def exchange(client: Client, request: ForceRequest) -> tuple[int, int]:
    """One request and its answer as in i-PI's polling loop; when it was sent and when the answer had arrived."""
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
    """All but the model."""
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
