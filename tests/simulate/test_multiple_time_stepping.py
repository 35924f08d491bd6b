"""Multiple time stepping in ase against i-PI, ase's own velocity Verlet, and what it may cost."""

import ase.build
import ase.io
import ase.units
import numpy as np
import pytest
from ase.constraints import FixAtoms, FixBondLength
from ase.md.logger import MDLogger
from ase.md.verlet import VelocityVerlet
from ipi.utils.units import unit_to_internal
from ipi_processes import INPUTS, ROOT, in_process, ipi_here, prepare, read_run
from recorded import TracedGraphs

import ipi_darkforces as dark
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.pet.padded import PaddedPetModel
from ipi_darkforces.models.registry.zoo import ZOO
from ipi_darkforces.serve.units import ANGSTROM, EV_PER_ANGSTROM

FS = ase.units.fs
STEPS = 5


@pytest.fixture(scope="module")
def model():
    return dark.load_model("pet-m", dtype="float64")


@pytest.fixture(scope="module")
def model_on_a_device():
    """With fast steps that are taken at once, as on a GPU."""
    model = PaddedPetModel(ZOO["pet-m"].path, device="cpu", dtype="float64")
    model._graphs = TracedGraphs()
    return model


@pytest.fixture
def molecules():
    """Two water molecules on their way, in a box."""
    atoms = ase.build.molecule("H2O")
    other = ase.build.molecule("H2O")
    other.translate([2.9, 0.4, 0.2])
    atoms += other
    atoms.set_cell([12.0] * 3)
    atoms.pbc = True
    atoms.center()
    atoms.set_momenta(np.random.default_rng(3).normal(scale=1.0, size=(6, 3)))
    return atoms


@pytest.mark.parametrize("where", ["model", "model_on_a_device"])
def test_trajectory_is_that_of_ipi(where, request, tmp_path):
    model = request.getfixturevalue(where)
    parameters = "{{ model: pet-m, dtype: float64, component: {}, species: O16H32 }}"
    edit = in_process("custom", parameters.format, ROOT / "drivers" / "darkforces.py")
    path = prepare("nve-mts4", tmp_path, STEPS, edit)
    with ipi_here(path) as simulation:
        beads = simulation.syslist[0].beads
        masses = np.array(beads.m)
        simulation.run(STEPS)
    theirs = read_run(tmp_path)

    # Both with i-PI's constants: those of ase are of another year, and differ in the eighth digit.
    dalton = unit_to_internal("mass", "dalton", 1.0)
    time = np.sqrt(dalton * ANGSTROM / EV_PER_ANGSTROM)  # ase's unit of time in that of i-PI
    momentum = dalton * ANGSTROM / time
    atoms = ase.io.read(INPUTS / "water-16.xyz")
    cell = np.array(simulation.syslist[0].cell.h).T / ANGSTROM
    atoms.set_cell(cell)
    atoms.set_positions(theirs["positions"][0].reshape(-1, 3) / ANGSTROM)
    atoms.set_masses(masses / dalton)
    atoms.set_momenta(theirs["momenta"][0].reshape(-1, 3) / momentum)
    dynamics = dark.MultipleTimeStepping(
        atoms, unit_to_internal("time", "femtosecond", 2.0) / time, stride=4, fast=model
    )
    for step in range(1, STEPS + 1):
        dynamics.run(1)
        for ours, name, unit in ((atoms.positions, "positions", ANGSTROM), (atoms.get_momenta(), "momenta", momentum)):
            expected = theirs[name][step].reshape(-1, 3) / unit
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12 * np.abs(expected).max(), err_msg=name)
        assert atoms.get_potential_energy() == pytest.approx(theirs["potential"][step], abs=1e-7)  # of 7 500 eV


