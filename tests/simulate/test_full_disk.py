"""Run folders that can no longer be written while a run goes on: one line, and it goes on when they can be."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from aluminium import command, write_input
from forked import popen
from programs import finish, wait_until

from ipi_darkforces.simulate.folder import RunFolder
from ipi_darkforces.simulate.inputs import SimulationInput


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with little room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = None
    if os.name == "posix" and os.getuid() == 0 and shutil.which("mount"):
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
    if made is None or made.returncode != 0:
        pytest.skip("takes the right to mount a file system")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(ballast: Path, room: int) -> None:
    """Leave some bytes of room on a disk to which others write meanwhile."""
    with ballast.open("wb", buffering=0) as stream:
        with suppress(OSError):
            while True:
                stream.write(bytes(4096))
        stream.truncate(stream.tell() - room)


def assert_one_line(text: str) -> None:
    assert "Traceback" not in text
    assert len([line for line in text.splitlines() if line.startswith("darkforces: error:")]) == 1


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(tmp_path, small_disk):
    path, folder = write_input(tmp_path), small_disk / "run"
    with (tmp_path / "log").open("w") as log, popen(command(path, folder), stderr=log) as process:
        progress = folder / "al.progress"
        wait_until(lambda: process.poll() is not None or progress.exists() and progress.stat().st_size > 4000)
        fill(small_disk / "ballast", room=20_000)
        assert process.wait() == 1
    said = (tmp_path / "log").read_text()
    assert_one_line(said)
    assert f"the folder '{folder}' cannot be written: No space left on device" in said
    full = finish(command(path, folder))  # still
    assert full.returncode == 1
    assert_one_line(full.stderr)
    (small_disk / "ballast").unlink()
    state = RunFolder(folder).states.last()
    assert state is not None
    again = command(path, folder, "--steps", str(state.step + 100))
    done = finish(again)
    assert done.returncode == 0, done.stderr
    assert f"{state.step + 100} of {state.step + 100} steps" in done.stdout
    summary, picture = folder / "summary.json", folder / "summary.png"
    whole = picture.read_bytes()
    summary.unlink()
    fill(small_disk / "ballast", room=0)
    full = finish(again)
    assert full.returncode == 1
    assert_one_line(full.stderr)
    assert f"'{picture}' cannot be written: No space left on device; all steps until {state.step + 100}" in full.stderr
    assert picture.read_bytes() == whole
    (small_disk / "ballast").unlink()
    assert finish(again).returncode == 0
    assert summary.exists()


@pytest.mark.parametrize("moved", [False, True])
def test_a_folder_that_is_removed_or_moved_stops_the_run(tmp_path, moved):
    path, folder = write_input(tmp_path), tmp_path / "run"
    with (tmp_path / "log").open("w") as log, popen(command(path, folder), stderr=log) as process:
        progress = folder / "al.progress"
        wait_until(lambda: process.poll() is not None or progress.exists() and progress.stat().st_size > 2000)
        folder.rename(tmp_path / "elsewhere")
        while not moved and (tmp_path / "elsewhere").exists():  # the run may write while files are removed
            shutil.rmtree(tmp_path / "elsewhere", ignore_errors=True)
        assert process.wait() == 1
    said = (tmp_path / "log").read_text()
    assert_one_line(said)
    assert f"the folder '{folder}' has been removed or moved" in said
    assert not folder.exists()
    if moved:  # it goes on where it is
        state = SimulationInput.read(tmp_path / "elsewhere" / "RESTART").step
        done = finish(command(path, tmp_path / "elsewhere", "--steps", str(state + 4)))
        assert done.returncode == 0, done.stderr
