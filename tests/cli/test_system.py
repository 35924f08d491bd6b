"""Folders that cannot be written to, that are gone, disks that are full: one line, and nothing lost that was found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import ase.build
import ase.io
import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ipi_files import write_table
from programs import PATIENCE, assert_one_error, finish

from ipi_darkforces.atomic import atomic_file, write_atomically
from ipi_darkforces.cli import entry
from ipi_darkforces.errors import DarkforcesError

MODEL = "ase:ase.calculators.emt:EMT"
COMMAND = [sys.executable, "-m", "ipi_darkforces.cli.main"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Data and a run, in the folder ``here``."""
    here = tmp_path / "here"
    here.mkdir()
    atoms = ase.build.bulk("Cu", cubic=True).repeat((2, 1, 1))
    atoms.rattle(0.05, seed=1)
    atoms.calc = EMT()
    atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
    ase.io.write(here / "cu.xyz", atoms)
    rng = np.random.default_rng(0)
    steps = np.arange(100.0)
    write_table(here / "run.out", np.column_stack([steps, steps, 300 + rng.normal(size=100), rng.normal(size=100)]))
    return here


def in_namespace(script: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A shell that can mount what it likes, with nobody else seeing it."""
    return finish(["unshare", "-m", "bash", "-ec", script], cwd=cwd)


@pytest.fixture
def read_only(folder: Path) -> str:
    """Command that makes the current folder one that not even root can write to."""
    script = 'mount --bind . .; mount -o remount,ro,bind .; cd "$PWD"; '
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    if in_namespace(f"{script} ! touch there 2>/dev/null", folder).returncode != 0:
        pytest.skip("mounting is not allowed here")
    return script


WITH_PICTURES = {
    "evaluate": ([MODEL, "cu.xyz", "--plot"], "conservative forces", "parity-ase_ase.calculators.emt_EMT-cu.png"),
    "jacobian": (
        [MODEL, "cu.xyz", "--forces", "conservative", "--plot"],
        "lambda",
        "jacobian-ase_ase.calculators.emt_EMT-cu.png",
    ),
    "optimize": (
        [MODEL, "cu.xyz", "--sets", "structures", "--steps", "2", "--results", "../each.jsonl", "--plot"],
        "L-BFGS conservative",
        "optimize-ase_ase.calculators.emt_EMT-cu.png",
    ),
    "analyze": (["drift", "run.out", "--plot", "drift.png"], "run.out", "drift.png"),
}


@pytest.mark.parametrize("command", WITH_PICTURES)
def test_table_comes_before_a_picture_that_cannot_be_written(command: str, folder: Path, read_only: str) -> None:
    arguments, word, picture = WITH_PICTURES[command]
    words = " ".join(f"'{word}'" for word in (*COMMAND, command, *arguments))
    done = in_namespace(f"{read_only} set +e; {words}", folder)
    assert done.returncode == 1
    assert word in done.stdout
    assert done.stderr.splitlines()[-1] == f"darkforces: error: '{picture}' cannot be written: Read-only file system"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["analyze", "run.out"],
        ["analyze", "drift", "run.out", "--csv", "a.csv", "--plot", "a.png"],
        ["assess", MODEL, "cu.xyz", "-o", "forces=direct"],
        ["campaign", "campaign.yaml"],
    ],
)
def test_other_files_that_cannot_be_written(arguments: list[str], folder: Path, read_only: str) -> None:
    (folder / "campaign.yaml").write_text(
        f"{{structure: cu.xyz, models: '{MODEL}', time: 1, matrix: [{{thermostats: nve, forces: conservative}}]}}"
    )
    words = " ".join(f"'{word}'" for word in (*COMMAND, *arguments))
    done = in_namespace(f"{read_only} set +e; {words}", folder)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("darkforces: error: ")]
    assert errors
    assert all(line.endswith("Read-only file system") for line in errors)
    assert "Traceback" not in done.stderr
    assert ("run.out" in done.stdout) == (arguments[0] == "analyze")  # what was found


def test_full_disk(folder: Path, read_only: str) -> None:
    """The table is there, no half picture, and the one before stays."""
    (folder / "full").mkdir()
    mounted = "mount -t tmpfs -o size=8k none full; echo old > full/drift.png; ! head -c 9000 /dev/zero > full/x 2>&-"
    words = f"{' '.join(COMMAND)} analyze drift run.out --plot full/drift.png --csv full/a.csv --overwrite"
    done = in_namespace(f"{mounted}; set +e; {words}; echo rc $?; ls full; cat full/drift.png", folder)
    assert "run.out" in done.stdout
    assert done.stdout.endswith("rc 1\ndrift.png\nx\nold\n")
    assert done.stderr.splitlines() == [
        f"darkforces: error: 'full/{name}' cannot be written: No space left on device"
        for name in ("drift.png", "a.csv")
    ]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
def test_output_that_goes_to_a_full_disk(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "analyze", "drift", "run.out"], cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True,
            timeout=PATIENCE,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "darkforces: error: the system refuses: No space left on device\n")


NOISY = """
import os
from ase.calculators.emt import EMT

class Noisy(EMT):
    def calculate(self, *args, **options):
        print("printed by Python")
        os.write(1, b"written below Python")
        super().calculate(*args, **options)
"""


def test_words_of_calculators_stay_out_of_results(folder: Path) -> None:
    (folder / "noisy.py").write_text(NOISY)
    done = finish([*COMMAND, "evaluate", "ase:noisy.py:Noisy", "cu.xyz", "--json"], cwd=folder)
    assert json.loads(done.stdout)["model"] == "ase:noisy.py:Noisy"
    assert "printed by Python" in done.stderr
    assert "written below Python" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", MODEL, "cu.xyz"],
        ["analyze", "drift", "run.out"],
        ["analyze", "run.out"],
        ["jacobian", MODEL, "cu.xyz"],
        ["work", MODEL, "cu.xyz"],
        ["optimize", MODEL, "cu.xyz"],
        ["assess", MODEL, "cu.xyz"],
        ["campaign", "campaign.yaml"],
    ],
)
def test_current_folder_that_was_deleted(arguments: list[str], folder: Path) -> None:
    script = f"rm -r '{folder}'; {' '.join(COMMAND)} {' '.join(arguments)}"
    done = finish(["bash", "-c", script], cwd=folder)
    assert_one_error(done.returncode, done.stdout, done.stderr)


class TestEntry:
    def test_system_errors_are_one_line(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        assert entry.run(lambda: (tmp_path / "a\nb").read_text()) == 1
        said = capsys.readouterr().err
        assert said == f"darkforces: error: '{tmp_path}/a\\nb' cannot be used: No such file or directory\n"

    @pytest.mark.parametrize(
        "bug",
        [OSError("of a library"), OSError(9, "Bad file descriptor"), ConnectionResetError(104, "reset"), KeyError(1)],
    )
    def test_bugs_keep_their_traceback(self, bug: Exception) -> None:
        def fails() -> int:
            raise bug

        with pytest.raises(type(bug)):
            entry.run(fails)

    def test_missing_package(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert entry.run(lambda: __import__("no_such_package")) == 1
        said = "darkforces: error: the package 'no_such_package' is not installed here: pip install no_such_package\n"
        assert capsys.readouterr().err == said

    def test_what_is_missing_of_our_own_is_a_bug(self) -> None:
        with pytest.raises(ModuleNotFoundError):
            entry.run(lambda: __import__("ipi_darkforces.nothing"))


class TestWholeFile:
    def test_folder_that_is_gone(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError) as caught:
            write_atomically(tmp_path / "gone" / "a.txt", "text")
        assert caught.value.filename == str(tmp_path / "gone" / "a.txt")

    def test_error_without_a_name_gets_that_of_the_file(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="No space") as caught, atomic_file(tmp_path / "a.txt"):
            raise OSError(28, "No space left on device")
        assert caught.value.filename == str(tmp_path / "a.txt")
        assert list(tmp_path.iterdir()) == []

    def test_error_of_another_file_keeps_its_name(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError) as caught, atomic_file(tmp_path / "a.txt"):
            (tmp_path / "other").read_text()
        assert caught.value.filename == str(tmp_path / "other")

    def test_other_errors_stay_what_they_are(self, tmp_path: Path) -> None:
        with pytest.raises(DarkforcesError), atomic_file(tmp_path / "a.txt"):
            raise DarkforcesError("no")
