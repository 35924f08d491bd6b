"""Uncertainties and ensembles in i-PI's extras, as its own driver has them."""

from __future__ import annotations

import json
import warnings
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ipi.pes.metatomic import MetatomicDriver
from ipi_processes import (
    INPUTS,
    N_ATOMS,
    ROOT,
    SPECIES,
    Workplace,
    in_process,
    ipi_here,
    prepare,
    read_run,
    with_parameters,
)
from metatrain.utils.io import model_from_checkpoint
from random_llpr import MEMBERS, random_llpr
from toy_models import SpringModel

from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.registry.zoo import ZOO
from ipi_darkforces.serve.settings import Settings
from ipi_darkforces.serve.units import ANGSTROM

WANTED = "energy_ensemble: True, uncertainty_threshold: 0.01"
STEPS = 1


@dataclass(frozen=True)
class Files:
    """A model with uncertainties, and as exported."""

    checkpoint: Path
    exported: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("llpr")
    pet = model_from_checkpoint(torch.load(ZOO["pet-m"].path, weights_only=False), "export")
    path, model = random_llpr(pet, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.export().save(str(folder / "llpr.pt"))
    return Files(path, folder / "llpr.pt")


def with_extras(root: ET.Element) -> None:
    """Let i-PI write what it gets beside forces."""
    for name in ("committee_pot", "energy_uncertainty", "worst_atom"):
        ET.SubElement(root.find("output"), "trajectory", filename=name, stride="1", extra_type=name).text = "extras"


def written(folder: Path, name: str) -> np.ndarray:
    """An output of i-PI, a row for each step."""
    (path,) = folder.glob(f"run.{name}*")
    return np.loadtxt(path)


@pytest.mark.parametrize("backend", ["auto", "metatomic"])
def test_a_run_gets_those_of_ipis_own_driver(files: Files, backend: str, tmp_path: Path) -> None:
    """At the last step. It is asked for one of both at a time: else it has the uncertainty of all atoms as one."""
    plugin = in_process(
        "custom",
        lambda name: (
            f"{{ model: {files.checkpoint}, component: {name}, species: {SPECIES}, backend: {backend}"
            + (f", {WANTED} }}" if name == "slow" else " }")
        ),
        ROOT / "drivers" / "darkforces.py",
    )
    with ipi_here(prepare("nve-mts4", tmp_path, STEPS, plugin, with_extras)) as simulation:
        simulation.run(STEPS)
    positions = read_run(tmp_path)["positions"][-1].reshape(-1, 3)
    cell = ase.io.read(INPUTS / "water-16.xyz").cell.array.T * ANGSTROM
    last = {name: written(tmp_path, name)[-1] for name in ("committee_pot", "energy_uncertainty", "worst_atom")}
    assert last["committee_pot"].shape == (MEMBERS,)
    assert last["energy_uncertainty"].shape == (N_ATOMS,)
    for name, options in (
        ("committee_pot", {"energy_ensemble": True}),
        ("energy_uncertainty", {"uncertainty_threshold": 0.01}),
    ):
        theirs = MetatomicDriver(str(INPUTS / "water-16.xyz"), str(files.exported), **options)
        expected = json.loads(theirs.compute(cell, positions)[3])[name]
        largest = np.abs(expected).max()
        np.testing.assert_allclose(last[name], expected, rtol=0, atol=2e-5 * largest)  # rounding of their precision
        np.testing.assert_allclose(last[name] - last[name].mean(), expected - np.mean(expected), rtol=0, atol=1e-4)


def test_through_a_socket(files: Files, tmp_path: Path) -> None:
    """An uncertain energy is reported, once."""
    edits = with_parameters(f"{{ species: {SPECIES}, {WANTED} }}"), with_extras_of_one
    with Workplace() as workplace:
        driver = workplace.driver("--model", str(files.checkpoint))
        ipi = workplace.ipi(prepare("nve-conservative", tmp_path, STEPS, *edits))
        assert ipi.wait() == 0, ipi.said()
        assert driver.wait() == 0, driver.said()
        said = driver.said()
    assert written(tmp_path, "committee_pot").shape == (STEPS + 1, MEMBERS)
    assert said.count("eV, more than 0.01 eV: the model may not know such structures") == 1


def with_extras_of_one(root: ET.Element) -> None:
    ET.SubElement(
        root.find("output"), "trajectory", filename="committee_pot", stride="1", extra_type="committee_pot"
    ).text = "extras"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(energy_ensemble="yes"), "energy_ensemble 'yes' is not known: expected True or False"),
        (Settings(uncertainty_threshold="-1"), "uncertainty_threshold -1 cannot be used: expected eV, more than zero"),
        (Settings(energy_ensemble="True"), "model 'springs' does not provide energy ensemble; it provides energy,"),
        (Settings(uncertainty_threshold="0.1"), "model 'springs' does not provide uncertainty; it provides energy,"),
    ],
)
def test_what_cannot_be_is_one_clear_line(settings: Settings, message: str) -> None:
    with pytest.raises(DarkforcesError, match=message):
        Settings(species="OH2").completed(settings).resolved(SpringModel())
