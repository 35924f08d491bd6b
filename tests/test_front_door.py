"""The names that a notebook uses, and the examples in their docstrings."""

import doctest
import importlib
import re
import subprocess
import sys

import ase.build
import numpy as np
import pytest
from ase.calculators.emt import EMT
from ipi_files import write_table

import ipi_darkforces as dark
from ipi_darkforces import errors
from ipi_darkforces.analysis import analyze as of_trajectories
from ipi_darkforces.analysis import summarized_run
from ipi_darkforces.assessment import assess
from ipi_darkforces.models import calculator as as_calculator
from ipi_darkforces.models import model, result, structure
from ipi_darkforces.models.registry import load
from ipi_darkforces.simulate import multiple_time_stepping


@pytest.mark.parametrize("name", dark.__all__)
def test_names_are_there_and_documented(name):
    assert name in dir(dark)
    assert getattr(dark, name).__doc__


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        dark.nothing  # noqa: B018


def test_importing_the_package_does_not_import_torch():
    """Commands that need no model start in no time."""
    code = "import sys, ipi_darkforces; sys.exit('torch' in sys.modules or 'ase' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)  # and not forked from a process that has torch


@pytest.mark.parametrize(
    "module", [as_calculator, model, multiple_time_stepping, assess, load, structure, result, errors]
)
def test_examples_work(module, monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


@pytest.fixture
def hot_run(tmp_path, monkeypatch):
    """Properties of a run that heats by 10 K/ps, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hot-run").mkdir()
    noise = np.random.default_rng(0).normal(size=(2, 2000))
    step = np.arange(2000)
    rows = np.column_stack([step, step, 300 + 0.01 * step + 3 * noise[0], 1e-5 * step + 1e-4 * noise[1]])
    write_table(tmp_path / "hot-run" / "run.out", rows)


def test_examples_of_analyses_work(hot_run):
    results = doctest.testmod(of_trajectories)
    assert (results.attempted, results.failed) == (5, 0)


def test_results_of_analyses_show_themselves(hot_run, caplog):
    found = dark.analyze(["hot-run"])
    assert [each.analysis.name for each in found] == ["drift", "temperatures", "spectra", "structure"]
    assert list(found.spectra.missing) == ["hot-run"]
    assert "no velocities" in str(found.spectra)
    assert "hot-run: no spectra" in caplog.text
    assert "<td>hot-run</td>" in found.drift._repr_html_()
    assert str(found.drift).count("\n") == 1
    found.drift.draw("drift.png")
    [column] = [name for name in found.drift.to_dict() if name.startswith("conserved drift")]
    assert found.drift.to_dict()[f"standard error of {column}"][0] > 0.0
    with pytest.raises(AttributeError, match="no analysis 'weather': there are drift, temperatures"):
        found.weather  # noqa: B018


@pytest.mark.parametrize(
    ("runs", "options", "message"),
    [
        ("nowhere", {}, "'nowhere' does not exist"),
        ("hot-run", {"only": "weather"}, "analysis 'weather' is not known: expected drift, "),
        ("hot-run", {"discard": -1.0}, "discard -1 is not a time"),
        ("hot-run", {"only": "drift", "velocity_unit": "c"}, "velocity unit 'c' is not known: expected ase, A/ps"),
    ],
)
def test_what_cannot_be_analysed_is_told(hot_run, runs, options, message):
    with pytest.raises(dark.DarkforcesError, match=re.escape(message)):
        dark.analyze(runs, **options)


def test_a_run_of_ipi_from_python(tmp_path, monkeypatch, request):
    """The example; then the same run once more, which is finished, with a model that was loaded."""
    monkeypatch.chdir(request.config.rootpath)
    results = doctest.testmod(summarized_run, extraglobs={"folder": tmp_path / "run"})
    assert (results.attempted, results.failed) == (4, 0)
    model = dark.load_model("pet-m")
    run = dark.run("inputs/nve-mts4.xml", model, steps=4, output=tmp_path / "run")
    assert (run.outcome.steps, run.name) == (4, "nve-mts4")
    assert str(run).startswith("nve-mts4: 4 of 4 steps, 0.008 ps")
    assert '<img src="data:image/png;base64,iVBOR' in run._repr_html_()
    assert run.summary["ended"] == "finished"
    model.loaded["dtype"] = "float64"
    with pytest.raises(dark.DarkforcesError, match="begun with model pet-m, .*not model pet-m, dtype float64"):
        dark.run("inputs/nve-mts4.xml", model, steps=8, output=tmp_path / "run")


@pytest.mark.parametrize(
    ("input", "options", "message"),
    [
        ("nowhere.xml", {"model": "pet-m"}, "'nowhere.xml' does not exist"),
        ("nve-mts4.xml", {}, "is to be run with which model?"),
        ("nve-mts4.xml", {"model": "pet-mm"}, "did you mean 'pet-m'"),
        ("nve-mts4.xml", {"model": "pet-m", "steps": 0}, "steps 0 is not a number of steps"),
        ("nve-mts4.xml", {"model": "pet-m", "time": float("nan")}, "time nan is not a time"),
        ("nve-mts4.xml", {"model": "pet-m", "time": 1.0, "steps": 1}, "steps and time contradict each other"),
    ],
)
def test_runs_that_cannot_be(tmp_path, monkeypatch, request, input, options, message):
    monkeypatch.chdir(tmp_path)
    path = request.config.rootpath / "inputs" / input
    with pytest.raises(dark.DarkforcesError, match=re.escape(message)):
        dark.run(path if path.exists() else input, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (None, {}, "None is not a model: expected a name, a path or an ase calculator"),
        (EMT(), {"device": "cuda"}, "model 'ase:EMT' is made already: expected no device"),
        (EMT(), {"forces": "fast"}, "forces 'fast' are not known: expected conservative or direct"),
        ("pet-m", {"forces": "direct"}, "model 'pet-m' has no options, but was given 'forces'"),
    ],
)
def test_models_that_cannot_be_loaded(given, options, message):
    with pytest.raises(dark.DarkforcesError, match=re.escape(message)):
        dark.load_model(given, **options)


def test_an_ase_calculator_is_a_model(tmp_path, caplog):
    copper = ase.build.bulk("Cu", cubic=True)
    copper.rattle()
    expected = copper.copy()
    expected.calc = EMT()
    assert dark.load_model(EMT()).evaluate(copper).conservative == pytest.approx(expected.get_forces())
    dynamics = dark.MultipleTimeStepping(copper, 2.0, stride=2, fast=dark.load_model(EMT()), slow=EMT())
    assert dynamics.run(1)
    dark.load_model(EMT(), forces="direct").evaluate(copper)
    assert "forces of model 'ase:EMT' are the gradient of its energy, but said to be direct: say forces=" in caplog.text
    with pytest.raises(dark.DarkforcesError, match="cannot be loaded by another process: .*ase:package.module:factory"):
        dark.run("inputs/nve-mts4.xml", EMT(), output=tmp_path)


@pytest.mark.parametrize(
    ("structures", "message"),
    [
        ("water.xyz", "'water.xyz' cannot be evaluated: expected ase.Atoms or a Structure"),
        (ase.Atoms(), "the structure has no atoms: expected at least one"),
        (ase.build.bulk("Fe"), "model 'pet-m' does not know Fe; it knows H, O"),
    ],
)
def test_structures_that_cannot_be_evaluated(structures, message):
    model = dark.load_model("pet-m")
    assert model.evaluate([]) == []
    with pytest.raises(dark.DarkforcesError, match=re.escape(message)):
        model.evaluate([structures])


@pytest.mark.parametrize(
    ("timestep", "stride", "message"),
    [
        (1.0, 0, "stride 0 cannot be used: expected a whole number, at least 1"),
        (1.0, 1.5, "stride 1.5 cannot be used"),
        (1.0, "4", "stride '4' cannot be used"),
        (-1.0, 4, "timestep -1.0 cannot be used: expected more than zero"),
        (float("nan"), 4, "timestep nan cannot be used"),
    ],
)
def test_time_steps_that_cannot_be(timestep, stride, message):
    with pytest.raises(dark.DarkforcesError, match=re.escape(message)):
        dark.MultipleTimeStepping(ase.build.molecule("H2O"), timestep, stride=stride, fast="pet-m")


def test_a_model_with_other_forces_than_the_driver_would_have_is_not_run():
    model = dark.load_model("pet-m", remove_net_force=False)
    with pytest.raises(dark.DarkforcesError, match="'pet-m' cannot be loaded by another process"):
        dark.run("inputs/nve-mts4.xml", model)


def test_assessments_of_atoms_in_memory(tmp_path, monkeypatch):
    """They are kept in a file, where the same ones are found again."""
    monkeypatch.chdir(tmp_path)
    model = dark.load_model("pet-c")
    water = ase.build.molecule("H2O", vacuum=4.0, pbc=True)
    water.calc = dark.Calculator(model)
    verdict = dark.assess(model, water)
    assert str(verdict).startswith("pet-c has conservative forces only")
    assert verdict._repr_html_() == f"<h3>{verdict}</h3>"
    with pytest.raises(dark.DarkforcesError, match="there is no page to write: pet-c has conservative forces only"):
        verdict.write()
    assert str(dark.assess(model, water)) == str(verdict)
    assert [path.name for path in tmp_path.iterdir()] == ["assess-pet-c-H2O.traj"]
    water.rattle()
    with pytest.raises(dark.DarkforcesError, match="'assess-pet-c-H2O.traj' holds other atoms"):
        dark.assess(model, water)
    with pytest.raises(dark.DarkforcesError, match="time 0.01 is too short for M = 16"):
        dark.assess(model, water, time=0.01)
    assert len(list(tmp_path.iterdir())) == 1


def test_the_version_to_cite_is_this_one(request):
    citation = (request.config.rootpath / "CITATION.cff").read_text()
    assert re.search(r"^version: (.*)$", citation, re.M)[1] == dark.__version__
    assert f"## {dark.__version__}" in (request.config.rootpath / "CHANGELOG.md").read_text()


def test_the_page_of_the_interface_is_up_to_date(request, monkeypatch):
    """After a change of docstrings: python docs/make_api.py."""
    monkeypatch.syspath_prepend(request.config.rootpath / "docs")
    make_api = importlib.import_module("make_api")
    assert make_api.PAGE.read_text(encoding="utf-8") == make_api.page()
    assert {f"dark.{name}" for name in dark.__all__} == set(re.findall(r"^### (dark\..*)$", make_api.page(), re.M))


def test_readme_works(monkeypatch, request, capsys, tmp_path):
    monkeypatch.chdir(request.config.rootpath)
    text = (request.config.rootpath / "README.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {}
    example = example.replace("run(50)", "run(2)").replace(
        "time=0.2)", f"steps=4, output={str(tmp_path / 'nve-mts4')!r})"
    )
    exec(example, names)
    assert names["forces"].direct.shape == (192, 3)
    table = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in table[4:]] == ["run ", "nve-", "?: t"]
    energies = [float(line.split()[1]) for line in table[1:4]]
    assert abs(energies[-1] - energies[0]) < 0.1  # eV
