"""A small EquiformerV2 of random weights, with the heads of the trained one and through the file that those have."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from beside_ase import assert_same, with_ase, with_ipi
from ipi_processes import INPUTS, Workplace

from ipi_darkforces import Need, Structure, load_model
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.registry.packages import PACKAGED, only_equiformer

torch = pytest.importorskip("torch")
if PACKAGED["equiformer-v2"].package.version is None:
    pytest.skip("bash environments/make.sh equiformer", allow_module_level=True)
only_equiformer()
from fairchem.core import OCPCalculator  # noqa: E402
from fairchem.core.models.base import HydraModel  # noqa: E402

# configs/omat24/all/eqV2_31M.yml of fairchem 1.x, with fewer and narrower layers.
MODEL = {
    "name": "hydra",
    "pass_through_head_outputs": True,
    "otf_graph": True,
    "backbone": {
        "model": "equiformer_v2_backbone",
        "use_pbc": True,
        "use_pbc_single": True,
        "otf_graph": True,
        "enforce_max_neighbors_strictly": False,
        "max_neighbors": 20,
        "max_radius": 12.0,
        "max_num_elements": 96,
        "avg_num_nodes": 31.17,
        "avg_degree": 61.95,
        "num_layers": 2,
        "sphere_channels": 16,
        "attn_hidden_channels": 8,
        "num_heads": 2,
        "attn_alpha_channels": 8,
        "attn_value_channels": 4,
        "ffn_hidden_channels": 16,
        "norm_type": "layer_norm_sh",
        "lmax_list": [2],
        "mmax_list": [2],
        "grid_resolution": 14,
        "edge_channels": 16,
        "num_distance_basis": 64,
        "attn_activation": "silu",
        "ffn_activation": "silu",
        "use_grid_mlp": True,
        "weight_init": "uniform",
    },
    "heads": {
        "energy": {"module": "equiformer_v2_energy_head"},
        "forces": {"module": "equiformer_v2_force_head"},
        "stress": {
            "module": "rank2_symmetric_head",
            "output_name": "stress",
            "use_source_target_embedding": True,
            "decompose": True,
        },
    },
}
OUTPUTS = {
    "energy": {"level": "system", "property": "energy"},
    "forces": {"level": "atom", "property": "forces"},
    "stress": {
        "level": "system",
        "property": "stress",
        "decomposition": {"stress_isotropic": {"irrep_dim": 0}, "stress_anisotropic": {"irrep_dim": 2}},
    },
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    weights = HydraModel(**{key: value for key, value in MODEL.items() if key != "name"}).state_dict()
    config = {
        "trainer": "equiformerv2_forces",
        "model": MODEL,
        "outputs": OUTPUTS,
        "dataset": {"src": "elsewhere"},
        "loss_functions": [{"energy": {"fn": "mae"}}],
        "evaluation_metrics": {},
        "optim": {},
    }
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    torch.save({"config": config, "state_dict": weights, "normalizers": {}}, path)
    return path


@pytest.fixture
def aluminium() -> ase.Atoms:
    """A quarter of the crystal of inputs/, displaced, and moving slowly, as forces of random weights are weak."""
    atoms = ase.io.read(INPUTS / "aluminium.xyz")[:8]
    atoms.cell[0] /= 2.0
    atoms.cell[1] /= 2.0
    atoms.rattle(0.2, seed=0)
    atoms.set_momenta(0.2 * atoms.get_momenta())
    return atoms


class WithoutNetForce(OCPCalculator):
    """The calculator of fairchem's own users, less the net force of what it predicts, as direct forces are served."""

    def __init__(self, file: Path):
        super().__init__(checkpoint_path=str(file), cpu=True, seed=0)

    def calculate(self, atoms: ase.Atoms, properties: list[str], system_changes: list[str]) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results["forces"] = self.results["forces"] - self.results["forces"].mean(axis=0)


def test_forces_are_those_of_the_calculator(file: Path, aluminium: ase.Atoms) -> None:
    model = load_model(f"equiformer-v2?weights={file}")
    assert model.provides == Need.ENERGY | Need.VIRIAL | Need.DIRECT
    [found] = model.evaluate([Structure.from_ase(aluminium)], model.provides)
    aluminium.calc = WithoutNetForce(file)
    size = np.abs(aluminium.get_forces()).max()
    assert size > 0.01
    np.testing.assert_allclose(found.direct, aluminium.get_forces(), rtol=0, atol=1e-4 * size)
    expected = -aluminium.get_volume() * aluminium.get_stress(voigt=False)
    np.testing.assert_allclose(found.direct_virial, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert found.energy == pytest.approx(aluminium.get_potential_energy(), rel=1e-4)


def test_ipi_gets_what_ase_gets(file: Path, aluminium: ase.Atoms) -> None:
    with Workplace() as workplace:
        workplace.driver("--model", "equiformer-v2", "-o", f"weights={file}", "--stay")
        ours = with_ipi(workplace, aluminium, "direct", 2, 2.0)
    assert_same(ours, with_ase(WithoutNetForce(file), aluminium, 2, 2.0))


def test_weights_of_another_model(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"some": torch.zeros(3)}, path)
    with pytest.raises(DarkforcesError, match="^model 'equiformer-v2' cannot be made: "):
        load_model(f"equiformer-v2?weights={path}")
