"""The command ``darkforces stride``, as a user meets it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ase.io
import pytest
from ase.build import bulk
from calculators import FILE

Say = Callable[..., tuple[str, str, int]]
PAIR = f"fast=ase:{FILE}:rotated?forces=direct slow=ase:{FILE}:emt"
SHORT = ("--timestep", 5, "--equilibrate", 0.1, "--time", 1.5, "--max-stride", 4)


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, darkforces: Say, tmp_path: Path) -> Say:
    """Output of the command in a folder with a structure, with its exit code."""
    monkeypatch.chdir(tmp_path)
    ase.io.write(tmp_path / "metal.xyz", bulk("Al", cubic=True) * (2, 1, 1))
    return partial(darkforces, "stride")


def test_a_table_a_picture_and_advice(say: Say, tmp_path: Path) -> None:
    out, err, code = say(PAIR, "metal.xyz", *SHORT, "--plot", "mine.png")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert "8 atoms (Al 26.98 u), 1.5 ps at " in lines[0]
    assert [line.split()[0] for line in lines[4:8]] == ["1", "2", "3", "4"]
    assert lines[4].split()[2:6] == ["1.00", "0.000", "±", "0.000"]
    assert "to Al" in lines[3]
    assert "100%" in lines[7]
    assert "vibrations" in lines[7]
    assert [line.split(",")[0] for line in lines[9:13]] == ["NVE", "Langevin", "SVR", "GLE"]
    assert lines[-1] == "written: mine.png"
    assert (tmp_path / "mine.png").read_bytes().startswith(b"\x89PNG")


def test_each_species_has_its_own_share(say: Say, tmp_path: Path) -> None:
    alloy = bulk("Cu", cubic=True) * (2, 1, 1)
    alloy.symbols[0] = "Al"
    ase.io.write(tmp_path / "alloy.xyz", alloy)
    out, _, _ = say(PAIR, "alloy.xyz", *SHORT, "--thorough")
    told = json.loads(say(PAIR, "alloy.xyz", *SHORT, "--json")[0])["strides"][3]
    header, last = out.splitlines()[3], out.splitlines()[7]
    shown = dict(zip(re.findall(r"to (\w+)", header), re.findall(r"(-?\d+)%", last), strict=True))
    total = told["heating_meV_per_atom_per_ps"]["value"]
    shares = {
        name: 100.0 * each["value"] / total for name, each in told["heating_of_species_meV_per_atom_per_ps"].items()
    }
    assert {name: int(share) for name, share in shown.items()} == {name: round(share) for name, share in shares.items()}
    assert abs(shares["Al"] - shares["Cu"]) > 2.0
    table = out.splitlines()[9:14]
    assert table[0] == "growing vibrations, frozen at the last structure"
    assert [line.split()[0] for line in table[2:]] == ["2", "3", "4"]
    assert all(1.0 <= float(line.split()[1]) < 1.1 for line in table[2:])


def test_for_machines(say: Say) -> None:
    out, _, code = say(PAIR, "metal.xyz", *SHORT, "--json", "--allow", 1e9)
    found = json.loads(out)
    assert (code, found["longest_stride"]["svr"], len(found["strides"])) == (0, 4, 4)
    assert found["strides"][3]["heating_meV_per_atom_per_ps"]["value"] > 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--allow", 0], "--allow 0 cannot be used: expected K, more than zero"),
        (["--time", 0.2], "0.2 ps are too short to know errors: expected at least 0.7"),
        (["--max-stride", 10**8], "100000000 as the longest stride cannot be used: expected 2 to 100"),
        (["--hmr", 3], "there are no hydrogen atoms whose mass could be changed"),
    ],
)
def test_bad_input_is_one_line(say: Say, arguments: list[object], message: str) -> None:
    out, err, code = say(PAIR, "metal.xyz", *arguments)
    assert (out, code) == ("", 1)
    assert err.startswith(f"darkforces: error: {message}")
    assert err.count("\n") == 1
