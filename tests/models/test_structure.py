from __future__ import annotations

import tracemalloc

import ase
import numpy as np
import pytest
from ase.symbols import Symbols, string2symbols
from hypothesis import given
from hypothesis import strategies as st

from ipi_darkforces import Structure
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.structure import SMALLEST_WIDTH, formula_from_species, name_atoms, species_from_formula

CUBE = 10.0 * np.eye(3)


def structure(positions: np.ndarray | None = None, cell: np.ndarray = CUBE) -> Structure:
    water = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    return Structure(np.array([8, 1, 1], np.int32), water if positions is None else positions, np.array(cell))


@given(st.lists(st.integers(1, 118), min_size=1, max_size=30), st.integers(1, 5))
def test_species_survive_being_written_as_a_formula(unit: list[int], repeats: int) -> None:
    species = np.array(unit * repeats, np.int32)
    assert np.array_equal(species_from_formula(formula_from_species(species)), species)


@pytest.mark.parametrize(
    ("species", "formula"),
    [([8, 1, 1] * 64, "(OH2)64"), ([8] * 64 + [1] * 128, "O64H128"), ([18] * 5, "Ar5"), ([8, 1, 1], "OH2")],
)
def test_formula_is_the_shortest(species: list[int], formula: str) -> None:
    assert formula_from_species(np.array(species)) == formula


def test_formula_keeps_the_order_of_the_atoms() -> None:
    assert species_from_formula("OH2").tolist() == [8, 1, 1]
    assert species_from_formula("H2O").tolist() == [1, 1, 8]


def test_heavy_hydrogen_is_hydrogen() -> None:
    assert species_from_formula("(OD2)2").tolist() == [8, 1, 1] * 2
    assert species_from_formula("OTHDTi").tolist() == [8, 1, 1, 1, 22]
    assert species_from_formula("DyTaCd").tolist() == [66, 73, 48]


@given(st.text(max_size=12))
def test_any_text_is_a_formula_of_some_atoms_or_one_clear_line(text: str) -> None:
    try:
        message, species = "", species_from_formula(text)
    except DarkforcesError as error:
        message, species = str(error), np.ones(1)
    assert "\n" not in message
    assert len(species) > 0


@pytest.mark.parametrize("formula", ["OH2", "(OH2)3", "2(OH2)3+CO", "(OH2(CN)2)5He", "3H2O", "((He)2(OH)2)2"])
def test_atoms_are_those_that_ase_reads(formula: str) -> None:
    assert species_from_formula(formula).tolist() == Symbols.fromsymbols(string2symbols(formula)).numbers.tolist()


def test_long_formulas_take_a_time_in_proportion() -> None:
    """Hours, if it grew with the square of the length."""
    assert species_from_formula("OHHCN" * 200_000).tolist() == [8, 1, 1, 6, 7] * 200_000


@pytest.mark.parametrize(
    "formula",
    ["O999999999", "H" + "9" * 4000, "(H99999)99999", "(((H99999)99999)99999)99999", "9999999999H", "O9999999H9999999"],
)
def test_formulas_of_too_many_atoms_are_refused_before_they_take_memory(formula: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DarkforcesError, match="too many atoms: expected at most 2000000$") as caught:
            species_from_formula(formula)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("formula", ["H(((...)))99999", "(" * 3000 + "H" + ")" * 3000, "(O2)" * 5000, "H" + "9" * 5000])
def test_formulas_that_cannot_be_read_are_quoted_in_part(formula: str) -> None:
    with pytest.raises(DarkforcesError, match="is not a formula") as caught:
        species_from_formula(formula)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("formula", ["", "O0", "(OH2)0", "Wt64", "H2.5", "(OH2", "water", "OH2\n"])
def test_what_is_no_formula_is_refused_with_an_example(formula: str) -> None:
    with pytest.raises(DarkforcesError, match="is not a formula: expected .* such as O64H128"):
        species_from_formula(formula)


