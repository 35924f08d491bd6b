"""Structures whose distributions are known exactly, and ase's."""

from dataclasses import replace
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.build import bulk, make_supercell, molecule
from ase.geometry.rdf import get_rdf

from ipi_darkforces.analysis.io.runs import Reading, Run
from ipi_darkforces.analysis.io.trajectory import Block
from ipi_darkforces.analysis.molecules import find_molecules, orientations
from ipi_darkforces.analysis.pairs import BIN
from ipi_darkforces.analysis.selection import Selection
from ipi_darkforces.analysis.structure import ORIENTATION, Correlations, Function, correlations, difference, measure
from ipi_darkforces.analysis.structure_picture import draw, drawn_functions
from ipi_darkforces.errors import DarkforcesError

INPUTS = Path(__file__).parents[2] / "inputs"
SKEWED = np.array([[9.0, 0.0, 0.0], [3.0, 8.0, 0.0], [-2.0, 3.0, 10.0]])


def trajectory(frames, cell, size=50):
    """Positions (n, n_atoms, 3) in pieces, as they are read."""
    for start in range(0, len(frames), size):
        part = frames[start : start + size]
        yield Block(0.01 * np.arange(start, start + len(part)), part, np.tile(cell, (len(part), 1, 1)))


def of_atoms(atoms, **options):
    """The structure functions of a single structure."""
    return correlations(
        "one", trajectory(atoms.positions[None], np.array(atoms.cell)), atoms.get_chemical_symbols(), **options
    )


def gas(n_frames, n_atoms, cell, rng):
    return rng.uniform(size=(n_frames, n_atoms, 3)) @ cell


@pytest.fixture(scope="module")
def water():
    return ase.io.read(INPUTS / "water.xyz")


@pytest.fixture(scope="module")
def waters():
    """Three molecules in each direction, each turned at random (n, 27, 3 atoms, 3), in each frame anew."""
    rng = np.random.default_rng(0)
    one = molecule("H2O").positions
    one -= one[0]
    turns, upper = np.linalg.qr(rng.normal(size=(400, 27, 3, 3)))
    turns *= np.sign(np.diagonal(upper, axis1=2, axis2=3))[:, :, None, :]
    centers = 4.0 * np.stack(np.meshgrid(*3 * [np.arange(3.0)], indexing="ij"), axis=-1).reshape(27, 1, 3)
    # Somewhere around their places, so that there are pairs at all distances.
    centers = centers + rng.uniform(-0.4, 0.4, size=(400, 27, 1, 3))
    return centers + np.einsum("fmxy,ay->fmax", turns, one)


WATERS = ["O", "H", "H"] * 27
CELL_OF_WATERS = 12.0 * np.eye(3)


@pytest.mark.parametrize("pair", [("O", "O"), ("O", "H"), ("H", "H")])
def test_radial_distributions_agree_with_ase(water, pair):
    result = of_atoms(water)
    n = len(result.distances)
    assert n * BIN == pytest.approx(6.2)  # of a half width of 6.22 Å
    expected, distances = get_rdf(water, n * BIN, n, elements=pair)
    np.testing.assert_allclose(result.distances, distances, rtol=1e-12)
    np.testing.assert_allclose(result.functions["g_" + "".join(pair)].values, expected, rtol=1e-10, atol=1e-12)


def test_radial_distributions_agree_with_ase_in_a_skewed_cell():
    rng = np.random.default_rng(1)
    atoms = ase.Atoms("Na20Cl30", rng.uniform(size=(50, 3)) @ SKEWED, cell=SKEWED, pbc=True)
    result = of_atoms(atoms)
    n = len(result.distances)
    assert 3.0 < n * BIN < 4.5
    for pair in (("Na", "Na"), ("Na", "Cl"), ("Cl", "Cl")):
        expected, _ = get_rdf(atoms, n * BIN, n, elements=pair)
        np.testing.assert_allclose(result.functions["g_" + "".join(pair)].values, expected, rtol=1e-10, atol=1e-12)


