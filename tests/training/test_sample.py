"""Structures that a model labels itself: what is sampled, how it is labelled, and what happens when it is stopped."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import sample as sample_script
from ase.calculators.calculator import Calculator
from metatomic_ase import MetatomicCalculator
from tiny_training import molecules

from ipi_darkforces import Need, Structure, load_model
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.training.recipes.data import write_frames
from ipi_darkforces.training.recipes.own_labels import sample


class IdealGas(Calculator):
    """Atoms that know nothing of each other; it takes the temperature whenever it is asked for forces.

    :param patience: number of evaluations after which somebody presses Ctrl-C
    :param force: on all atoms, eV/Å
    """

    implemented_properties = ["energy", "forces"]

    def __init__(self, patience: float = np.inf, force: float = 0.0):
        super().__init__()
        self.patience, self.force = patience, force
        self.temperatures: list[float] = []

    def calculate(self, atoms: ase.Atoms, properties: Sequence[str], changes: Sequence[str]) -> None:
        """Energy and forces."""
        super().calculate(atoms, properties, changes)
        self.temperatures.append(atoms.get_temperature())
        if len(self.temperatures) > self.patience:
            raise KeyboardInterrupt
        self.results = {"energy": 0.0, "forces": np.full((len(atoms), 3), self.force)}


def gas(n: int = 10) -> ase.Atoms:
    """A box of argon."""
    return ase.Atoms(f"Ar{n}", np.random.default_rng(0).uniform(0.0, 9.0, (n, 3)), cell=[9.0, 10.0, 11.0], pbc=True)


def strain_of(atoms: ase.Atoms, start: ase.Atoms) -> np.ndarray:
    return np.linalg.solve(start.cell.array, atoms.cell.array) - np.eye(3)


class TestWhatIsSampled:
    def test_numbers(self, tmp_path: Path) -> None:
        frames = sample(IdealGas(), [gas()], tmp_path, branches=3, keep=2)
        assert len(frames) == 6
        assert [str(frame.symbols) for frame in frames] == ["Ar10"] * 6
        assert sorted(path.name for path in tmp_path.iterdir()) == ["00000.xyz", "00001.xyz", "00002.xyz"]

    def test_labels_are_those_of_the_calculator(self, tmp_path: Path) -> None:
        (frame,) = sample(IdealGas(force=0.25), [gas()], tmp_path, branches=1, keep=1)
        np.testing.assert_array_equal(frame.get_forces(), np.full((10, 3), 0.25))
        assert not frame.has("momenta")

    def test_every_branch_has_a_strain_of_its_own(self, tmp_path: Path) -> None:
        frames = sample(IdealGas(), [gas()], tmp_path, branches=30, keep=2)
        strains = np.array([strain_of(frame, gas()) for frame in frames])
        np.testing.assert_array_equal(strains[::2], strains[1::2])  # none while it runs
        np.testing.assert_allclose(strains, strains.transpose(0, 2, 1), rtol=0, atol=1e-12)  # no rotation
        assert len(np.unique(strains[::2, 0, 0])) == 30
        assert np.diagonal(strains, axis1=1, axis2=2).std() == pytest.approx(0.02, rel=0.3)

    def test_every_branch_has_a_temperature_of_its_own(self, tmp_path: Path) -> None:
        """With so many atoms, the temperature is within a few percent of that of the bath, at first and later."""
        thermometer = IdealGas()
        sample(thermometer, [gas(2000)], tmp_path, branches=8, keep=1, temperatures=(200.0, 600.0))
        runs = np.array(thermometer.temperatures).reshape(8, -1)
        assert runs.shape[1] == 21  # forces at the start and after each of 20 steps
        np.testing.assert_allclose(runs, np.tile(runs[:, :1], 21), rtol=0.1)
        means = runs.mean(axis=1)
        assert 190.0 < means.min() < 300.0
        assert 500.0 < means.max() < 630.0

    def test_all_starts_are_used(self, tmp_path: Path) -> None:
        frames = sample(IdealGas(), [gas(3), gas(4)], tmp_path, branches=10, keep=1)
        assert {len(frame) for frame in frames} == {3, 4}

    def test_seed_decides(self, tmp_path: Path) -> None:
        first, same, other = (
            sample(IdealGas(), [gas()], tmp_path / str(i), branches=2, keep=1, seed=seed)
            for i, seed in enumerate((0, 0, 1))
        )
        assert [np.array_equal(a.positions, b.positions) for a, b in zip(first, same, strict=True)] == [True] * 2
        assert [np.array_equal(a.positions, b.positions) for a, b in zip(first, other, strict=True)] == [False] * 2
        assert not np.array_equal(first[0].positions, first[1].positions)

    def test_starts_are_left_as_they_are(self, tmp_path: Path) -> None:
        start = gas()
        sample(IdealGas(), [start], tmp_path, branches=1, keep=1)
        assert start == gas()


class TestStopped:
    def test_goes_on_where_it_was(self, tmp_path: Path) -> None:
        """Stopped in the middle of the second of three branches."""
        whole = sample(IdealGas(), [gas()], tmp_path / "whole", branches=3, keep=1)
        folder = tmp_path / "stopped"
        with pytest.raises(KeyboardInterrupt):
            sample(IdealGas(patience=30), [gas()], folder, branches=3, keep=1)
        (done,) = folder.iterdir()
        before = done.stat().st_mtime_ns
        rest = IdealGas()
        frames = sample(rest, [gas()], folder, branches=3, keep=1)
        assert done.stat().st_mtime_ns == before
        assert len(rest.temperatures) == 2 * 21
        for one, other in zip(frames, whole, strict=True):
            np.testing.assert_array_equal(one.positions, other.positions)


class TestExplodes:
    def test_atoms_on_top_of_each_other(self, pet: MetatomicCalculator, tmp_path: Path) -> None:
        crowded = molecules()
        crowded.set_cell(0.5 * crowded.cell, scale_atoms=True)
        message = r"^dynamics at \d+ K explodes: the model cannot label structures yet; train it longer$"
        with pytest.raises(DarkforcesError, match=message):
            sample(pet, [crowded], tmp_path, branches=1)
        assert list(tmp_path.iterdir()) == []

    def test_forces_that_are_no_numbers(self, tmp_path: Path) -> None:
        with pytest.raises(DarkforcesError, match="explodes"):
            sample(IdealGas(force=np.nan), [gas()], tmp_path, branches=1)
        assert list(tmp_path.iterdir()) == []


class TestCommand:
    @pytest.fixture
    def starts(self, tmp_path: Path) -> Path:
        """A file of one structure."""
        write_frames(tmp_path / "starts.xyz", [molecules()])
        return tmp_path / "starts.xyz"

    def run(self, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["sample.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            sample_script.main()
        assert isinstance(caught.value.code, int)
        return caught.value.code

    def test_labels_are_conservative_forces(
        self, pet_file: Path, starts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Single precision: the energy is some -3700 eV."""
        pool = tmp_path / "pool.xyz"
        assert self.run(monkeypatch, pet_file, starts, "--output", pool, "--branches", 1) == 0
        frames = ase.io.read(pool, ":")
        assert len(frames) == 5
        structures = [Structure.from_ase(atoms) for atoms in frames]
        model = load_model("pet-m", remove_net_force=False)
        for frame, result in zip(frames, model.evaluate(structures, Need.CONSERVATIVE | Need.DIRECT), strict=True):
            assert frame.get_potential_energy() == pytest.approx(result.energy, abs=2e-3)
            np.testing.assert_allclose(frame.get_forces(), result.conservative, rtol=0, atol=1e-4)
            assert np.abs(frame.get_forces() - result.direct).max() > 1e-2
        assert sorted(path.name for path in tmp_path.iterdir()) == ["pool.xyz", "starts.xyz"]

    def fails(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
        """The one line that is said."""
        assert self.run(monkeypatch, *arguments) == 1
        said = capsys.readouterr().err
        assert said.startswith("darkforces: error: ")
        assert said.count("\n") == 1
        return said

    def test_output_is_not_overwritten(
        self, pet_file: Path, starts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        said = self.fails(monkeypatch, capsys, pet_file, starts, "--output", starts)
        assert f"'{starts}' exists; give another --output" in said

    @pytest.mark.parametrize("missing", ["none.pt", "none.xyz"])
    def test_missing_file(
        self,
        missing: str,
        pet_file: Path,
        starts: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        files = [missing if missing.endswith(path.suffix) else path for path in (pet_file, starts)]
        assert missing in self.fails(monkeypatch, capsys, *files, "--output", starts.with_name("pool.xyz"))
