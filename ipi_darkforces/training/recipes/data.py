"""Reference data, as all stages read them: `train.xyz` and `validation.xyz`, eV and Å, keys `energy` and `forces`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import ase
import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

from ...atomic import atomic_file, write_atomically
from ...diagnostics.reference import Reference, read_reference, suspicious
from ...errors import DarkforcesError


@dataclass(frozen=True)
class DataSource:
    """Data of the user.

    :param train: any file with energies and forces that ase reads
    :param validation: likewise; None takes `fraction` of the structures out of `train`
    :param fraction: of the structures that are for validation, if there is no file for them
    :param seed: of the choice of these
    :param energy_key: None finds it, as for `forces_key`
    :param energy_unit: such as eV; see `read_reference`
    :param force_unit: such as eV/Angstrom. None: eV/Angstrom, unless that looks wrong
    """

    train: Path
    validation: Path | None
    fraction: float
    seed: int
    energy_key: str | None
    forces_key: str | None
    energy_unit: str
    force_unit: str | None

    def identity(self) -> dict[str, object]:
        """Identity of the data: settings, and the contents of the files wherever they lie."""
        digests = {key: _digest(getattr(self, key)) for key in ("train", "validation")}
        return asdict(self) | digests


def prepare(source: DataSource, folder: Path) -> None:
    """Read, check, split and write `train.xyz` and `validation.xyz` in `folder`, unless they are there already.

    :raises DarkforcesError: if the data cannot be used, or if the folder has been made from other data
    """
    record = folder / "data.json"
    identity = json.dumps(source.identity(), indent=2) + "\n"
    if record.exists():
        if record.read_text() != identity:
            raise DarkforcesError(f"'{folder}' was made from other data (see {record}); give another --output")
        return
    train = _read(source.train, source)
    if source.validation is not None:
        validation = _read(source.validation, source)
    else:
        train, validation = _split(train, source.fraction, source.seed)
    for name, references in (("train", train), ("validation", validation)):
        write_frames(folder / f"{name}.xyz", [as_atoms(reference) for reference in references])
    write_atomically(record, identity)  # last: it says that the others are complete


def _read(path: Path, source: DataSource) -> list[Reference]:
    references = read_reference(
        path,
        energy_key=source.energy_key,
        forces_key=source.forces_key,
        energy_unit=source.energy_unit,
        force_unit=source.force_unit or "eV/Angstrom",
        require_cell=True,
    )
    complaint = suspicious(references) if source.force_unit is None else None
    if complaint:
        raise DarkforcesError(f"'{path}': {complaint}")
    return references


def _split(references: list[Reference], fraction: float, seed: int) -> tuple[list[Reference], list[Reference]]:
    number = round(fraction * len(references)) if 0.0 < fraction < 1.0 else 0
    if not 0 < number < len(references):
        raise DarkforcesError(
            f"{len(references)} structure(s) and --fraction {fraction} leave nothing to train or to validate on: "
            "expected at least one structure for each"
        )
    order = np.random.default_rng(seed).permutation(len(references))
    return [references[i] for i in sorted(order[number:])], [references[i] for i in sorted(order[:number])]


def as_atoms(reference: Reference) -> ase.Atoms:
    """The structure, with its energy (eV) and forces (eV/Å) as labels."""
    structure = reference.structure
    atoms = ase.Atoms(structure.species, structure.positions, cell=structure.cell, pbc=structure.periodic)
    atoms.calc = SinglePointCalculator(atoms, energy=reference.energy, forces=reference.forces)
    return atoms


def write_frames(path: Path, frames: Sequence[ase.Atoms]) -> None:
    """Structures with their labels as extended XYZ, atomically."""
    with atomic_file(path) as fresh:
        ase.io.write(fresh, frames, format="extxyz")


def _digest(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DarkforcesError(f"data file '{path}' cannot be read: {error.strerror}") from error
