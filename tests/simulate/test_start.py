"""Structures as i-PI can start from them: turned as a whole, with the atoms fixed that are to be."""

from __future__ import annotations

import logging
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.constraints import (
    FixAtoms,
    FixBondLengths,
    FixCartesian,
    FixCom,
    FixedLine,
    FixedPlane,
    FixScaled,
    FixSubsetCom,
    Hookean,
)

from ipi_darkforces.distillation.sample import System
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.simulate.compose import compose
from ipi_darkforces.simulate.inputs import SimulationInput
from ipi_darkforces.simulate.recipe import Recipe
from ipi_darkforces.simulate.start import (
    Start,
    letters,
    make_start,
    read_start,
    say_where_periodic,
    warn_of_periodicity,
)

SIGNS = [(1, 1, 1), (-1, 1, 1), (-1, -1, -1)]


def crystal(seed: int = 0, signs: tuple[int, ...] = (1, 1, 1)) -> ase.Atoms:
    """Copper, strained, shaken, turned at random, with momenta; left-handed for an odd number of negative signs."""
    random = np.random.default_rng(seed)
    atoms = bulk("Cu", a=3.7, cubic=True) * (2, 1, 1)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + random.normal(0.0, 0.04, (3, 3))), scale_atoms=True)
    atoms.rotate(random.uniform(0.0, 360.0), random.normal(size=3), rotate_cell=True)
    atoms.set_cell(np.array(signs)[:, None] * atoms.cell.array)
    atoms.positions += random.normal(0.0, 0.1, atoms.positions.shape)
    atoms.set_momenta(random.normal(size=(len(atoms), 3)))
    return atoms


@pytest.mark.parametrize("mass", [0.0, -1.0, np.nan])
def test_masses_that_cannot_be_are_named(mass):
    atoms = bulk("Cu", cubic=True)
    atoms.set_masses(np.array([63.5, mass, 63.5, 63.5]))
    with pytest.raises(DarkforcesError, match=rf"atom 1 \(Cu\) has {mass:g} u; expected more"):
        make_start(atoms)


def test_velocities_that_are_no_numbers_are_named():
    atoms = bulk("Cu", cubic=True)
    atoms.set_momenta(np.where(np.arange(12) == 7, np.nan, 1.0).reshape(4, 3))
    message = r"the velocity of atom 2 \(Cu\) is NaN or infinite"
    with pytest.raises(DarkforcesError, match=message):
        make_start(atoms)
    with pytest.raises(DarkforcesError, match=message):
        System.of(atoms)


def energy(atoms: ase.Atoms) -> float:
    copy = atoms.copy()
    copy.calc = EMT()
    return float(copy.get_potential_energy())


def assert_same_crystal(start: Start, atoms: ase.Atoms) -> None:
    cell = start.atoms.cell.array
    np.testing.assert_allclose(cell[np.triu_indices(3, 1)], 0.0, atol=1e-12)
    assert (np.diag(cell) > 0.0).all()
    assert start.atoms.get_volume() == pytest.approx(atoms.get_volume())
    assert energy(start.atoms) == pytest.approx(energy(atoms), abs=1e-9)
    turned = start.atoms.copy()
    turned.calc, before = EMT(), atoms.copy()
    before.calc = EMT()
    # Pressure, and work on the atoms as they move: how momenta and forces are turned to each other.
    assert np.trace(turned.get_stress(voigt=False)) == pytest.approx(np.trace(before.get_stress(voigt=False)), abs=1e-9)
    np.testing.assert_allclose(
        (turned.get_forces() * turned.arrays["momenta"]).sum(axis=1),
        (before.get_forces(apply_constraint=False) * before.arrays["momenta"]).sum(axis=1),
        atol=1e-8,
    )


