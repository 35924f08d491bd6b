"""Reading reference data, and what is said about data that cannot be right."""

from __future__ import annotations

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase import units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from ipi_darkforces import Structure
from ipi_darkforces.diagnostics.reference import (
    Reference,
    atoms_too_close,
    atoms_too_far,
    read_reference,
    suspicious,
    unusual_forces,
)
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.units import ENERGY_UNITS, FORCE_UNITS

WATER = """\
3
Lattice="10 0 0 0 10 0 0 0 10" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.5 pbc="T T T"
O 1.0 0.0 0.0 0.5 0.0 -1.0
H 1.0 0.0 0.96 0.25 0.0 1.0
H 1.0 0.93 -0.24 -0.75 0.0 0.0
"""
FORCES = np.array([[0.5, 0.0, -1.0], [0.25, 0.0, 1.0], [-0.75, 0.0, 0.0]])


def write(folder: Path, text: str, name: str = "data.xyz") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def fails(path: Path, **options: object) -> str:
    """The one line about a file that cannot be used."""
    with pytest.raises(DarkforcesError) as caught:
        read_reference(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestReading:
    def test_every_structure_with_its_labels(self, tmp_path: Path) -> None:
        first, second = read_reference(write(tmp_path, WATER + WATER.replace("-1.5", "-2.5")))
        assert (first.energy, second.energy) == (-1.5, -2.5)
        np.testing.assert_array_equal(first.forces, FORCES)
        np.testing.assert_array_equal(first.structure.species, [8, 1, 1])
        np.testing.assert_array_equal(first.structure.positions[1], [1.0, 0.0, 0.96])
        np.testing.assert_array_equal(first.structure.cell, 10.0 * np.eye(3))
        assert second.name == f"structure 1 in '{tmp_path / 'data.xyz'}'"

    @pytest.mark.parametrize("energy", ["energy", "TotEnergy", "dft_energy", "REF_energy"])
    @pytest.mark.parametrize("forces", ["forces", "force", "REF_forces", "DFT_Forces"])
    def test_names_in_use_are_found(self, energy: str, forces: str, tmp_path: Path) -> None:
        text = WATER.replace("energy", energy).replace("forces", forces)
        (reference,) = read_reference(write(tmp_path, text))
        assert reference.energy == -1.5
        np.testing.assert_array_equal(reference.forces, FORCES)

    def test_other_names_can_be_given(self, tmp_path: Path) -> None:
        path = write(tmp_path, WATER.replace("energy=-1.5", "energy=-1.5 ccsd=-7").replace("forces", "push"))
        assert read_reference(path, energy_key="ccsd", forces_key="push")[0].energy == -7.0

    def test_whole_numbers_are_numbers(self, tmp_path: Path) -> None:
        assert read_reference(write(tmp_path, WATER.replace("-1.5", "-2")))[0].energy == -2.0

    @pytest.mark.parametrize(
        ("unit", "factor"),
        [("eV", 1.0), ("meV", 1e-3), ("hartree", 27.211386), ("rydberg", 13.605693)]
        + [("kcal/mol", 0.0433641), ("kJ/mol", 0.01036427)],
    )
    def test_energies_are_converted(self, unit: str, factor: float, tmp_path: Path) -> None:
        (reference,) = read_reference(write(tmp_path, WATER), energy_unit=unit)
        assert reference.energy == pytest.approx(-1.5 * factor, rel=1e-6)
        np.testing.assert_array_equal(reference.forces, FORCES)

    @pytest.mark.parametrize(
        ("unit", "factor"),
        [("eV/Angstrom", 1.0), ("meV/Angstrom", 1e-3), ("eV/bohr", 1.889726), ("hartree/bohr", 51.42207)]
        + [("rydberg/bohr", 25.71103), ("kcal/mol/Angstrom", 0.0433641), ("kJ/mol/Angstrom", 0.01036427)],
    )
    def test_forces_are_converted(self, unit: str, factor: float, tmp_path: Path) -> None:
        (reference,) = read_reference(write(tmp_path, WATER), force_unit=unit)
        np.testing.assert_allclose(reference.forces, FORCES * factor, rtol=1e-6)
        assert reference.energy == -1.5

    def test_all_units_are_tested_above(self) -> None:
        assert (len(ENERGY_UNITS), len(FORCE_UNITS)) == (6, 7)

    def test_forces_on_atoms_that_were_held_are_not_zero(self, tmp_path: Path) -> None:
        """Asked in the usual way, ase answers with zeros for them."""
        atoms = ase.Atoms("OHH", np.eye(3), constraint=FixAtoms([0]))
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=FORCES)
        path = tmp_path / "data.traj"
        ase.io.write(path, atoms)
        np.testing.assert_array_equal(read_reference(path)[0].forces, FORCES)

    def test_box_around_a_molecule_is_no_cell(self, tmp_path: Path) -> None:
        (reference,) = read_reference(write(tmp_path, WATER.replace("T T T", "F F F")))
        assert not reference.structure.periodic.any()


