"""The scripts of ``darkforces completion``, as shells use them."""

from __future__ import annotations

import argparse
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from programs import finish

from ipi_darkforces.cli import completion

PROGRAMS = ("darkforces", "i-pi-darkdriver")
# Bash calls the function with the program, the word to be completed, and the one before it.
ASK = """
source {script}
COMP_WORDS=({words} "{begun}")
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_shtab_{function} {program} "{begun}" "${{COMP_WORDS[COMP_CWORD - 1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script of each program for each shell, and some files."""
    folder = tmp_path_factory.mktemp("completion")
    for program in PROGRAMS:
        for shell in ("bash", "zsh"):
            with (folder / f"{program}.{shell}").open("w") as file, redirect_stdout(file):
                completion.run(argparse.Namespace(shell=shell, program=program))
    (folder / "water.xyz").touch()
    (folder / "water").mkdir()
    return folder


@pytest.mark.parametrize(
    ("words", "begun", "candidates"),
    [
        ("darkforces", "st", {"stride"}),
        ("darkforces run --model", "pet-m", {"pet-m"}),
        ("darkforces stride", "pet-x", {"pet-xs"}),
        ("darkforces stride pet-m", "wat", {"water.xyz", "water"}),
        ("darkforces run --output", "wat", {"water"}),
        ("darkforces run --ensemble", "s", {"svr"}),
        ("darkforces analyze", "dr", {"drift"}),
        ("darkforces analyze drift water", "--pl", {"--plot"}),
        ("i-pi-darkdriver", "--comp", {"--component"}),
        ("i-pi-darkdriver --model", "pet-x", {"pet-xs"}),
    ],
)
def test_bash(words: str, begun: str, candidates: set[str], scripts: Path) -> None:
    program = words.split()[0]
    function = program.replace("-", "_")
    ask = ASK.format(script=scripts / f"{program}.bash", program=program, function=function, words=words, begun=begun)
    done = finish(["bash", "--norc", "-c", ask], cwd=scripts)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == candidates


@pytest.mark.parametrize("program", PROGRAMS)
def test_zsh(program: str, scripts: Path) -> None:
    """The script can be read, where there is such a shell, and has the names of models."""
    script = scripts / f"{program}.zsh"
    assert script.read_text().startswith(f"#compdef {program}\n")
    assert "'models:model:(pet-m " in script.read_text()
    if shutil.which("zsh"):
        assert finish(["zsh", "-n", script]).returncode == 0
