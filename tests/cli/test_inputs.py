"""`darkforces inputs`: those that come with the package, listed and copied."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ipi_darkforces.simulate.inputs import SimulationInput
from ipi_darkforces.simulate.packaged_inputs import FOLDER, packaged_inputs

INPUTS = Path(__file__).parents[2] / "inputs"
Say = Callable[..., tuple[str, str, int]]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, darkforces: Say, tmp_path: Path) -> Say:
    """Output of the command in the folder of the test, with its exit code."""
    monkeypatch.chdir(tmp_path)
    return partial(darkforces, "inputs")


def test_all_inputs_are_listed_with_what_they_show(said):
    listed, _, code = said()
    assert code == 0
    names = {path.stem for path in INPUTS.glob("*.xml")} | {
        f"campaigns/{path.stem}" for path in INPUTS.glob("campaigns/*.yaml")
    }
    lines = listed.splitlines()
    assert {line.split()[0] for line in lines if not line.startswith(" ")} == names
    assert all(len(line) <= 120 for line in lines)
    assert "NPT with multiple time stepping, M = 4: i-PI's isotropic barostat" in " ".join(listed.split())
    machine = json.loads(said("--json")[0])
    assert {each["name"] for each in machine} == names
    assert all(each["shows"].endswith(".") for each in machine)


def test_what_is_copied_is_complete(said, tmp_path):
    """i-PI accepts each, and all that it names is there."""
    out, _, code = said("--all", "--output", "mine")
    assert code == 0
    copied = [Path(line) for line in out.splitlines()]
    assert len(copied) == len(packaged_inputs())
    for path in copied:
        if path.suffix == ".xml":
            SimulationInput.read(path).copied(lambda name: False)  # would say what is missing
    for path in INPUTS.glob("*.xyz"):  # commands of the documentation take them
        assert (tmp_path / "mine" / path.name).read_bytes() == path.read_bytes()
    needed = {file for each in packaged_inputs() for file in each.files}
    assert {path.relative_to("mine") for path in Path("mine").rglob("*") if path.is_file()} == needed


def test_some_are_copied_and_nothing_of_the_users_is_replaced_unasked(said, tmp_path):
    for name in ("hmr-mts4", "hmr-mts4.xml", "inputs/hmr-mts4.xml"):
        assert said(name) == ("hmr-mts4.xml\n", "", 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hmr-mts4.xml", "water-16-hmr.chk"]
    (tmp_path / "hmr-mts4.xml").write_text("mine")
    out, err, code = said("hmr-mts4", "npt-mts4")
    assert (out, code) == ("", 1)
    assert "'hmr-mts4.xml' exists, with another content" in err
    assert not (tmp_path / "npt-mts4.xml").exists()
    assert (tmp_path / "hmr-mts4.xml").read_text() == "mine"
    assert said("hmr-mts4", "--overwrite")[2] == 0
    assert (tmp_path / "hmr-mts4.xml").read_text() == (FOLDER / "hmr-mts4.xml").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["npt-mts5"], "'npt-mts5' is no input that comes with the package: did you mean 'npt-mts"),
        (["--all", "npt-mts4"], "--all copies 'npt-mts4' too"),
        (["--output", "mine"], "what shall be copied?"),
    ],
)
def test_what_is_wrong_is_said(said, tmp_path, arguments, message):
    out, err, code = said(*arguments)
    assert (out, code) == ("", 1)
    assert message in err
    assert list(tmp_path.iterdir()) == []
