"""Names of files, folders and atoms may be anything: they are shown, and neither obeyed nor taken for mathematics."""

from __future__ import annotations

import csv
import html
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
from ipi_files import frame_text, write_table
from matplotlib.figure import Figure
from programs import finish

from ipi_darkforces.analysis.pictures import plain
from ipi_darkforces.errors import printable

MODEL = "ase:ase.calculators.emt:EMT"
NAMES = {  # and how they are shown
    "$\\frac{$": "$\\frac{$",
    "a$b$c_{": "a$b$c_{",
    "_first": "_first",
    "two\nlines": "two\\nlines",
    "tab\there": "tab\\there",
    "\x1b[31mred\x1b[2J": "\\x1b[31mred\\x1b[2J",
    "caf\udce9": "caf\\xe9",
    "<b>bold<i>&amp;": "<b>bold<i>&amp;",
    "a,b;\"c\"'d'": "a,b;\"c\"'d'",
    "{x} %s %(y)s": "{x} %s %(y)s",
    "水": "水",
}


def darkforces(*arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "ipi_darkforces.cli.main", *map(str, arguments)]
    return finish(command, cwd=cwd)


def run(folder: Path) -> None:
    """Properties, and velocities and positions of three species with awkward labels."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    steps = np.arange(60.0)
    write_table(folder / "run.out", np.column_stack([steps, steps, 300 + rng.normal(size=60), rng.normal(size=60)]))
    for what, name in (("velocities{m/s}", "vel"), ("positions{angstrom}", "pos")):
        texts = (frame_text(step, 100.0 * rng.normal(size=(4, 3)), ["O", "O", "H", "H"], what) for step in range(60))
        (folder / f"run.{name}_0.xyz").write_text("".join(texts))


@pytest.mark.parametrize(("name", "shown"), NAMES.items())
class TestLabels:
    def test_printable(self, name: str, shown: str) -> None:
        assert printable(name) == shown

    @pytest.mark.filterwarnings("error:Glyph")
    def test_matplotlib_shows_it_as_it_is(self, name: str, shown: str, tmp_path: Path) -> None:
        figure = Figure()
        axis = figure.subplots()
        axis.plot([0, 1], label=plain(name))
        axis.set_title(plain(name))
        [text] = axis.legend().get_texts()
        for kind in ("png", "pdf", "svg"):
            figure.savefig(tmp_path / f"picture.{kind}")
        assert text.get_text().replace("\\$", "$").removeprefix("\u200b") == shown.replace("水", "□")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs in folders of all these names."""
    folder = tmp_path_factory.mktemp("names")
    for name in NAMES:
        run(folder / name)
    return folder


def test_report_of_runs_in_such_folders(folders: Path) -> None:
    done = darkforces("analyze", *(f"./{name}" for name in NAMES), "--output", "all", cwd=folders)
    assert done.returncode == 0, done.stderr
    page = (folders / "all" / "report.html").read_text(encoding="utf-8")
    rows = list(csv.DictReader((folders / "all" / "drift.csv").open(encoding="utf-8", newline="")))
    told = json.loads((folders / "all" / "drift.json").read_text(encoding="utf-8"))
    assert [row["run"] for row in rows] == [each["name"] for each in told["runs"]] == list(NAMES.values())
    for shown in NAMES.values():
        assert f"<td>{html.escape(shown)}</td>" in page
        assert any(line.startswith(f"{shown} ") for line in done.stdout.splitlines())
    for text in (page, done.stdout, done.stderr):
        assert "\x1b" not in text
        assert "<b>bold" not in page


def test_a_single_question_writes_all_its_files(folders: Path) -> None:
    for question in ("drift", "temperatures", "spectra", "structure"):
        options = ["--csv", f"{question}.csv", "--plot", f"{question}.png"]
        done = darkforces("analyze", question, *(f"./{name}" for name in NAMES), *options, cwd=folders)
        assert done.returncode == 0, done.stderr
        assert (folders / f"{question}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("label", ["$x$", "_H", "H_2", "{", "\\frac", "\x1b[31m", "O^2", "é"])
def test_labels_of_atoms(label: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for what, name in (("velocities{m/s}", "vel"), ("positions{angstrom}", "pos")):
        texts = (frame_text(step, rng.normal(size=(3, 3)), ["O", "H", "H"], what) for step in range(60))
        (tmp_path / f"run.{name}_0.xyz").write_text("".join(texts).replace("       O", f"{label:>8}"))
    done = darkforces("analyze", "structure", ".", "--plot", "picture.png", "--csv", "table.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "picture.png").exists()
    functions = {row["function"] for row in csv.DictReader((tmp_path / "table.csv").open(encoding="utf-8"))}
    assert f"g_{printable(label)}H" in functions or f"g_H{printable(label)}" in functions
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("name", [name for name in NAMES if "%" not in name])
def test_evaluate_of_a_file_of_such_a_name(name: str, tmp_path: Path) -> None:
    atoms = ase.build.bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    atoms.calc = EMT()
    atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
    ase.io.write(tmp_path / "data.xyz", [atoms, atoms])
    os.rename(tmp_path / "data.xyz", tmp_path / f"{name}.xyz")
    done = darkforces("evaluate", MODEL, f"{name}.xyz", "--plot", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{MODEL} on {NAMES[name]}.xyz: 2 structures, 8 atoms\n" in done.stdout
    assert f"\nwritten: parity-ase_ase.calculators.emt_EMT-{NAMES[name]}.png\n" in done.stdout
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_errors_stay_one_line(tmp_path: Path) -> None:
    for name, shown in NAMES.items():
        done = darkforces("evaluate", MODEL, f"{name}.xyz", "--plot", cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith(f"darkforces: error: data file '{shown}.xyz' does not exist")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_terminals_that_know_no_other_letters(encoding: str, tmp_path: Path) -> None:
    run(tmp_path / "水")
    command = [sys.executable, "-m", "ipi_darkforces.cli.main", "analyze", "spectra", "水"]
    done = finish(command, cwd=tmp_path, env=os.environ | {"PYTHONIOENCODING": encoding}, encoding=encoding)
    assert done.returncode == 0, done.stderr
    assert "\\u6c34" in done.stdout
