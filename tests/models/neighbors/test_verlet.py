"""No pair may ever be missing, and none be there twice: all against vesin, which searches anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import vesin
from disorder import CELLS, TRICLINIC, atoms

from ipi_darkforces import Structure
from ipi_darkforces.models.neighbors import verlet as verlet_module
from ipi_darkforces.models.neighbors.verlet import SKIN, VerletList, VerletLists

CUTOFF = 3.5
SHEAR = np.array([[1.0, 0.02, 0.0], [0.0, 1.0, -0.03], [0.01, 0.0, 1.0]])


def moved(structure: Structure, by: np.ndarray, cell: np.ndarray | None = None) -> Structure:
    return Structure(structure.species, structure.positions + by, structure.cell if cell is None else cell)


def expected(structure: Structure) -> list[tuple[float, ...]]:
    """Pairs in both directions, and their vectors, as vesin finds them."""
    search = vesin.NeighborList(cutoff=CUTOFF, full_list=True)
    pairs, vectors = search.compute(structure.positions, structure.cell, structure.periodic, quantities="PD")
    return ordered(np.hstack([pairs, vectors]))


def found(lists: VerletLists, structure: Structure) -> list[tuple[float, ...]]:
    pairs = lists.pairs(structure)
    there = np.column_stack([pairs.first, pairs.second, pairs.vectors])
    back = np.column_stack([pairs.second, pairs.first, -pairs.vectors])
    return ordered(np.vstack([there, back]))


def ordered(rows: np.ndarray) -> list[tuple[float, ...]]:
    return sorted(map(tuple, (np.round(rows, 8) + 0.0).tolist()))


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[Structure]:
    """Grows with each search."""
    made: list[Structure] = []

    class Counted(VerletList):
        def __init__(self, structure: Structure, *options: Any):
            made.append(structure)
            super().__init__(structure, *options)

    monkeypatch.setattr(verlet_module, "VerletList", Counted)
    return made


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_pairs_are_those_of_a_search(cell: np.ndarray) -> None:
    structure = atoms(cell)
    assert expected(structure)
    assert found(VerletLists(CUTOFF), structure) == expected(structure)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_small_steps_share_a_search_and_miss_nothing(cell: np.ndarray, searches: list[Structure]) -> None:
    random = np.random.default_rng(1)
    lists, structure = VerletLists(CUTOFF), atoms(cell)
    for _ in range(40):
        structure = moved(structure, random.normal(0, 0.03, structure.positions.shape))
        assert found(lists, structure) == expected(structure)
    assert 1 < len(searches) < 20


def test_nobody_gets_through_the_skin(searches: list[Structure]) -> None:
    """Two atoms that approach each other, each by just what is allowed, and by a little more."""
    start = Structure(
        np.array([8, 8], np.int32), np.array([[0.0, 0, 0], [0, 0, CUTOFF + SKIN + 1e-6]]), np.zeros((3, 3))
    )
    lists = VerletLists(CUTOFF)
    assert found(lists, start) == []
    for step, n in ((0.5 * SKIN - 1e-9, 1), (0.5 * SKIN + 1e-6, 2)):
        near = moved(start, np.array([[0.0, 0, step], [0, 0, -step]]))
        assert found(lists, near) == expected(near)
        assert len(searches) == n


@pytest.mark.parametrize("cell", [CELLS["cubic"], TRICLINIC], ids=["cubic", "triclinic"])
def test_jumps_by_cell_vectors_change_nothing(cell: np.ndarray, searches: list[Structure]) -> None:
    """Each atom jumps by itself, which is what happens when a program begins to wrap positions."""
    structure, lists = atoms(cell), VerletLists(CUTOFF)
    before = found(lists, structure)
    jumps = np.random.default_rng(2).integers(-3, 4, structure.positions.shape)
    np.testing.assert_allclose(found(lists, moved(structure, jumps @ cell)), before, atol=1e-7)
    assert len(searches) == 1


@pytest.mark.parametrize("strain", [0.99, 1.01, 0.9, 1.1, 0.85])
def test_a_changing_cell_takes_its_atoms_along(strain: float, searches: list[Structure]) -> None:
    """The list stays as long as the skin is not used up under a barostat."""
    structure, lists = atoms(TRICLINIC), VerletLists(CUTOFF)
    lists.pairs(structure)
    deformed = Structure(structure.species, structure.positions * strain, TRICLINIC * strain)
    assert found(lists, deformed) == expected(deformed)
    assert len(searches) == (2 if strain * (CUTOFF + SKIN) < CUTOFF else 1)


def test_a_changing_cell_without_its_atoms(searches: list[Structure]) -> None:
    structure, lists = atoms(TRICLINIC), VerletLists(CUTOFF)
    for scale in (1.0, 0.999, 0.95, 0.55, 1.0):
        changed = moved(structure, 0.0, TRICLINIC * scale)
        assert found(lists, changed) == expected(changed)
    assert len(searches) > 1


def test_sheared_cells_and_slabs_that_change() -> None:
    lists = VerletLists(CUTOFF)
    for cell in (TRICLINIC, TRICLINIC @ SHEAR, CELLS["slab"], 1.01 * CELLS["slab"]):
        structure = atoms(cell)
        assert found(lists, structure) == expected(structure)


def test_other_structures_get_lists_of_their_own(searches: list[Structure]) -> None:
    """Simulations that take turns: each keeps its list, whatever the order."""
    random = np.random.default_rng(3)
    structures = [moved(atoms(TRICLINIC), random.normal(0, 2, (40, 3))) for _ in range(4)]
    structures += [atoms(TRICLINIC, 30), Structure(np.full(40, 1, np.int32), atoms(TRICLINIC).positions, TRICLINIC)]
    lists = VerletLists(CUTOFF)
    for order in (range(6), range(6), reversed(range(6)), [3, 0, 5, 5, 1]):
        for i in order:
            assert found(lists, structures[i]) == expected(structures[i])
    assert len(searches) == 6


def test_of_many_in_any_order_the_right_list_is_tried_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems that i-PI advances in threads of their own come in any order."""
    random, tried = np.random.default_rng(3), []
    structures = [moved(atoms(TRICLINIC), random.normal(0, 2, (40, 3))) for _ in range(16)]
    lists = VerletLists(CUTOFF)
    for structure in structures:
        lists.pairs(structure)
    find = VerletList.positions
    monkeypatch.setattr(VerletList, "positions", lambda one, of: tried.append(one) or find(one, of))
    for i in random.integers(16, size=100):
        found(lists, moved(structures[i], random.normal(0, 0.02, (40, 3))))
    assert len(tried) == 100


