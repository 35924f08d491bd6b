"""Real campaigns, through Snakemake, i-PI and the bundled model."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import forked
import numpy as np
import pytest
from programs import PATIENCE, wait_until

from ipi_darkforces.campaign import workflow
from ipi_darkforces.campaign.folder import CampaignFolder
from ipi_darkforces.campaign.simulate import simulate
from ipi_darkforces.cli import campaign as cli
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.registry.zoo import all_models
from ipi_darkforces.simulate.folder import OtherRunError
from ipi_darkforces.simulate.inputs import SimulationInput

pytest.importorskip("snakemake")
INPUTS = Path(__file__).parents[2] / "inputs"


def campaign(path: Path, **changes: str) -> Path:
    """Two simulations of sixty steps, unless something is changed."""
    said = {"structure": "water", "time": "0.03", "seeds": "2", "forces": "direct", **changes}
    said["structure"] = str(INPUTS / f"{said['structure']}.xyz")
    matrix = f"matrix: [{{thermostats: nve, forces: {said.pop('forces')}}}]"
    lines = ["models: pet-m", *(f"{key}: {said[key]}" for key in said), matrix]
    path.write_text("\n".join(lines))
    return path


def darkforces(*arguments: object) -> int:
    """The command, in this process."""
    parser = argparse.ArgumentParser()
    cli.add_options(parser)
    return cli.run(parser.parse_args(list(map(str, arguments))))


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Times and contents of all files of simulations."""
    files = [file for file in folder.glob("runs/*/*") if file.is_file()]
    return {str(file.relative_to(folder)): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


@pytest.fixture(scope="module", autouse=True)
def _jobs_are_forked(tmp_path_factory):
    """The Python that Snakemake starts; but for the campaign that is stopped, which has the real one at first."""
    python = tmp_path_factory.mktemp("bin") / "python"
    tests = str(Path(forked.__file__).parent)
    start = f"import sys; sys.path.insert(0, {tests!r}); import forked; "
    start += "sys.exit(forked.popen([sys.executable, *sys.argv[1:]]).wait())"
    python.write_text(f"#!{sys.executable}\n{start}\n")
    python.chmod(0o755)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(workflow, "sys", SimpleNamespace(executable=str(python)))
        yield


@pytest.fixture(scope="module")
def stopped_and_finished(tmp_path_factory) -> Path:
    """A campaign that was stopped in its second simulation, and then went on."""
    folder = tmp_path_factory.mktemp("campaign")
    path = campaign(folder / "tiny.yaml")
    runs = folder / "tiny" / "runs"
    command = [sys.executable, "-m", "ipi_darkforces.cli.main", "campaign", path, "--jobs", "1"]
    with forked.popen(command, cwd=folder, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: list(runs.glob("*/ended.json")) and len(list(runs.glob("*/*.progress"))) == 2)
        finally:
            process.terminate()
        assert process.wait(PATIENCE) == 130
    ended = list(runs.glob("*/ended.json"))
    before = state(folder / "tiny")
    assert len(ended) == 1
    assert darkforces(path, "--output", folder / "tiny") == 0
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


def test_a_folder_with_another_run_is_named_and_what_can_be_done(stopped_and_finished, monkeypatch):
    def run(simulation, model, output, watch):
        raise OtherRunError(f"'{output}' holds a run of another input")

    monkeypatch.setattr("ipi_darkforces.campaign.simulate.run", run)
    folder = CampaignFolder(stopped_and_finished / "tiny")
    name = next(folder.path.glob("runs/*")).name
    with pytest.raises(DarkforcesError, match=f"{name}' holds a run of another input; remove that folder"):
        simulate(folder, name)


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


def test_the_same_command_again_runs_nothing_and_tells_machines(stopped_and_finished, capsys):
    output = stopped_and_finished / "tiny"
    before = state(output)
    assert darkforces(stopped_and_finished / "tiny.yaml", "--output", output, "--json") == 0
    assert state(output) == before
    told = json.loads(capsys.readouterr().out)
    assert (told["document"], told["failed"]) == (str(output / "results.md"), {})
    [model] = told["models"]
    [finding] = model["findings"]
    assert (finding["thermostat"], finding["forces"], finding["seeds"]) == ("nve", "direct", 2)
    assert finding["temperature_drift_K_per_ps"]["error"] is None  # eight values are too few
    assert [statement["claim"] for statement in model["statements"]] == ["NVE, direct forces: heats"]


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"temperature": "310"}, [], "holds a campaign with temperature_K 300.0, not 310.0; choose another --output"),
        ({}, ["--model", "pet-mm"], "did you mean 'pet-m'"),
        ({"forces": "conservative"}, ["--model", "pet-nc"], "component 'conservative' cannot be served"),
        ({}, ["--document", "{yaml}"], "was not written by darkforces campaign"),
        ({}, ["--output", "{folder}"], "is no folder of a campaign and not empty"),
        ({}, ["--dtype", "float64"], "holds a campaign with dtype of the model, not float64; choose another --output"),
        ({}, ["--variant", "pbe"], "model 'pet-m' has no energy variant 'pbe'"),
        ({}, ["--snakemake=--no-such-option"], "Snakemake failed: .*no-such-option"),
    ],
)
def test_what_cannot_be_is_one_line(stopped_and_finished, changes, options, message, tmp_path):
    before = state(stopped_and_finished / "tiny")
    path = campaign(tmp_path / "tiny.yaml", **changes)
    # Of an option that is there twice, the later one counts.
    options = [str(option).format(folder=tmp_path, yaml=path) for option in options]
    with pytest.raises(DarkforcesError, match=message) as caught:
        darkforces(path, "--output", stopped_and_finished / "tiny", *options)
    assert "\n" not in str(caught.value)
    assert state(stopped_and_finished / "tiny") == before


