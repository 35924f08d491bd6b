"""``darkforces analyze RUN``: a folder with all answers, and a page of them."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from ipi_files import frame_text, write_table

from ipi_darkforces.cli.analyze import with_analysis
from ipi_darkforces.cli.main import main

WATER = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
LABELS = ["O", "H", "H"]
FRAMES = 120


def write_run(folder: Path, *, slope: float = 0.0, trajectories: bool = True) -> Path:
    """Outputs of i-PI, of a molecule that trembles; the temperature of its properties rises by `slope`, K/ps."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    step = np.arange(2000)
    time = 5e-4 * step
    noise = rng.normal(size=(2, len(step)))
    rows = np.column_stack([step, 1e3 * time, 300 + slope * time + 3 * noise[0], 1e-3 * slope * time + 1e-5 * noise[1]])
    write_table(folder / "run.out", rows)
    for name, what, origin in (("pos", "positions{angstrom}", WATER), ("vel", "velocities{atomic_unit}", 0.0 * WATER)):
        if trajectories:
            values = origin + 0.01 * rng.normal(size=(FRAMES, 3, 3))
            texts = [frame_text(i, each, LABELS, what) for i, each in enumerate(values)]
            (folder / f"run.{name}_0.xyz").write_text("".join(texts))
    return folder


@pytest.fixture
def analyze(tmp_path, monkeypatch, capsys, caplog):
    """Give the command in the test's folder; its exit code, what it printed, and its warnings and errors."""
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["darkforces", "analyze", *words])
        caplog.clear()
        with pytest.raises(SystemExit) as ended:
            main()
        printed, errors = capsys.readouterr()
        return ended.value.code, printed, "".join(f"{message}\n" for message in caplog.messages) + errors

    return command


def test_the_page_names_system_model_time_step_and_command(analyze, tmp_path):
    write_run(tmp_path / "mine")
    (tmp_path / "mine" / "model.json").write_text('{"model": "pet-m"}')
    code, _, _ = analyze("mine", "--discard", "0.1")
    text = (tmp_path / "analysis" / "report.html").read_text()
    assert code == 0
    assert "<small>H2O, model pet-m, steps of 0.5 fs</small>" in text
    assert "<code>darkforces analyze mine --discard 0.1</code>" in text


class Page(HTMLParser):
    """A page as read: unclosed tags, links, pictures and text."""

    def __init__(self, path: Path):
        super().__init__()
        self.open, self.links, self.pictures, self.words = [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.words).split())
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.links += [values["href"]] if "href" in values else []
        self.pictures += [values["src"]] if "src" in values else []
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_everything_that_the_files_allow(analyze, tmp_path):
    write_run(tmp_path / "calm")
    write_run(tmp_path / "hot", slope=40.0, trajectories=False)
    code, printed, errors = analyze("calm", "hot", "--output", "found", "--target", "300")
    assert code == 0
    assert printed.endswith("written: found/report.html, with tables, curves and pictures beside it\n")
    assert "hot: no spectra: 'hot' has no velocities" in errors
    page = Page(tmp_path / "found" / "report.html")
    # All of it is in the page, or beside it.
    assert len(page.pictures) == 4
    assert all(each.startswith("data:image/png;base64,iVBOR") for each in page.pictures)
    for link in page.links:
        assert link[0] == "#" or (tmp_path / "found" / link).stat().st_size > 0
    assert "http" not in re.sub(r"base64,[^\"]*", "", (tmp_path / "found" / "report.html").read_text())
    found = {
        name: json.loads((tmp_path / "found" / f"{name}.json").read_text())
        for name in ("drift", "temperatures", "spectra", "structure")
    }
    for answers in found.values():
        for run in answers["runs"]:
            assert run["statements"]
            assert all(statement in page.text for statement in run["statements"])
        assert all(reason in page.text for reason in answers["missing"].values())
    assert [run["name"] for run in found["drift"]["runs"]] == ["calm", "hot"]
    assert "The temperature is steady" in found["drift"]["runs"][0]["statements"][0]
    assert "The temperature rises by 39." in found["drift"]["runs"][1]["statements"][0]
    assert list(found["spectra"]["missing"]) == list(found["structure"]["missing"]) == ["hot"]
    assert (tmp_path / "found" / "structure-curves.csv").read_text().startswith("run,distance_A,g_OO")
    assert sorted(path.name for path in (tmp_path / "found").iterdir() if path.name.startswith(".")) == []


