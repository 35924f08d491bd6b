"""The user's data: read, checked, split and written, once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase import units

from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.training.recipes.data import DataSource, prepare, write_frames

WRITTEN = 1e-8  # the last digit of positions and forces in extended XYZ


def source(train: Path, /, **changes: object) -> DataSource:
    """Ten structures or so, a quarter of them for validation."""
    return replace(DataSource(train, None, 0.25, 0, None, None, "eV", None), **changes)


def read(folder: Path, name: str) -> list[ase.Atoms]:
    return ase.io.read(folder / f"{name}.xyz", index=":")


def energies(folder: Path, name: str) -> list[float]:
    """Energies by which structures are told apart."""
    return [atoms.get_potential_energy() for atoms in read(folder, name)]


def relabelled(frames: Sequence[ase.Atoms], path: Path, energy_unit: float, force_unit: float) -> Path:
    """The structures, with labels of other names and in other units."""
    for i, frame in enumerate(frames):
        atoms = ase.Atoms(frame.symbols, frame.positions, cell=frame.cell, pbc=True)
        atoms.info["TotEnergy"] = frame.get_potential_energy() / energy_unit
        atoms.arrays["force"] = frame.get_forces() / force_unit
        ase.io.write(path, atoms, format="extxyz", append=i > 0)
    return path


def fails(given: DataSource, folder: Path) -> str:
    """The one line about data that cannot be used; nothing says then that they are prepared."""
    with pytest.raises(DarkforcesError) as caught:
        prepare(given, folder)
    assert "\n" not in str(caught.value)
    assert not (folder / "data.json").exists()
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty output folder."""
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


class TestSplit:
    def test_nothing_is_lost_or_doubled(self, data_file: Path, frames: Sequence[ase.Atoms], folder: Path) -> None:
        prepare(source(data_file), folder)
        train, validation = energies(folder, "train"), energies(folder, "validation")
        assert (len(train), len(validation)) == (6, 2)
        assert sorted(train + validation) == sorted(frame.get_potential_energy() for frame in frames)

    @pytest.mark.parametrize(("fraction", "number"), [(0.1, 1), (0.5, 4), (0.9, 7)])
    def test_fraction(self, fraction: float, number: int, data_file: Path, folder: Path) -> None:
        prepare(source(data_file, fraction=fraction), folder)
        assert len(read(folder, "validation")) == number
        assert len(read(folder, "train")) == 8 - number

    def test_seed_decides(self, data_file: Path, tmp_path: Path) -> None:
        chosen = {}
        for name, seed in (("a", 0), ("b", 0), ("c", 1)):
            (tmp_path / name).mkdir()
            prepare(source(data_file, seed=seed), tmp_path / name)
            chosen[name] = energies(tmp_path / name, "validation")
        assert chosen["a"] == chosen["b"]
        assert chosen["a"] != chosen["c"]

    @pytest.mark.parametrize("fraction", [0.0, 0.01, 0.99, 1.0, -0.5, 2.0, float("nan"), float("inf")])
    def test_fraction_that_leaves_nothing(self, fraction: float, data_file: Path, folder: Path) -> None:
        message = fails(source(data_file, fraction=fraction), folder)
        assert message.startswith(f"8 structure(s) and --fraction {fraction} leave nothing to train or to validate on")

    def test_validation_file_is_taken_whole(self, data_file: Path, frames: Sequence[ase.Atoms], folder: Path) -> None:
        validation = folder.parent / "validation.xyz"
        write_frames(validation, frames[:3])
        prepare(source(data_file, validation=validation), folder)
        assert len(read(folder, "train")) == 8
        assert energies(folder, "validation") == [frame.get_potential_energy() for frame in frames[:3]]


class TestLabels:
    def test_round_trip(self, data_file: Path, frames: Sequence[ase.Atoms], folder: Path) -> None:
        prepare(source(data_file), folder)
        assert_same(read(folder, "train") + read(folder, "validation"), frames)

    def test_other_names_and_units(self, frames: Sequence[ase.Atoms], folder: Path) -> None:
        atomic = units.Hartree / units.Bohr
        path = relabelled(frames, folder.parent / "atomic.xyz", units.Hartree, atomic)
        prepare(source(path, energy_unit="hartree", force_unit="hartree/bohr"), folder)
        assert_same(read(folder, "train") + read(folder, "validation"), frames, atomic * WRITTEN)

    def test_keys_are_those_that_the_stages_read(self, frames: Sequence[ase.Atoms], folder: Path) -> None:
        prepare(source(relabelled(frames, folder.parent / "other.xyz", 1.0, 1.0)), folder)
        header = (folder / "train.xyz").read_text().splitlines()[1]
        assert ":forces:R:3 " in header
        assert " energy=" in header


def assert_same(got: list[ase.Atoms], expected: Sequence[ase.Atoms], forces_tolerance: float = WRITTEN) -> None:
    """The same structures and labels in any order, to the last digit of the file."""
    got = sorted(got, key=lambda atoms: atoms.get_potential_energy())
    for one, other in zip(got, sorted(expected, key=lambda atoms: atoms.get_potential_energy()), strict=True):
        assert str(one.symbols) == str(other.symbols)
        assert one.pbc.all()
        np.testing.assert_array_equal(one.cell.array, other.cell.array)
        assert one.get_potential_energy() == pytest.approx(other.get_potential_energy(), rel=1e-14)
        np.testing.assert_allclose(one.positions, other.positions, rtol=0, atol=WRITTEN)
        np.testing.assert_allclose(one.get_forces(), other.get_forces(), rtol=0, atol=forces_tolerance)


