"""Temperatures: those of i-PI to the last digit, and the statement about a target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import ase
import ase.io
import ase.units
import numpy as np
import pytest
from ipi.scripting import read_output
from ipi_files import simulate, with_motion, with_trajectory, without_temperature
from ipi_processes import read_run

from ipi_darkforces.analysis import temperatures
from ipi_darkforces.analysis.io.runs import AS_WRITTEN, Reading, Run
from ipi_darkforces.analysis.io.trajectory import Frame, Trajectory
from ipi_darkforces.analysis.io.units import factor_from_ipi
from ipi_darkforces.analysis.pictures import OTHER_COLORS
from ipi_darkforces.analysis.selection import Selection
from ipi_darkforces.analysis.temperatures import Temperatures, draw, from_velocities, measure
from ipi_darkforces.errors import DarkforcesError


@dataclass(frozen=True)
class InMemory:
    """Frames that come from no file."""

    values: np.ndarray

    def frames(self, progress: object, notice: object) -> Iterator[Frame]:
        for i, values in enumerate(self.values):
            yield Frame(0.0005 * i, values, np.zeros((3, 3)), f"frame {i}")


def read(path: Path, reading: Reading = AS_WRITTEN) -> Run:
    notices: list[str] = []
    run = Run.read(path, notices.append, reading)
    assert notices == []
    return run


def with_all_digits(run: Run, folder: Path) -> Trajectory:
    """The velocities of a run, from the momenta in its checkpoints."""
    trajectory = run.trajectory("velocities")
    momenta = read_run(folder)["momenta"][:, 0]
    momenta = momenta.reshape(len(momenta), -1, 3)
    values = momenta / (trajectory.masses[:, None] * 1822.8885) * factor_from_ipi("velocity", None)
    return replace(trajectory, source=InMemory(values))


CASES = {
    "nvt": ("svr-direct", ()),
    "nve": ("nve-direct", ()),
    "centre of mass moves": ("svr-direct", (with_motion("fixcom", "False"),)),
    "fixed atoms": ("svr-direct", (with_motion("fixcom", "False"), with_motion("fixatoms", "[ 1, 70, 80 ]"))),
    "no temperature": ("nve-direct", (without_temperature,)),
}


@pytest.mark.parametrize("case", CASES)
def test_they_are_those_of_ipi(tmp_path, case):
    name, edits = CASES[case]
    folder = simulate(name, tmp_path / "run", 5, with_trajectory("vel", "velocities"), *edits)
    run = read(folder)
    expected, _ = read_output(str(folder / "run.out"))
    _, exact = from_velocities(with_all_digits(run, folder), run.constraints, Selection())
    time, written = from_velocities(run.trajectory("velocities"), run.constraints, Selection())
    fixed = {"all": 9, "O": 3, "H": 6} if case == "fixed atoms" else {"all": 0, "O": 0, "H": 0}
    for (species, n_fixed), n in zip(fixed.items(), (3 * 192, 3 * 64, 3 * 128), strict=True):
        # i-PI has coordinates that do not move at the temperature of the ensemble.
        ipi = expected["temperature" if species == "all" else f"temperature({species})"]
        moving = (n * ipi - n_fixed * 300.0) / (n - n_fixed)
        np.testing.assert_allclose(exact[species], moving, rtol=1e-10, err_msg=species)
        np.testing.assert_allclose(written[species], moving, rtol=1e-5, err_msg=species)  # six digits
        if case == "fixed atoms":
            column = "temperature" if species == "all" else f"temperature({species})"
            np.testing.assert_allclose(run.tables[0].columns[column], moving, rtol=1e-10, err_msg=species)
    np.testing.assert_allclose(time, 1e-3 * expected["time"], atol=1e-12)


def test_properties_are_taken_where_they_have_all_species(harmonic):
    result = measure(read(harmonic), Selection())
    expected, _ = read_output(str(harmonic / "run.out"))
    assert (result.source, result.target) == ("properties", pytest.approx(300.0))
    np.testing.assert_array_equal(result.series["O"], expected["temperature(O)"])


def test_else_velocities(harmonic):
    run = read(harmonic)
    table = run.tables[0]
    less = replace(table, columns={k: v for k, v in table.columns.items() if k != "temperature(H)"})
    result = measure(replace(run, tables=(less,)), Selection())
    assert result.source == "velocities"
    np.testing.assert_allclose(result.series["H"], table.columns["temperature(H)"], rtol=1e-5)
    alone = measure(replace(run, tables=(less,), trajectories=()), Selection())
    assert alone.source == "properties"
    assert set(alone.series) == {"all", "O"}
    with pytest.raises(DarkforcesError, match="no table of temperature"):
        measure(replace(run, tables=(), trajectories=()), Selection())


def test_those_of_atoms_beads_and_normal_modes_are_no_species(harmonic):
    run = read(harmonic)
    table = run.tables[0]
    others = {f"temperature({of})": table.columns["temperature"] for of in ("17", "nm=0", "bead=1", "O;nm=2")}
    result = measure(replace(run, tables=(replace(table, columns=table.columns | others),)), Selection())
    assert set(result.series) == {"all", "O", "H"}


@pytest.mark.parametrize(
    ("picoseconds", "of_each_atom", "known"),
    [(4.0, False, False), (20.0, False, True), (4.0, True, True), (4.0, None, True)],
)
def test_before_species_have_exchanged_energy_their_errors_are_not_known(harmonic, picoseconds, of_each_atom, known):
    run = read(harmonic)
    table = run.tables[0]
    rng = np.random.default_rng(1)
    columns = {name: 300.0 + rng.normal(size=2000) for name in ("temperature", "temperature(O)", "temperature(H)")}
    table = replace(table, step=np.arange(2000), time=np.arange(2000) * picoseconds / 2000, columns=columns)
    notices: list[str] = []
    result = measure(
        replace(run, tables=(table,), of_each_atom=of_each_atom), Selection(discard=1.0, notice=notices.append)
    )
    assert result.means["all"].error is not None
    assert (result.means["O"].error is not None) is known
    assert (result.above_all["H"].error is not None) is known
    assert result.means["O"].value == pytest.approx(300.0, abs=0.2)
    assert len(notices) == (0 if known else 1)


@pytest.mark.parametrize("moving", [False, True])
def test_velocities_of_ase(tmp_path, moving):
    """3 N - 3 degrees of freedom where the centre of mass is at rest: what was put in comes out."""
    rng = np.random.default_rng(0)
    atoms = ase.Atoms("O20H40", cell=[9, 9, 9], pbc=True)
    atoms.positions = rng.random((60, 3)) * 9
    frames, masses = [], atoms.get_masses()[:, None]
    for _ in range(1200):
        momenta = rng.normal(size=(60, 3)) * np.sqrt(masses * ase.units.kB * 400.0)
        if not moving:
            momenta -= masses * momenta.sum(axis=0) / masses.sum()
        frames.append(atoms.copy())
        frames[-1].set_momenta(momenta)
    ase.io.write(tmp_path / "md.extxyz", frames)
    result = measure(read(tmp_path / "md.extxyz", Reading(interval=0.001)), Selection(target=400.0))
    for species, mean in result.means.items():
        assert abs(mean.value - 400.0) < 4.0 * mean.error, species
        assert mean.error < 3.0
        assert abs(result.deviations[species]) < 4.0
    if moving:
        np.testing.assert_allclose(result.series["all"], [a.get_temperature() for a in frames], rtol=1e-4)


def test_the_beginning_can_be_left_out(harmonic):
    whole, rest = (measure(read(harmonic), Selection(discard=discard)) for discard in (0.0, 0.002))
    np.testing.assert_array_equal(rest.series["all"], whole.series["all"][4:])
    velocities = replace(read(harmonic), tables=())
    assert len(measure(velocities, Selection(discard=0.002)).time) == 9
    with pytest.raises(DarkforcesError, match="has 0.006 ps, and nothing is left without the first 1 ps"):
        measure(velocities, Selection(discard=1.0))


def test_frames_without_times_cannot_be_discarded(tmp_path):
    atoms = ase.Atoms("H2", positions=np.eye(3)[:2], momenta=np.eye(3)[:2], cell=[9, 9, 9], pbc=True)
    ase.io.write(tmp_path / "md.extxyz", [atoms] * 3)
    assert len(measure(read(tmp_path / "md.extxyz"), Selection()).time) == 3
    with pytest.raises(DarkforcesError, match="discarding 1 ps means nothing; give --interval"):
        measure(read(tmp_path / "md.extxyz"), Selection(discard=1.0))


def test_atoms_of_unknown_mass(frames, tmp_path):
    path = tmp_path / "run.vel_0.xyz"
    path.write_text("".join(frames([0, 1], "velocities{atomic_unit}")).replace("       O", "      Qq"))
    with pytest.raises(DarkforcesError, match="has atoms 'Qq', whose mass is not known"):
        measure(read(path), Selection())


@pytest.fixture
def made_up() -> Temperatures:
    """Oxygen is 10 K too hot, hydrogen 5 K too cold."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0.0, 20.0, size=(2, 400))
    series = {"all": 300.0 + noise.sum(axis=0), "O": 310.0 + noise[0], "H": 295.0 + noise[1]}
    return Temperatures("svr-direct", "velocities", 300.0, np.linspace(0, 4, 400), series)


