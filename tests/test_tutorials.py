"""Tutorials work: each command and each block of Python in `docs/tutorials`, for a few steps."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from programs import finish

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
# Of the lengths that tutorials give, what is enough to see that they work.
SHORT = {
    r"--time 0\.5\b": "--time 0.004",
    r"--time 0\.6\b": "--time 0.006",
    r"--time 0\.05\b": "--time 0.004",
    r"--evaluations 200 --steps 1000": "--evaluations 40 --steps 24",
    r"(--mts 10 .*) --steps 20": r"\1 --steps 2",
    r"(darkforces jacobian pet-m) inputs/water\.xyz": r"\1 inputs/water-16.xyz",
    r"(darkforces work pet-m) inputs/water\.xyz": r"\1 inputs/water-16.xyz --tolerance 5",
    r"(darkforces assess).*": r"\1 --help",  # tests/cli/test_assess.py runs it
    r"(darkforces stride).*": r"\1 --help",  # a minute at least; tests/cli/test_stride.py runs it with a fast model
}
PROGRAMS = {"darkforces": "ipi_darkforces.cli.main", "i-pi-darkdriver": "ipi_darkforces.cli.driver"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_all_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))  # where distilled models go
    (tmp_path / "inputs").symlink_to(ROOT / "inputs")
    blocks = re.findall(r"```(bash|python)\n(.*?)```", page.read_text(), re.DOTALL)
    assert blocks
    for language, block in blocks:
        for long, short in SHORT.items():
            block = re.sub(long, short, block)
        for command in commands(language, block):
            done = finish(command, cwd=tmp_path, fork_code=True)
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def commands(language: str, block: str) -> list[list[str]]:
    """A block as programs, ours as modules, which start faster in tests."""
    if language == "python":
        return [[sys.executable, "-c", block]]
    lines = block.replace("\\\n", " ").splitlines()
    if all(line.partition(" ")[0] in PROGRAMS for line in lines):
        split = [shlex.split(line, comments=True) for line in lines]
        return [[sys.executable, "-m", PROGRAMS[name], *words] for name, *words in split]
    return [["bash", "-e", "-c", block]]
