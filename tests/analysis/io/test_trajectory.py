"""Reading trajectories: the same numbers as ase and i-PI, from whole files and from damaged ones."""

from __future__ import annotations

from pathlib import Path

import ase
import ase.io
import ase.units
import numpy as np
import pytest
from ipi.scripting import read_trajectory
from ipi.utils.units import Elements
from ipi_processes import read_run

from ipi_darkforces.analysis.io import trajectory as module
from ipi_darkforces.analysis.io.formats import open_trajectories
from ipi_darkforces.analysis.io.trajectory import Block, Timing, Trajectory
from ipi_darkforces.analysis.io.units import factor_from_ipi
from ipi_darkforces.errors import DarkforcesError

ASE_VELOCITY = 1000.0 * ase.units.fs  # Å/ps
STEP = Timing(timestep=0.001)


def whole(trajectory: Trajectory, **options) -> tuple[Block, list[str]]:
    """Read a file to its end: all frames, and what was noticed."""
    notices: list[str] = []
    blocks = list(trajectory.blocks(notice=notices.append, **options))
    return Block(*(np.concatenate(parts) for parts in zip(*(vars(b).values() for b in blocks), strict=True))), notices


def read(path: Path, timing: Timing = STEP, **options) -> tuple[Block, list[str]]:
    """The only trajectory of a file."""
    (trajectory,) = open_trajectories(path, timing)
    return whole(trajectory, **options)


def steps_of(block: Block) -> list[int]:
    """The steps of frames, from the first coordinate of the fixture `frames`."""
    return np.round(block.values[:, 0, 0]).astype(int).tolist()


@pytest.fixture
def molecules() -> list[ase.Atoms]:
    """Five frames of a molecule that turns, in a triclinic cell, with momenta."""
    rng = np.random.default_rng(1)
    start = ase.Atoms("OH2", positions=[[0, 0, 0], [0.9, 0, 0], [0, 0.9, 0]], pbc=True)
    start.set_cell([[9.0, 0, 0], [1.0, 8.0, 0], [0.5, 0.7, 7.0]])
    frames = []
    for i in range(5):
        atoms = start.copy()
        atoms.positions += rng.normal(size=(3, 3))
        atoms.set_momenta(rng.normal(size=(3, 3)))
        atoms.info["time"] = 2.5 * i
        frames.append(atoms)
    return frames


# The same numbers as others read


def test_velocities_of_ipi(harmonic):
    block, notices = read(harmonic / "run.vel_0.xyz")
    reference = read_trajectory(str(harmonic / "run.vel_0.xyz"))
    expected = ASE_VELOCITY * np.array([atoms.arrays["velocities"] for atoms in reference])
    np.testing.assert_allclose(block.values, expected, rtol=1e-7)  # ase and i-PI have other constants
    np.testing.assert_allclose(block.cells, [atoms.cell.array for atoms in reference], rtol=1e-6)
    np.testing.assert_allclose(block.times, 0.001 * np.arange(13))
    assert notices == []