def test_how_far_from_the_target(made_up):
    assert made_up.means["O"].value == pytest.approx(310.0, abs=4.0)
    assert made_up.deviations["O"] == pytest.approx(10.0, abs=4.0)
    assert made_up.deviations["H"] == pytest.approx(-5.0, abs=4.0)
    assert abs(made_up.deviations["all"]) < 4.0
    text = made_up.as_json()
    assert text["temperature_K"]["O"]["error"] == pytest.approx(1.0, abs=0.3)
    assert text["standard_errors_above_target"]["O"] == made_up.deviations["O"]
    without = replace(made_up, target=None)
    assert without.deviations == {"all": None, "O": None, "H": None}


def test_a_short_run_does_not_say_how_far(made_up):
    short = replace(made_up, time=made_up.time[:5], series={k: v[:5] for k, v in made_up.series.items()})
    assert short.deviations == {"all": None, "O": None, "H": None}


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_pictures(made_up, tmp_path, suffix):
    path = tmp_path / f"picture{suffix}"
    shorter = replace(made_up, name="short", series={k: v[:5] for k, v in made_up.series.items()})
    draw([made_up, shorter, replace(made_up, series={"all": made_up.series["all"]})], path)
    assert path.read_bytes().startswith(b"\x89PNG" if suffix == ".png" else b"%PDF")


