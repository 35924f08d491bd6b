"""Reading i-PI's properties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ipi.scripting import read_output
from ipi_files import write_table

from ipi_darkforces.analysis.io.table import Table, read_table
from ipi_darkforces.errors import DarkforcesError


def rows_of(steps: list[int]) -> np.ndarray:
    """Rows whose temperature tells the step."""
    steps = np.array(steps)
    return np.column_stack([steps, 0.5 * steps, 300.0 + steps, -9.0 + 0.1 * steps])


def read(path: Path) -> tuple[Table, list[str]]:
    notices: list[str] = []
    return read_table(path, notices.append), notices


def test_the_same_numbers_as_ipis_reader(harmonic):
    table, notices = read(harmonic / "run.out")
    values, _ = read_output(str(harmonic / "run.out"))
    assert notices == []
    assert set(table.columns) == set(values) - {"step", "time"}
    for name, column in table.columns.items():
        np.testing.assert_array_equal(column, values[name])
    np.testing.assert_allclose(table.time, 1e-3 * values["time"])
    assert table.timestep == pytest.approx(0.0005)


def test_every_unit_becomes_ours(tmp_path):
    path = write_table(tmp_path / "run.out", rows_of([0, 2, 4]))
    text = path.read_text().replace("time{femtosecond}", "time{picosecond}").replace("{kelvin}", "{millikelvin}")
    path.write_text(text.replace("conserved{electronvolt}", "conserved"))
    table, _ = read(path)
    np.testing.assert_allclose(table.time, [0.0, 1.0, 2.0])
    np.testing.assert_allclose(table.columns["temperature"], [0.3, 0.302, 0.304])
    np.testing.assert_allclose(table.columns["conserved"], 27.211383 * np.array([-9.0, -8.8, -8.6]), rtol=1e-7)


def test_steps_that_were_done_twice_count_once_and_the_later_ones(tmp_path):
    rows = np.vstack([rows_of([0, 2, 4, 6]), rows_of([4, 6, 8]) + [0, 0, 1000, 0]])
    table, notices = read(write_table(tmp_path / "run.out", rows))
    np.testing.assert_array_equal(table.step, [0, 2, 4, 6, 8])
    np.testing.assert_array_equal(table.columns["temperature"], [300, 302, 1304, 1306, 1308])
    assert notices == []


def test_a_file_that_ends_anywhere_has_the_rows_before(tmp_path):
    path = write_table(tmp_path / "run.out", rows_of([0, 2, 4]))
    text = path.read_text()
    begin = text.rindex("\n", 0, -1) + 1
    for end in range(begin, len(text) + 1):
        path.write_text(text[:end])
        table, notices = read(path)
        assert table.step.tolist() == ([0, 2, 4] if end == len(text) else [0, 2]), end
        if text[begin:end].strip() and end < len(text):
            assert notices == [f"'{path}', line 7: cut short; left out"]
    path.write_text(text[: len(text.rstrip()) - 3] + "\n")
    assert read(path)[0].step.tolist() == [0, 2]


def test_a_piece_of_a_row_in_the_middle_is_left_out(tmp_path):
    path = write_table(tmp_path / "run.out", rows_of([0, 2, 4]))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[-1][:30], *lines[-2:], lines[-1].replace("4.0000000000e+00", "6.0e+00")]))
    table, (notice,) = read(path)
    assert table.step.tolist() == [0, 2, 4, 6]
    assert "line 8: not 4 numbers: '" in notice


def test_rows_before_an_explosion(tmp_path):
    rows = rows_of([0, 2, 4, 6])
    rows[2:, 3] = np.nan
    table, (notice,) = read(write_table(tmp_path / "run.out", rows))
    assert table.step.tolist() == [0, 2]
    assert "'conserved' is NaN or infinite at step 4; the 2 rows before are used" in notice


def test_mixed_strides(tmp_path):
    table, (notice,) = read(write_table(tmp_path / "run.out", rows_of([0, 2, 4, 8, 12, 16, 20])))
    assert table.step.tolist() == [4, 8, 12, 16, 20]
    assert "2 steps apart, but 4 from step 4 on; the longest evenly spaced part is used, steps 4 to 20" in notice


def test_the_beginning_can_be_left_out(tmp_path):
    table, _ = read(write_table(tmp_path / "run.out", rows_of([10, 20, 30, 40])))
    assert table.after(0.0).step.tolist() == [10, 20, 30, 40]
    assert table.after(0.010).step.tolist() == [30, 40]
    assert table.after(0.010).columns["temperature"].tolist() == [330, 340]
    with pytest.raises(DarkforcesError, match=r"has 0.015 ps, and nothing is left without the first 0.1 ps"):
        table.after(0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("Step Temp Press\n0 300 1\n", "no file of i-PI's properties: line 1 is 'Step Temp Press'"),
        ("# column   1     --> step : The step.\n", "not one whole row"),
        ("# column   1     --> step : The step.\n0\n1\n", "no column 'time'"),
        (
            "# column   1     --> step : S.\n# column   2     --> time{ell} : T.\n0 0\n",
            "column 'time': i-PI has no unit",
        ),
        (
            "# column   1     --> step : S.\n# column   2     --> time : T.\n0 nan\n",
            "'time' is NaN or infinite from the",
        ),
    ],
)
def test_files_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / "run.out").write_text(text)
    with pytest.raises(DarkforcesError, match=message) as caught:
        read(tmp_path / "run.out")
    assert "run.out" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_headers_that_contradict_each_other(tmp_path):
    """Two files in one, of which the second has its columns in another order."""
    path = write_table(tmp_path / "run.out", rows_of([0, 2, 4]))
    first = path.read_text()
    path.write_text(first + first)
    assert len(read(path)[0].step) == 3
    other = first.replace("temperature{kelvin}", "X").replace("conserved{electronvolt}", "temperature{kelvin}")
    path.write_text(first + other.replace("X", "conserved{electronvolt}"))
    with pytest.raises(DarkforcesError, match=r"column 3 is temperature\{kelvin\} in one and conserved\{electron"):
        read(path)
