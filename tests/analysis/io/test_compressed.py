"""Outputs that were compressed say what they said before; damaged ones, as far as they can be read."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
from pathlib import Path

import numpy as np
import pytest
from ipi_files import write_table

from ipi_darkforces.analysis import drift, temperatures
from ipi_darkforces.analysis.io.compressed import existing, open_bytes, plain_name
from ipi_darkforces.analysis.io.formats import open_trajectories
from ipi_darkforces.analysis.io.runs import Run
from ipi_darkforces.analysis.io.table import read_table
from ipi_darkforces.analysis.selection import Selection
from ipi_darkforces.errors import DarkforcesError

COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def compress(file: Path, suffix: str) -> Path:
    """Put the compressed file in its place."""
    made = file.with_name(file.name + suffix)
    made.write_bytes(COMPRESS[suffix](file.read_bytes()))
    file.unlink()
    return made


@pytest.fixture
def folder(harmonic: Path, tmp_path: Path) -> Path:
    """A copy of a real run."""
    shutil.copytree(harmonic, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("suffix", COMPRESS)
class TestWhole:
    def test_a_run_with_all_outputs_compressed(self, folder: Path, suffix: str) -> None:
        before = Run.read(folder, pytest.fail)
        for trajectory in before.trajectories:
            if trajectory.path.exists():
                compress(trajectory.path, suffix)
        for table in before.tables:
            compress(table.path, suffix)
        after = Run.read(folder, pytest.fail)
        assert [plain_name(each.path) for each in after.trajectories] == [each.path for each in before.trajectories]
        assert {each.path.suffix for each in (*after.trajectories, *after.tables)} == {suffix}
        assert (after.name, after.target, after.n_atoms) == (before.name, before.target, before.n_atoms)
        for one, other in zip(after.tables, before.tables, strict=True):
            np.testing.assert_array_equal(one.columns["temperature"], other.columns["temperature"])

    def test_temperatures_from_velocities(self, folder: Path, suffix: str) -> None:
        [file] = folder.glob("*vel_0.xyz")
        quiet = Selection(notice=lambda text: None)
        before = temperatures.measure(Run.read(file, pytest.fail), quiet)
        after = temperatures.measure(Run.read(compress(file, suffix), pytest.fail), quiet)
        assert after.name == before.name
        np.testing.assert_array_equal(after.series["all"], before.series["all"])
        np.testing.assert_array_equal(after.time, before.time)

    def test_drift_from_a_table(self, tmp_path: Path, suffix: str) -> None:
        steps = np.arange(100.0)
        file = write_table(tmp_path / "run.out", np.column_stack([steps, steps, 300.0 + steps, 0.001 * steps]))
        found = drift.measure(Run.read(compress(file, suffix), pytest.fail), Selection())
        assert found.temperature_slope.value == pytest.approx(1000.0)  # K/ps

    def test_a_folder_without_an_input(self, tmp_path: Path, harmonic: Path, suffix: str) -> None:
        [file] = harmonic.glob("*vel_0.xyz")
        shutil.copy(file, tmp_path)
        compress(tmp_path / file.name, suffix)
        [trajectory] = Run.read(tmp_path, pytest.fail).trajectories
        assert trajectory.quantity == "velocities"

    def test_what_is_there_twice_counts_once(self, tmp_path: Path, harmonic: Path, suffix: str) -> None:
        [file] = harmonic.glob("*vel_0.xyz")
        shutil.copy(file, tmp_path)
        (tmp_path / (file.name + suffix)).write_bytes(COMPRESS[suffix](file.read_bytes()))
        [trajectory] = Run.read(tmp_path, pytest.fail).trajectories
        assert trajectory.path == tmp_path / file.name

    def test_name_says_nothing(self, tmp_path: Path, suffix: str) -> None:
        """Neither a compressed file without the suffix, nor the suffix without a compressed file."""
        (tmp_path / "a").write_bytes(COMPRESS[suffix](b"text"))
        (tmp_path / f"b{suffix}").write_bytes(b"text")
        for file in tmp_path.iterdir():
            with open_bytes(file) as stream:
                assert stream.read() == b"text"


@pytest.mark.parametrize("suffix", COMPRESS)
class TestDamaged:
    def test_frames_before_the_end_of_a_file_that_is_cut_short(self, tmp_path: Path, frames, suffix: str) -> None:
        text = "".join(frames(range(12000))).encode()
        whole = COMPRESS[suffix](text)
        file = tmp_path / f"run.pos_0.xyz{suffix}"
        file.write_bytes(whole[: len(whole) // 2])
        said: list[str] = []
        [trajectory] = open_trajectories(file)
        values = np.concatenate([block.values for block in trajectory.blocks(notice=said.append)])
        assert 100 < len(values) < 11900
        np.testing.assert_array_equal(values[:, 0, 0], np.arange(len(values)))
        assert said[-1].startswith(f"'{file}' is damaged (")
        assert said[-1].endswith(f"); the {len(values)} frames before are used")

    def test_rows_before_it(self, tmp_path: Path, suffix: str) -> None:
        rng = np.random.default_rng(0)
        steps = np.arange(20000.0)
        rows = np.column_stack([steps, steps, 300.0 + rng.normal(size=steps.size), rng.normal(size=steps.size)])
        file = compress(write_table(tmp_path / "run.out", rows), suffix)
        file.write_bytes(file.read_bytes()[:-1000])
        said: list[str] = []
        table = read_table(file, said.append)
        assert 0 < len(table.step) < 20000
        np.testing.assert_allclose(table.columns["temperature"], rows[: len(table.step), 2])
        assert said[0].startswith(f"'{file}' is damaged (")

    def test_nothing_but_the_beginning(self, tmp_path: Path, suffix: str) -> None:
        file = tmp_path / f"run.vel_0.xyz{suffix}"
        file.write_bytes(COMPRESS[suffix](b"text")[:10])
        with pytest.raises(DarkforcesError, match=f"run.vel_0.xyz{suffix}' cannot be read: "):
            Run.read(file, pytest.fail)


def test_a_file_or_what_has_become_of_it(tmp_path: Path) -> None:
    assert existing(tmp_path / "run.out") is None
    (tmp_path / "run.out.xz").touch()
    assert existing(tmp_path / "run.out") == tmp_path / "run.out.xz"
    (tmp_path / "run.out").touch()
    assert existing(tmp_path / "run.out") == tmp_path / "run.out"
