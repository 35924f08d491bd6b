"""The command lines: help, lists, exit codes, and one line for what is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest
from programs import PATIENCE, assert_one_error, finish

from ipi_darkforces import __version__
from ipi_darkforces.cli.commands import COMMANDS

ROOT = Path(__file__).parents[2]
WATER = ("run", "--structure", "water.xyz", "--model", "pet-m")


def darkforces(*arguments, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "ipi_darkforces.cli.main", *map(str, arguments)]
    return finish(command, **options)


@pytest.mark.parametrize(("arguments", "words"), [([], "run inputs"), (["run"], "--structure"), (["models"], "--json")])
def test_help_is_a_page(arguments, words):
    done = darkforces(*arguments, "--help")
    assert done.returncode == 0
    assert words in done.stdout


@pytest.mark.parametrize(
    ("modules", "slow"),
    [
        ("ipi_darkforces.cli.run, ipi_darkforces.cli.driver", {"ipi", "scipy", "matplotlib", "torch", "ase.io"}),
        ("ipi_darkforces.cli.running", {"scipy.stats", "scipy.signal", "matplotlib", "torch"}),
    ],
    ids=["help", "start of a run"],
)
def test_nothing_is_imported_that_is_not_needed_at_once(modules, slow):
    done = finish([sys.executable, "-c", f"import {modules}, sys; print(*sys.modules)"])
    assert not slow & set(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["models", "pet-q"], "did you mean 'pet-"),
        (["run", "--model", "pet-m"], "what shall be run?"),
        (["run", "missing.xml", "--model", "pet-m"], "'missing.xml' does not exist"),
        (["run", "no/nve-mts4.xml", "--model", "pet-m"], "`darkforces inputs nve-mts4` copies the one that comes with"),
        (["run", "--structure", "missing.xyz", "--model", "pet-m"], "'missing.xyz' does not exist"),
        (["run", "water.xyz", "--model", "pet-m"], "is not XML"),
        (["run", "nve-direct.xml", "--model", "pet-m", "--steps", "0"], "--steps 0 is not a number of steps"),
        (["run", "nve-direct.xml", "--model", "pet-m", "--time", "-1"], "--time -1 is not a time"),
        (["run", "nve-direct.xml", "--model", "pet-m", "--time", "1e300"], "time 1e+300 ps has 2e+303 steps of 0.5 fs"),
        (["run", "nve-direct.xml", "--model", "pet-m", "--time", "inf"], "--time inf is not a time"),
        (["run", "nve-mts4.xml", "--model", "pet-m", "--mts", "8"], "--mts is for --structure; 'nve-mts4.xml' says"),
        ([*WATER, "--mts", "4", "--forces", "direct"], "expected no --forces"),
        ([*WATER, "--tau", "10"], "ensemble 'nve' has no thermostat"),
        ([*WATER, "--timestep", "0"], "--timestep 0 cannot be used: expected fs, more than zero"),
        ([*WATER, "--temperature", "-5"], "--temperature -5 cannot be used"),
        ([*WATER, "--ensemble", "svr", "--tau", "nan"], "--tau nan cannot be used"),
        (["run", "nve-direct.xml", "nve-direct.xml", "--model", "pet-m"], "the same name"),
        ([*WATER, "--mts", "0"], "--mts 0 is not a stride"),
        (["run", "nve-direct.xml", "--model", "pet-q"], "did you mean 'pet-"),
        (["run", "nve-direct.xml", "--model", "my.pt"], "model file 'my.pt' does not exist"),
        (["run", "nve-direct.xml", "--model", "pet-m", "-o", "size=2"], "model 'pet-m' has no options"),
        (["run", "nve-mts4.xml", "--model", "pet-m", "--warn-above", "-3"], "--warn-above -3.0 cannot be used"),
        ([*WATER, "--ensemble", "svr"], "needs the time constant"),
        ([*WATER, "--pressure", "1"], "--pressure is for constant pressure: expected --ensemble npt"),
        ([*WATER, "--ensemble", "npt", "--pressure", "1 apple"], "'1 apple' is not a pressure: expected a number"),
        ([*WATER, "--ensemble", "npt", "--barostat-tau", "0"], "--barostat-tau 0 cannot be used"),
        ([*WATER, "--ensemble", "svr", "--tau", "10", "--beads", "4"], "'svr' is not known for 4 beads: expected pile"),
        ([*WATER, "--ensemble", "pile"], "'pile' is the thermostat of path integrals: expected --beads P"),
        ([*WATER, "--beads", "0"], "--beads 0 is not a number of beads"),
        ([*WATER, "--beads", "4", "--slow-beads", "2"], "expected --mts M too"),
        ([*WATER, "--beads", "4", "--mts", "4", "--slow-beads", "8"], "--slow-beads 8 cannot be used: expected 1 to 4"),
        ([*WATER, "--hmr", "3", "--beads", "4"], "--hmr 3 is for classical atoms"),
        ([*WATER, "--hmr", "9"], "hydrogen atoms of 9 u leave atoms of"),
        (["run", "nve-mts4.xml", "--model", "pet-m", "--deuterium"], "--deuterium is for --structure"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_nothing_behind(arguments, message):
    before = set((ROOT / "inputs").iterdir())
    done = darkforces(*arguments, cwd=ROOT / "inputs")
    assert set((ROOT / "inputs").iterdir()) == before
    assert_one_error(done.returncode, done.stdout, done.stderr, message)


BLOCKED = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""
COMMAND = """
from ipi_darkforces.cli.main import main
main()
"""
EACH_HELP = """
for command in {commands}:
    sys.argv[1:] = [*filter(None, [command]), "--help"]
    try:
        main()
    except SystemExit as end:
        assert not end.code, command