def test_whether_positions_are_wrapped_makes_no_difference(water):
    rng = np.random.default_rng(2)
    moved = water.copy()
    moved.positions += rng.integers(-3, 4, size=(len(water), 3)) @ np.array(water.cell)
    here, there = of_atoms(water), of_atoms(moved)
    for key in ("g_OO", "g_OH", "g_HH", "c_uu"):
        np.testing.assert_allclose(there.functions[key].values, here.functions[key].values, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("skewed", [False, True])
def test_a_crystal_has_its_shells_and_coordination_numbers(skewed):
    a = 5.64
    atoms = bulk("NaCl", "rocksalt", a=a, cubic=not skewed) * (3 * [7] if skewed else 3 * [3])
    if skewed:
        atoms = make_supercell(atoms, [[1, 0, 0], [1, 1, 0], [0, 0, 1]])
    result = of_atoms(atoms)
    assert result.distances[-1] > 1.01 * a
    shells = {
        ("Na", "Cl"): [(a / 2, 6), (np.sqrt(3) / 2 * a, 14)],
        ("Na", "Na"): [(a / np.sqrt(2), 12), (a, 18)],
    }
    for pair, expected in shells.items():
        values = result.functions["g_" + "".join(pair)].values
        inside = np.flatnonzero(values)[: len(expected)]
        for bin_, (distance, neighbors) in zip(inside, expected, strict=True):
            assert abs(result.distances[bin_] - distance) <= BIN / 2
            assert result.coordination[pair][bin_] == pytest.approx(neighbors, abs=1e-9)
    np.testing.assert_allclose(result.coordination["Cl", "Na"], result.coordination["Na", "Cl"])


def test_the_number_of_neighbours_follows_from_the_distribution(water):
    result = of_atoms(water)
    shells = 4 / 3 * np.pi * np.diff((BIN * np.arange(len(result.distances) + 1)) ** 3)
    # 64 O and 128 H
    expected = np.cumsum(result.functions["g_OH"].values * shells) / water.cell.volume
    np.testing.assert_allclose(result.coordination["O", "H"], 128 * expected)
    np.testing.assert_allclose(result.coordination["H", "O"], 64 * expected)
    assert result.coordination["O", "H"][int(1.3 / BIN)] == pytest.approx(2.0)


def test_an_ideal_gas_has_no_structure():
    rng = np.random.default_rng(3)
    symbols = ["Ar"] * 20 + ["Ne"] * 15
    result = correlations("gas", trajectory(gas(2000, 35, SKEWED, rng), SKEWED), symbols)
    far = result.distances > 1.0
    for key, exact in (("g_ArAr", 1 - 1 / 20), ("g_ArNe", 1.0), ("g_NeNe", 1 - 1 / 15)):
        function = result.functions[key]
        deviations = (function.values[far] - exact) / function.errors[far]
        assert np.mean(np.abs(deviations) < 2) > 0.85
        assert np.abs(deviations).max() < 4.5
        assert abs(function.values[far].mean() - exact) < 0.01
        assert function.peak is None


def test_error_bars_cover_the_truth_when_frames_are_alike():
    """Every configuration of a gas is there ten times in a row."""
    rng = np.random.default_rng(4)
    cell = 6.0 * np.eye(3)
    deviations = []
    for _ in range(40):
        frames = np.repeat(gas(64, 24, cell, rng), 10, axis=0)
        result = correlations("gas", trajectory(frames, cell), ["Ar"] * 24)
        far = result.distances > 1.0
        function = result.functions["g_ArAr"]
        deviations.append((function.values[far] - (1 - 1 / 24)) / function.errors[far])
    known = np.abs(np.array(deviations)[np.isfinite(deviations)])
    assert len(known) > 0.95 * np.size(deviations)
    assert 0.93 < np.mean(known < 2.0) < 0.975
    # If frames were independent, errors would be smaller by the root of ten.
    assert np.mean(known < 2.0 / 10**0.5) < 0.6


def test_a_cell_that_changes_counts_with_its_own_volume():
    rng = np.random.default_rng(5)
    small, large = 8.0 * np.eye(3), 9.0 * np.eye(3)
    blocks = [*trajectory(gas(400, 30, small, rng), small), *trajectory(gas(400, 30, large, rng), large)]
    function = correlations("gas", blocks, ["Ar"] * 30).functions["g_ArAr"]
    assert function.values[40:].mean() == pytest.approx(1 - 1 / 30, abs=0.01)


@pytest.fixture
def dimers():
    """Eight of them, of about 3.33 Å, in a cell of 20 Å, and in each frame of another length (60, 16 atoms, 3)."""
    lengths = np.random.default_rng(6).normal(3.33, 0.1, size=(60, 8, 1))
    base = 10.0 * np.stack(np.meshgrid(*3 * [[0.0, 1.0]], indexing="ij"), axis=-1).reshape(8, 3)
    return np.concatenate([np.tile(base, (60, 1, 1)), base + lengths * np.array([1.0, 0.0, 0.0])], axis=1)


def test_the_first_peak_is_found_with_its_error(dimers):
    positions, cell = dimers, 20.0 * np.eye(3)
    peak = correlations("pairs", trajectory(positions, cell), ["Ar"] * 16).functions["g_ArAr"].peak
    assert peak.position.value == pytest.approx(3.33, abs=0.08)
    assert 0.005 < peak.position.error < 0.06
    # As many frames, of which ten in a row are alike, say too little.
    few = np.repeat(positions[:6], 10, axis=0)
    peak = correlations("pairs", trajectory(few, cell), ["Ar"] * 16).functions["g_ArAr"].peak
    assert peak.position.error is None
    assert peak.height.error is None


@pytest.mark.parametrize(("interval", "known"), [(0.1, False), (0.2, True), (None, True)])
def test_short_runs_do_not_know_the_errors_of_their_peaks(interval, known, dimers, tmp_path):
    frames = [ase.Atoms("Ar16", positions, cell=20.0 * np.eye(3), pbc=True) for positions in dimers]
    ase.io.write(tmp_path / "dimers.xyz", frames)
    notices: list[str] = []
    run = Run.read(tmp_path / "dimers.xyz", notices.append, Reading(interval=interval))
    found = measure(run, Selection(notice=notices.append)).functions["g_ArAr"]
    assert np.isfinite(found.errors).any()
    assert (found.peak.height.error is not None) is known
    assert any("errors of peaks are not known from 5.9 ps" in notice for notice in notices) is not known


def test_the_first_peak_of_water(water):
    result = of_atoms(water)
    assert result.functions["g_OH"].peak.position.value == pytest.approx(0.97, abs=0.03)
    assert 2.6 < result.functions["g_OO"].peak.position.value < 2.9
    assert result.functions["g_OO"].peak.position.error is None


def test_aligned_molecules_are_perfectly_correlated(waters):
    aligned = waters.copy()
    aligned[:] = waters[:, :, :1] + (waters[0, 0] - waters[0, 0, 0])
    result = correlations("aligned", trajectory(aligned.reshape(400, 81, 3), CELL_OF_WATERS), WATERS)
    function = result.functions["c_uu"]
    there = np.isfinite(function.values)
    assert there.sum() > 40
    np.testing.assert_allclose(function.values[there], 1.0, rtol=1e-12)


def test_alternating_molecules_are_perfectly_anticorrelated_at_odd_distances():
    """Molecules on a simple cubic lattice, where those at an odd number of steps point the other way."""
    places = np.stack(np.meshgrid(*3 * [np.arange(4)], indexing="ij"), axis=-1).reshape(64, 3)
    one = molecule("H2O").positions
    signs = np.where(places.sum(axis=1) % 2, -1.0, 1.0)
    positions = 3.1 * places[:, None] + signs[:, None, None] * (one - one[0])
    result = correlations("odd", trajectory(positions.reshape(1, 192, 3), 12.4 * np.eye(3)), ["O", "H", "H"] * 64)
    values = result.functions["c_uu"].values
    for squared, sign in ((1, -1.0), (2, 1.0), (3, -1.0)):
        assert values[int(3.1 * np.sqrt(squared) / BIN)] == pytest.approx(sign)


def test_molecules_turned_at_random_are_uncorrelated(waters):
    result = correlations("random", trajectory(waters.reshape(400, 81, 3), CELL_OF_WATERS), WATERS)
    function = result.functions["c_uu"]
    known = np.isfinite(function.errors)
    deviations = function.values[known] / function.errors[known]
    assert known.sum() > 30
    assert np.mean(np.abs(deviations) < 2) > 0.85
    assert np.abs(deviations).max() < 4.5
    assert np.median(function.errors[known]) < 0.03


def test_orientations_are_bisectors_wrapped_or_not(waters):
    frames = waters[:3].reshape(3, 81, 3)
    wrapped = frames - np.floor(frames / 12.0) * 12.0
    assert np.abs(wrapped - frames).max() > 11.0
    molecules = find_molecules(wrapped[0], CELL_OF_WATERS, WATERS)
    np.testing.assert_array_equal(molecules.centers, 3 * np.arange(27))
    np.testing.assert_array_equal(np.sort(molecules.ends, axis=1), np.arange(81).reshape(27, 3)[:, 1:])
    bonds = waters[:3, :, 1:] - waters[:3, :, :1]
    exact = bonds.sum(axis=2) / np.linalg.norm(bonds.sum(axis=2), axis=-1, keepdims=True)
    for positions in (frames, wrapped):
        found, lengths = orientations(next(trajectory(positions, CELL_OF_WATERS)), molecules)
        np.testing.assert_allclose(found, exact, atol=1e-12)
        np.testing.assert_allclose(lengths, 0.969, atol=1e-3)


def test_molecules_are_found_in_any_order_and_among_others(waters):
    others = np.array([[6.0, 6.0, 1.9], [6.0, 6.0, 2.7]])  # H2
    positions = np.concatenate([waters[0, :2].reshape(6, 3), others])
    order = [3, 7, 0, 5, 1, 6, 4, 2]
    symbols = np.array(["O", "H", "H", "O", "H", "H", "H", "H"])[order]
    molecules = find_molecules(positions[order], CELL_OF_WATERS, symbols)
    assert [order[i] for i in molecules.centers] == [3, 0]
    assert [sorted(order[i] for i in ends) for ends in molecules.ends] == [[4, 5], [1, 2]]


def test_molecules_are_found_whatever_their_atoms_are_called(waters):
    expected = find_molecules(waters[0].reshape(81, 3), CELL_OF_WATERS, WATERS)
    for labels in (["O", "D", "D"], ["OW", "HW1", "HW2"], ["O1", "H_1", "D"]):
        found = find_molecules(waters[0].reshape(81, 3), CELL_OF_WATERS, labels * 27)
        for array in ("centers", "ends", "longest"):
            np.testing.assert_array_equal(getattr(found, array), getattr(expected, array))


@pytest.mark.parametrize("name", ["NH3", "CH3OCH3", "CO2"])
def test_what_has_no_bisector_has_no_orientation(name):
    assert "c_uu" not in of_atoms(molecule(name, vacuum=5.0, pbc=True)).functions


def test_molecules_that_break_are_told(waters):
    frames = waters[:4].reshape(4, 81, 3).copy()
    frames[2, 1] += [3.0, 0.0, 0.0]
    result = correlations("broken", trajectory(frames, CELL_OF_WATERS), WATERS)
    assert "broken in 1 of 4 frames" in result.remarks[0]


def test_differences_have_the_errors_of_both():
    def run(name, value, error, n):
        curve = Function(np.full(n, value), np.full(n, error), None)
        return Correlations(name, BIN * (np.arange(n) + 0.5), {"g_OO": curve}, {}, 1, ())

    change = difference(run("a", 1.5, 0.03, 20), run("b", 1.2, 0.04, 17), "g_OO")
    np.testing.assert_allclose(change.values, np.full(17, 0.3))
    np.testing.assert_allclose(change.errors, np.full(17, 0.05))
    with pytest.raises(DarkforcesError, match="a has no c_uu: it has g_OO"):
        difference(run("a", 1.5, 0.03, 20), run("b", 1.2, 0.04, 17), "c_uu")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda p, c: (p, 0 * c), {}, "there is no cell"),
        (lambda p, c: (p[:, :5], c), {}, "192 symbols were given for 5 atoms"),
        (lambda p, c: (p * np.nan, c), {}, "NaN or infinite in the frame at 0 ps"),
        (lambda p, c: (p[:0], c), {}, "no frames"),
        (lambda p, c: (p, c), {"farthest": 0.01}, "expected at least 0.05 Å"),
    ],
)
def test_bad_trajectories_are_told(water, change, options, message):
    positions, cell = change(water.positions[None], np.array(water.cell))
    with pytest.raises(DarkforcesError, match=message):
        correlations("bad", trajectory(positions, cell), water.get_chemical_symbols(), **options)