def test_stride_of_one_is_velocity_verlet(model, molecules):
    expected = molecules.copy()
    expected.calc = dark.Calculator(model)
    VelocityVerlet(expected, 0.5 * FS).run(10)
    dark.MultipleTimeStepping(molecules, 0.5 * FS, stride=1, fast=model, slow=model).run(10)
    np.testing.assert_allclose(molecules.positions, expected.positions, rtol=0, atol=1e-13)
    np.testing.assert_allclose(molecules.get_momenta(), expected.get_momenta(), rtol=0, atol=1e-12)
    assert molecules.get_potential_energy() == pytest.approx(expected.get_potential_energy(), abs=1e-10)


def test_outer_step_costs_one_backward_pass_also_with_a_logger(model, molecules, tmp_path):
    dynamics = dark.MultipleTimeStepping(molecules, 2.0 * FS, stride=4, fast=model)
    dynamics.attach(MDLogger(dynamics, molecules, str(tmp_path / "md.log"), stress=True))
    dynamics.run(1)
    forward, backward = model.passes.forward, model.passes.backward
    dynamics.run(3)
    assert (model.passes.forward - forward, model.passes.backward - backward) == (12, 3)
    potential = np.loadtxt(tmp_path / "md.log", skiprows=1, usecols=2)
    assert len(potential) == 5
    assert potential[-1] == pytest.approx(model.evaluate(molecules).energy, abs=1e-4)


def test_atoms_that_the_user_moves_are_evaluated_anew(model, molecules):
    dynamics = dark.MultipleTimeStepping(molecules, 2.0 * FS, stride=4, fast=model)
    dynamics.run(2)
    molecules.positions[0] += 0.05
    expected = molecules.copy()
    dynamics.run(1)
    dark.MultipleTimeStepping(expected, 2.0 * FS, stride=4, fast=model).run(1)
    np.testing.assert_array_equal(molecules.positions, expected.positions)


def test_two_models(model, molecules):
    """The fast forces are another model's: conservative ones, here without any slow force left over."""
    expected = molecules.copy()
    expected.calc = dark.Calculator(model)
    VelocityVerlet(expected, 0.5 * FS).run(4)
    conservative = dark.load_model("pet-c", dtype="float64")
    dark.MultipleTimeStepping(molecules, 2.0 * FS, stride=4, fast=conservative, slow=model).run(1)
    np.testing.assert_allclose(molecules.positions, expected.positions, rtol=0, atol=1e-12)


def test_fixed_atoms_stay(model, molecules):
    molecules.set_constraint(FixAtoms([1, 4]))
    before = molecules.positions.copy()
    dark.MultipleTimeStepping(molecules, 2.0 * FS, stride=4, fast=model).run(3)
    moved = np.abs(molecules.positions - before).max(axis=1)
    assert set(np.flatnonzero(moved == 0.0)) == {1, 4}
    assert not molecules.get_momenta()[[1, 4]].any()


def test_what_cannot_be_is_said_in_one_line(model, molecules):
    direct = dark.load_model("pet-nc")
    with pytest.raises(DarkforcesError, match="stride 0 cannot be used: expected a whole number, at least 1"):
        dark.MultipleTimeStepping(molecules, FS, stride=0, fast=model)
    with pytest.raises(DarkforcesError, match="'pet-nc' does not provide conservative forces"):
        dark.MultipleTimeStepping(molecules, FS, stride=2, fast=direct)
    with pytest.raises(DarkforcesError, match="'pet-nc' does not provide conservative forces"):
        dark.MultipleTimeStepping(molecules, FS, stride=2, fast=model, slow=direct)
    molecules.set_constraint(FixBondLength(0, 1))
    with pytest.raises(DarkforcesError, match="constraint FixBondLengths is not kept"):
        dark.MultipleTimeStepping(molecules, FS, stride=2, fast=model)
    with pytest.raises(DarkforcesError, match="does not know Cu"):
        dark.MultipleTimeStepping(ase.build.bulk("Cu"), FS, stride=2, fast=model)
