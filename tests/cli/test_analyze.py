"""The command line of ``darkforces analyze``: tables, files, and one line for what is wrong."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ipi_files import write_table


def analyze(*arguments, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "ipi_darkforces.cli.main", "analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Properties of a run that heats by 10 K/ps and of one that does not."""
    rng = np.random.default_rng(0)
    step = np.arange(2000)
    for name, slope in (("hot", 0.01), ("calm", 0.0)):
        (tmp_path / name).mkdir()
        noise = rng.normal(size=(2, 2000))
        rows = np.column_stack([step, step, 300 + slope * step + 3 * noise[0], 0.001 * slope * step + 1e-4 * noise[1]])
        write_table(tmp_path / name / "run.out", rows)
    return tmp_path


def test_a_table_of_several_runs(folder):
    done = analyze("drift", "hot", "calm", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    header, hot, calm = done.stdout.splitlines()
    assert header.split("  ")[0] == "run"
    assert "temperature drift / (K/ps)" in header
    assert hot.startswith("hot ")
    assert " ± " in hot
    assert len(header) == len(hot) == len(calm)
    value = float(hot.split()[2])
    assert value == pytest.approx(10.0, abs=1.0)


def test_json_is_for_machines(folder):
    done = analyze("drift", "hot", "calm", "--json", cwd=folder)
    found = json.loads(done.stdout)
    assert (found["question"], found["notices"]) == ("drift", [])
    assert [run["name"] for run in found["runs"]] == ["hot", "calm"]
    slope = found["runs"][0]["temperature_drift_K_per_ps"]
    assert abs(slope["value"] - 10.0) < slope["margin95"] * 2


def test_csv_and_picture(folder):
    done = analyze("temperatures", "hot", "calm", "--target", "300", "--csv", "t.csv", "--plot", "t.pdf", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "written: t.pdf" in done.stdout
    rows = list(csv.DictReader((folder / "t.csv").open()))
    assert float(rows[0]["T(all) / K"]) == pytest.approx(310.0, abs=1.0)
    assert float(rows[1]["T(all) / K"]) == pytest.approx(300.0, abs=1.0)
    assert float(rows[1]["standard error of T(all) / K"]) == pytest.approx(3 / np.sqrt(2000), rel=0.5)
    off = (float(rows[1]["T(all) / K"]) - 300.0) / float(rows[1]["standard error of T(all) / K"])
    assert float(rows[1]["off(all)"]) == pytest.approx(off)
    assert (folder / "t.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("option", ["--csv", "--plot"])
def test_nothing_is_overwritten_unasked(folder, option):
    (folder / "file.png").write_text("mine")
    done = analyze("drift", "hot", option, "file.png", cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert "'file.png' exists; choose another name, or --overwrite it" in done.stderr
    assert (folder / "file.png").read_text() == "mine"
    assert analyze("drift", "hot", option, "file.png", "--overwrite", cwd=folder).returncode == 0
    assert (folder / "file.png").read_bytes() != b"mine"


def test_equilibration_is_left_out(folder):
    done = analyze("drift", "hot", "--discard", "1.5", "--json", cwd=folder)
    assert json.loads(done.stdout)["runs"][0]["picoseconds"] == pytest.approx(0.499)


def test_one_broken_run_does_not_hide_the_others(folder):
    (folder / "broken").mkdir()
    done = analyze("drift", "broken", "hot", cwd=folder)
    assert done.returncode == 1
    assert done.stdout.splitlines()[1].startswith("hot ")
    assert done.stderr == (
        "darkforces: error: 'broken' has no outputs: looked for properties of i-PI and for trajectories\n"
    )


def test_what_is_wrong_with_a_file_is_said_and_the_rest_is_used(folder):
    text = (folder / "hot" / "run.out").read_text()
    (folder / "hot" / "run.out").write_text(text[:-20])
    done = analyze("drift", "hot", "--json", cwd=folder)
    assert done.returncode == 0
    assert "hot/run.out', line 2004: cut short" in done.stderr
    assert json.loads(done.stdout)["notices"] == ["'hot/run.out', line 2004: cut short; left out"]


def test_runs_of_the_same_name_are_told_apart(folder):
    (folder / "calm" / "hot").mkdir()
    (folder / "calm" / "run.out").rename(folder / "calm" / "hot" / "run.out")
    done = analyze("drift", "hot", "calm/hot", cwd=folder)
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["hot", "calm/hot"]


def test_a_short_run_says_so(folder):
    lines = (folder / "hot" / "run.out").read_text().splitlines()
    (folder / "hot" / "run.out").write_text("\n".join(lines[:14]) + "\n")
    done = analyze("drift", "hot", cwd=folder)
    assert done.stdout.count("± ?") == 3
    assert done.stdout.endswith("± ?: the run is too short to know the error\n")


def test_a_trajectory_of_another_program(tmp_path):
    rng = np.random.default_rng(0)
    atoms = ase.Atoms("H8", positions=rng.normal(size=(8, 3)), cell=[9, 9, 9], pbc=True)
    frames = []
    for _ in range(200):
        atoms.arrays["vel"] = rng.normal(size=(8, 3))
        frames.append(atoms.copy())
    ase.io.write(tmp_path / "md.xyz", frames, format="extxyz")
    done = analyze("temperatures", "md.xyz", "--interval", "2", "--velocity-unit", "A/ps", "--json", cwd=tmp_path)
    (run,) = json.loads(done.stdout)["runs"]
    assert run["picoseconds"] == pytest.approx(0.398)
    assert run["temperature_K"]["all"]["value"] == pytest.approx(1.008 / 0.8314, rel=0.1)  # m ⟨v²⟩ = 3 k T


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["drift", "missing"], "'missing' does not exist"),
        (["drift", "hot", "--discard", "-1"], "--discard -1 is not a time"),
        (["drift", "hot", "--discard", "100"], "nothing is left without the first 100 ps"),
        (["temperatures", "hot", "--target", "0"], "--target 0 cannot be: expected more than 0 K"),
        (["temperatures", "hot", "--interval", "nan"], "--interval nan cannot be: expected more than 0 fs"),
        (["drift", "hot", "--plot", "picture.svg"], "--plot picture.svg is of no known kind: expected .png or .pdf"),
        (["drift", "hot", "--plot", "nowhere/picture.png"], "there is no folder 'nowhere'"),
    ],
)
def test_what_is_wrong_is_one_line(folder, arguments, message):
    done = analyze(*arguments, cwd=folder)
    assert done.returncode == 1
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.startswith("darkforces: error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["drift"], ["temperatures"]])
def test_help_is_a_page(arguments):
    done = analyze(*arguments, "--help")
    assert done.returncode == 0
    assert "RUN" in done.stdout


def test_a_question_that_nobody_asks():
    done = analyze("weather", "hot")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
