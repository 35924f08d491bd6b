"""The package as users get it: a wheel made from the sdist, installed without the checkout."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import site
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from programs import finish

from ipi_darkforces import __version__

ROOT = Path(__file__).parents[1]
FOLDERS = ["benchmarks", "docs", "drivers", "environments", "inputs", "ipi_darkforces", "recipe", "tests", "training"]
FILES = ["CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "README.md"]
FILES += ["constraints.txt", "pyproject.toml", "setup.cfg", "setup.py"]
URL = "https://example.org/darkforces"
SIMULATE = """
import ase.build
from ase import units

import ipi_darkforces as dark

model = dark.load_model("pet-m")
atoms = ase.build.molecule("H2O", vacuum=4.0, pbc=True)
dynamics = dark.MultipleTimeStepping(atoms, 1 * units.fs, stride=2, fast=model, slow=model)
dynamics.run(2)
print(dark.__file__, atoms.get_kinetic_energy() > 0.0)
"""


def run(*command: object, cwd: Path) -> str:
    """Run a program that knows nothing of this checkout; return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = finish(command, cwd=cwd, env=environment)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(what: str, source: Path, output: Path) -> Path:
    """Build an sdist or a wheel, as `python -m build` does it."""
    run(sys.executable, "-c", f"from setuptools.build_meta import *; build_{what}({str(output)!r})", cwd=source)
    (built,) = output.glob("*.tar.gz" if what == "sdist" else "*.whl")
    return built


CONDA = {
    "ipi": "i-pi",
    "matplotlib": "matplotlib-base",
    "metatensor-torch": "python-metatensor-torch",
    "metatomic-torch": "python-metatomic-torch",
    "torch": "pytorch",
    "vesin": "python-vesin",
}


def test_the_conda_recipe_has_the_version_dependencies_and_commands_of_the_package() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    recipe = yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text())
    lines = [line.split() for line in settings["options"]["install_requires"].strip().splitlines()]
    assert {" ".join([CONDA.get(name, name), *limits]) for name, *limits in lines} == {
        line for line in recipe["requirements"]["run"] if not line.startswith("python ")
    }
    assert recipe["context"] == {
        "version": settings["metadata"]["version"],
        "python_min": settings["options"]["python_requires"].removeprefix(">="),
    }
    commands = settings["options.entry_points"]["console_scripts"].strip().splitlines()
    assert recipe["build"]["python"]["entry_points"] == commands


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked sdist, of a repository that has an address."""
    folder = tmp_path_factory.mktemp("sdist")
    checkout = folder / "checkout"
    for name in FOLDERS:
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, checkout)
    settings = (ROOT / "setup.cfg").read_text()
    (checkout / "setup.cfg").write_text(settings.replace("[metadata]\n", f"[metadata]\nurl = {URL}\n"))
    with tarfile.open(build("sdist", checkout, folder)) as archive:
        # Pythons before 3.11.4 have no filters, and others warn without.
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return folder / f"ipi_darkforces-{__version__}"


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that was made from the sdist."""
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


def test_the_sdist_has_what_tests_documentation_and_inputs_need(source: Path) -> None:
    assert {path.name for path in source.iterdir()} >= {*FOLDERS, *FILES}
    for folder in FOLDERS:
        there = {path.name for path in (source / folder).iterdir()}
        assert {path.name for path in (ROOT / folder).iterdir()} - there <= {"commands.md", "__pycache__", "_build"}


def test_links_of_the_readme_lead_into_the_repository_on_a_package_index(source: Path) -> None:
    text = (source / "PKG-INFO").read_text()
    links = [target for _, target in re.findall(r"(\[[^\]]*\])\(([^)]+)\)", text)]
    assert f"{URL}/raw/v{__version__}/docs/demo.png" in links
    assert f"{URL}/blob/v{__version__}/docs/running.md" in links
    assert all(target.startswith("https://") for target in links)


def test_the_wheel_has_all_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in names} == {"ipi_darkforces"}
    files = [path for path in (ROOT / "ipi_darkforces").rglob("*") if "__pycache__" not in path.parts]
    needed = {str(path.relative_to(ROOT)) for path in files if path.is_file()}
    inputs = [path for path in (ROOT / "inputs").rglob("*.*") if path.suffix in (".xml", ".chk", ".xyz", ".yaml")]
    assert names == needed | {f"ipi_darkforces/{path.relative_to(ROOT)}" for path in inputs}


def test_the_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    python = environment / "bin" / "python"
    # It finds its dependencies in this environment, where .pth files, as of editable packages, do not count.
    (installed,) = environment.glob("lib/python*/site-packages")
    (installed / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, "--disable-pip-version-check", wheel, cwd=tmp_path)
    assert "usage: darkforces" in run(environment / "bin" / "darkforces", "--help", cwd=tmp_path)
    assert "usage: i-pi-darkdriver" in run(environment / "bin" / "i-pi-darkdriver", "--help", cwd=tmp_path)
    assert run(python, "-c", SIMULATE, cwd=tmp_path).split() == [
        str(installed / "ipi_darkforces" / "__init__.py"),
        "True",
    ]
