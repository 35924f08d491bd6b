"""Signals and kills at any time: what is left behind is a run that goes on, and nothing else."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aluminium import command, write_input
from forked import Forked, command_of, popen
from programs import PATIENCE, finish, wait_until, working_in

from ipi_darkforces.simulate.inputs import SimulationInput
from ipi_darkforces.simulate.processes import scratch_folder


def threads(process: int) -> int:
    """The threads of a process, which hold its files and locks; one that has ended, and is not waited for, has one."""
    try:
        return len(list(Path(f"/proc/{process}/task").iterdir()))
    except OSError:
        return 0


@contextmanager
def running(folder: Path, *options: str, nohup: bool = False) -> Iterator[subprocess.Popen[bytes] | Forked]:
    """A run after its first steps, which scripts have started in the background: it ignores SIGINT.

    :param options: of the command
    :param nohup: so that it ignores SIGHUP too; by a shell
    """
    line = command(write_input(folder), folder / "run", *options)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with (folder / "log").open("wb") as log:
        try:
            process = popen(
                ["sh", "-c", f"exec nohup {' '.join(line)}"] if nohup else line,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            signal.signal(signal.SIGINT, before)
    with process:
        progress = folder / "run" / "al.progress"
        wait_until(lambda: process.poll() is not None or count(progress) > 10)
        assert process.poll() is None, (folder / "log").read_text()
        prefixes = [re.findall(r"\0-S\0(/[^\0]+)/\0", command_of(worker)) for worker in working_in(folder / "run")]
        (folder / "sockets").write_text("".join(*filter(None, prefixes)))
        yield process


def count(progress: Path) -> int:
    return len(progress.read_text().splitlines()) if progress.exists() else 0


def sockets_of(folder: Path) -> Path:
    """The folder in which i-PI was to listen."""
    return Path((folder / "sockets").read_text())


def assert_nothing_is_left(folder: Path) -> None:
    assert working_in(folder / "run") == []
    assert not sockets_of(folder).exists()


def assert_goes_on(folder: Path) -> None:
    state = SimulationInput.read(folder / "run" / "RESTART")
    assert state.step > 0
    more = command(folder / "al.xml", folder / "run", "--steps", str(state.step + 4))
    done = finish(more)
    assert done.returncode == 0, done.stderr


SOCKETS, RESIDENT = "--no-resident", "--resident"


@pytest.mark.parametrize(
    ("signum", "loop"),
    [
        (signal.SIGINT, SOCKETS),
        (signal.SIGINT, RESIDENT),
        (signal.SIGTERM, SOCKETS),
        (signal.SIGTERM, RESIDENT),
        (signal.SIGHUP, RESIDENT),
    ],
)
def test_a_run_in_the_background_of_a_script_hears_them(tmp_path, signum, loop):
    with running(tmp_path, loop) as process:
        os.kill(process.pid, signum)
        assert process.wait(PATIENCE) == 130
    assert "the same command goes on from there" in (tmp_path / "log").read_text()
    assert_nothing_is_left(tmp_path)
    assert_goes_on(tmp_path)


def test_nohup_lets_it_go_on(tmp_path):
    with running(tmp_path, nohup=True) as process:
        os.kill(process.pid, signal.SIGHUP)
        progress = tmp_path / "run" / "al.progress"
        rows = count(progress)
        wait_until(lambda: process.poll() is not None or count(progress) > rows + 30)
        assert process.poll() is None
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    assert_nothing_is_left(tmp_path)


def test_two_at_once_are_one(tmp_path):
    with running(tmp_path) as process:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(process.pid, signum)
        assert process.wait(PATIENCE) == 130
    assert_nothing_is_left(tmp_path)
    assert_goes_on(tmp_path)


@pytest.mark.parametrize("loop", [SOCKETS, RESIDENT])
def test_killed_it_leaves_nothing_but_its_state(tmp_path, loop):
    with running(tmp_path, loop) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
        wait_until(lambda: not working_in(tmp_path / "run"), "end of what it had started")
    assert_nothing_is_left(tmp_path)
    assert_goes_on(tmp_path)


@pytest.mark.parametrize("loop", [SOCKETS, RESIDENT])
def test_what_is_left_when_all_is_killed_is_removed_by_the_next_run(tmp_path, loop):
    with running(tmp_path, loop) as process:
        os.kill(process.pid, signal.SIGSTOP)
        killed = [*working_in(tmp_path / "run"), process.pid]
        for worker in killed:
            os.kill(worker, signal.SIGKILL)
        process.wait(PATIENCE)
        wait_until(lambda: not working_in(tmp_path / "run") and max(map(threads, killed)) <= 1, "end of all threads")
    sockets = sockets_of(tmp_path)
    assert sockets.exists()
    with scratch_folder() as scratch:
        assert not sockets.exists()
        with scratch_folder() as other:
            assert scratch.folder.exists()
            assert other.folder != scratch.folder
    assert not scratch.folder.exists()


def test_a_driver_that_fails_is_reported_in_the_background_too(tmp_path):
    with running(tmp_path, SOCKETS) as process:
        [driver] = [worker for worker in working_in(tmp_path / "run") if "cli.driver" in command_of(worker)]
        os.kill(driver, signal.SIGKILL)
        assert process.wait(PATIENCE) == 1
    log = (tmp_path / "log").read_text()
    assert re.search(r"the driver stopped at step \d+: ended by SIGKILL", log), log
    assert_nothing_is_left(tmp_path)
    assert_goes_on(tmp_path)