class TestWhatCannotBeRead:
    def test_missing(self, tmp_path: Path) -> None:
        assert "missing.xyz' does not exist" in fails(tmp_path / "missing.xyz")

    def test_folder(self, tmp_path: Path) -> None:
        assert f"'{tmp_path}' is a folder" in fails(tmp_path)

    @pytest.mark.parametrize("text", ["", "\n\n"])
    def test_empty(self, text: str, tmp_path: Path) -> None:
        assert "data.xyz' is empty" in fails(write(tmp_path, text))

    def test_garbage(self, tmp_path: Path) -> None:
        assert "structure 0 in" in fails(write(tmp_path, "no structure\nat all\n"))

    @pytest.mark.parametrize("kept", ["3", "3\n", WATER[:40], WATER[:150], WATER[:-24], WATER[:-5]])
    def test_cut_off(self, kept: str, tmp_path: Path) -> None:
        """After or in the header, between the atoms, or in a line of one."""
        path = write(tmp_path, 2 * WATER + kept)
        assert fails(path).startswith(f"structure 2 in '{path}' cannot be read, or is cut off: ")

    @pytest.mark.parametrize("number", range(6))
    def test_a_line_is_lost(self, number: int, tmp_path: Path) -> None:
        """All that follows is shifted, which ase notices before it has read anything."""
        lines = (7 * WATER).splitlines(keepends=True)
        del lines[5 * number + 3]
        assert f"structure {number} in" in fails(write(tmp_path, "".join(lines)))

    def test_what_ase_says_is_cut_short(self, tmp_path: Path) -> None:
        assert len(fails(write(tmp_path, "word " * 10_000))) < 300 + len(str(tmp_path))


class TestNames:
    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("energy=-1.5", "spin=2 note=x", "has no energy under a usual name; there are: spin; choose with --energy"),
            ("energy=-1.5", "note=x", "has no energy under a usual name; there is nothing that could be meant"),
            ("forces:R:3", "push:R:3", "has no forces under a usual name; there are: push; choose with --forces-key"),
            ("energy=-1.5", "energy=-1.5 REF_energy=1", "has energy under several names: REF_energy, energy; choose"),
        ],
    )
    def test_are_asked_for_when_unclear(self, old: str, new: str, message: str, tmp_path: Path) -> None:
        said = fails(write(tmp_path, WATER.replace(old, new)))
        assert said.startswith(f"structure 0 in '{tmp_path / 'data.xyz'}' {message}")

    def test_that_are_given_but_not_there(self, tmp_path: Path) -> None:
        path = write(tmp_path, WATER)
        assert "has no 'Energy'; there are: energy; choose with --energy-key" in fails(path, energy_key="Energy")
        assert "has no 'dft'; there are: forces; choose with --forces-key" in fails(path, forces_key="dft")

    def test_stay_those_of_the_first_structure(self, tmp_path: Path) -> None:
        path = write(tmp_path, WATER + WATER.replace("energy", "dft_energy"))
        assert fails(path).startswith(f"structure 1 in '{path}' has no 'energy'; there are: dft_energy; choose")

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ("energy_unit", "energy unit 'Ha' is not known: expected eV, "),
            ("force_unit", "force unit 'Ha' is not known"),
        ],
    )
    def test_of_units_that_are_not_known(self, option: str, message: str, tmp_path: Path) -> None:
        assert fails(write(tmp_path, WATER), **{option: "Ha"}).startswith(message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("energy=-1.5", "energy=nan", "the energy 'energy' of {} is NaN or infinite"),
        ("energy=-1.5", "energy=inf", "the energy 'energy' of {} is NaN or infinite"),
        ("energy=-1.5", "energy=high", "the energy 'energy' of {} cannot be read as numbers: 'high'"),
        ("energy=-1.5", 'energy="1 2"', "the energy 'energy' of {} have shape (2,): expected one number"),
        ("-0.75", "nan", "the forces of {} are NaN or infinite for atom 2 (H)"),
        ("0.96", "inf", "{}: positions are NaN or infinite for atom 1 (H)"),
        ("10 0 0 0 10", "nan 0 0 0 10", "{}: the cell is NaN or infinite"),
        (
            "pos:R:3:forces:R:3",
            "pos:R:3:forces:R:1",
            "the forces 'forces' of {} have shape (3,): expected shape (3, 3)",
        ),
        ("H 1.0 0.0", "Xx 1.0 0.0", "{} cannot be used: atom 1 has the label 'Xx'"),
        ("0.5 0.0 -1.0", "*** 0.0 -1.0", "{} cannot be read"),
    ],
)
def test_what_is_wrong_with_a_structure_names_it(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, WATER + WATER.replace(old, new) + WATER)
    assert fails(path).startswith(message.format(f"structure 1 in '{path}'"))


