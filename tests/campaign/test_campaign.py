"""Real campaigns, through Snakemake, i-PI and the bundled model."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("snakemake")
INPUTS = Path(__file__).parents[2] / "inputs"
COMMAND = [sys.executable, "-m", "ipi_darkforces.cli.main", "campaign"]


def campaign(path: Path, **changes: str) -> Path:
    """Two simulations of sixty steps, unless something is changed."""
    said = {"time": "0.03", "seeds": "2", "forces": "direct", **changes}
    matrix = f"matrix: [{{thermostats: nve, forces: {said.pop('forces')}}}]"
    lines = [f"structure: {INPUTS / 'water.xyz'}", "models: pet-m", *(f"{key}: {said[key]}" for key in said), matrix]
    path.write_text("\n".join(lines))
    return path


def darkforces(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=240)


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """When all files of simulations were written, and what is in them."""
    files = [file for file in folder.glob("runs/*/*") if file.is_file()]
    return {str(file.relative_to(folder)): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def wait_for(condition: Callable[[], object], seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def stopped_and_finished(tmp_path_factory) -> Path:
    """A campaign that was stopped in its second simulation, and then went on."""
    folder = tmp_path_factory.mktemp("campaign")
    path = campaign(folder / "tiny.yaml")
    runs = folder / "tiny" / "runs"
    with subprocess.Popen([*COMMAND, str(path), "--jobs", "1"], cwd=folder, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: list(runs.glob("*/ended.json")) and len(list(runs.glob("*/*.progress"))) == 2)
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    ended = list(runs.glob("*/ended.json"))
    before = state(folder / "tiny")
    assert len(ended) == 1
    done = darkforces(path, "--jobs", "1", folder=folder)
    assert done.returncode == 0, done.stderr
    assert len(list(runs.glob("*/ended.json"))) == 2
    first = ended[0].parent.name
    after = state(folder / "tiny")
    assert {name: after[name] for name in before if first in name.split("/")[1]} == {
        name: before[name] for name in before if first in name.split("/")[1]
    }
    return folder


def test_a_stopped_campaign_goes_on_and_skips_what_is_done(stopped_and_finished):
    ended = [json.loads(p.read_text()) for p in sorted((stopped_and_finished / "tiny").glob("runs/*/ended.json"))]
    assert [each["picoseconds"] for each in ended] == pytest.approx([0.03, 0.03])
    assert [each["unstable"] for each in ended] == [None, None]
    assert all(each["machine"]["torch"] and each["machine"]["cpu"] for each in ended)


def test_seeds_start_with_other_velocities(stopped_and_finished):
    tables = [path.read_text() for path in (stopped_and_finished / "tiny").glob("runs/*/*.out")]
    assert len(tables) == 2
    assert tables[0].splitlines()[-3:] != tables[1].splitlines()[-3:]


def test_its_document(stopped_and_finished):
    text = (stopped_and_finished / "tiny" / "results.md").read_text()
    assert "2 of 2 simulations of H128O64 at 300 K" in text
    assert "| NVE, direct forces: heats | temperature " in text
    assert "![nve](figures/pet-m-nve.png)" in text
    assert (stopped_and_finished / "tiny" / "figures" / "pet-m-nve.png").read_bytes().startswith(b"\x89PNG")
    assert str(stopped_and_finished) not in text
    assert "nan" not in text.split()


def test_the_same_command_again_runs_nothing(stopped_and_finished):
    before = state(stopped_and_finished / "tiny")
    done = darkforces("tiny.yaml", folder=stopped_and_finished)
    assert done.returncode == 0, done.stderr
    assert state(stopped_and_finished / "tiny") == before


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"temperature": "310"}, [], "holds a campaign with temperature_K 300.0, not 310.0; choose another --output"),
        ({}, ["--model", "pet-mm"], "did you mean 'pet-m'"),
        ({"forces": "conservative"}, ["--model", "pet-nc"], "component 'conservative' cannot be served"),
        ({}, ["--document", "tiny.yaml"], "was not written by darkforces campaign"),
        ({}, ["--output", "."], "is no folder of a campaign and not empty"),
        ({}, ["--snakemake=--no-such-option"], "Snakemake failed: .*no-such-option"),
    ],
)
def test_what_cannot_be_is_one_line(stopped_and_finished, changes, options, message, tmp_path):
    before = state(stopped_and_finished / "tiny")
    path = campaign(tmp_path / "tiny.yaml", **changes)
    done = darkforces(path, "--output", stopped_and_finished / "tiny", *options, folder=stopped_and_finished)
    assert done.returncode == 1
    assert re.search(f"^darkforces: error: .*{message}", done.stderr, re.MULTILINE), done.stderr
    assert "Traceback" not in done.stderr
    assert state(stopped_and_finished / "tiny") == before


def test_an_explosion_is_a_result(tmp_path):
    """O-H bonds do not survive steps of 4 fs."""
    path = campaign(tmp_path / "far.yaml", time="1", timestep="4", seeds="1", forces="conservative")
    done = darkforces(path, "--document", tmp_path / "docs.md", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    [ended] = [json.loads(p.read_text()) for p in (tmp_path / "far").glob("runs/*/ended.json")]
    assert ended["unstable"]
    assert 0.0 < ended["picoseconds"] < 0.5
    text = (tmp_path / "docs.md").read_text()
    assert f"unstable after {ended['picoseconds']:.2g} ps" in text
    assert "**unlike the paper**" in text
