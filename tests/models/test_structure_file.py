"""Files of structures: i-PI's own in their units, others as ase reads them."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from ipi.engine.atoms import Atoms as IpiAtoms
from ipi.engine.cell import Cell
from ipi.engine.initializer import init_file
from ipi.utils.io import print_file
from ipi.utils.units import Elements, unit_to_internal, unit_to_user

from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.structure_file import read_atoms, read_frames
from ipi_darkforces.simulate.compose import write_start

INPUTS = Path(__file__).parents[2] / "inputs"
BOHR = unit_to_user("length", "angstrom", 1.0)  # Å
# As i-PI wants it: the first vector along x, the second in the xy plane.
TRICLINIC = np.array([[6.0, 0.0, 0.0], [1.5, 5.0, 0.0], [-0.7, 0.9, 7.0]])


def water(cell: np.ndarray = TRICLINIC) -> ase.Atoms:
    atoms = molecule("H2O", cell=cell, pbc=True)
    atoms.positions += [1.0, 2.0, 3.0]
    return atoms


def written_by_ipi(path: Path, atoms: ase.Atoms, mode: str = "xyz", **options: str) -> Path:
    ours = IpiAtoms(len(atoms))
    ours.names[:] = atoms.get_chemical_symbols()
    ours.q[:] = unit_to_internal("length", "angstrom", atoms.positions.ravel())
    cell = Cell(unit_to_internal("length", "angstrom", atoms.cell.array.T))
    with path.open("w") as stream:
        print_file(mode, ours, cell, stream, key="positions", **options)
    return path


def assert_same(found: ase.Atoms, atoms: ase.Atoms, digits: float) -> None:
    assert found.get_chemical_symbols() == atoms.get_chemical_symbols()
    np.testing.assert_allclose(found.positions, atoms.positions, atol=digits)
    np.testing.assert_allclose(found.cell.array, atoms.cell.array, atol=digits)
    assert found.pbc.all()


class TestFilesOfIpi:
    @pytest.mark.parametrize("units", ["automatic", "angstrom", "atomic_unit", "nanometer"])
    @pytest.mark.parametrize("cell_units", ["automatic", "angstrom"])
    def test_units_are_those_of_the_comment_line(self, tmp_path: Path, units: str, cell_units: str) -> None:
        path = written_by_ipi(tmp_path / "pos.xyz", water(), units=units, cell_units=cell_units)
        assert_same(read_atoms(path, "structure"), water(), 2e-4)  # of CELL(abcABC) i-PI writes five digits

    def test_the_name_does_not_matter(self, tmp_path: Path) -> None:
        path = written_by_ipi(tmp_path / "my water@300K.dat", water())
        assert_same(read_atoms(path, "structure"), water(), 2e-4)

    def test_pdb(self, tmp_path: Path) -> None:
        path = written_by_ipi(tmp_path / "pos.pdb", water(), "pdb", units="atomic_unit", cell_units="atomic_unit")
        assert_same(read_atoms(path, "structure"), water(), 2e-2)  # three digits, of degrees two

    @pytest.mark.parametrize("brackets", ["()", "[]", "{}"])
    @pytest.mark.parametrize("kind", ["H", "GENH"])
    def test_every_kind_of_cell_is_what_ipi_makes_of_it(self, tmp_path: Path, kind: str, brackets: str) -> None:
        # Vectors are columns for H, and rows for GENH, where they need not be turned; bohr unless said otherwise.
        numbers = TRICLINIC.T if kind == "H" else TRICLINIC[[1, 2, 0]]
        text = f"# CELL{brackets[0]}{kind}{brackets[1]}: {' '.join(map(str, numbers.ravel()))} positions{{angstrom}}"
        path = tmp_path / "start.xyz"
        path.write_text(f"3\n{text}\nO 1 2 3\nH 1.5 2 3\nH 1 2.5 3.1\n")
        found = read_atoms(path, "structure")
        (expected,), cell = init_file("xyz", str(path), units="angstrom")
        np.testing.assert_allclose(found.positions.ravel(), unit_to_user("length", "angstrom", expected.q), rtol=1e-12)
        np.testing.assert_allclose(found.cell.array, unit_to_user("length", "angstrom", cell.h).T, rtol=1e-12)
        assert found.cell.volume == pytest.approx(np.linalg.det(TRICLINIC) * BOHR**3)

    def test_without_units_it_is_bohr(self, tmp_path: Path) -> None:
        (tmp_path / "start.xyz").write_text("1\n# CELL(abcABC): 10 11 12 90 90 90\nAr 1 2 3\n")
        found = read_atoms(tmp_path / "start.xyz", "structure")
        np.testing.assert_allclose(found.positions, BOHR * np.array([[1.0, 2.0, 3.0]]))
        np.testing.assert_allclose(found.cell.cellpar(), [10 * BOHR, 11 * BOHR, 12 * BOHR, 90, 90, 90])

    def test_without_a_cell_nothing_is_periodic(self, tmp_path: Path) -> None:
        (tmp_path / "start.xyz").write_text("1\n# positions{nanometer}\nAr 0.1 0.2 0.3\n")
        found = read_atoms(tmp_path / "start.xyz", "structure")
        np.testing.assert_allclose(found.positions, [[1.0, 2.0, 3.0]])
        assert not found.pbc.any()
        assert not found.cell.array.any()

    def test_of_a_trajectory_all_structures_or_the_last(self, tmp_path: Path) -> None:
        path = tmp_path / "pos.xyz"
        moved = water()
        moved.positions += 0.5
        texts = [written_by_ipi(tmp_path / "frame.xyz", atoms).read_text() for atoms in (water(), moved)]
        path.write_text("".join(texts) + "\n")
        first, second = read_frames(path, "structure")
        assert_same(first, water(), 2e-4)
        assert_same(second, moved, 2e-4)
        assert_same(read_atoms(path, "structure"), moved, 2e-4)

    def test_compressed(self, tmp_path: Path) -> None:
        path = written_by_ipi(tmp_path / "pos.xyz", water())
        with path.open("rb") as plain, gzip.open(tmp_path / "pos.xyz.gz", "wb") as packed:
            shutil.copyfileobj(plain, packed)
        assert_same(read_atoms(tmp_path / "pos.xyz.gz", "structure"), water(), 2e-4)

    def test_a_checkpoint_has_everything(self, tmp_path: Path) -> None:
        atoms = water()
        atoms.set_masses([15.9, 2.0, 1.0])
        atoms.set_momenta(np.arange(9.0).reshape(3, 3))
        write_start(atoms, tmp_path / "RESTART")
        found = read_atoms(tmp_path / "RESTART", "structure")
        assert_same(found, atoms, 1e-10)
        np.testing.assert_allclose(found.get_masses(), atoms.get_masses(), rtol=1e-12)
        np.testing.assert_allclose(found.get_momenta(), atoms.get_momenta(), atol=1e-10)
        text = (tmp_path / "RESTART").read_text()
        with gzip.open(tmp_path / "RESTART.gz", "wt") as packed:  # whose comment on its folder is no XML
            packed.write(f"<!--\n      Working Directory: /a--b/\n-->\n{text}")
        assert_same(read_atoms(tmp_path / "RESTART.gz", "structure"), atoms, 1e-10)
        (tmp_path / "RESTART").write_text(
            text.replace("<motion mode='dynamics'/>", "<motion mode='dynamics'><fixatoms> [ 1 ] </fixatoms></motion>")
        )
        found = read_atoms(tmp_path / "RESTART", "structure")
        found.set_positions(found.positions + 1.0)
        np.testing.assert_allclose(found.positions - atoms.positions, [[1.0] * 3, [0.0] * 3, [1.0] * 3], atol=1e-10)

    @pytest.mark.parametrize("quantity", ["velocities", "forces"])
    def test_other_trajectories_are_no_structures(self, tmp_path: Path, quantity: str) -> None:
        path = written_by_ipi(tmp_path / "pos.xyz", water())
        path.write_text(path.read_text().replace("positions{atomic_unit}", f"{quantity}{{m/s}}"))
        with pytest.raises(DarkforcesError, match=f"pos.xyz' cannot be used: it holds {quantity}, expected positions"):
            read_atoms(path, "structure")
        atoms = water()
        atoms.info["ipi_comment"] = f"Step: 0 Bead: 0 {quantity}{{ase}} cell{{ase}}"
        ase.io.write(tmp_path / "vel.extxyz", atoms)
        with pytest.raises(DarkforcesError, match=f"it holds {quantity}, expected positions"):
            read_atoms(tmp_path / "vel.extxyz", "structure")

    def test_an_input_is_no_structure(self) -> None:
        with pytest.raises(DarkforcesError, match="it is an i-PI input without positions"):
            read_atoms(INPUTS / "nve-direct.xml", "structure")

    @pytest.mark.parametrize("kept", [2, 4, 6, 7, 9])
    def test_a_file_that_is_cut_off_is_not_read(self, tmp_path: Path, kept: int) -> None:
        lines = written_by_ipi(tmp_path / "pos.xyz", water()).read_text().splitlines(keepends=True)
        (tmp_path / "pos.xyz").write_text("".join((lines * 2)[:kept]))
        with pytest.raises(DarkforcesError, match=f"structure {kept // 5} in .*pos.xyz' cannot be read") as caught:
            read_atoms(tmp_path / "pos.xyz", "structure")
        assert "\n" not in str(caught.value)


class TestLabels:
    def test_deuterium_has_the_mass_of_ipi(self, tmp_path: Path) -> None:
        comment = "# CELL(abcABC): 9 9 9 90 90 90 positions{angstrom} cell{angstrom}"
        (tmp_path / "ipi.xyz").write_text(f"3\n{comment}\nO 0 0 0\nD 1 0 0\nT 0 1 0\n")
        (tmp_path / "extended.xyz").write_text(
            '3\nLattice="9 0 0 0 9 0 0 0 9" Properties=pos:R:3:species:S:1 energy=1.5\n0 0 0 O\n1 0 0 D\n0 1 0 T\n'
        )
        (tmp_path / "plain.xyz").write_text("3\nheavy water\nO 0 0 0\nD 1 0 0\nT 0 1 0\n")
        for name in ("ipi.xyz", "extended.xyz", "plain.xyz"):
            atoms = read_atoms(tmp_path / name, "structure")
            assert atoms.get_chemical_symbols() == ["O", "H", "H"]
            assert atoms.get_masses()[1:].tolist() == [Elements.mass_list["D"], Elements.mass_list["T"]]
            np.testing.assert_allclose(atoms.positions, [[0, 0, 0], [1, 0, 0], [0, 1, 0]], atol=1e-12)
        assert read_atoms(tmp_path / "extended.xyz", "structure").get_potential_energy() == 1.5

    def test_masses_in_the_file_are_kept(self, tmp_path: Path) -> None:
        (tmp_path / "my.xyz").write_text("2\nProperties=species:S:1:pos:R:3:masses:R:1\nO1 0 0 0 18\nD2 1 0 0 2.5\n")
        assert read_atoms(tmp_path / "my.xyz", "structure").get_masses().tolist() == [18.0, 2.5]

    def test_labels_may_begin_in_a_later_structure(self, tmp_path: Path) -> None:
        (tmp_path / "my.xyz").write_text("1\n\nO 0 0 0\n2\n\nOW 0 0 0\nHW1 1 0 0\n1\n\nH_1 0 0 0\n")
        frames = list(read_frames(tmp_path / "my.xyz", "structure"))
        assert [str(atoms.symbols) for atoms in frames] == ["O", "OH", "H"]

    @pytest.mark.parametrize("label", ["X", "Gh", "MW", "CD1"])
    @pytest.mark.parametrize("comment", ["ghosts", "# CELL(abcABC): 9 9 9 90 90 90"])
    def test_what_is_no_element_is_named(self, tmp_path: Path, label: str, comment: str) -> None:
        (tmp_path / "my.xyz").write_text(f"2\n{comment}\nO 0 0 0\n{label} 1 0 0\n")
        message = f"structure 0 in '{tmp_path / 'my.xyz'}' cannot be used: atom 1 has the label '{label}', which "
        for read in (lambda path: read_atoms(path, "structure"), lambda path: list(read_frames(path, "structure"))):
            with pytest.raises(DarkforcesError) as caught:
                read(tmp_path / "my.xyz")
            assert str(caught.value).startswith(message)


class TestFilesOfAse:
    @pytest.mark.parametrize("name", ["w.xyz", "w.pdb", "w.cif", "w.traj", "w@2.extxyz", "@.xyz", "w@.traj", "w.json"])
    def test_as_ase_reads_them(self, tmp_path: Path, name: str) -> None:
        atoms = water(9.0 * np.eye(3))
        ase.io.write(tmp_path / name, atoms)
        assert_same(read_atoms(tmp_path / name, "structure"), atoms, 1e-3)
        (only,) = read_frames(tmp_path / name, "structure")
        assert_same(only, atoms, 1e-3)

    def test_the_last_of_a_file(self, tmp_path: Path) -> None:
        ase.io.write(tmp_path / "many@1.xyz", [bulk("Al"), bulk("Cu")])
        assert read_atoms(tmp_path / "many@1.xyz", "structure").symbols == "Cu"

    def test_constraints_and_momenta_are_kept(self, tmp_path: Path) -> None:
        atoms = water()
        atoms.set_momenta(np.ones((3, 3)))
        atoms.set_constraint(FixAtoms([2]))
        ase.io.write(tmp_path / "my.extxyz", atoms, columns=["symbols", "positions", "momenta", "move_mask"])
        found = read_atoms(tmp_path / "my.extxyz", "structure")
        np.testing.assert_array_equal(found.constraints[0].index, [2])
        np.testing.assert_array_equal(found.arrays["momenta"], np.ones((3, 3)))


@pytest.mark.parametrize(
    "content", [b"", b"not a structure", b"3\n\nO 0 0\n", b"\x00\xff\xfe" * 9, b"<simulation", b"<"]
)
def test_what_cannot_be_read_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.xyz").write_bytes(content)
    with pytest.raises(DarkforcesError, match=r"broken\.xyz'") as caught:
        read_atoms(tmp_path / "broken.xyz", "template")
    assert "\n" not in str(caught.value)


def test_what_is_not_there_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DarkforcesError, match=f"template 'no.xyz' does not exist .*{tmp_path}"):
        read_atoms("no.xyz", "template")
    with pytest.raises(DarkforcesError, match="is a folder: expected a file"):
        read_atoms(tmp_path, "template")