@pytest.mark.parametrize("pbc", ["F F F", "T T F"])
def test_recipes_can_insist_on_a_cell(pbc: str, tmp_path: Path) -> None:
    path = write(tmp_path, WATER + WATER.replace("T T T", pbc))
    assert len(read_reference(path)) == 2
    assert fails(path, require_cell=True).startswith(f"structure 1 in '{path}' is not periodic: expected a cell")


def reference(scale: float = 1.0, force: float = 0.8, symbols: str = "OHH", periodic: bool = True) -> Reference:
    """A molecule, in a cell of which it fills a corner, with all lengths scaled; force components ± `force`."""
    positions = scale * np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.96], [0.0, 0.93, -0.24]])
    species = ase.Atoms(symbols).numbers.astype(np.int32)
    cell = scale * 10.0 * np.eye(3) * periodic
    signs = np.array([[1.0, -1.0, 1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]])
    return Reference(Structure(species, positions, cell), 0.0, force * signs, "a molecule")


class TestSuspicion:
    def test_ordinary_data_are_beyond_it(self) -> None:
        assert suspicious([reference()]) is None
        assert suspicious([reference(periodic=False)]) is None

    @pytest.mark.parametrize("unit", ["hartree/bohr", "kJ/mol/Angstrom", "meV/Angstrom"])
    def test_forces_in_another_unit(self, unit: str) -> None:
        said = suspicious([reference(force=0.8 / FORCE_UNITS[unit])])
        assert said is not None
        assert said.endswith(f"; that would be 0.80 eV/Å if they were in {unit}: give --force-unit {unit}")

    def test_the_limits_are_where_they_are_said_to_be(self) -> None:
        ordinary = {force: unusual_forces([reference(force=force)]) is None for force in (0.029, 0.031, 29.0, 31.0)}
        assert ordinary == {0.029: False, 0.031: True, 29.0: True, 31.0: False}

    def test_forces_that_no_unit_explains(self) -> None:
        assert suspicious([reference(force=1e-6)]) == (
            "the forces have a root mean square of 1e-06 eV/Å, and 0.03 to 30 eV/Å would be ordinary"
        )
        assert suspicious([reference(force=0.0)]) == "the forces are all zero"

    @pytest.mark.parametrize("periodic", [True, False])
    def test_positions_in_bohr(self, periodic: bool) -> None:
        said = suspicious([reference(scale=units.Angstrom / units.Bohr, periodic=periodic)])
        assert said is not None
        assert "are 1.87 times what their covalent radii make one expect" in said
        assert "seem to be in bohr, expected Å" in said

    @pytest.mark.parametrize(
        ("scale", "meaning"), [(units.Bohr, "in Å and converted from bohr nevertheless"), (0.1, "in nm")]
    )
    def test_positions_that_are_too_small(self, scale: float, meaning: str) -> None:
        said = suspicious([reference(scale=scale)])
        assert said == atoms_too_close([reference(scale=scale)])
        assert said is not None
        assert f"seem to be {meaning}, expected Å" in said

    def test_a_few_broken_molecules_are_not_a_slip(self) -> None:
        assert atoms_too_far([reference(), reference(), reference(scale=1.9)]) is None

    def test_noble_gases_and_lone_atoms_have_no_bonds(self) -> None:
        assert atoms_too_far([reference(scale=4.0, symbols="ArArAr")]) is None
        assert suspicious([reference(scale=30.0)]) is None

    def test_bonds_across_the_boundary_are_seen(self) -> None:
        structure = reference().structure
        shifts = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 10.0], [0.0, -10.0, 0.0]])
        across = Structure(structure.species, structure.positions + shifts, structure.cell)
        assert atoms_too_far([Reference(across, 0.0, FORCES, "across")]) is None
        bohr = Structure(across.species, across.positions / units.Bohr, across.cell / units.Bohr)
        assert atoms_too_far([Reference(bohr, 0.0, FORCES, "across")]) is not None