class TestCells:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("signs", SIGNS)
    def test_the_crystal_is_the_same(self, seed: int, signs: tuple[int, ...]) -> None:
        atoms = crystal(seed, signs)
        start = make_start(atoms)
        assert_same_crystal(start, atoms)
        np.testing.assert_allclose(start.atoms.cell.cellpar(), atoms.cell.cellpar())
        assert start.fixed == ()

    def test_a_mirror_image_is_another_crystal(self) -> None:
        """A chiral arrangement stays what it is when its cell is left-handed."""
        positions = np.array([[0.0, 0.0, 0.0], [2.4, 0.0, 0.0], [0.0, 2.9, 0.0], [0.0, 0.0, 3.3]])
        atoms = ase.Atoms("Cu4", positions, cell=np.diag([7.0, 8.0, -9.0]), pbc=True)
        turned = make_start(atoms).atoms
        edges = turned.get_distances(0, [1, 2, 3], mic=True, vector=True)
        assert np.linalg.det(edges) == pytest.approx(np.linalg.det(positions[1:]))

    def test_a_cell_that_fits_keeps_every_digit(self) -> None:
        atoms = ase.Atoms("Cu2", [[0.1, 0.2, 0.3], [2.0, 2.1, 2.2]], cell=[[5, 0, 0], [1, 6, 0], [2, 3, 7]], pbc=True)
        start = make_start(atoms)
        np.testing.assert_array_equal(start.atoms.positions, atoms.positions)
        np.testing.assert_array_equal(start.atoms.cell.array, atoms.cell.array)

    def test_vectors_of_atoms_turn_with_them(self) -> None:
        atoms = crystal(1)
        atoms.set_initial_magnetic_moments(atoms.get_momenta())
        atoms.set_array("dipoles", atoms.get_momenta())
        start = make_start(atoms)
        for name in ("dipoles", "initial_magmoms"):
            np.testing.assert_allclose(start.atoms.arrays[name], start.atoms.get_momenta())
        assert not np.allclose(atoms.get_momenta(), start.atoms.get_momenta())

    def test_no_atoms_and_no_cell_are_refused(self) -> None:
        with pytest.raises(DarkforcesError, match="has no atoms"):
            make_start(ase.Atoms())
        with pytest.raises(DarkforcesError, match="is periodic along vectors that are no cell"):
            make_start(ase.Atoms("Cu", cell=[4.0, 4.0, 0.0], pbc=True))

    def test_what_no_model_can_use_is_refused(self) -> None:
        with pytest.raises(DarkforcesError, match="cannot be used: the cell is NaN or infinite"):
            make_start(ase.Atoms("Cu", cell=[4.0, np.nan, 4.0], pbc=True))
        with pytest.raises(DarkforcesError, match=r"cannot be used: positions are NaN or infinite for atom 0 \(Cu\)"):
            make_start(ase.Atoms("Cu", [[np.inf, 0.0, 0.0]], cell=[4.0] * 3, pbc=True))
        with pytest.raises(DarkforcesError, match="cannot be used: the cell is too small"):
            make_start(ase.Atoms("Cu", cell=[[4.0, 0.0, 0.0], [8.0, 0.0, 0.0], [0.0, 0.0, 4.0]], pbc=True))


