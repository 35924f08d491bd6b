"""A data set that is small enough to train on within a test, and a training that is finished."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import ase
import pytest
from metatomic_ase import MetatomicCalculator
from tiny_training import Training, molecules

from ipi_darkforces.training.recipes.data import write_frames
from ipi_darkforces.training.recipes.own_labels import labelled


@pytest.fixture(scope="session")
def pet(pet_file: Path) -> MetatomicCalculator:
    """The bundled model, conservative forces."""
    return MetatomicCalculator(pet_file)


@pytest.fixture(scope="session")
def frames(pet: MetatomicCalculator) -> Sequence[ase.Atoms]:
    """Displaced copies of the box, with energies and forces of the bundled model."""
    return [_displaced(seed, pet) for seed in range(8)]


def _displaced(seed: int, pet: MetatomicCalculator) -> ase.Atoms:
    atoms = molecules()
    atoms.rattle(0.03, seed=seed)
    atoms.calc = pet
    return labelled(atoms)


@pytest.fixture
def data_file(frames: Sequence[ase.Atoms], tmp_path: Path) -> Path:
    """The same in a file."""
    path = tmp_path / "data.xyz"
    write_frames(path, frames)
    return path


@pytest.fixture(scope="session")
def finished(frames: Sequence[ase.Atoms], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    """The longest recipe, trained to its end."""
    folder = tmp_path_factory.mktemp("finished")
    write_frames(folder / "data.xyz", frames)
    training = Training(folder, folder / "data.xyz", "pet-m-distilled", epochs=2)
    try:
        assert training.finish() == 0, training.said()
        yield training
    finally:
        training.end()
