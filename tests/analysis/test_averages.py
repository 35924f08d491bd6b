"""Averages at constant pressure and of quantum nuclei, from tables whose averages are known."""

import logging

import numpy as np
import pytest
from ipi_files import frame_text

import ipi_darkforces as dark
from ipi_darkforces.analysis.averages import Averages
from ipi_darkforces.analysis.statements import Agreement, of_averages

STEPS = np.arange(2000)
HEADS = (
    *("step", "time{femtosecond}", "temperature{kelvin}", "conserved{electronvolt}"),
    *("density{g/cm3}", "volume{angstrom3}", "pressure_cv{megapascal}", "kinetic_cv{electronvolt}"),
    "kinetic_cv(H){electronvolt}",
)


@pytest.fixture
def of_water(tmp_path, monkeypatch):
    """A run of two molecules in the current folder, with noise about the values that are given."""
    monkeypatch.chdir(tmp_path)

    def make(name, seed=0, hydrogen=0.14):
        noise = np.random.default_rng(seed).normal(size=(7, len(STEPS)))
        middle = np.array([300.0, 0.0, 0.97, 60.0, 100.0, 4 * hydrogen + 2 * 0.05, 4 * hydrogen])
        width = np.array([5.0, 1e-4, 0.01, 0.5, 50.0, 0.02, 0.02])
        rows = np.column_stack([STEPS, STEPS, (middle[:, None] + width[:, None] * noise).T])
        folder = tmp_path / name
        folder.mkdir()
        head = "".join(f"# column {i + 1:3d} --> {title} : x\n" for i, title in enumerate(HEADS))
        lines = ["  ".join(f"{number:.8e}" for number in row) for row in rows]
        (folder / "run.out").write_text(head + "".join(f"  {line}\n" for line in lines))
        labels = ["O", "H", "H"] * 2
        frames = [frame_text(step, np.ones((6, 3)) * step, labels, "velocities") for step in (0, 1, 2)]
        (folder / "run.vel_0.xyz").write_text("".join(frames))
        return name

    return make


def test_averages_have_errors_and_units(of_water):
    [found] = dark.analyze(of_water("npt"), only="averages").averages
    expected = {"density": 0.97, "volume": 60.0, "pressure": 1000.0, "K": 1000 * 0.66 / 6, "K(H)": 140.0}
    assert found.means.keys() == expected.keys()
    for title, value in expected.items():
        assert abs(found.means[title].errors_from(value)) < 4.0, title
    assert found.units["K(H)"] == "meV/atom"
    assert found.means["density"].error == pytest.approx(0.01 / np.sqrt(2000), rel=0.3)
    assert set(found.as_json()["means"]) >= {"density_g_per_cm3", "volume_A3", "pressure_bar", "K(H)_meV_per_atom"}


def test_a_second_run_is_compared_with_the_first(of_water, tmp_path):
    names = [of_water("exact"), of_water("contracted", 1), of_water("other", 2, hydrogen=0.12)]
    averages = dark.analyze(names, only="averages").averages
    of_hydrogen = [
        next(each for each in averages.statements(result) if "K(H)" in each.text) for result in averages.found
    ]
    assert [each.verdict for each in of_hydrogen] == [Agreement.MEASURED, Agreement.AGREES, Agreement.DIFFERS]
    assert of_hydrogen[2].text.endswith("it differs from that of exact.")
    averages.draw(tmp_path / "averages.png")
    assert (tmp_path / "averages.png").stat().st_size > 10_000


def test_kinetic_energies_are_set_beside_those_of_classical_atoms():
    series = {"K(H)": 140.0 + np.random.default_rng(0).normal(size=1000)}
    result = Averages("pimd", 0.001 * np.arange(1000), series, {"K(H)": "meV/atom"}, 38.78)
    [statement] = of_averages(result, None)
    assert "3.61 times that of classical atoms" in statement.text


def test_runs_that_have_none_are_not_told_so_unless_they_are_asked(of_water, tmp_path, caplog):
    text = (tmp_path / of_water("npt") / "run.out").read_text()
    plain = tmp_path / "nve"
    plain.mkdir()
    heads = text.splitlines()[:4]
    rows = ["  " + "  ".join(line.split()[:4]) for line in text.splitlines() if not line.startswith("#")]
    (plain / "run.out").write_text("\n".join([*heads, *rows]) + "\n")
    with caplog.at_level(logging.WARNING):
        found = dark.analyze([plain])
    assert "averages" not in [each.analysis.name for each in found]
    assert "averages" not in caplog.text
    with pytest.raises(dark.DarkforcesError, match="has none of density, volume"):
        dark.analyze([plain], only="averages")
    both = dark.analyze([plain, "npt"])
    assert [result.name for result in both.averages] == ["npt"]
    assert both.averages.missing == {}
