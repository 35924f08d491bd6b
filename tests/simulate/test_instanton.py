"""A ring-polymer instanton: an input with a Hessian in a file, which i-PI optimises by Hessians of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from ase import units
from calculators import BARRIER, FILE, barrier_gradient
from ipi.utils.units import Constants, unit_to_internal
from programs import finish

BEADS, TEMPERATURE = 10, 200.0
INPUT = f"""<simulation verbosity='medium'>
  <output prefix='i'> <properties stride='1' filename='out'> [ step, potential{{electronvolt}} ] </properties> </output>
  <total_steps> 100 </total_steps>
  <ffsocket name='d' mode='unix' pbc='False'>
    <address> i </address> <parameters> {{ component: conservative, species: H }} </parameters>
  </ffsocket>
  <system>
    <initialize nbeads='{BEADS}'> <file mode='xyz'> start.xyz </file> </initialize>
    <forces> <force forcefield='d'/> </forces>
    <ensemble> <temperature units='kelvin'> {TEMPERATURE} </temperature> </ensemble>
    <motion mode='instanton'> <instanton mode='rate'>
      <tolerances>
        <energy units='electronvolt'> 5e-6 </energy> <force units='ev/ang'> 0.005 </force>
        <position units='angstrom'> 0.003 </position>
      </tolerances>
      <opt> nichols </opt> <biggest_step> 0.3 </biggest_step> <delta units='angstrom'> 0.1 </delta>
      <hessian mode='file' shape='(3, 3)'> hessian.dat </hessian>
      <hessian_init> true </hessian_init> <hessian_update> powell </hessian_update> <hessian_asr> none </hessian_asr>
    </instanton> </motion>
  </system>
</simulation>
"""


def test_is_stationary(tmp_path: Path) -> None:
    """The forces of the barrier and of the springs between beads cancel on each bead."""
    (tmp_path / "start.xyz").write_text(
        "1\n# CELL(abcABC): 10 10 10 90 90 90 cell{angstrom} positions{angstrom}\nH 5 5 5\n"
    )
    height, width, across = BARRIER
    hessian = np.diag([-2.0 * height / width**2, across, across]) / (units.Hartree / units.Bohr**2)
    np.savetxt(tmp_path / "hessian.dat", hessian)
    (tmp_path / "i.xml").write_text(INPUT)
    command = [sys.executable, "-m", "ipi_darkforces.cli.main", "run", "i.xml", "--model", f"ase:{FILE}:Barrier"]
    done = finish(command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "i" / "summary.json").read_text())
    assert summary["ended"] == "finished"
    assert "converged" in done.stdout
    [last] = (tmp_path / "i").glob("i.instanton_FINAL_[0-9]*.xyz")
    lines = last.read_text().splitlines()
    half = np.array([[float(word) for word in line.split()[1:4]] for line in lines if line.split()[0] == "H"]) - 5.0
    assert len(half) == BEADS  # i-PI holds half of the closed path, which is the same there and back
    assert np.abs(half[:, 1:]).max() < 1e-3
    assert np.ptp(half[:, 0]) > 0.3
    beads = half[:, :1]
    ends = np.concatenate([beads[:1], beads, beads[-1:]])
    kelvin = unit_to_internal("temperature", "kelvin", 1.0)
    omega = 2 * BEADS * Constants.kb * TEMPERATURE * kelvin / Constants.hbar
    mass = unit_to_internal("mass", "dalton", 1.008) * (units.Hartree / units.Bohr**2)  # so that m ω² is eV/Å²
    springs = mass * omega**2 * (2 * ends[1:-1] - ends[:-2] - ends[2:])
    np.testing.assert_allclose(barrier_gradient(half)[:, :1] + springs, 0.0, atol=0.02)