def test_only_so_many_lists_are_kept(monkeypatch: pytest.MonkeyPatch, searches: list[Structure]) -> None:
    monkeypatch.setattr(verlet_module, "MOST_LISTS", 2)
    lists = VerletLists(CUTOFF)
    sizes = [10, 20, 30, 10]
    for n in sizes:
        assert found(lists, atoms(TRICLINIC, n)) == expected(atoms(TRICLINIC, n))
    assert len(searches) == 4  # that of 10 atoms had to go
    assert len(lists._used) == 2


def test_lists_of_the_past_are_not_kept(searches: list[Structure]) -> None:
    """One simulation moves beside another that moves little."""
    lists, still, random = VerletLists(CUTOFF), atoms(TRICLINIC, 30), np.random.default_rng(0)
    for step in range(400):
        if step % 20 == 0:
            moving = moved(atoms(TRICLINIC), random.normal(0, 2, (40, 3)))
        assert found(lists, moving) == expected(moving)
        found(lists, still)
    assert len(searches) == 21
    assert len(lists._used) <= 2 + 2 * verlet_module.MOST_LISTS // 40 + 1


@pytest.mark.parametrize("n", [1, 2])
def test_lonely_atoms_have_no_pairs(n: int) -> None:
    structure = Structure(np.ones(n, np.int32), 20.0 * np.arange(3 * n).reshape(n, 3), np.zeros((3, 3)))
    assert len(VerletLists(CUTOFF).pairs(structure).vectors) == 0