"""
EACH_SCRIPT = """
import runpy
sys.argv[1:] = ["--help"]
for script in {scripts}:
    sys.path.insert(0, script.rpartition("/")[0])
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        assert not end.code, script
    sys.path.pop(0)
"""
# What the package itself depends on, but for i-PI, ase, and what these need.
BEYOND_IPI_AND_ASE = (
    "tqdm",
    "yaml",
    "torch",
    "metatensor",
    "metatomic",
    "metatrain",
    "vesin",
    "snakemake",
    "omegaconf",
)


def without(packages, code, *arguments, **options) -> subprocess.CompletedProcess:
    """Run code in an environment without some packages."""
    start = BLOCKED.replace("{packages}", repr(packages))
    return subprocess.run(
        [sys.executable, "-c", start + code, *arguments], capture_output=True, text=True, timeout=PATIENCE, **options
    )


def test_a_package_that_is_missing_is_one_line(tmp_path):
    done = without(("tqdm",), COMMAND, "run", str(ROOT / "inputs" / "nve-direct.xml"), "--model", "pet-m", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "darkforces: error: the package 'tqdm' is not installed here: pip install tqdm\n"
    assert list(tmp_path.iterdir()) == []


def test_help_needs_nothing_but_ipi_and_ase():
    code = COMMAND.replace("main()\n", EACH_HELP.replace("{commands}", repr(["", *COMMANDS])))
    done = without(BEYOND_IPI_AND_ASE, code)
    assert (done.returncode, done.stderr) == (0, "")
    assert [name for name in COMMANDS if f"usage: darkforces {name} " not in done.stdout] == []


SCRIPTS = [
    *(f"training/{name}.py" for name in ("sample", "stretch", "curves", "report")),
    *(f"inputs/{name}.py" for name in ("make_inputs", "make_materials", "make_start")),
]


def test_help_of_scripts_needs_nothing_but_ipi_and_ase(tmp_path):
    code = EACH_SCRIPT.replace("{scripts}", repr([str(ROOT / script) for script in SCRIPTS]))
    done = without((*BEYOND_IPI_AND_ASE, "pyscf", "sevenn", "metatomic_ase"), code, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [script for script in SCRIPTS if f"python {script}" not in done.stdout] == []
    assert list(tmp_path.iterdir()) == []


def test_version_is_said_without_any_of_it():
    done = without((*BEYOND_IPI_AND_ASE, "ase", "ipi", "numpy", "scipy", "matplotlib"), COMMAND, "--version")
    assert (done.returncode, done.stdout) == (0, f"darkforces {__version__}\n")


def test_an_option_that_does_not_exist_is_refused():
    done = darkforces("run", "--modle", "pet-m")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_ci_runs_the_test_command_of_the_readme():
    readme = (ROOT / "README.md").read_text()
    ci = (ROOT / ".ci" / "run").read_text()
    assert "\nbash tests/run.sh\n" in readme
    assert "exec bash tests/run.sh" in ci


def test_every_input_that_the_readme_names_is_there():
    words = (ROOT / "README.md").read_text().split()
    named = {word.strip("`(),:;.") for word in words if word.startswith(("inputs/", "`inputs/", "(`inputs/"))}
    missing = [name for name in named if not (ROOT / name).exists()]
    assert named
    assert missing == []
