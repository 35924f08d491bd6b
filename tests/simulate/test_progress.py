"""Reading what i-PI writes for those who watch, cut at any byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipi_darkforces.simulate.folder import RunFolder
from ipi_darkforces.simulate.progress import Pace, Progress, Tail

HEAD = "# column   1     --> step : The current simulation time step.\n# column   2     --> time{femtosecond}\n"


def row(step: int) -> str:
    """A line of properties, in the form in which i-PI writes it."""
    numbers = (step, 0.5 * step, 300.0 + step, -9.0 + 0.1 * step)
    return "  " + "".join(f"{number:16.8e}   " for number in numbers) + "\n"


def apart(step: int) -> str:
    """A line of extras, in the form in which i-PI writes it."""
    numbers = (0.1 * step, 0.2 * step, 1.0, 0.3 * step)
    comment = f" #EXTRAS_COMPONENT_RAW(rms, largest)# Step:  {step:10d}  Bead:  {0:5d}  \n"
    return comment + " ".join(f"{number:16.8e}" for number in numbers) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def write(folder: RunFolder, rows: str, extras: str = "") -> None:
    folder.progress("x").write_text(HEAD + rows)
    folder.disagreement("x").write_text(extras)


def add(folder: RunFolder, rows: str, extras: str = "") -> None:
    for file, text in ((folder.progress("x"), rows), (folder.disagreement("x"), extras)):
        with file.open("a") as stream:
            stream.write(text)


def assert_is(progress: Progress, step: int) -> None:
    assert progress.step == step
    assert progress.time == pytest.approx(0.5 * step)
    assert progress.temperature == pytest.approx(300.0 + step)
    assert progress.drift == pytest.approx(0.1 * step)


def test_a_row_that_was_cut_at_any_byte_does_not_stand_in_the_way(folder):
    for end in range(len(row(20))):
        write(folder, row(0) + row(10) + row(20)[:end])
        tail = Tail(folder, "x")
        assert list(tail.read()) == []
        add(folder, row(20) + row(30)[:5])
        (again,) = tail.read()
        assert_is(again, 20)
        add(folder, row(30)[5:] + row(40))
        for progress, step in zip(tail.read(), (30, 40), strict=True):
            assert_is(progress, step)
        # And in the middle of what was there before, for good.
        resumed = Tail(folder, "x")
        add(folder, row(50))
        (later,) = resumed.read()
        assert_is(later, 50)


def test_a_cut_row_with_a_new_end_is_no_row(folder):
    write(folder, row(0))
    tail = Tail(folder, "x")
    add(folder, row(10).rstrip()[:-3] + "\n" + row(20))
    (progress,) = tail.read()
    assert_is(progress, 20)


def test_extras_that_were_cut_at_any_byte_do_not_count(folder):
    for end in range(len(apart(20))):
        write(folder, row(10), apart(10))
        tail = Tail(folder, "x")
        add(folder, row(20), apart(20)[:end])
        (before,) = tail.read()
        assert before.disagreement is None
        add(folder, row(20) + row(30), apart(20) + apart(30))
        *_, last = tail.read()
        assert last.disagreement is not None
        assert last.disagreement.largest == pytest.approx(6.0)


def test_bytes_that_are_no_text(folder):
    write(folder, row(0))
    with folder.progress("x").open("ab") as stream:
        stream.write(bytes(5000) + b"\xff\xfe\n" + row(10).encode() + b"\n" + b"  nan nan\n")
    tail = Tail(folder, "x")
    add(folder, row(20))
    (progress,) = tail.read()
    assert_is(progress, 20)


def test_a_file_that_is_gone(folder):
    write(folder, row(0))
    tail = Tail(folder, "x")
    folder.progress("x").unlink()
    folder.disagreement("x").unlink()
    assert list(tail.read()) == []


def test_the_pace_is_that_of_the_second_half_in_bounded_memory(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("ipi_darkforces.simulate.progress.time.monotonic", lambda: clock[0])
    pace = Pace()
    assert pace.seconds_per_step is None
    for step in range(0, 100_000, 10):
        clock[0] += 10.0 if step < 40_000 else 1.0
        pace.note(step)
    assert pace.seconds_per_step == pytest.approx(0.1)
    assert len(pace._marks) <= 128
