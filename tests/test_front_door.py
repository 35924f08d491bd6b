"""The names that a notebook uses, and the examples in their docstrings."""

import doctest
import re
import sys

import pytest
from programs import finish

import ipi_darkforces as dark
from ipi_darkforces.models import calculator as as_calculator
from ipi_darkforces.models import model
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
    finish([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("module", [as_calculator, model, multiple_time_stepping])
def test_examples_work(module, monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


def test_readme_works(monkeypatch, request, capsys):
    monkeypatch.chdir(request.config.rootpath)
    text = (request.config.rootpath / "README.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {}
    exec(example.replace("run(50)", "run(2)"), names)
    assert names["forces"].direct.shape == (192, 3)
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 4
    energies = [float(line.split()[1]) for line in table[1:]]
    assert abs(energies[-1] - energies[0]) < 0.1  # eV
