"""SevenNet-0, the real one, through i-PI: the same as the package's own calculator in ase."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ase.io
import numpy as np
import pytest
from beside_ase import assert_same, with_ase, with_ipi
from ipi_processes import INPUTS, Workplace
from waters import few_waters

from ipi_darkforces import Need, Structure, load_model
from ipi_darkforces.errors import DarkforcesError

pytest.importorskip("sevenn", reason="bash environments/make.sh sevennet")
from sevenn.calculator import SevenNetCalculator  # noqa: E402

STEPS = 3
EDGE = 6.22  # Å, of a cube with eight molecules of water


@pytest.fixture(scope="module")
def calculator() -> SevenNetCalculator:
    return SevenNetCalculator("7net-0_11july2024", device="cpu")


@pytest.fixture(scope="module")
def workplace() -> Iterator[Workplace]:
    """With a driver that was told nothing but the name of the model."""
    with Workplace() as workplace:
        workplace.driver("--model", "sevennet-0", "--stay")
        yield workplace


def water() -> ase.Atoms:
    """Eight molecules, moving."""
    made = few_waters(EDGE * np.eye(3))
    atoms = ase.Atoms(made.species, made.positions, cell=made.cell, pbc=True)
    atoms.set_velocities(0.05 * np.random.default_rng(1).normal(size=(len(atoms), 3)))
    return atoms


@pytest.mark.parametrize(("name", "timestep"), [("water", 0.5), ("graphene", 1.0), ("aluminium", 2.0), ("carbon", 1.0)])
def test_ipi_gets_what_ase_gets(
    name: str, timestep: float, calculator: SevenNetCalculator, workplace: Workplace
) -> None:
    atoms = water() if name == "water" else ase.io.read(INPUTS / f"{name}.xyz")
    ours = with_ipi(workplace, atoms, "conservative", STEPS, timestep)
    assert_same(ours, with_ase(calculator, atoms, STEPS, timestep))


def test_forces_are_those_of_the_calculator(calculator: SevenNetCalculator) -> None:
    atoms = water()
    model = load_model("sevennet-0")
    assert Need.DIRECT not in model.provides
    assert model.species == set(calculator.type_map)
    [found] = model.evaluate([Structure.from_ase(atoms)], model.provides)
    atoms.calc = calculator
    np.testing.assert_allclose(found.conservative, atoms.get_forces(), rtol=0, atol=2e-5)
    virial = -atoms.get_volume() * atoms.get_stress(voigt=False)
    np.testing.assert_allclose(found.virial, virial, rtol=0, atol=1e-4)
    assert np.abs(virial).max() > 1.0


def test_weights_of_the_users_own(tmp_path: Path) -> None:
    missing = tmp_path / "mine.pth"
    with pytest.raises(DarkforcesError, match=f"^weights '{missing}' of model 'sevennet-0' do not exist"):
        load_model(f"sevennet-0?weights={missing}")
    missing.write_text("no weights")
    with pytest.raises(DarkforcesError, match="^model 'sevennet-0' cannot be made: .*"):
        load_model(f"sevennet-0?weights={missing}")


def test_elements_and_precisions_that_it_does_not_have() -> None:
    with pytest.raises(DarkforcesError, match="^model 'sevennet-0' does not know Po; it knows H, He, Li, "):
        load_model("sevennet-0").check_species(np.array([84, 8], np.int32))
    with pytest.raises(DarkforcesError, match="^model 'sevennet-0' cannot be told a precision: expected no --dtype"):
        load_model("sevennet-0", dtype="float64")
