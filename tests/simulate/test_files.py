"""Files that i-PI inputs name: all kinds, wherever they lie, and their copies in the folder of a run."""

from pathlib import Path

import numpy as np
import pytest

from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.simulate.files import Placing
from ipi_darkforces.simulate.folder import RunFolder
from ipi_darkforces.simulate.inputs import SimulationInput

XYZ = "2\n# CELL(abcABC): 10 10 10 90 90 90 positions{angstrom} cell{angstrom}\nAl 0 0 0\nAl %s 0 0\n"
DYNAMICS = "<dynamics mode='nve'> <timestep units='femtosecond'> 1 </timestep> </dynamics>"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def aluminium(
    initialize: str = "<file mode='xyz'> al.xyz </file>",
    motion: str = f"<motion mode='dynamics'> {DYNAMICS} </motion>",
    more: str = "",
    outputs: str = "<properties filename='out'> [ step, potential ] </properties>",
    system: str = "",
) -> str:
    """An input for two atoms of aluminium."""
    return f"""<!-- Mine, with a comment. -->
<simulation verbosity='low'>
  <output prefix='al'> {outputs} </output>
  <total_steps> 10 </total_steps>
  <ffsocket name='d' mode='unix' pbc='False'>
    <address> al </address> <parameters> {{ species: Al2 }} </parameters>
  </ffsocket>
  {more}
  <system{system}>
    <initialize nbeads='1'> {initialize} </initialize>
    <forces> <force forcefield='d'/> </forces>
    <ensemble> <temperature units='kelvin'> 300 </temperature> </ensemble>
    {motion}
  </system>
</simulation>
"""


def begun(path: Path, output: Path) -> SimulationInput:
    """The input of a run that is begun in a folder, as i-PI will read it there."""
    RunFolder(output).path.mkdir(parents=True, exist_ok=True)
    RunFolder(output).begin(SimulationInput.read(path), {"model": "pet-m"}, None, False)
    return SimulationInput.read(output / "input.xml")


def test_an_input_is_copied_as_it_is(tmp_path):
    write(tmp_path / "data" / "al.xyz", XYZ % 2)
    source = write(tmp_path / "al.xml", aluminium("<file mode='xyz'> data/al.xyz </file>"))
    begun(source, tmp_path / "run")
    assert (tmp_path / "run" / "input.xml").read_text() == source.read_text()
    assert (tmp_path / "run" / "data" / "al.xyz").read_text() == XYZ % 2


def test_comments_survive_another_number_of_steps(tmp_path):
    write(tmp_path / "al.xyz", XYZ % 2)
    source = write(tmp_path / "al.xml", aluminium())
    (tmp_path / "run").mkdir()
    RunFolder(tmp_path / "run").begin(SimulationInput.read(source), {"model": "pet-m"}, 3, False)
    text = (tmp_path / "run" / "input.xml").read_text()
    assert text == source.read_text().replace("<total_steps> 10 <", "<total_steps> 3 <")


def test_files_of_the_same_name_in_different_folders_stay_apart(tmp_path):
    text = aluminium("<file mode='xyz'> a/start.xyz </file>", system=" prefix='a'")
    system = text[text.index("  <system") : text.index("</simulation>")]
    for name in ("a", "b", "../c"):
        write(tmp_path / "here" / name / "start.xyz", XYZ % ord(name[-1]))
    others = system.replace("a/start", "b/start").replace("'a'", "'b'")
    others += system.replace("a/start", "../c/start").replace("'a'", "'c'")
    others += system.replace("a/start.xyz", str(tmp_path / "c" / "start.xyz")).replace("'a'", "'d'")
    source = write(tmp_path / "here" / "al.xml", text.replace("</simulation>", f"{others}</simulation>"))
    begun(source, tmp_path / "run")
    found = SimulationInput.read(tmp_path / "run" / "input.xml")
    names = [str(system.initialize.extra[0][1].fetch().value).strip() for _, system in _systems(found)]
    assert names == ["a/start.xyz", "b/start.xyz", "files/start.xyz", "files/start.xyz"]
    assert [(tmp_path / "run" / name).read_text() for name in names] == [XYZ % ord(name) for name in "abcc"]


def _systems(simulation):
    return [(kind, value) for kind, value in simulation.parsed.extra if kind == "system"]


