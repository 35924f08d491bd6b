"""A simulation that is cheap and deterministic: four atoms of aluminium, NVE, forces of ase's EMT potential.

i-PI writes everything at every step, to the last digit, so that what was lost or came out otherwise is seen.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from ase.build import bulk
from ipi.scripting import read_output

from ipi_darkforces.simulate.compose import compose, write_start
from ipi_darkforces.simulate.recipe import Recipe

from .programs import last_line

MODEL = "ase:ase.calculators.emt:EMT"
NAME = "crystal"
CHECKPOINT = 25  # steps between checkpoints
RESIDENT = (sys.executable, "-m", "ipi_darkforces.cli.main", "run", f"{NAME}.xml", "--model", MODEL, "--output", "run")
RUN = (*RESIDENT, "--no-resident")
DRIVER = (sys.executable, "-m", "ipi_darkforces.cli.driver", "--model", MODEL)
IPI = Path(sys.executable).with_name("i-pi")
# i-PI's own driver, whose forces do not matter here: a harmonic well.
THEIRS = (IPI.with_name("i-pi-driver-py"), "-m", "harmonic", "-o", "0.01", "-u", "-a", "darkforces")


def write_input(folder: Path, steps: int) -> Path:
    """Write the input and what it starts from; its path."""
    atoms = bulk("Al", cubic=True)
    atoms.rattle(0.05, seed=1)
    atoms.set_velocities(np.random.default_rng(1).normal(0.0, 0.01, (4, 3)))
    write_start(atoms, folder / "start.chk")
    root = ET.fromstring(compose(Recipe(NAME, "nve", "Al4", "start.chk", timestep=1.0, duration=0.001 * steps)))
    root.set("floatformat", "%24.16e")
    for name, child, value in (("stride", "properties", "1"), ("stride", "checkpoint", str(CHECKPOINT))):
        for element in root.iterfind(f"output/{child}"):
            element.set(name, value)
    total = root.find("total_steps")
    assert total is not None
    total.text = str(steps)
    path = folder / f"{NAME}.xml"
    ET.ElementTree(root).write(path)
    return path


def last_step(folder: Path) -> int:
    """The last step in i-PI's table of properties; -1 if there is none yet."""
    try:
        with (folder / f"{NAME}.out").open("rb") as stream:
            line = last_line(stream)
    except OSError:
        return -1
    return -1 if not line or line.startswith("#") else int(float(line.split()[0]))


def state(path: Path) -> np.ndarray:
    """Step, positions and momenta in a RESTART, atomic units."""
    root = ET.parse(path).getroot()
    texts = [root.findtext(name, "") for name in ("step", "system/beads/q", "system/beads/p")]
    return np.concatenate([np.array(text.strip(" []\n").split(","), float) for text in texts])


def difference(folder: Path, reference: Path) -> float:
    """Difference of a finished run from one without faults, relative to the largest numbers.

    Of the positions and momenta at its end, and of the energies at every step, of which none may be missing, and those
    that were written twice must be the same.
    """
    ours, theirs = state(folder / "RESTART"), state(reference / "RESTART")
    found = [_difference(ours[1:13], theirs[1:13]), _difference(ours[13:], theirs[13:])]
    table, whole = (read_output(str(place / f"{NAME}.out"))[0] for place in (folder, reference))
    steps = table["step"].astype(int)
    if ours[0] != theirs[0] or set(steps) != set(whole["step"].astype(int)):
        return np.inf
    found += [_difference(table[name], whole[name][steps]) for name in ("conserved", "potential", "kinetic_md")]
    return max(found)


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def completed(code: int | None, said: str) -> bool:
    """Tell whether a run has got to its end, now or before."""
    return code == 0 or "finished run" in said


def repeated_steps(folder: Path) -> int:
    """The number of steps that were computed again, according to the table of properties."""
    steps = read_output(str(folder / f"{NAME}.out"))[0]["step"]
    return len(steps) - len(set(steps))
