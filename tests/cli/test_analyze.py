"""The command line of ``darkforces analyze``: tables, files, and one line for what is wrong."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ipi_files import simulate, with_trajectory, write_table
from ipi_processes import INPUTS
from programs import assert_one_error, finish
from scipy.signal import lfilter

from ipi_darkforces.analysis.io.runs import Run
from ipi_darkforces.analysis.io.trajectory import Block
from ipi_darkforces.analysis.structure import correlations
from ipi_darkforces.stats.rows import write_curves


def analyze(*arguments, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "ipi_darkforces.cli.main", "analyze", *map(str, arguments)]
    return finish(command, **options)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Properties of a run that heats by 10 K/ps and of one that does not."""
    rng = np.random.default_rng(0)
    step = np.arange(2000)
    for name, slope in (("hot", 0.01), ("calm", 0.0)):
        (tmp_path / name).mkdir()
        noise = rng.normal(size=(2, 2000))
        rows = np.column_stack([step, step, 300 + slope * step + 3 * noise[0], 0.001 * slope * step + 1e-4 * noise[1]])
        write_table(tmp_path / name / "run.out", rows)
    return tmp_path


def test_a_table_of_several_runs(folder):
    done = analyze("drift", "hot", "calm", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    header, hot, calm = done.stdout.splitlines()
    assert header.split("  ")[0] == "run"
    assert "temperature drift / (K/ps)" in header
    assert hot.startswith("hot ")
    assert " ± " in hot
    assert len(header) == len(hot) == len(calm)
    value = float(hot.split()[2])
    assert value == pytest.approx(10.0, abs=1.0)


def test_json_is_for_machines(folder):
    done = analyze("drift", "hot", "calm", "--json", cwd=folder)
    found = json.loads(done.stdout)
    assert (found["question"], found["notices"]) == ("drift", [])
    assert [run["name"] for run in found["runs"]] == ["hot", "calm"]
    slope = found["runs"][0]["temperature_drift_K_per_ps"]
    assert abs(slope["value"] - 10.0) < slope["margin95"] * 2


def test_csv_and_picture(folder):
    done = analyze("temperatures", "hot", "calm", "--target", "300", "--csv", "t.csv", "--plot", "t.pdf", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "written: t.pdf" in done.stdout
    rows = list(csv.DictReader((folder / "t.csv").open()))
    assert float(rows[0]["T(all) / K"]) == pytest.approx(310.0, abs=1.0)
    assert float(rows[1]["T(all) / K"]) == pytest.approx(300.0, abs=1.0)
    assert float(rows[1]["standard error of T(all) / K"]) == pytest.approx(3 / np.sqrt(2000), rel=0.5)
    off = (float(rows[1]["T(all) / K"]) - 300.0) / float(rows[1]["standard error of T(all) / K"])
    assert float(rows[1]["off(all)"]) == pytest.approx(off)
    assert (folder / "t.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("option", ["--csv", "--plot"])
def test_nothing_is_overwritten_unasked(folder, option):
    (folder / "file.png").write_text("mine")
    done = analyze("drift", "hot", option, "file.png", cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert "'file.png' exists; choose another name, or --overwrite it" in done.stderr
    assert (folder / "file.png").read_text() == "mine"
    assert analyze("drift", "hot", option, "file.png", "--overwrite", cwd=folder).returncode == 0
    assert (folder / "file.png").read_bytes() != b"mine"


def test_equilibration_is_left_out(folder):
    done = analyze("drift", "hot", "--discard", "1.5", "--json", cwd=folder)
    assert json.loads(done.stdout)["runs"][0]["picoseconds"] == pytest.approx(0.499)


def test_one_broken_run_does_not_hide_the_others(folder):
    (folder / "broken").mkdir()
    done = analyze("drift", "broken", "hot", cwd=folder)
    assert done.returncode == 1
    assert done.stdout.splitlines()[1].startswith("hot ")
    assert done.stderr == (
        "darkforces: error: 'broken' has no outputs: looked for properties of i-PI and for trajectories\n"
    )


def test_what_is_wrong_with_a_file_is_said_and_the_rest_is_used(folder):
    text = (folder / "hot" / "run.out").read_text()
    (folder / "hot" / "run.out").write_text(text[:-20])
    done = analyze("drift", "hot", "--json", cwd=folder)
    assert done.returncode == 0
    assert "hot/run.out', line 2004: cut short" in done.stderr
    assert json.loads(done.stdout)["notices"] == ["'hot/run.out', line 2004: cut short; left out"]


def test_runs_of_the_same_name_are_told_apart(folder):
    (folder / "calm" / "hot").mkdir()
    (folder / "calm" / "run.out").rename(folder / "calm" / "hot" / "run.out")
    done = analyze("drift", "hot", "calm/hot", cwd=folder)
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["hot", "calm/hot"]


def test_a_short_run_says_so(folder):
    lines = (folder / "hot" / "run.out").read_text().splitlines()
    (folder / "hot" / "run.out").write_text("\n".join(lines[:14]) + "\n")
    done = analyze("drift", "hot", cwd=folder)
    _, line, remark = done.stdout.splitlines()
    assert line.count("?") == 2  # neither the slope is known nor its error
    assert remark == "?: the run is too short to know it"


def test_a_trajectory_of_another_program(tmp_path):
    rng = np.random.default_rng(0)
    atoms = ase.Atoms("H8", positions=rng.normal(size=(8, 3)), cell=[9, 9, 9], pbc=True)
    frames = []
    for _ in range(200):
        atoms.arrays["vel"] = rng.normal(size=(8, 3))
        frames.append(atoms.copy())
    ase.io.write(tmp_path / "md.xyz", frames, format="extxyz")
    done = analyze("temperatures", "md.xyz", "--interval", "2", "--velocity-unit", "A/ps", "--json", cwd=tmp_path)
    (run,) = json.loads(done.stdout)["runs"]
    assert run["picoseconds"] == pytest.approx(0.398)
    assert run["temperature_K"]["all"]["value"] == pytest.approx(1.008 / 0.8314, rel=0.1)  # m ⟨v²⟩ = 3 k T


# --- Spectra and structure ------------------------------------------------------------------------------------------

FRAMES, INTERVAL, FRICTION, KELVIN = 4000, 0.01, 10.0, 300.0  # ps
SYMBOLS = np.array(["Ar", "He"] * 6)
MASSES = {"Ar": 39.948, "He": 4.002602}
GAS_CONSTANT = 0.831446  # amu Å²/ps²/K


def diffusion(species: str) -> float:
    """Diffusion of the atoms below, in Å²/ps: relative to the centre of mass, and of steps instead of a path."""
    kept = np.exp(-FRICTION * INTERVAL)
    share = MASSES[species] / (6.0 * sum(MASSES.values()))
    free = GAS_CONSTANT * KELVIN / MASSES[species] * INTERVAL * 0.5 * (1 + kept) / (1 - kept)
    return free * (1.0 - share)


@pytest.fixture(scope="module")
def brownian(tmp_path_factory) -> Path:
    """Atoms in a heat bath, wrapped into their cell, hot in the first 10 ps; the file does not say its interval."""
    folder = tmp_path_factory.mktemp("brownian")
    rng = np.random.default_rng(0)
    kept = np.exp(-FRICTION * INTERVAL)
    masses = np.array([MASSES[symbol] for symbol in SYMBOLS])
    noise = rng.normal(size=(FRAMES, len(SYMBOLS), 3)) * np.sqrt(GAS_CONSTANT * KELVIN / masses)[:, None]
    velocities = lfilter([np.sqrt(1 - kept**2)], [1.0, -kept], noise, axis=0)
    velocities[:1000] = 3.0 * noise[:1000]
    positions = np.cumsum(velocities * INTERVAL, axis=0) % 9.0
    frames = []
    for x, v in zip(positions, velocities, strict=True):
        frames.append(ase.Atoms(SYMBOLS, positions=x, cell=[9, 9, 9], pbc=True))
        frames[-1].arrays["vel"] = v
    ase.io.write(folder / "gas.xyz", frames, format="extxyz")
    ase.io.write(folder / "short.xyz", frames[:40], format="extxyz")
    ase.io.write(folder / "shorter.xyz", frames[:10], format="extxyz")
    return folder


UNITS = ("--interval", "10", "--velocity-unit", "A/ps")


def columns_of(path: Path, run: str) -> dict[str, np.ndarray]:
    """The columns of a run, as far as they go."""
    rows = [row for row in csv.DictReader(path.open()) if row.pop("run") == run]
    return {name: np.array([float(row[name]) for row in rows if row[name]]) for name in rows[0]}


def test_spectra_find_temperature_and_diffusion(brownian, tmp_path):
    files = ("--csv", tmp_path / "t.csv", "--data", tmp_path / "c.csv", "--plot", tmp_path / "p.png")
    done = analyze("spectra", "gas.xyz", *UNITS, "--discard", "10", *files, cwd=brownian)
    assert done.returncode == 0, done.stderr
    assert "gas: " in done.stderr
    assert "jumps of half a cell" in done.stderr
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [(row["run"], row["species"]) for row in rows] == [("gas", "all"), ("gas", "Ar"), ("gas", "He")]
    for row in rows:
        error = float(row["standard error of T / K"])
        assert error < 15.0
        assert abs(float(row["T / K"]) - KELVIN) < 4.0 * error
        assert float(row["time / ps"]) == pytest.approx(29.99)
    for row in rows[1:]:
        for title in ("D(ω → 0) / (Å²/ps)", "D(displacements) / (Å²/ps)"):
            error = float(row[f"standard error of {title}"])
            assert error < 0.3 * diffusion(row["species"])
            assert abs(float(row[title]) - diffusion(row["species"])) < 4.0 * error
    curves = columns_of(tmp_path / "c.csv", "gas")
    step = curves["wavenumber_per_cm"][1]
    area = step * (curves["all_K_cm"].sum() - 0.5 * curves["all_K_cm"][0] - 0.5 * curves["all_K_cm"][-1])
    assert area == pytest.approx(curves["all_K"][0], rel=1e-3)
    for row in rows:  # frames in the middle of segments count more in the curves
        assert curves[f"{row['species']}_K"][0] == pytest.approx(float(row["T / K"]), rel=0.02)
    assert curves["lag_ps"][1] == pytest.approx(INTERVAL)
    assert (np.diff(curves["He_A2"]) > 0).all()
    assert len(curves["He_A2"]) == len(curves["moved_for_ps"]) < len(curves["lag_ps"])
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_spectra_for_machines(brownian):
    def refuse(constant):
        raise AssertionError(constant)

    done = analyze("spectra", "gas.xyz", "short.xyz", *UNITS, "--json", cwd=brownian)
    found = json.loads(done.stdout, parse_constant=refuse)
    gas, short = found["runs"]
    assert gas["temperature_K"]["all"]["value"] > 1.5 * KELVIN  # nothing was discarded
    assert gas["displacements"]["diffusion_A2_per_ps"]["He"]["value"] > 0.0
    assert short["diffusion_A2_per_ps"]["He"]["error"] is None
    assert short["displacements"] is None
    assert "short: too short for error bars" in found["notices"]
    assert (
        "short: no displacements from positions: the trajectory has 40 frames: expected at least 48 for displacements"
    ) in found["notices"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gas.xyz"], "'gas.xyz' does not say how far apart its frames are, so there is no spectrum; give --interval"),
        (["shorter.xyz", *UNITS], "'shorter.xyz': the trajectory has 10 frames: expected at least 32 for a spectrum"),
        (["gas.xyz", *UNITS, "--discard", "50"], "'gas.xyz' has 39.99 ps, and nothing is left without the first 50 ps"),
    ],
)
def test_there_is_no_spectrum(brownian, arguments, message):
    done = analyze("spectra", *arguments, cwd=brownian)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"darkforces: error: {message}\n"


@pytest.fixture(scope="module")
def water(tmp_path_factory) -> Path:
    """Water whose atoms tremble, in two strengths; and one without a cell."""
    folder = tmp_path_factory.mktemp("water")
    rng = np.random.default_rng(1)
    atoms = ase.io.read(INPUTS / "water.xyz")
    for name, strength in (("cold", 0.02), ("warm", 0.06)):
        frames = [atoms.copy() for _ in range(40)]
        for frame in frames:
            frame.positions += rng.normal(0.0, strength, size=(192, 3))
        ase.io.write(folder / f"{name}.xyz", frames, format="extxyz")
    atoms.set_cell(None)
    atoms.set_pbc(False)
    ase.io.write(folder / "drop.xyz", [atoms, atoms], format="extxyz")
    return folder


def test_structure_finds_peaks_and_writes_the_functions(water, tmp_path):
    files = ("--csv", tmp_path / "t.csv", "--data", tmp_path / "g.csv", "--plot", tmp_path / "p.pdf")
    done = analyze("structure", "cold.xyz", "warm.xyz", "--farthest", "4", *files, cwd=water)
    assert (done.returncode, done.stderr) == (0, "")
    rows = {(row["run"], row["function"]): row for row in csv.DictReader((tmp_path / "t.csv").open())}
    assert {function for _, function in rows} == {"g_OO", "g_OH", "g_HH", "c_uu"}
    assert len(rows) == 8
    assert float(rows["cold", "g_OH"]["first peak / Å"]) == pytest.approx(0.97, abs=0.05)
    assert float(rows["cold", "g_OH"]["standard error of first peak / Å"]) < 0.02
    # The same bonds, spread wider.
    assert float(rows["warm", "g_OH"]["height"]) < 0.8 * float(rows["cold", "g_OH"]["height"])
    frames = ase.io.read(water / "warm.xyz", ":")
    block = Block(np.arange(40.0), np.array([a.positions for a in frames]), np.array([a.cell[:] for a in frames]))
    expected = correlations("warm", [block], frames[0].get_chemical_symbols(), farthest=4.0)
    found = columns_of(tmp_path / "g.csv", "warm")
    assert found["distance_A"][-1] == pytest.approx(3.975)
    for key in ("g_OO", "g_OH", "g_HH"):
        np.testing.assert_allclose(found[key], expected.functions[key].values, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(found[f"{key}_error"], expected.functions[key].errors, rtol=1e-5, atol=1e-7)
    known = expected.functions["c_uu"].values
    np.testing.assert_allclose(found["c_uu"], known[np.isfinite(known)], rtol=1e-5, atol=1e-7)
    assert (tmp_path / "p.pdf").read_bytes().startswith(b"%PDF")


def test_the_beginning_is_no_part_of_the_structure(water):
    done = analyze("structure", "cold.xyz", "--interval", "1", "--discard", "0.03", "--json", cwd=water)
    (run,) = json.loads(done.stdout)["runs"]
    assert run["frames"] == 10
    done = analyze("structure", "cold.xyz", "--discard", "0.03", cwd=water)
    assert "discarding 0.03 ps means nothing; give --interval" in done.stderr


def test_without_a_cell_there_is_no_density(water):
    done = analyze("structure", "drop.xyz", cwd=water)
    assert done.returncode == 1
    assert done.stderr.startswith("darkforces: error: 'drop.xyz': there is no cell, so no density")


def test_spectra_and_structure_of_a_run_of_ipi(tmp_path):
    """Velocities in atomic units, positions in Å: temperatures follow from those that i-PI itself printed."""
    simulate(
        "svr-direct",
        tmp_path / "run",
        60,
        with_trajectory("fast", "velocities"),
        with_trajectory("near", "positions{angstrom}", cell_units="angstrom"),
    )
    found = [
        json.loads(analyze(question, "run", "--json", cwd=tmp_path).stdout)["runs"][0]
        for question in ("spectra", "structure")
    ]
    assert found[0]["interval_ps"] == pytest.approx(0.0005)
    assert set(found[0]["displacements"]["diffusion_A2_per_ps"]) == {"O", "H"}
    (table,) = Run.read(tmp_path / "run", pytest.fail).tables
    for species, column, atoms, mass in (
        ("all", "temperature", 192, 64 * 18.0153),
        ("O", "temperature(O)", 64, 64 * 15.9994),
        ("H", "temperature(H)", 128, 128 * 1.00794),
    ):
        # i-PI counts the share of the centre of mass at 300 K instead of leaving it out.
        share = mass / (64 * 18.0153)
        expected = (atoms * table.columns[column].mean() - share * 300.0) / (atoms - share)
        assert found[0]["temperature_K"][species]["value"] == pytest.approx(expected, rel=1e-4)
    assert found[1]["frames"] == 61
    assert found[1]["first_peak_A"]["g_OO"]["value"] == pytest.approx(2.75, abs=0.1)


def test_curves_may_end_anywhere(tmp_path):
    one = {"x_ps": np.array([0.0, 1.0, 2.0]), "y": np.array([1.0, np.nan, 1 / 3]), "z": np.array([5.0])}
    write_curves([("one", one), ("other, run", {"y": np.array([7.0])})], tmp_path / "c.csv")
    assert (tmp_path / "c.csv").read_text().splitlines() == [
        "run,x_ps,y,z",
        "one,0,1,5",
        "one,1,,",
        "one,2,0.3333333,",
        '"other, run",,7,',
    ]


def test_what_has_no_curves_has_no_data():
    done = analyze("drift", "hot", "--data", "curves.csv")
    assert done.returncode == 2
    assert "unrecognized arguments: --data" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["drift", "missing"], "'missing' does not exist"),
        (["drift", "hot", "--discard", "-1"], "--discard -1 is not a time"),
        (["drift", "hot", "--discard", "100"], "nothing is left without the first 100 ps"),
        (["temperatures", "hot", "--target", "0"], "--target 0 cannot be used: expected K, more than zero"),
        (["temperatures", "hot", "--target", "inf"], "--target inf cannot be used: expected K, more than zero"),
        (["temperatures", "hot", "--interval", "nan"], "--interval nan cannot be used: expected fs, more than zero"),
        (["drift", "hot", "--plot", "picture.txt"], "'picture.txt' has no suffix of a picture: expected one of"),
        (["drift", "hot", "--plot", "nowhere/picture.png"], "there is no folder 'nowhere'"),
        (["weather", "hot"], "darkforces: error: 'weather' is neither a file or folder"),
        (["spectra", "hot"], "'hot' has no velocities: add <trajectory filename='vel'>"),
        (["structure", "hot"], "'hot' has no positions: add <trajectory filename='pos'>"),
        (["structure", "hot", "--farthest", "nan"], "--farthest nan cannot be used: expected Å, more than zero"),
        (["structure", "hot", "--data", "nowhere/g.csv"], "there is no folder 'nowhere'"),
        (["spectra", "hot", "--data", "a.csv", "--csv", "a.csv"], "'a.csv' is to be written twice"),
    ],
)
def test_what_is_wrong_is_one_line(folder, arguments, message):
    done = analyze(*arguments, cwd=folder)
    assert_one_error(done.returncode, done.stdout, done.stderr, message)


@pytest.mark.parametrize("arguments", [[], ["drift"], ["temperatures"], ["spectra"], ["structure"]])
def test_help_is_a_page(arguments):
    done = analyze(*arguments, "--help")
    assert done.returncode == 0
    assert "RUN" in done.stdout
