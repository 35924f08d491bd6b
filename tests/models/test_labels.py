"""Elements and masses of the labels that files give to atoms."""

from __future__ import annotations

import numpy as np
import pytest
from ase.data import chemical_symbols
from ipi.utils.units import Elements

from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.labels import element_of, elements_of, isotope_masses


@pytest.mark.parametrize("symbol", chemical_symbols[1:])
def test_symbols_are_themselves_in_upper_and_lower_case(symbol: str) -> None:
    assert [element_of(label) for label in (symbol, symbol.upper(), symbol.lower())] == [symbol] * 3


PLAIN = {
    "H": ["D", "T", "D1", "H1", "H_1", "h2", "HW", "Hw", "HW1", "HW2", "H*"],
    "O": ["O1", "O17", "OW", "Ow", "OW1", "O_w", "O2-", "o3"],
    "C": ["C13", "C-1"],
    "Fe": ["Fe1", "Fe3+", "Fe_up"],
    "Cl": ["Cl37", "Cl-"],
}


@pytest.mark.parametrize(("symbol", "label"), [(symbol, label) for symbol, labels in PLAIN.items() for label in labels])
def test_an_element_is_found_where_it_is_plain(symbol: str, label: str) -> None:
    assert element_of(label) == symbol


@pytest.mark.parametrize(
    "label", ["X", "x", "X1", "Gh", "Bq", "M", "MW", "EP", "Q", "CD1", "HG11", "CB", "Du", "Z", "L", "1H", "", "?", "Ø"]
)
def test_ghosts_and_places_in_molecules_are_named(label: str) -> None:
    with pytest.raises(DarkforcesError, match="^atom 1 has the label '") as caught:
        elements_of(["O", label])
    assert f"'{label}'" in str(caught.value)


def test_isotopes_have_the_masses_of_ipi() -> None:
    known = Elements.mass_list
    np.testing.assert_array_equal(isotope_masses(["O", "D", "T", "H"]), [np.nan, known["D"], known["T"], np.nan])
    np.testing.assert_array_equal(isotope_masses(["O1", "D_1"]), [np.nan, known["D"]])


def test_numbered_atoms_are_no_isotopes() -> None:
    """i-PI has masses for O17 and H2, but would refuse O1."""
    assert np.isnan(isotope_masses(["O1", "O17", "H2"])).all()
    np.testing.assert_array_equal(isotope_masses(["O", "O17"]), [np.nan, Elements.mass_list["O17"]])