def test_what_a_picture_shows(made_up, tmp_path, monkeypatch):
    """The axis is the deviation if there is a target, and each mean is where it belongs."""
    shown: list[tuple[float, str]] = []
    monkeypatch.setattr(temperatures, "_draw_mean", lambda axis, mean, height, color: shown.append((mean.value, color)))
    draw([made_up], tmp_path / "picture.png")
    assert shown == [
        (made_up.means["all"].value - 300.0, "black"),
        (made_up.means["O"].value - 300.0, OTHER_COLORS[0]),
        (made_up.means["H"].value - 300.0, OTHER_COLORS[1]),
    ]
    shown.clear()
    draw([made_up, replace(made_up, target=None)], tmp_path / "picture.png")
    assert [value for value, _ in shown][:2] == [made_up.means["all"].value] * 2


def test_nobody_knows_how_long_frames_took_that_do_not_say_it(tmp_path, frames):
    """i-PI's files count steps; how long these are, its properties or its input say."""
    file = tmp_path / "run.vel_0.xyz"
    file.write_text("".join(frames(range(0, 100, 10), "velocities{m/s}")))
    found = temperatures.measure(Run.read(file, pytest.fail), Selection(notice=lambda text: None))
    assert found.duration is None
    assert found.as_json()["picoseconds"] is None
    with_interval = Run.read(file, pytest.fail, Reading(interval=0.002))
    assert temperatures.measure(with_interval, Selection(notice=lambda text: None)).duration == pytest.approx(0.018)
