"""Stretched bonds: where the hydrogen goes, and that the labels are those of electronic structure."""

from __future__ import annotations

import sys
from pathlib import Path

import ase
import numpy as np
import pytest
import stretch as stretch_module
from ase import units
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from pyscf import dft, gto
from stretch import STRETCHES, sample, stretch

from ipi_darkforces.training.recipes.data import write_frames


@pytest.fixture(autouse=True)
def small_basis(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small basis, which saves seconds and makes no difference to these tests."""
    monkeypatch.setattr(stretch_module, "BASIS", "sto-3g")


def electronic(atoms: ase.Atoms) -> ase.Atoms:
    """Labels of the atoms of one cluster, none of them across the faces of the cell."""
    symbols = atoms.get_chemical_symbols()
    positions = atoms.positions.tolist()
    field = dft.RKS(gto.M(atom=list(zip(symbols, positions, strict=True)), basis="sto-3g", verbose=0), xc="pbe0")
    field = field.density_fit()
    field.grids.level = 1
    energy = field.kernel()
    forces = -field.nuc_grad_method().kernel() * units.Hartree / units.Bohr
    atoms.calc = SinglePointCalculator(atoms, energy=energy * units.Hartree, forces=forces)
    return atoms


def dimer() -> ase.Atoms:
    """Two molecules in the middle of a large cell, one giving a hydrogen bond to the other; hydrogens first."""
    donor, acceptor = molecule("H2O"), molecule("H2O")
    donor.rotate(donor.get_distance(0, 1, vector=True), "x", center="COP")
    acceptor.translate([2.9, 0.0, 0.3])
    both = donor + acceptor
    both = both[np.argsort(both.numbers, kind="stable")]
    both.set_cell([18.0, 19.0, 20.0])
    both.pbc = True
    both.translate([7.0, 9.0, 10.0])
    return both


@pytest.fixture(scope="module")
def water() -> ase.Atoms:
    return electronic(dimer())


def test_labels_are_exact_if_the_cluster_is_everything(water: ase.Atoms) -> None:
    """Then the difference of the clusters is that of the structures, whatever was moved."""
    for stretched in stretch(water, np.random.default_rng(0)):
        exact = electronic(stretched.copy())
        assert stretched.get_potential_energy() == pytest.approx(exact.get_potential_energy(), abs=1e-5)
        np.testing.assert_allclose(stretched.get_forces(), exact.get_forces(), rtol=0, atol=1e-3)


def test_faces_of_the_cell_do_not_matter(water: ase.Atoms) -> None:
    wrapped = water.copy()
    wrapped.positions += [-9.0, 10.0, -10.0]
    wrapped.wrap()
    wrapped.calc = SinglePointCalculator(wrapped, energy=water.get_potential_energy(), forces=water.get_forces())
    for here, there in zip(
        stretch(water, np.random.default_rng(1)), stretch(wrapped, np.random.default_rng(1)), strict=True
    ):
        assert there.get_potential_energy() == pytest.approx(here.get_potential_energy(), abs=1e-5)


def test_one_bond_is_longer_and_none_is_broken_into_two(water: ase.Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(  # where atoms go does not depend on labels
        stretch_module, "_cluster_labels", lambda atoms, bond: (0.0, np.zeros((len(bond.cluster), 3)))
    )
    for seed in range(6):
        for stretched in stretch(water, np.random.default_rng(seed)):
            distances = stretched.get_all_distances(mic=True)[:4, 4:].min(axis=1)  # of each hydrogen to the next oxygen
            assert np.sum(distances > 1.0) == 1
            assert distances.max() < 1.9


def test_finished_bonds_are_not_done_again(water: ase.Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = sample([water], tmp_path / "bonds", bonds=1, seed=0)
    assert len(frames) == STRETCHES
    monkeypatch.setattr(stretch_module, "stretch", None)
    again = sample([water], tmp_path / "bonds", bonds=1, seed=0)
    np.testing.assert_array_equal(again[0].get_forces(), frames[0].get_forces())


class TestBadInput:
    def said(self, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
        monkeypatch.setattr(sys, "argv", ["stretch.py", *arguments])
        with pytest.raises(SystemExit) as leaving:
            stretch_module.main()
        assert leaving.value.code not in (0, None)
        return capsys.readouterr().err

    def test_too_few_molecules(
        self, water: ase.Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        data = tmp_path / "dimer.xyz"
        write_frames(data, [water])
        said = self.said([str(data), "--output", str(tmp_path / "out.xyz")], monkeypatch, capsys)
        assert f"structure 0 in '{data}' is not water: expected at least 5 molecules of it" in said

    def test_output_exists(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = tmp_path / "out.xyz"
        output.touch()
        said = self.said(["data.xyz", "--output", str(output)], monkeypatch, capsys)
        assert f"'{output}' exists" in said