ARRAY = " ".join(["1.0"] * 36)
PLUMED = """# REFERENCE=nothing.pdb
MOLINFO STRUCTURE=ref/al.pdb
EXTERNAL ARG=d FILE=bias.grid LABEL=b  # the grid
INCLUDE FILE=more.dat
PRINT ARG=d FILE=COLVAR
"""
KINDS = {
    "velocities": (aluminium("<file mode='xyz'>al.xyz</file><velocities mode='xyz'>v/v.xyz</velocities>"), ["v/v.xyz"]),
    "positions": (aluminium("<positions> a.chk </positions> <labels mode='xyz'> l.xyz </labels>"), ["a.chk", "l.xyz"]),
    "masses": (aluminium("<file mode='xyz'>al.xyz</file><masses mode='chk'> m.chk </masses>"), ["m.chk"]),
    "cell": (aluminium("<file mode='ase'>al.xyz</file><cell mode='pdb'> c.pdb </cell>"), ["c.pdb"]),
    "gle": (aluminium("<file> al.chk </file><gle mode='chk'> old/g.chk </gle>"), ["old/g.chk", "al.chk"]),
    "replay": (aluminium(motion="<motion mode='replay'><file mode='xyz'>t/j.xyz</file></motion>"), ["t/j.xyz"]),
    "beads": (
        aluminium(motion="<motion mode='replay'><file mode='xyz'> t.p*.xyz </file></motion>"),
        ["t.pos_0.xyz", "t.pos_1.xyz"],
    ),
    "hessian": (
        aluminium(
            motion="<motion mode='instanton'><instanton mode='rate'><hessian mode='file' shape='(6,6)'> "
            "h/hess.dat </hessian></instanton></motion>"
        ),
        ["h/hess.dat"],
    ),
    "charges": (
        aluminium(
            motion="<motion mode='driven_dynamics'><driven_dynamics mode='eda-nve'><bec mode='file' shape='(6,3)'> "
            "bec.txt </bec></driven_dynamics></motion>"
        ),
        ["bec.txt"],
    ),
    "plumed": (
        aluminium(more="<ffplumed name='p'> <file mode='xyz'> p.xyz </file> </ffplumed>"),
        ["p.xyz", "plumed.dat", "ref/al.pdb", "bias.grid", "more.dat", "even-more.txt"],
    ),
    "named plumed": (
        aluminium(more="<ffplumed name='p'> <file> p.xyz </file> <plumed_dat> p/mine.dat </plumed_dat> </ffplumed>"),
        ["p.xyz", "p/mine.dat"],
    ),
    "potential": (
        aluminium(more="<ffdirect name='w'> <pes> custom </pes> <pes_path> my/wall.py </pes_path> </ffdirect>"),
        ["my/wall.py"],
    ),
    "parameters": (
        aluminium(
            more="<ffdirect name='w'> <pes> mace </pes> <parameters> { template: al.xyz, model: ase:m/mine.py:make, "
            "mace_kwargs: k.json, device: cpu } </parameters> </ffdirect>"
        ),
        ["al.xyz", "m/mine.py", "k.json"],
    ),
    "wrapped": (
        aluminium(
            more="<ffcommittee name='c'> <ffdirect name='w'> <pes> custom </pes> <pes_path> w.py </pes_path> "
            "</ffdirect> </ffcommittee>"
        ),
        ["w.py"],
    ),
    "yaff": (
        aluminium(more="<ffyaff name='y'> <yaffsys> y.chk </yaffsys> </ffyaff>"),
        ["y.chk", "parameters.txt"],
    ),
    "sgdml": (aluminium(more="<ffsgdml name='s'> <sGDML_model> s.npz </sGDML_model> </ffsgdml>"), ["s.npz"]),
    "property": (
        aluminium(outputs="<properties filename='out'> [ step, virial_fq(r/ref.txt;angstrom) ] </properties>"),
        ["r/ref.txt"],
    ),
    "samples": (
        aluminium(
            motion="<motion mode='scp'> <scp mode='qn'> <max_steps> 1 </max_steps> <random_type> file </random_type> "
            "</scp> </motion>"
        ),
        ["SOBOL-RNG"],
    ),
    "template": (
        aluminium().replace("{ species: Al2 }", "{ component: direct, template: t/al.xyz }"),
        ["t/al.xyz"],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_is_found_and_copied(tmp_path, kind):
    text, names = KINDS[kind]
    for name in names:
        write(tmp_path / "here" / name, ARRAY if kind in ("hessian", "charges") else XYZ % len(name))
    write(tmp_path / "here" / "al.xyz", XYZ % 2)
    if kind == "plumed":
        write(tmp_path / "here" / "plumed.dat", PLUMED)
        write(tmp_path / "here" / "more.dat", "READ FILE=even-more.txt")
    if kind == "charges":
        write(tmp_path / "here" / "bec.txt", " ".join(["1.0"] * 18))
    source = write(tmp_path / "here" / "al.xml", text)
    begun(source, tmp_path / "run")
    for name in names:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "here" / name).read_bytes(), name
    assert (tmp_path / "run" / "input.xml").read_text() == source.read_text()
    assert SimulationInput.read(tmp_path / "run" / "input.xml").total_steps == 10


@pytest.mark.parametrize("name", ["../shared/al.xyz", "R&amp;D.xyz", "RESTART", "al.out", "begun.json"])
def test_what_cannot_keep_its_place_gets_another(tmp_path, name):
    here = tmp_path / "here"
    path = write(here / name.replace("&amp;", "&"), XYZ % 2)
    source = write(here / "al.xml", aluminium(f"<file mode='xyz'> {name} </file>"))
    begun(source, tmp_path / "run")
    target = tmp_path / "run" / "files" / path.name.replace("&", "_")
    assert target.read_text() == XYZ % 2
    assert f"<file mode='xyz'> files/{target.name} </file>" in (tmp_path / "run" / "input.xml").read_text()


def test_what_plumed_refers_to_elsewhere_is_renamed_in_its_input(tmp_path):
    write(tmp_path / "shared" / "ref.pdb", "ATOM")
    write(tmp_path / "here" / "plumed.dat", "r: RMSD REFERENCE=../shared/ref.pdb TYPE=OPTIMAL\n")
    write(tmp_path / "here" / "al.xyz", XYZ % 2)
    text = aluminium(more="<ffplumed name='p'> <file mode='xyz'> al.xyz </file> </ffplumed>")
    source = write(tmp_path / "here" / "al.xml", text)
    begun(source, tmp_path / "run")
    assert (tmp_path / "run" / "plumed.dat").read_text() == "r: RMSD REFERENCE=files/ref.pdb TYPE=OPTIMAL\n"
    assert (tmp_path / "run" / "files" / "ref.pdb").read_text() == "ATOM"


def test_an_array_from_a_file_is_the_same_in_the_copy(tmp_path):
    values = np.arange(36.0).reshape(6, 6)
    np.savetxt(write(tmp_path / "shared" / "hess.dat", ""), values)
    write(tmp_path / "here" / "al.xyz", XYZ % 2)
    text = KINDS["hessian"][0].replace("h/hess.dat", "../shared/hess.dat")
    found = begun(write(tmp_path / "here" / "al.xml", text), tmp_path / "run")
    _, system = _systems(found)[0]
    np.testing.assert_array_equal(system.motion.instanton.hessian.fetch(), values)


def test_a_file_that_is_not_there_is_named(tmp_path):
    source = write(tmp_path / "al.xml", aluminium("<file mode='xyz'> data/al.xyz </file>"))
    with pytest.raises(DarkforcesError, match="refers to the file 'data/al.xyz', which does not exist .*relative"):
        begun(source, tmp_path / "run")


def test_a_name_that_i_pi_cannot_find_elsewhere_is_refused(tmp_path):
    write(tmp_path / "al.xyz", XYZ % 2)
    for bead in range(2):
        write(tmp_path / f"al.pos_{bead}.xyz", XYZ % 2)
    trajectory = "<trajectory filename='pos'> positions </trajectory>"
    motion = "<motion mode='replay'><file mode='xyz'> al.pos_*.xyz </file></motion>"
    source = write(tmp_path / "al.xml", aluminium(motion=motion, outputs=trajectory))
    with pytest.raises(DarkforcesError, match="'al.pos_0.xyz', which i-PI would find under this name only"):
        begun(source, tmp_path / "run")


def test_a_word_stays_a_word_although_there_is_a_file_of_that_name(tmp_path):
    write(tmp_path / "cpu", "not a device")
    text = aluminium(
        more="<ffdirect name='w'> <pes> mace </pes> <parameters> { device: cpu } </parameters> </ffdirect>"
    )
    simulation = SimulationInput.read(write(tmp_path / "al.xml", text))
    write(tmp_path / "al.xyz", XYZ % 2)
    placing = Placing(simulation.source, tmp_path, lambda name: False)
    placing.place(simulation.root)
    assert list(placing.files) == ["al.xyz"]
