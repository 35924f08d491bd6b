"""Makes the reference trajectories in this folder, with i-PI's own metatomic driver. From the repository's root:

    PYTHONPATH=tests python -m trajectories.make_references

Each is a short run of one of inputs/, with its seed and 16 molecules, of the bundled model in double precision.
Positions and momenta (atomic units) are kept at `KEPT` steps, energies (eV) at all. To be made anew when the bundled
model, inputs/ or i-PI's integrators change, and not otherwise: our own code has no part in them but for the cast of the
model.
"""

from __future__ import annotations

import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from ipi_processes import INPUTS, in_process, ipi_here, prepare, read_run

from ipi_darkforces.models.registry.load import load_model

HERE = Path(__file__).parent
STEPS = 10
KEPT = (0, 1, 5, 10)
# One of each family of integrators, with all kinds of force.
NAMES = ("nve-conservative", "nve-direct", "nve-mts4", "langevin100-direct", "svr-mts8", "gle-conservative")
ENERGIES = ("conserved", "potential", "kinetic_md")


def reference(name: str) -> dict[str, np.ndarray]:
    """The stored reference."""
    with np.load(HERE / f"{name}.npz") as stored:
        return dict(stored)


def abridged(run: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The part of a run that is stored."""
    kept = {name: run[name][list(KEPT)] for name in ("positions", "momenta")}
    return kept | {name: run[name] for name in ENERGIES}


def run_with_ipi_alone(name: str, model: Path, folder: Path) -> dict[str, np.ndarray]:
    """Run one of inputs/ with i-PI's own metatomic driver.

    :param model: an exported model in double precision
    :param folder: for i-PI's files
    """

    def parameters(component: str) -> str:
        direct = ", non_conservative: True" if component in ("fast", "direct") else ""
        return f"{{ model: {model}, template: {INPUTS / 'water-16.xyz'}{direct} }}"

    with ipi_here(prepare(name, folder, STEPS, in_process("metatomic", parameters), _weighted)) as simulation:
        simulation.run(STEPS)
    return abridged(read_run(folder))


def _weighted(root: ET.Element) -> None:
    """i-PI's driver has no slow force: conservative forces stand for it, minus the direct ones."""
    for force in root.findall("system/forces/force[@forcefield='fast']"):
        force.find("mts_weights").text = "[ -1, 1 ]"


def main() -> None:
    """Make them all."""
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "pet-m-float64.pt"
        load_model("pet-m", dtype="float64", backend="metatomic")._model.save(model)
        for name in NAMES:
            run = run_with_ipi_alone(name, model, Path(scratch) / name)
            np.savez_compressed(HERE / f"{name}.npz", **run)


if __name__ == "__main__":
    main()