def test_how_the_model_is_evaluated_reaches_its_simulations(tmp_path, capsys):
    """Simulations go on with the same options, and not with another precision; document and JSON name them."""
    path, output = campaign(tmp_path / "tiny.yaml", structure="water-16", time="0.004", seeds="1"), tmp_path / "double"
    how = ["--output", output, "--dtype", "float64", "--backend", "metatomic"]
    assert darkforces(path, *how, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    said = {"device": "cpu", "dtype": "float64", "variant": None, "backend": "metatomic"}
    assert {key: told[key] for key in said} == said
    run = output / "runs" / "pet-m-nve-direct-seed1"
    begun = json.loads((run / "model.json").read_text())
    assert (begun["model"], begun["dtype"]) == ("pet-m", "float64")
    assert json.loads((output / "campaign.json").read_text())["dtype"] == "float64"
    assert "(dtype float64, backend metatomic)" in (output / "results.md").read_text()
    with pytest.raises(DarkforcesError, match="holds a campaign with dtype float64, not of the model"):
        darkforces(path, "--output", output)


def test_more_time_goes_on_from_the_end(stopped_and_finished, tmp_path):
    output = stopped_and_finished / "tiny"
    before = {path.name: path.read_text() for path in output.glob("runs/*/*.out")}
    assert darkforces(campaign(tmp_path / "tiny.yaml", time="0.034"), "--output", output) == 0
    ended = [json.loads(path.read_text()) for path in output.glob("runs/*/ended.json")]
    assert [each["picoseconds"] for each in ended] == pytest.approx([0.034, 0.034])
    for path in output.glob("runs/*/*.out"):
        assert path.read_text().startswith(before[path.name].rstrip())
        steps = [float(line.split()[0]) for line in path.read_text().splitlines() if not line.startswith("#")]
        assert steps == list(range(0, 68, 8))
        assert SimulationInput.read(path.parent / "RESTART").step == 68


def test_what_fails_is_named_and_the_rest_is_written_down(tmp_path, capsys):
    """The folder of one of the simulations is in the way."""
    path = campaign(tmp_path / "tiny.yaml", structure="water-16", time="0.002")
    assert darkforces(path, "--output", tmp_path / "out", "--snakemake=--dry-run") == 1
    (tmp_path / "out" / "runs" / "pet-m-nve-direct-seed2").mkdir(exist_ok=True)
    (tmp_path / "out" / "runs" / "pet-m-nve-direct-seed2" / "thesis.tex").write_text("important")
    assert darkforces(path, "--output", tmp_path / "out") == 1
    assert (
        "error: simulation pet-m-nve-direct-seed2: 'runs/pet-m-nve-direct-seed2' is no folder"
        in capsys.readouterr().err
    )
    text = (tmp_path / "out" / "results.md").read_text()
    assert "1 of 2 simulations" in text
    assert "- pet-m-nve-direct-seed2: 'runs/pet-m-nve-direct-seed2' is no folder of a run" in text


def test_strides_of_several_models_are_compared(tmp_path):
    """The table holds the numbers that i-PI wrote of the slow forces."""
    copy = tmp_path / "copy.ckpt"
    shutil.copy(all_models()["pet-m"].path, copy)
    path = campaign(tmp_path / "strides.yaml", structure="water-16", time="0.016", seeds="1", forces="[mts2, mts4]")
    assert darkforces(path, "--output", tmp_path / "out", "--model", "pet-m", "--model", copy) == 0
    text = (tmp_path / "out" / "results.md").read_text()
    [titles] = [line for line in text.splitlines() if line.startswith("| model |")]
    assert titles.endswith("| M = 2 | M = 4 |")
    extras = np.loadtxt(tmp_path / "out" / "runs" / "copy-nve-mts2-seed1" / "copy-nve-mts2-seed1.disagreement")
    for model in ("pet-m", "copy"):
        [row] = [line for line in text.splitlines() if line.startswith(f"| {model} |")]
        assert float(row.split("|")[2].split()[0]) == pytest.approx(1000.0 * extras[:, 0].mean(), rel=0.1)
    assert (tmp_path / "out" / "figures" / "strides.png").read_bytes().startswith(b"\x89PNG")


def test_an_explosion_is_a_result(tmp_path):
    """O-H bonds do not survive steps of 4 fs."""
    far = {"time": "1", "timestep": "4", "seeds": "1", "forces": "conservative"}
    path = campaign(tmp_path / "far.yaml", structure="water-16", **far)
    assert darkforces(path, "--output", tmp_path / "far", "--document", tmp_path / "docs.md") == 0
    [ended] = [json.loads(p.read_text()) for p in (tmp_path / "far").glob("runs/*/ended.json")]
    assert ended["unstable"]
    assert 0.0 < ended["picoseconds"] < 0.5
    text = (tmp_path / "docs.md").read_text()
    assert f"unstable after {ended['picoseconds']:.2g} ps" in text
    assert "**unlike the paper**" in text