def test_positions_of_ipi(harmonic):
    block, _ = read(harmonic / "run.pos_0.xyz")
    reference = read_trajectory(str(harmonic / "run.pos_0.xyz"))
    np.testing.assert_allclose(block.values, [atoms.positions for atoms in reference], rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(block.cells, [atoms.cell.array for atoms in reference], rtol=1e-6)
    np.testing.assert_allclose(block.times, [0.0, 0.004, 0.008, 0.012])


def test_every_unit_and_format_of_ipi_is_the_same_velocity(harmonic):
    """Against the momenta of checkpoints, which have all digits."""
    momenta = read_run(harmonic)["momenta"][:, 0].reshape(13, 192, 3)
    (trajectory,) = open_trajectories(harmonic / "run.vel_0.xyz", STEP)
    masses = np.where(trajectory.species == "O", 15.999, 1.008) * 1822.888485
    exact = momenta / masses[:, None] * factor_from_ipi("velocity", None)
    scale = np.abs(exact).max()
    for name, stride, digits in (("vel_0.xyz", 1, 1e-5), ("si_0.xyz", 2, 1e-5), ("ase_0.extxyz", 1, 1e-6)):
        block, _ = read(harmonic / f"run.{name}")
        np.testing.assert_allclose(block.values, exact[::stride], atol=digits * scale, err_msg=name)
        np.testing.assert_allclose(block.times, 0.001 * stride * np.arange(len(exact[::stride])), err_msg=name)


def test_species_are_the_labels(harmonic):
    (trajectory,) = open_trajectories(harmonic / "run.vel_0.xyz", STEP)
    assert trajectory.species.tolist() == ["O"] * 64 + ["H"] * 128
    assert (trajectory.quantity, trajectory.interval) == ("velocities", 0.001)


@pytest.mark.parametrize("name", ["md.extxyz", "md.xyz", "md.traj"])
def test_what_ase_wrote(molecules, tmp_path, name):
    ase.io.write(tmp_path / name, molecules, format="extxyz" if name.endswith("xyz") else None)
    positions, velocities = open_trajectories(tmp_path / name)
    read_again = ase.io.read(tmp_path / name, ":")
    for trajectory, expected in (
        (positions, [atoms.positions for atoms in read_again]),
        (velocities, [ASE_VELOCITY * atoms.get_velocities() for atoms in read_again]),
    ):
        block, notices = whole(trajectory)
        np.testing.assert_allclose(block.values, expected, rtol=1e-12)
        np.testing.assert_allclose(block.cells, [atoms.cell.array for atoms in read_again])
        np.testing.assert_allclose(block.times, 0.0025 * np.arange(5))
        assert notices == []
        assert trajectory.species.tolist() == ["O", "H", "H"]
        np.testing.assert_allclose(trajectory.masses, molecules[0].get_masses())


def test_masses_that_the_file_gives(molecules, tmp_path):
    for atoms in molecules:
        atoms.set_masses([16.0, 2.0, 2.0])
    ase.io.write(tmp_path / "heavy.extxyz", molecules)
    _, velocities = open_trajectories(tmp_path / "heavy.extxyz")
    np.testing.assert_allclose(velocities.masses, [16.0, 2.0, 2.0])
    np.testing.assert_allclose(
        whole(velocities)[0].values, [ASE_VELOCITY * a.get_velocities() for a in molecules], atol=1e-5
    )


def test_labels_stay_and_have_the_masses_of_their_elements(molecules, tmp_path):
    rows = "OW 0 0 0 1 0 0\nD 1 0 0 2 0 0\nh1 0 1 0 3 0 0\n"
    (tmp_path / "md.xyz").write_text(f"3\nProperties=species:S:1:pos:R:3:vel:R:3\n{rows}" * 2)
    for trajectory in open_trajectories(tmp_path / "md.xyz", Timing(interval=1.0)):
        assert trajectory.species.tolist() == ["OW", "D", "h1"]
        np.testing.assert_allclose(trajectory.masses, [15.999, Elements.mass_list["D"], 1.008])
        assert whole(trajectory)[0].values.shape == (2, 3, 3)
    rows = "OW 0 0 0\nD 1 0 0\nT 0 1 0\nMW 0 0 0\n"
    comment = "# CELL(abcABC): 9 9 9 90 90 90 Step: 0 velocities{atomic_unit}"
    (tmp_path / "ipi.xyz").write_text(f"4\n{comment}\n{rows}")
    (trajectory,) = open_trajectories(tmp_path / "ipi.xyz")
    known = Elements.mass_list
    np.testing.assert_array_equal(trajectory.masses, [known["O"], known["D"], known["T"], np.nan])


def test_names_with_an_at_sign(molecules, tmp_path):
    for name in ("md@300K.traj", "md@300K.extxyz"):
        ase.io.write(tmp_path / name, molecules)
        block, _ = whole(open_trajectories(tmp_path / name)[0])
        np.testing.assert_allclose(block.values, [atoms.positions for atoms in molecules], atol=1e-8)


@pytest.mark.parametrize("column", ["velocities", "vel"])
def test_velocities_in_a_unit_that_the_user_names(tmp_path, column):
    atoms = ase.Atoms("H", cell=[5, 5, 5], pbc=True)
    atoms.arrays[column] = np.array([[0.01, 0.02, 0.03]])
    ase.io.write(tmp_path / "md.extxyz", [atoms, atoms])
    _, velocities = open_trajectories(tmp_path / "md.extxyz", velocity_unit=1000.0)
    np.testing.assert_allclose(whole(velocities)[0].values[0, 0], [10.0, 20.0, 30.0])


def test_columns_of_other_kinds_do_not_matter(molecules, tmp_path):
    for atoms in molecules:
        atoms.arrays["flag"] = np.array([True, False, True])
        atoms.arrays["name"] = np.array(["a", "bb", "c"])
    ase.io.write(tmp_path / "md.extxyz", molecules, columns=["flag", "symbols", "name", "positions"])
    block, notices = read(tmp_path / "md.extxyz")
    np.testing.assert_allclose(block.values, [atoms.positions for atoms in molecules], atol=1e-8)
    assert notices == []


def test_plain_xyz(molecules, tmp_path):
    ase.io.write(tmp_path / "plain.xyz", molecules, format="xyz", fmt="%16.10f")
    block, notices = read(tmp_path / "plain.xyz", Timing(interval=0.5))
    np.testing.assert_allclose(block.values, [atoms.positions for atoms in molecules], atol=1e-9)
    np.testing.assert_allclose(block.times, 0.5 * np.arange(5))
    assert not block.cells.any()
    assert notices == []


def test_a_cell_of_ipi_that_is_not_a_box(frames, tmp_path):
    path = tmp_path / "run.pos_0.xyz"
    angles = "CELL(abcABC):    9.00000     8.00000     7.00000    80.00000    85.00000    95.00000"
    box = "CELL(abcABC):   10.00000    11.00000    12.00000    90.00000    90.00000    90.00000"
    path.write_text("".join(frames([0, 1])).replace(box, angles))
    block, _ = read(path)
    expected = read_trajectory(str(path))[0].cell
    np.testing.assert_allclose(block.cells[1], expected.array, atol=1e-6)
    np.testing.assert_allclose(expected.angles(), [80.0, 85.0, 95.0], atol=1e-4)


# Time


def test_blocks_are_successive(frames, tmp_path, monkeypatch):
    path = tmp_path / "run.pos_0.xyz"
    path.write_text("".join(frames(range(0, 50, 5))))
    monkeypatch.setattr(module, "_BLOCK", 4 * 9)
    (trajectory,) = open_trajectories(path, STEP)
    blocks = list(trajectory.blocks())
    assert [len(block.times) for block in blocks] == [4, 4, 2]
    assert [step for block in blocks for step in steps_of(block)] == list(range(0, 50, 5))
    np.testing.assert_allclose(np.concatenate([b.times for b in blocks]), 0.001 * np.arange(0, 50, 5))


@pytest.mark.parametrize(
    ("timing", "interval", "times"),
    [
        (Timing(timestep=0.002), 0.02, [0.2, 0.22, 0.24]),
        (Timing(timestep=0.002, interval=7.0), 0.02, [0.2, 0.22, 0.24]),  # what is known does not need the user
        (Timing(interval=0.5), 0.5, [5.0, 5.5, 6.0]),
        (Timing(), None, [10.0, 11.0, 12.0]),
    ],
)
def test_the_time_of_steps(frames, tmp_path, timing, interval, times):
    path = tmp_path / "run.pos_0.xyz"
    path.write_text("".join(frames([100, 110, 120])))
    (trajectory,) = open_trajectories(path, timing)
    assert trajectory.interval == pytest.approx(interval)
    np.testing.assert_allclose(whole(trajectory)[0].times, times)


@pytest.mark.parametrize("name", ["md.extxyz", "md.traj"])
def test_the_user_knows_better_than_a_time_without_unit(molecules, tmp_path, name):
    ase.io.write(tmp_path / name, molecules)
    trajectory, _ = open_trajectories(tmp_path / name, Timing(interval=1.0))
    assert trajectory.interval == 1.0
    np.testing.assert_allclose(whole(trajectory)[0].times, np.arange(5.0))


@pytest.mark.parametrize("name", ["md.extxyz", "md.traj"])
def test_frames_are_counted_where_nothing_is_known(molecules, tmp_path, name):
    for atoms in molecules:
        del atoms.info["time"]
    ase.io.write(tmp_path / name, molecules)
    trajectory, _ = open_trajectories(tmp_path / name)
    assert trajectory.interval is None
    np.testing.assert_allclose(whole(trajectory)[0].times, np.arange(5.0))


def test_steps_that_were_done_twice_count_once_and_the_later_ones(frames, tmp_path):
    path = tmp_path / "run.pos_0.xyz"
    first, again = frames([0, 10, 20, 30, 40, 50]), frames([20, 30, 40, 50, 60])
    path.write_text("".join(first + again))
    block, notices = read(path)
    assert steps_of(block) == [0, 10, 20, 30, 40, 50, 60]
    later = read_trajectory(str(path))[6:]
    np.testing.assert_allclose(block.values[2:], [atoms.positions for atoms in later], rtol=1e-6, atol=1e-6)
    assert notices == []


def test_stamps_on_the_seam_of_two_pieces_are_found(frames, tmp_path, monkeypatch):
    path = tmp_path / "run.pos_0.xyz"
    path.write_text("".join(frames([0, 1, 2, 3]) + frames([2, 3, 4])))
    for size in (30, 77, 101, 1000):
        monkeypatch.setattr("ipi_darkforces.analysis.io.xyz._PIECE", size)
        assert steps_of(read(path)[0]) == [0, 1, 2, 3, 4]


# Damage


def test_a_file_that_ends_anywhere_has_the_frames_before(frames, tmp_path):
    path = tmp_path / "run.pos_0.xyz"
    texts = frames([0, 10, 20])
    text, two = "".join(texts), len("".join(texts[:2]))
    for end in range(two, len(text) + 1):
        path.write_text(text[:end])
        block, notices = read(path)
        is_whole = end >= len(text) - 1  # without its last line break it still has all digits
        assert steps_of(block) == ([0, 10, 20] if is_whole else [0, 10]), end
        if is_whole or end == two:
            assert notices == []
        else:
            assert len(notices) == 1
            assert f"'{path}', line " in notices[0]
            assert "the 2 frames before are used" in notices[0]


def test_the_line_where_a_file_ends_is_named(frames, tmp_path):
    path = tmp_path / "run.pos_0.xyz"
    path.write_text("".join(frames([0, 10]))[:-10])
    _, (notice,) = read(path)
    assert notice == f"'{path}', line 10: the file ends in the middle of a line; the 1 frames before are used"


def test_reading_goes_on_after_the_piece_that_a_killed_run_left(frames, tmp_path):
    path = tmp_path / "run.pos_0.xyz"
    first, again = frames([0, 10, 20, 30]), "".join(frames([10, 20, 30, 40]))
    for end in range(1, len(first[3]) - 1):  # but for one that lacks only its line break
        path.write_text("".join(first[:3]) + first[3][:end] + again)
        block, notices = read(path)
        assert steps_of(block) == [0, 10, 20, 30, 40], end
        assert len(notices) <= 1  # a piece of the number of atoms may look like one
        assert all("this frame is left out" in notice for notice in notices)


def test_other_atoms_end_it(frames, tmp_path):
    path = tmp_path / "run.pos_0.xyz"
    good = "".join(frames([0, 10]))
    fewer = frames([20])[0].replace("3\n#", "2\n#").rsplit("\n", 2)[0] + "\n"
    path.write_text(good + fewer)
    block, (notice,) = read(path)
    assert steps_of(block) == [0, 10]
    assert "line 11: 2 atoms, but the first frame has 3; the 2 frames before are used" in notice
    path.write_text(good + frames([20])[0].replace("       O", "      He"))
    block, (notice,) = read(path)
    assert steps_of(block) == [0, 10]
    assert "line 13: an atom He, but in the first frame it is O" in notice


def test_other_units_end_it(frames, tmp_path):
    path = tmp_path / "run.pos_0.xyz"
    path.write_text("".join(frames([0, 10]) + frames([20], "positions{atomic_unit}")))
    block, (notice,) = read(path)
    assert steps_of(block) == [0, 10]
    assert "line 12: 'positions{atomic_unit}' instead of 'positions{angstrom}'" in notice


@pytest.mark.parametrize("word", ["nan", "inf", "-Infinity"])
def test_a_simulation_that_exploded(frames, tmp_path, word):
    path = tmp_path / "run.pos_0.xyz"
    texts = frames([0, 10, 20, 30])
    lines = texts[2].splitlines(keepends=True)
    lines[3] = f"       H {word:>12} {word:>12} {word:>12}\n"
    path.write_text("".join([*texts[:2], *lines, texts[3]]))
    block, (notice,) = read(path)
    assert steps_of(block) == [0, 10]
    assert "positions are NaN or infinite for atom 1 (H) in the frame at line 11" in notice


def test_garbage_in_a_plain_file_ends_it(molecules, tmp_path):
    path = tmp_path / "plain.xyz"
    ase.io.write(path, molecules, format="xyz")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:12], "H 1.0 what 2.0\n", *lines[13:]]))
    block, (notice,) = read(path)
    assert len(block.times) == 2
    assert "line 13: 'H 1.0 what 2.0' where an atom was expected; the 2 frames before are used" in notice