class TestWithoutPeriodicity:
    @pytest.mark.parametrize("cell", [None, 4.0 * np.eye(3), np.diag([4.0, -4.0, 4.0])])
    def test_a_molecule_gets_room_and_is_not_turned(self, cell: np.ndarray | None) -> None:
        atoms = molecule("H2O", cell=cell)
        start = make_start(atoms)
        np.testing.assert_array_equal(start.atoms.positions, atoms.positions)
        assert (start.atoms.cell.lengths() > 90.0).all()
        assert letters(start.atoms.pbc) == "FFF"

    @pytest.mark.parametrize("pbc", ["TTF", "TFT", "FTT", "TFF", "FFT"])
    @pytest.mark.parametrize("signs", SIGNS)
    def test_slabs_and_wires(self, pbc: str, signs: tuple[int, ...]) -> None:
        atoms = crystal(2, signs)
        atoms.pbc = [letter == "T" for letter in pbc]
        start = make_start(atoms)
        assert letters(start.atoms.pbc) == pbc
        cell = start.atoms.cell.array
        np.testing.assert_allclose(cell[np.triu_indices(3, 1)], 0.0, atol=1e-12)
        assert (np.diag(cell) > 0.0).all()
        assert energy(start.atoms) == pytest.approx(energy(atoms), abs=1e-9)
        np.testing.assert_allclose(
            cell[atoms.pbc] @ cell[atoms.pbc].T, (atoms.cell @ atoms.cell.T)[atoms.pbc][:, atoms.pbc]
        )

    def test_it_is_said(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        ase.io.write(tmp_path / "slab.extxyz", fcc111("Cu", (1, 1, 3), vacuum=5.0))
        with caplog.at_level(logging.WARNING):
            start = read_start(tmp_path / "slab.extxyz")
            say_where_periodic(start, "slab.extxyz")
        (line,) = caplog.messages
        assert "'slab.extxyz' is not periodic along all of its cell vectors (pbc TTF)" in line
        text = compose(Recipe("slab", "nve", "Cu3", "start.chk", start.fixed, letters(start.atoms.pbc)))
        assert "species: Cu3, pbc: TTF }" in text

    @pytest.mark.parametrize("named", ["template", "start", "with pbc"])
    def test_inputs_that_name_such_files_are_warned_of(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, named: str
    ) -> None:
        ase.io.write(tmp_path / "slab.extxyz", fcc111("Cu", (1, 1, 3), vacuum=5.0))
        text = compose(Recipe("slab", "nve", "Cu3", "start.chk", pbc="TTF" if named == "with pbc" else "TTT"))
        text = text.replace("<file mode='chk'> start.chk </file>", "<file mode='ase'> slab.extxyz </file>")
        if named == "template":
            text = text.replace("mode='ase'", "mode='xyz'").replace("species: Cu3", "template: slab.extxyz")
        (tmp_path / "slab.xml").write_text(text)
        warn_of_periodicity(SimulationInput.read(tmp_path / "slab.xml"))
        expected = [] if named == "with pbc" else ["'slab.extxyz' is not periodic (pbc TTF), but i-PI takes its cell"]
        assert [message[:56] for message in caplog.messages] == [text[:56] for text in expected]


class TestFixedAtoms:
    @pytest.mark.parametrize("signs", SIGNS)
    def test_they_are_turned_with_the_others(self, signs: tuple[int, ...]) -> None:
        atoms = crystal(3, signs)
        free = make_start(atoms)
        atoms.set_constraint(FixAtoms([0, 5]))
        start = make_start(atoms)
        np.testing.assert_array_equal(start.atoms.positions, free.atoms.positions)
        assert energy(start.atoms) == pytest.approx(energy(atoms), abs=1e-9)
        assert start.fixed == (0, 1, 2, 15, 16, 17)
        assert not start.atoms.get_momenta()[[0, 5]].any()
        np.testing.assert_array_equal(start.atoms.get_momenta()[1:5], free.atoms.get_momenta()[1:5])
        assert len(atoms.constraints) == 1  # of the user's

    def test_ipi_is_told_atoms_or_coordinates(self) -> None:
        def motion(fixed: tuple[int, ...]) -> str:
            text = compose(Recipe("cu", "nve", "Cu8", "start.chk", fixed))
            return text[text.index("<motion") : text.index("<dynamics")]

        assert "<fixatoms> [0, 5] </fixatoms>" in motion((0, 1, 2, 15, 16, 17))
        assert "<fixatoms_dof> [2, 15] </fixatoms_dof>" in motion((2, 15))
        assert "fixatoms" not in motion(())

    @pytest.mark.parametrize(
        ("constraint", "fixed"),
        [
            (FixCartesian([1, 2], [True, False, True]), (3, 5, 6, 8)),
            ([FixCartesian(1, [True, False, False]), FixCartesian(1, [False, True, False])], (3, 4)),
            (FixScaled(1, [False, False, True]), (5,)),  # free along the first two cell vectors, which are in the plane
            (FixScaled([1], [True, True, True]), (3, 4, 5)),
            (FixedPlane([1], [0, 0, 2]), (5,)),
            (FixedLine([1], [0, 0, 1]), (3, 4)),
            (FixCom(), ()),
        ],
    )
    def test_coordinates(self, constraint: object, fixed: tuple[int, ...]) -> None:
        atoms = bulk("Cu", a=3.7, cubic=True)
        atoms.set_cell([[3.7, 0, 0], [0.5, 3.7, 0], [0, 0, 3.7]])
        atoms.set_constraint(constraint)
        assert make_start(atoms).fixed == fixed

    def test_coordinates_may_be_others_after_the_turn(self) -> None:
        atoms = ase.Atoms("Cu2", [[0, 0, 0], [2, 2, 2]], cell=[[0, 5, 0], [0, 0, 6], [7, 0, 0]], pbc=True)
        atoms.set_constraint(FixCartesian(1, [False, True, False]))
        assert make_start(atoms).fixed == (3,)
        atoms.rotate(30.0, "z", rotate_cell=True)
        with pytest.raises(DarkforcesError, match="has a FixCartesian along directions that are not x, y or z"):
            make_start(atoms)
        atoms.set_constraint(FixedLine(1, atoms.cell[0]))
        assert make_start(atoms).fixed == (4, 5)

    @pytest.mark.parametrize("constraint", [FixBondLengths([[0, 1]]), Hookean(0, 1, 5.0, 2.0), FixSubsetCom([0, 1])])
    def test_what_ipi_cannot_keep_is_one_clear_line(self, tmp_path: Path, constraint: object) -> None:
        atoms = bulk("Cu", cubic=True)
        atoms.set_constraint(constraint)
        ase.io.write(tmp_path / "cu.traj", atoms)
        name = type(constraint).__name__
        with pytest.raises(DarkforcesError, match=f"cu.traj' has a constraint {name}, which cannot be kept"):
            read_start(tmp_path / "cu.traj")

    def test_contradictions_are_refused(self) -> None:
        atoms = bulk("Cu", cubic=True)
        atoms.set_constraint(FixAtoms(range(4)))
        with pytest.raises(DarkforcesError, match="fixed atoms only: nothing would move"):
            make_start(atoms)
        atoms.set_constraint([FixAtoms([0]), FixCom()])
        with pytest.raises(DarkforcesError, match="fixed atoms and a fixed centre of mass"):
            make_start(atoms)

    @pytest.mark.parametrize("name", ["POSCAR", "cu.extxyz", "cu.traj"])
    def test_from_files(self, tmp_path: Path, name: str) -> None:
        atoms = crystal(4)
        order = [0, 5]
        atoms.set_constraint(FixAtoms(order))
        columns = {"columns": ["symbols", "positions", "move_mask"]} if name.endswith("xyz") else {}
        ase.io.write(tmp_path / name, atoms, **columns)
        start = read_start(tmp_path / name)
        assert start.fixed == (0, 1, 2, 15, 16, 17)
        assert energy(start.atoms) == pytest.approx(energy(atoms), abs=1e-5)
