"""Outputs of i-PI for the tests: of real short runs with harmonic forces, and made up in its formats."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ipi_processes import Edit, in_process, ipi_here, prepare

HARMONIC = in_process("harmonic", lambda name: "{ k1: 0.001 }")
TABLE = """\
# column   1     --> step : The current simulation time step.
# column   2     --> time{femtosecond} : The elapsed simulation time.
# column   3     --> temperature{kelvin} : The current temperature.
# column   4     --> conserved{electronvolt} : The value of the conserved energy quantity per bead.
"""


def with_trajectory(filename: str, what: str, stride: int = 1, **attributes: str) -> Edit:
    """Let i-PI write positions or velocities."""

    def edit(root: ET.Element) -> None:
        output = root.find("output")
        ET.SubElement(output, "trajectory", filename=filename, stride=str(stride), **attributes).text = what

    return edit


def with_motion(name: str, text: str) -> Edit:
    """Add an element to `<motion>`."""

    def edit(root: ET.Element) -> None:
        ET.SubElement(root.find("system/motion"), name).text = text

    return edit


def without_temperature(root: ET.Element) -> None:
    """An ensemble that has none."""
    root.find("system").remove(root.find("system/ensemble"))


def simulate(name: str, folder: Path, steps: int, *edits: Edit) -> Path:
    """Run one of inputs/ with harmonic forces; properties and a checkpoint at every step, to the last digit."""
    path = prepare(name, folder, steps, HARMONIC, *edits, full=True)
    with ipi_here(path) as simulation:
        simulation.run(steps, write_outputs=True)
    return folder


def write_table(path: Path, rows: np.ndarray) -> Path:
    """Step, time in fs, temperature and conserved quantity, as i-PI writes them."""
    lines = ["  " + "   ".join(f"{value:.10e}" for value in row) + "   " for row in rows]
    path.write_text(TABLE + "\n".join(lines) + "\n")
    return path


def frame_text(step: int, values: np.ndarray, labels: Sequence[str], what: str, cell: str = "") -> str:
    """A frame as i-PI writes it."""
    cell = cell or "CELL(abcABC):   10.00000    11.00000    12.00000    90.00000    90.00000    90.00000"
    head = f"{len(labels)}\n# {cell}  Step:  {step:10d}  Bead:       0 {what}  cell{{angstrom}}\n"
    rows = (f"{label:>8} {x:12.5e} {y:12.5e} {z:12.5e}\n" for label, (x, y, z) in zip(labels, values, strict=True))
    return head + "".join(rows)