@pytest.mark.parametrize("name", ["md.extxyz", "md.traj"])
def test_a_changed_number_of_atoms_in_files_of_ase(molecules, tmp_path, name):
    ase.io.write(tmp_path / name, [*molecules[:3], molecules[3][:2]])
    positions, velocities = open_trajectories(tmp_path / name)
    for trajectory in (positions, velocities):
        block, (notice,) = whole(trajectory)
        assert len(block.times) == 3
        assert "first frame has" in notice


def test_frames_of_ase_without_velocities(molecules, tmp_path):
    del molecules[3].arrays["momenta"]
    ase.io.write(tmp_path / "md.traj", molecules)
    _, velocities = open_trajectories(tmp_path / "md.traj")
    block, (notice,) = whole(velocities)
    assert len(block.times) == 3
    assert "frame 3: it has no velocities; the 3 frames before are used" in notice


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("192\n", "not one whole frame"),
        ("3\n# CELL(abcABC): 1 1 1 90 90 90\nO 0 0 0\n", "ends at line 3, expected 3 atoms"),
        ("0\n\n", "there are no atoms"),
        (f"{10**20}\n\nO 0 0 0\n", "ends at line 3, expected 100000000000000000000 atoms"),
        ("ITEM: TIMESTEP\n0\n", "begins with 'ITEM: TIMESTEP'"),
        ("1\n# CELL(abcABC): 1 1 1 90 90 90 Step: 0 forces{atomic_unit}\nO 0 0 0\n", "holds forces, expected"),
        ("1\n# CELL(abcABC): 1 1 1 90 90 90 Step: 0 positions{ell}\nO 0 0 0\n", "i-PI has no unit 'ell' of length"),
        ("1\nProperties=species:S:1:forces:R:3\nO 0 0 0\n", "neither positions nor velocities"),
        ("1\nProperties=pos:R:3\n0 0 0\n", "no column 'species'"),
        ("1\nProperties=species:S:1:pos:R:3\nQq 0 0 0\n", "atom 0 has the label 'Qq', which names no element"),
    ],
)
def test_files_that_are_no_trajectories(tmp_path, text, message):
    (tmp_path / "file.xyz").write_text(text)
    with pytest.raises(DarkforcesError, match=message.replace("(", r"\(")) as caught:
        open_trajectories(tmp_path / "file.xyz")
    assert "file.xyz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_does_not_exist(tmp_path):
    with pytest.raises(DarkforcesError, match="does not exist"):
        open_trajectories(tmp_path / "file.xyz")