class TestRefused:
    def test_no_cell(self, frames: Sequence[ase.Atoms], data_file: Path, folder: Path) -> None:
        write_frames(data_file, [*frames[:3], *without_cell(frames[3])])
        assert f"structure 3 in '{data_file}' is not periodic" in fails(source(data_file), folder)

    @pytest.mark.parametrize("label", ["energy", "forces"])
    def test_nan(self, label: str, frames: Sequence[ase.Atoms], data_file: Path, folder: Path) -> None:
        spoilt = frames[1].copy()
        spoilt.calc = type(frames[1].calc)(spoilt, **frames[1].calc.results | {label: np.nan * np.ones((24, 3))})
        if label == "energy":
            spoilt.calc.results["energy"] = np.nan
        write_frames(data_file, [frames[0], spoilt])
        message = fails(source(data_file), folder)
        assert "NaN" in message
        assert f"structure 1 in '{data_file}'" in message

    @pytest.mark.parametrize("label", ["energy", "forces"])
    def test_missing_label(self, label: str, data_file: Path, folder: Path) -> None:
        data_file.write_text(data_file.read_text().replace(f"{label}=", "x=").replace(f":{label}:", ":x:"))
        assert f"has no {label} under a usual name" in fails(source(data_file), folder)

    def test_label_that_is_not_there(self, data_file: Path, folder: Path) -> None:
        message = fails(source(data_file, energy_key="dft"), folder)
        assert "has no 'dft'; there are: energy; choose with --energy-key" in message

    def test_forces_in_another_unit(self, frames: Sequence[ase.Atoms], folder: Path) -> None:
        path = relabelled(frames, folder.parent / "soft.xyz", 1.0, units.Hartree / units.Bohr)
        assert "give --force-unit hartree/bohr" in fails(source(path), folder)
        prepare(source(path, force_unit="eV/Angstrom"), folder)  # if they say so
        assert np.abs(read(folder, "train")[0].get_forces()).max() < 0.2

    def test_validation_data_are_looked_at_too(
        self, frames: Sequence[ase.Atoms], data_file: Path, folder: Path
    ) -> None:
        validation = relabelled(frames, folder.parent / "soft.xyz", 1.0, units.Hartree / units.Bohr)
        assert f"'{validation}': the forces" in fails(source(data_file, validation=validation), folder)

    @pytest.mark.parametrize("which", ["train", "validation"])
    def test_missing_file(self, which: str, data_file: Path, folder: Path) -> None:
        missing = folder / "none.xyz"
        message = fails(source(data_file, **{which: missing}), folder)
        assert message == f"data file '{missing}' cannot be read: No such file or directory"


def without_cell(frame: ase.Atoms) -> list[ase.Atoms]:
    """A molecule in the vacuum."""
    atoms = ase.Atoms(frame.symbols, frame.positions)
    atoms.calc = type(frame.calc)(atoms, **frame.calc.results)
    return [atoms]


class TestSecondTime:
    def test_same_data_again_is_left_alone(self, data_file: Path, folder: Path) -> None:
        prepare(source(data_file), folder)
        (folder / "train.xyz").write_text("left alone")
        prepare(source(data_file), folder)
        assert (folder / "train.xyz").read_text() == "left alone"

    def test_same_data_elsewhere_are_the_same(self, data_file: Path, folder: Path) -> None:
        prepare(source(data_file, validation=data_file), folder)
        moved = data_file.rename(folder.parent / "moved.xyz")
        prepare(source(moved, validation=moved), folder)

    def test_no_path_is_kept(self, data_file: Path, folder: Path) -> None:
        prepare(source(data_file), folder)
        assert str(folder.parent) not in (folder / "data.json").read_text()

    @pytest.mark.parametrize(
        "change", [{"fraction": 0.5}, {"seed": 1}, {"energy_key": "energy"}, {"force_unit": "eV/Angstrom"}]
    )
    def test_other_settings(self, change: dict[str, object], data_file: Path, folder: Path) -> None:
        prepare(source(data_file), folder)
        with pytest.raises(DarkforcesError, match=r"was made from other data .*; give another --output$"):
            prepare(source(data_file, **change), folder)

    def test_other_data(self, data_file: Path, frames: Sequence[ase.Atoms], folder: Path) -> None:
        prepare(source(data_file), folder)
        before = (folder / "train.xyz").read_bytes()
        write_frames(data_file, frames[:-1])
        with pytest.raises(DarkforcesError, match="was made from other data"):
            prepare(source(data_file), folder)
        assert (folder / "train.xyz").read_bytes() == before

    def test_interrupted_preparation_is_done_again(self, data_file: Path, folder: Path) -> None:
        """The record is written last, by whoever has written the rest."""
        prepare(source(data_file), folder)
        whole = (folder / "train.xyz").read_bytes()
        (folder / "data.json").unlink()
        (folder / "validation.xyz").unlink()
        (folder / "train.xyz").write_bytes(whole[:100])
        prepare(source(data_file), folder)
        assert (folder / "train.xyz").read_bytes() == whole
        assert len(read(folder, "validation")) == 2
        assert json.loads((folder / "data.json").read_text())["seed"] == 0

    def test_no_half_file_is_left(self, data_file: Path, folder: Path) -> None:
        prepare(source(data_file), folder)
        assert sorted(path.name for path in folder.iterdir()) == ["data.json", "train.xyz", "validation.xyz"]