def test_a_report_replaces_another_only_if_asked(analyze, tmp_path):
    write_run(tmp_path / "run", trajectories=False)
    assert analyze("run")[0] == 0
    (tmp_path / "analysis" / "mine.txt").write_text("mine")
    (tmp_path / "analysis" / "structure.png").write_text("of an earlier report")
    page = (tmp_path / "analysis" / "report.html").read_text()
    code, _, errors = analyze("run")
    assert (code, errors.count("\n")) == (1, 1)
    assert "'analysis' exists and is not empty; choose another --output, or --overwrite it" in errors
    assert (tmp_path / "analysis" / "report.html").read_text() == page
    assert analyze("run", "--overwrite", "--discard", "0.5")[0] == 0
    assert (tmp_path / "analysis" / "report.html").read_text() != page
    assert (tmp_path / "analysis" / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "analysis" / "structure.png").exists()


def test_a_run_that_cannot_be_read_does_not_hide_the_others(analyze, tmp_path):
    write_run(tmp_path / "run", trajectories=False)
    (tmp_path / "log.lammps").write_text("LAMMPS (2 Aug 2023)\n")
    (tmp_path / "run" / "run.vel_0.xyz").write_text("")
    code, printed, errors = analyze("run", "log.lammps", "--json")
    assert code == 1
    assert errors.count("'log.lammps' is no trajectory: it begins with 'LAMMPS (2 Aug 2023)'") == 1
    assert "'run/run.vel_0.xyz' is empty" in errors
    found = json.loads(printed)
    assert "'run/run.vel_0.xyz' is empty" in found["notices"]
    assert [list(each["missing"]) for each in found["questions"][:2]] == [["log.lammps"], ["log.lammps"]]
    assert "is no trajectory: it begins with" in Page(tmp_path / "analysis" / "report.html").text


def test_what_is_cut_or_changes_is_used_as_far_as_it_goes(analyze, tmp_path):
    folder = write_run(tmp_path / "run")
    velocities = (folder / "run.vel_0.xyz").read_text()
    (folder / "run.vel_0.xyz").write_text(velocities[:-20])
    positions = (folder / "run.pos_0.xyz").read_text()
    other = frame_text(FRAMES, np.zeros((2, 3)), LABELS[:2], "positions{angstrom}")
    (folder / "run.pos_0.xyz").write_text(positions + other)
    code, printed, errors = analyze("run", "--json")
    assert code == 0
    # Once, although several questions ask.
    assert errors.count(f"line {5 * FRAMES}: the file ends in the middle of a line; the {FRAMES - 1} frames") == 1
    assert errors.count(f"line {5 * FRAMES + 1}: 2 atoms, but the first frame has 3; the {FRAMES} frames") == 1
    structure = json.loads(printed)["questions"][3]["runs"][0]
    assert structure["frames"] == FRAMES


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["weather", "run"], "'weather' is neither a file or folder"),
        (["--discard", "1", "drift", "run"], "'drift' is an analysis, which comes first: darkforces analyze drift RUN"),
        (["run", "--output", "run/run.out"], "--output 'run/run.out' is a file: expected a folder"),
        (["run", "--target", "-3"], "--target -3 cannot be used: expected K, more than zero"),
        (["run", "--discard", "9"], "nothing could be found out about any run, so there is no report"),
    ],
)
def test_what_is_wrong_is_told(analyze, tmp_path, words, message):
    write_run(tmp_path / "run", trajectories=False)
    code, printed, errors = analyze(*words)
    assert (code, printed) == (1, "")
    assert errors.splitlines()[-1].startswith("darkforces: error: ")
    assert message in errors.splitlines()[-1]
    assert not (tmp_path / "analysis").exists()


@pytest.mark.parametrize(
    ("words", "question"),
    [
        (["analyze", "drift", "run"], "drift"),
        (["analyze", "./drift"], "report"),
        (["analyze", "run", "drift"], "report"),
        (["analyze", "--json", "run"], "report"),
        (["analyze"], "report"),
        (["analyze", "--help"], "--help"),
        (["run", "drift"], "drift"),
    ],
)
def test_the_first_word_is_a_question_or_all_are_asked(words, question):
    found = with_analysis(words)
    assert found[1] == question
    assert [word for word in found if word != "report"] == words