def test_a_file_without_one_frame_that_can_be_used(frames, tmp_path):
    path = tmp_path / "run.pos_0.xyz"
    path.write_text(frames([0])[0].replace("0.00000e+00", "        nan"))
    (trajectory,) = open_trajectories(path, STEP)
    with pytest.raises(DarkforcesError, match="not one frame of positions that can be used"):
        list(trajectory.blocks(notice=lambda _: None))


def test_mixed_strides(frames, tmp_path):
    path = tmp_path / "run.pos_0.xyz"
    path.write_text("".join(frames([0, 10, 20, 25, 30])))
    block, notices = read(path)
    np.testing.assert_allclose(block.times, [0.0, 0.01, 0.02, 0.025, 0.03])
    assert notices == []
    block, (notice,) = read(path, regular=True)
    assert steps_of(block) == [0, 10, 20]
    assert "at line 16 is 0.005 ps after the one before it, but the first ones are 0.01 ps apart" in notice


def test_a_run_that_is_still_written(frames, tmp_path, monkeypatch):
    path = tmp_path / "run.pos_0.xyz"
    monkeypatch.setattr(module, "_BLOCK", 9)
    path.write_text("".join(frames([0, 10])))
    (trajectory,) = open_trajectories(path, STEP)
    blocks = trajectory.blocks()
    next(blocks)
    with path.open("a") as stream:
        stream.write("".join(frames([20, 30])))
    assert [step for block in blocks for step in steps_of(block)] == [10, 20, 30]


def test_progress_is_in_bytes(harmonic, monkeypatch):
    monkeypatch.setattr("ipi_darkforces.analysis.io.xyz._REPORT", 20_000)
    (trajectory,) = open_trajectories(harmonic / "run.vel_0.xyz", STEP)
    reports: list[tuple[int, int]] = []
    list(trajectory.blocks(lambda done, total: reports.append((done, total))))
    size = (harmonic / "run.vel_0.xyz").stat().st_size
    assert len(reports) > 3
    assert reports == sorted(reports)
    assert reports[-1] == (size, size)