def test_a_structure_of_ase_is_periodic_where_ase_says_so() -> None:
    atoms = ase.Atoms("OH2", structure().positions, cell=[5.0, 6.0, 7.0], pbc=[True, False, True])
    made = Structure.from_ase(atoms)
    assert made.species.dtype == np.int32
    assert made.species.tolist() == [8, 1, 1]
    np.testing.assert_array_equal(made.positions, atoms.positions)
    np.testing.assert_array_equal(made.cell, np.diag([5.0, 0.0, 7.0]))
    atoms.positions += 1.0
    np.testing.assert_array_equal(made.positions, structure().positions)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_positions_that_are_not_finite_name_their_atoms(wrong: float) -> None:
    positions = structure().positions.copy()
    positions[0, 1] = wrong
    positions[2, 2] = wrong
    with pytest.raises(DarkforcesError, match=r"NaN or infinite for atom 0 \(O\), atom 2 \(H\)$"):
        structure(positions).check()


def test_of_many_atoms_the_first_five_are_named() -> None:
    named = name_atoms(np.arange(192), np.array([8, 1, 1] * 64))
    assert named == "atom 0 (O), atom 1 (H), atom 2 (H), atom 3 (O), atom 4 (H) and 187 more"


CELLS = {
    "infinite": (np.diag([10.0, np.inf, 10.0]), "the cell is NaN or infinite"),
    "NaN": (np.full((3, 3), np.nan), "the cell is NaN or infinite"),
    "short vector": (np.diag([10.0, 0.5, 10.0]), r"too small: 0.5 Å wide, expected at least 1.0 Å \(cell vectors"),
    "short only vector": (np.diag([0.0, 0.5, 0.0]), "too small: 0.5 Å wide"),
    "parallel vectors": ([[10, 0, 0], [20, 0, 0], [0, 0, 10]], "too small: 0 Å wide"),
    "nearly flat": ([[10, 0, 0], [0, 10, 0], [5, 5, 0.1]], "too small: 0.1 Å wide"),
    # Long vectors, but so skewed that the planes are close: the width counts, not the length.
    "skewed": ([[10, 0, 0], [99, 0.9, 0], [0, 0, 10]], "too small: .* Å wide"),
}


@pytest.mark.parametrize("case", CELLS)
def test_cell_that_cannot_be_used_is_refused(case: str) -> None:
    cell, message = CELLS[case]
    with pytest.raises(DarkforcesError, match=message) as caught:
        structure(cell=np.array(cell, float)).check()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "cell",
    [
        np.zeros((3, 3)),  # not periodic at all
        np.diag([10.0, 0.0, 0.0]),
        np.diag([10.0, 12.0, 0.0]),
        np.diag([SMALLEST_WIDTH + 1e-9] * 3),
        np.diag([10.0, 10.0, -10.0]),  # left-handed
        np.array([[10.0, 0.0, 0.0], [9.0, 5.0, 0.0], [-7.0, 3.0, 8.0]]),
    ],
)
def test_cell_that_can_be_used_passes(cell: np.ndarray) -> None:
    structure(cell=cell).check()


def test_a_vector_of_zeros_is_a_direction_without_periodicity() -> None:
    assert structure(cell=np.diag([10.0, 0.0, 3.0])).periodic.tolist() == [True, False, True]


def test_volume_is_that_of_the_cell_and_zero_unless_fully_periodic() -> None:
    assert structure(cell=np.array([[2.0, 0, 0], [1.0, 3.0, 0], [0, 1.0, -4.0]])).volume == pytest.approx(24.0)
    assert structure(cell=np.diag([10.0, 10.0, 0.0])).volume == 0.0


def test_key_tells_structures_apart_to_the_last_bit() -> None:
    moved = structure().positions.copy()
    moved[1, 1] = np.nextafter(moved[1, 1], 1.0)
    keys = {structure().key, structure(moved).key, structure(cell=11.0 * np.eye(3)).key}
    assert len(keys) == 3
    assert structure().key == structure().key
