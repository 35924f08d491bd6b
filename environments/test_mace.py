"""A small MACE of random weights, through the file that the trained ones have."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from beside_ase import assert_same, with_ase, with_ipi
from ipi_processes import INPUTS, Workplace

from ipi_darkforces import Need, Structure, load_model
from ipi_darkforces.errors import DarkforcesError

pytest.importorskip("mace", reason="bash environments/make.sh mace")
from mace.calculators import MACECalculator  # noqa: E402  # before e3nn, which it prepares for PyTorch of today
from mace.modules import (  # noqa: E402
    RealAgnosticInteractionBlock,
    RealAgnosticResidualInteractionBlock,
    ScaleShiftMACE,
)

torch = pytest.importorskip("torch")
from e3nn.o3 import Irreps  # noqa: E402

ELEMENTS = [1, 6, 8, 13]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = ScaleShiftMACE(
        r_max=4.0,
        num_bessel=4,
        num_polynomial_cutoff=5,
        max_ell=2,
        interaction_cls_first=RealAgnosticInteractionBlock,
        interaction_cls=RealAgnosticResidualInteractionBlock,
        num_interactions=2,
        num_elements=len(ELEMENTS),
        hidden_irreps=Irreps("8x0e + 8x1o"),
        MLP_irreps=Irreps("8x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.array([-1.0, -8.0, -2.0, -3.0]),
        avg_num_neighbors=12.0,
        atomic_numbers=ELEMENTS,
        correlation=2,
        atomic_inter_scale=30.0,  # forces that move atoms
        atomic_inter_shift=0.0,
    )
    path = tmp_path_factory.mktemp("weights") / "small.model"
    torch.save(model, path)
    return path


@pytest.fixture
def aluminium() -> ase.Atoms:
    return ase.io.read(INPUTS / "aluminium.xyz")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-10)])
def test_forces_are_those_of_the_calculator(dtype: str, tolerance: float, file: Path, aluminium: ase.Atoms) -> None:
    model = load_model(f"mace-mp-0?weights={file}", dtype=dtype)
    assert model.provides == Need.ENERGY | Need.VIRIAL | Need.CONSERVATIVE
    assert model.species == set(ELEMENTS)
    [found] = model.evaluate([Structure.from_ase(aluminium)], model.provides)
    aluminium.calc = MACECalculator(str(file), device="cpu", default_dtype=dtype)
    virial = -aluminium.get_volume() * aluminium.get_stress(voigt=False)
    np.testing.assert_allclose(found.conservative, aluminium.get_forces(), rtol=0, atol=tolerance)
    np.testing.assert_allclose(found.virial, virial, rtol=0, atol=tolerance * np.abs(virial).max())


def test_ipi_gets_what_ase_gets(file: Path, aluminium: ase.Atoms) -> None:
    with Workplace() as workplace:
        workplace.driver("--model", "mace-mp-0", "-o", f"weights={file}", "--stay")
        ours = with_ipi(workplace, aluminium, "conservative", 3, 2.0)
    assert_same(ours, with_ase(MACECalculator(str(file), device="cpu", default_dtype="float32"), aluminium, 3, 2.0))


def test_elements_that_it_does_not_know(file: Path) -> None:
    with pytest.raises(DarkforcesError, match="^model 'mace-mp-0' does not know Pb; it knows H, C, O, Al$"):
        load_model(f"mace-mp-0?weights={file}").check_species(np.array([82, 8], np.int32))


def test_weights_of_another_model(tmp_path: Path) -> None:
    path = tmp_path / "other.model"
    torch.save({"some": torch.zeros(3)}, path)
    with pytest.raises(DarkforcesError, match="^model 'mace-mp-0' cannot be made: "):
        load_model(f"mace-mp-0?weights={path}")
