"""Reports on a run in split mode, of the driver, of i-PI and to those who watch; with real i-PI."""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ET
from pathlib import Path

import ase.units
import numpy as np
import pytest
from ipi_processes import INPUTS, prepare, with_beads

from ipi_darkforces import Need, Structure
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.registry.load import ModelChoice, load_model
from ipi_darkforces.simulate.inputs import SimulationInput
from ipi_darkforces.simulate.run import Progress, run
from ipi_darkforces.split.disagreement import EXTRAS, Disagreement
from ipi_darkforces.split.monitor import TOO_FAR, Watch, checked_limit

SPECIES = np.array([8, 1, 1])


def extras(path: Path) -> np.ndarray:
    """An output of i-PI, one row for each step."""
    return np.atleast_2d(np.loadtxt(path, comments="#"))


def simulate(folder: Path, steps: int, *edits, **options) -> list[Progress]:
    """Run nve-mts2, with an output of extras of the user's own; return what was reported."""

    def with_extras(root: ET.Element) -> None:
        ET.SubElement(
            root.find("output"), "trajectory", filename="mine", stride="1", extra_type=f"{EXTRAS[2]}, {EXTRAS[3]}"
        ).text = "extras"

    folder.mkdir()
    path = prepare("nve-mts2", folder, steps, with_extras, *edits)
    seen: list[Progress] = []
    model = ModelChoice.of("pet-m", dtype="float64")
    run(SimulationInput.read(path), model, folder / "run", watch=lambda p, total: seen.append(p), **options)
    return seen


@pytest.fixture(scope="module")
def at_start() -> Disagreement:
    """Disagreement of the bundled model at the structure from which inputs start here."""
    chk = ET.parse(INPUTS / "water-16.chk").getroot()
    positions, cell = (
        np.array(chk.find(f"system/{name}").text.strip(" []\n").split(","), float) for name in ("beads/q", "cell")
    )
    structure = Structure(
        np.array([8] * 16 + [1] * 32, np.int32),
        positions.reshape(-1, 3) * ase.units.Bohr,
        cell.reshape(3, 3).T * ase.units.Bohr,
    )
    model = load_model("pet-m", dtype="float64")
    (forces,) = model.evaluate([structure], Need.CONSERVATIVE | Need.DIRECT)
    difference = forces.conservative - forces.direct
    lengths = np.linalg.norm(difference, axis=1)
    return Disagreement(float(np.sqrt(np.mean(difference**2))), int(lengths.argmax()), float(lengths.max()), 0.0)


def test_ipi_writes_it_and_the_driver_warns(
    tmp_path: Path, at_start: Disagreement, caplog: pytest.LogCaptureFixture
) -> None:
    limit = 0.9 * at_start.largest
    with caplog.at_level(logging.WARNING):
        seen = simulate(tmp_path / "outside", 4, warn_above=limit)
    mine = extras(tmp_path / "outside" / "run" / "run.mine_0")
    assert mine.shape == (5, 2)
    assert mine[0] == pytest.approx([at_start.worst, 0.0])
    assert (np.diff(mine[:, 1]) != 0.0).all()
    ours = extras(tmp_path / "outside" / "run" / "run.disagreement")
    assert ours[0] == pytest.approx([at_start.rms, at_start.largest, at_start.worst, 0.0], rel=1e-6)
    assert seen[-1].disagreement is not None
    # i-PI may write the last line of this file after that of the properties, on which progress is reported.
    assert seen[-1].disagreement.work in [pytest.approx(work) for work in mine[1:, 1]]
    symbol = "O" if at_start.worst < 16 else "H"
    warning = f"by {at_start.largest:.3g} eV/Å on atom {at_start.worst} ({symbol}), more than {limit:.3g} eV/Å"
    assert warning in (tmp_path / "outside" / "run" / "driver.log").read_text()
    assert f"more than {limit:.3g} eV/Å" in caplog.text  # here every other step is seen, as soon as i-PI writes it


def test_replicas_in_one_process(tmp_path: Path, at_start: Disagreement) -> None:
    """Plugins inside i-PI, with a path integral."""
    simulate(tmp_path / "inside", 4, with_beads(2), in_process=True)
    first, *_, last = extras(tmp_path / "inside" / "run" / "run.disagreement").reshape(-1, len(EXTRAS), 2)
    assert first[1] == pytest.approx(2 * [at_start.largest], rel=1e-6)
    assert (last[3] != 0.0).all()


class TestWarnings:
    @pytest.fixture
    def said(self, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
        caplog.set_level(logging.INFO)
        return caplog

    def test_once_until_it_is_twice_as_bad(self, said: pytest.LogCaptureFixture) -> None:
        watch = Watch("mine")
        for largest in (0.9, 1.1, 2.1, 2.3, 2.4, 0.1, 1.5, 5.0):
            watch.see(Disagreement(0.1, 2, largest, 0.0), SPECIES)
        assert len(said.messages) == 3
        assert "mine: conservative and direct forces differ by 1.1 eV/Å on atom 2 (H), more than 1 eV/Å" in said.text
        assert [message.split()[7] for message in said.messages] == ["1.1", "2.3", "5"]

    def test_from_time_to_time_how_it_is(self, said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ipi_darkforces.split.monitor.EVERY", 0.0)
        watch = Watch("mine", too_far=10.0)
        watch.see(Disagreement(0.0712, 0, 0.4, 0.006), SPECIES)
        assert said.messages == [
            "mine: conservative and direct forces differ by 71 meV/Å (rms), by 0.4 eV/Å on atom 0 (O); "
            "work of direct forces so far +2 meV/atom"
        ]

    @pytest.mark.parametrize("said", ["0", "-1", "nan", "far"])
    def test_a_limit_that_is_none(self, said: str) -> None:
        with pytest.raises(DarkforcesError, match=f"--warn-above {said} cannot be used: expected eV/Å"):
            checked_limit(said, "--warn-above")

    def test_default_is_a_kick_of_thermal_size(self) -> None:
        """The kick is that on hydrogen at 300 K, in 2 fs, within a factor of two."""
        mass, temperature = 1.008, 300.0
        kick = TOO_FAR * 2.0 * ase.units.fs / mass
        thermal = np.sqrt(ase.units.kB * temperature / mass)
        assert 0.5 < kick / thermal < 2.0
