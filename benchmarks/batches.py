"""Full batches: how many structures of i-PI's beads and systems are evaluated together.

    python benchmarks/batches.py --steps 1000        # minutes

i-PI sends messages of four structures (`<batch_size>`), some of them with copies in place of structures that are not
ready, and may do so as 3 + 1 or 2 + 2 (i-PI issue #570). Counted are the different structures in what the driver serves
at once, of four beads or four systems of water, with a model that takes no time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import ase.io
import numpy as np

from ipi_darkforces import ForceModel, Forces, Need, Structure
from ipi_darkforces.serve.address import UnixPattern
from ipi_darkforces.serve.driver import Driver
from ipi_darkforces.serve.settings import Settings
from ipi_darkforces.simulate.compose import write_start
from ipi_darkforces.split.component import ComponentForces
from ipi_darkforces.split.split import Request, Split

INPUTS = Path(__file__).resolve().parents[1] / "inputs"
TOGETHER = 4
CASES = (("nve-direct", "beads"), ("nve-mts4", "beads"), ("nve-direct", "systems"), ("nve-mts4", "systems"))


class Springs(ForceModel):
    """Weak springs to the origin; both kinds of forces are almost the same."""

    def __init__(self) -> None:
        super().__init__("springs", Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT | Need.VIRIAL, None, False)

    def _evaluate(self, structures: Sequence[Structure], need: Need) -> list[Forces]:
        nothing = np.zeros((3, 3))
        forces = [-1e-3 * each.positions for each in structures]
        return [Forces(0.0, each, 1.001 * each, nothing, nothing) for each in forces]


class Counted(Split):
    """Counts the different structures of what is served at once."""

    def __init__(self) -> None:
        super().__init__(Springs())
        self.counts = Counter[int]()

    def serve(self, requests: Sequence[Request]) -> list[ComponentForces]:
        """See `Split`."""
        self.counts[len({request.structure.key for request in requests})] += 1
        return super().serve(requests)


def main() -> None:
    """Count, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="(default: %(default)s)")
    steps = parser.parse_args().steps
    print("| input | four | messages | of 4 | of 3 | of 2 | of 1 |\n|---|---|---|---|---|---|---|")
    for name, what in CASES:
        counts = count(name, what, steps)
        row = [name, what, sum(counts.values()), *(counts[n] for n in range(TOGETHER, 0, -1))]
        print(f"| {' | '.join(map(str, row))} |", flush=True)


def count(name: str, what: str, steps: int) -> Counter[int]:
    """Messages by the number of different structures in them."""
    with tempfile.TemporaryDirectory(prefix="batches-") as scratch:
        folder = Path(scratch)
        write(name, what, steps, folder)
        prefix = f"{folder}/"
        with (folder / "log").open("w") as log:
            program = Path(sys.executable).parent / "i-pi"
            command = [sys.executable, str(program), "-S", prefix, "input.xml"]
            ipi = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        split = Counted()
        Driver(split, [UnixPattern(f"{prefix}darkforces", False)], Settings(), wait=60.0).serve()
        assert ipi.wait() == 0, (folder / "log").read_text()
    return split.counts


def write(name: str, what: str, steps: int, folder: Path) -> None:
    """Write an input for four of them at once, with no output but a line for each step."""
    root = ET.parse(INPUTS / f"{name}.xml").getroot()
    find(root, "total_steps").text = str(steps)
    output, system = find(root, "output"), find(root, "system")
    for each in output.findall("trajectory") + output.findall("checkpoint"):
        output.remove(each)
    for forcefield in root.findall("ffsocket"):
        ET.SubElement(forcefield, "batch_size").text = str(TOGETHER)
    atoms = ase.io.read(INPUTS / "water.xyz")
    initialize = find(system, "initialize")
    ET.SubElement(initialize, "velocities", mode="thermal", units="kelvin").text = "300"
    if what == "beads":
        initialize.set("nbeads", str(TOGETHER))
    for i in range(TOGETHER):
        write_start(atoms, folder / f"start{i}.chk")
        atoms.translate([1.0, 2.0, 3.0])
    find(initialize, "file").text = "start0.chk"
    for i in range(1, TOGETHER if what == "systems" else 1):
        other = deepcopy(system)
        other.set("prefix", f"system{i}")
        find(other, "initialize/file").text = f"start{i}.chk"
        root.append(other)
    ET.ElementTree(root).write(folder / "input.xml")


def find(root: ET.Element, path: str) -> ET.Element:
    """The element, which is there."""
    found = root.find(path)
    assert found is not None
    return found


if __name__ == "__main__":
    main()