def test_only_the_distances_that_are_wanted(water):
    result = of_atoms(water, farthest=3.0)
    assert result.distances[-1] == pytest.approx(2.975)
    np.testing.assert_allclose(result.functions["g_OH"].values, of_atoms(water).functions["g_OH"].values[:60])


def test_results_for_machines_and_readers(waters):
    result = correlations("run", trajectory(waters.reshape(400, 81, 3), CELL_OF_WATERS), WATERS)
    found = result.as_json()
    assert found["frames"] == 400
    assert found["first_peak_A"]["g_OH"]["value"] == pytest.approx(0.97, abs=0.03)
    assert found["first_peak_A"]["c_uu"] is None
    assert result.functions["g_OH"].peak.height.value == pytest.approx(result.functions["g_OH"].values.max())
    assert found["first_peak_height"]["g_OH"]["value"] == result.functions["g_OH"].peak.height.value
    assert found["first_peak_height"]["c_uu"] is None
    columns = result.columns()
    assert len({len(column) for column in columns.values()}) == 1
    assert list(columns)[:3] == ["distance_A", "g_OO", "g_OO_error"]


def test_pictures_are_drawn(water, waters, tmp_path):
    many = correlations("many", trajectory(waters.reshape(400, 81, 3), CELL_OF_WATERS), WATERS)
    one = of_atoms(water)
    one = replace(one, functions={key: one.functions[key] for key in ("g_OO", "g_OH")})
    draw([many, one, many], tmp_path / "several.png")
    draw([one], tmp_path / "one.pdf")
    nowhere = np.full(len(one.distances), np.nan)
    empty = replace(one, functions={**one.functions, ORIENTATION: Function(nowhere, nowhere, None)})
    assert drawn_functions([empty]) == ("g_OO", "g_OH")
    assert drawn_functions([empty, many]) == ("g_OO", "g_OH", ORIENTATION, "g_HH")
    assert (tmp_path / "several.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "one.pdf").read_bytes().startswith(b"%PDF")
