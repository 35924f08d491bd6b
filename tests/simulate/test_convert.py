"""Other forces for an input: what changes, what stays, and what i-PI makes of it."""

from __future__ import annotations

import difflib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from calculators import FILE, copper
from programs import finish

from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.simulate.compose import compose, write_start
from ipi_darkforces.simulate.convert import with_component, with_multiple_time_stepping
from ipi_darkforces.simulate.inputs import SimulationInput
from ipi_darkforces.simulate.recipe import Recipe
from ipi_darkforces.split.component import Component

ROOT = Path(__file__).parents[2]
CONSERVATIVE = ROOT / "inputs" / "nve-conservative.xml"


def changed(before: str, after: str) -> list[str]:
    """Lines that came or went, without white space around them."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line[0] + line[1:].strip() for line in lines if not line.startswith(("---", "+++", "@@"))]


def test_only_what_is_about_forces_changes():
    found = with_multiple_time_stepping(CONSERVATIVE, 4)
    lines = changed(CONSERVATIVE.read_text(), found.text)
    assert [line for line in lines if line[0] == "-"] == [
        "-<ffsocket name='conservative' mode='unix' pbc='False'>",
        "-<address> darkforces </address>",
        "-<parameters> { component: conservative, species: O64H128 } </parameters>",
        "-<force forcefield='conservative'></force>",
        "-<timestep units='femtosecond'> 0.5 </timestep>",
    ]
    assert "+<timestep units='femtosecond'> 2 </timestep>" in lines
    assert "+<nmts> [ 1, 4 ] </nmts>" in lines
    assert "+<force forcefield='conservative-fast'> <mts_weights> [ 0, 1 ] </mts_weights> </force>" in lines
    assert any("every 2 fs" in change for change in found.changes)


def test_ipi_runs_it_as_an_input_that_was_made_so(tmp_path):
    write_start(copper(), tmp_path / "start.chk")
    recipe = {"ensemble": "nve", "species": "Cu32", "start": "start.chk", "timestep": 1.0, "duration": 20.0}
    (tmp_path / "plain.xml").write_text(compose(Recipe("run", **recipe)))
    (tmp_path / "made.xml").write_text(compose(Recipe("run", stride=3, **recipe)))
    (tmp_path / "converted.xml").write_text(with_multiple_time_stepping(tmp_path / "plain.xml", 3).text)
    model = ["--fast", f"ase:{FILE}:rotated", "--slow", f"ase:{FILE}:emt", "-o", "fast.forces=direct", "--in-process"]
    rows = []
    for name in ("made", "converted"):
        command = [sys.executable, "-m", "ipi_darkforces.cli.main", "run", tmp_path / f"{name}.xml", "--steps", "4"]
        done = finish([*command, *model, "--output", tmp_path / name, "--json"])
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["steps"] == 4
        rows.append(np.loadtxt(tmp_path / name / "run.progress"))
    np.testing.assert_allclose(rows[1], rows[0], rtol=1e-12)


def test_elements_are_taken_from_the_start_where_nothing_says_them(tmp_path):
    text = CONSERVATIVE.read_text().replace(", species: O64H128", "").replace("mode='unix'", "mode='inet'")
    text = text.replace("</address>", "</address> <port> 31415 </port>")
    (tmp_path / "mine.xml").write_text(text)
    found = with_multiple_time_stepping(tmp_path / "mine.xml", 2).text
    assert "{ component: slow, template: water.chk }" in found
    assert ("<port> 31415 </port>" in found, "<port> 31416 </port>" in found) == (True, True)


def written(folder: Path, *pairs: tuple[str, str]) -> Path:
    """The input with other pieces."""
    text = CONSERVATIVE.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    (folder / "mine.xml").write_text(text)
    return folder / "mine.xml"


def test_each_socket_gets_a_place_of_its_own(tmp_path):
    def places(*pairs):
        found = with_multiple_time_stepping(written(tmp_path, *pairs), 2).text
        sockets = SimulationInput.of(found, tmp_path).socket_forcefields()
        return [(each.address, each.port if each.mode == "inet" else None) for each in sockets]

    # As i-PI reads them: a unix socket has no port, whatever is said; inet is the default, as are host and port.
    port = ("</address>", "</address> <port> 65535 </port>")
    default = (" mode='unix'", "")
    assert places(port) == [("darkforces-slow", None), ("darkforces-fast", None)]
    assert places(("<address> darkforces </address>", "")) == [("localhost-slow", None), ("localhost-fast", None)]
    assert places(port, default) == places(default) == [("darkforces", 65535), ("darkforces", 65534)]


def test_time_steps_keep_their_digits(tmp_path):
    path = written(tmp_path, ("<timestep units='femtosecond'> 0.5 ", "<timestep> 20.6706872878755 "))
    made = SimulationInput.of(with_multiple_time_stepping(path, 4).text, path)
    assert made.timestep == pytest.approx(4 * SimulationInput.read(path).timestep, rel=1e-14)
    recipe = Recipe("run", "nve", "Cu32", "start.chk", timestep=1 / 3, stride=4)
    assert SimulationInput.of(compose(recipe), path).timestep == pytest.approx(4 / 3, rel=1e-14)


def test_one_kind_of_forces():
    found = with_component(CONSERVATIVE, Component.DIRECT)
    assert changed(CONSERVATIVE.read_text(), found.text) == [
        "-<parameters> { component: conservative, species: O64H128 } </parameters>",
        "+<parameters> { component: direct, species: O64H128 } </parameters>",
    ]


def test_tags_in_comments_do_not_count(tmp_path):
    comment = "<!-- <ffsocket name='old'> </ffsocket> <timestep> 3 </timestep> -->"
    (tmp_path / "mine.xml").write_text(CONSERVATIVE.read_text().replace("<system>", f"{comment}\n  <system>"))
    assert comment in with_multiple_time_stepping(tmp_path / "mine.xml", 2).text


def test_what_would_take_guessing_is_refused(tmp_path):
    other = "<ffsocket name='other' mode='unix'> <address> other </address> </ffsocket> <ffsocket"
    with pytest.raises(DarkforcesError, match="has 2 <ffsocket>; expected one"):
        with_multiple_time_stepping(written(tmp_path, ("<ffsocket", other)), 2)
    for split in (
        written(tmp_path, ("</force>", "<mts_weights> [ 1 ] </mts_weights></force>")),
        ROOT / "inputs" / "nve-mts4.xml",
    ):
        with pytest.raises(DarkforcesError, match="has multiple time stepping already"):
            with_multiple_time_stepping(split, 2)
        with pytest.raises(DarkforcesError, match="has multiple time stepping: expected an input with one kind"):
            with_component(split, Component.CONSERVATIVE)


def test_time_steps_as_xml_allows_them(tmp_path):
    path = written(tmp_path, ("> 0.5 </timestep>", "> 0.5 <!-- of fast forces --> </timestep >"))
    assert "> 1 <!-- of fast forces --></timestep >" in with_multiple_time_stepping(path, 2).text
    path = written(
        tmp_path, ("<simulation", "<!DOCTYPE simulation [<!ENTITY dt '0.5'>]> <simulation"), ("> 0.5 <", "> &dt; <")
    )
    with pytest.raises(DarkforcesError, match="'&dt;': expected a number, to be multiplied"):
        with_multiple_time_stepping(path, 2)


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([("forcefield='conservative'", "forcefield='other'")], "refers to forcefield 'other', which is not defined"),
        (
            [
                ("<ffsocket", "<ffdirect name='h'> <pes> harmonic </pes> </ffdirect> <ffsocket"),
                ("forcefield='conservative'", "forcefield='h'"),
            ],
            "is that of forcefield 'h': expected that of its <ffsocket> 'conservative'",
        ),
        ([("> 0.5 <", "> 0 <")], "timestep is 0: expected more than 0"),
        ([("potential", "potental")], "did you mean 'potential'"),
    ],
)
def test_inputs_that_would_not_run_are_refused(tmp_path, pieces, said):
    with pytest.raises(DarkforcesError, match=said):
        with_multiple_time_stepping(written(tmp_path, *pieces), 2)


def test_systems_of_a_template(tmp_path):
    """Elements of systems are those of the file that they all start from; a label is no time step."""
    before, _, rest = CONSERVATIVE.read_text().replace(", species: O64H128", "").partition("<system>")
    system, _, after = rest.partition("</system>")

    def template(first, second, step="0.5"):
        instances = "".join(f"<instance> [ s{i}, {file}, 1 ] </instance>" for i, file in enumerate((first, second)))
        inner = system.replace("water.chk", "FILE").replace("> 0.5 <", f"> {step} <")
        text = (
            f"{before}<system_template> <template> <system prefix='PREFIX'> {inner} </system> </template> "
            f"<labels> [ PREFIX, FILE, STEP ] </labels> {instances} </system_template>{after}"
        )
        (tmp_path / "mine.xml").write_text(text)
        return tmp_path / "mine.xml"

    assert "component: slow, template: a.chk }" in with_multiple_time_stepping(template("a.chk", "a.chk"), 2).text
    assert "{ component: direct }" in with_component(template("a.chk", "b.chk"), Component.DIRECT).text
    with pytest.raises(DarkforcesError, match="'STEP': expected a number"):
        with_multiple_time_stepping(template("a.chk", "a.chk", "STEP"), 2)


def test_the_command_writes_the_input_and_says_what_is_different():
    command = [sys.executable, "-m", "ipi_darkforces.cli.main", "input", CONSERVATIVE]
    done = finish([*command, "--mts", "4"])
    assert (done.returncode, done.stdout) == (0, with_multiple_time_stepping(CONSERVATIVE, 4).text)
    assert "forcefield 'conservative' has become 'conservative-slow' and 'conservative-fast'" in done.stderr
    done = finish([*command, "--mts", "1"])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "darkforces: error: 1 is not a stride of multiple time stepping: expected at least 2\n"
