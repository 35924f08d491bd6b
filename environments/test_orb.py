"""ORB models of random weights, in the architectures and through the files that the trained ones have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ase.io
import numpy as np
import pytest
from beside_ase import assert_same, with_ase, with_ipi
from ipi_processes import INPUTS, Workplace

from ipi_darkforces import Need, Structure, load_model
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.registry.packages import PACKAGED

torch = pytest.importorskip("torch")
pytest.importorskip("orb_models", reason="bash environments/make.sh orb")
from orb_models.forcefield import pretrained  # noqa: E402
from orb_models.forcefield.calculator import ORBCalculator  # noqa: E402

ARCHITECTURES = {
    "orb-v2": pretrained.orb_v2_architecture,
    "orb-v3-direct-20-omat": pretrained.orb_v3_direct_architecture,
    "orb-v3-conservative-20-omat": pretrained.orb_v3_conservative_architecture,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Weights of each architecture, removed in the end: they have 100 MB each."""
    folder = tmp_path_factory.mktemp("weights")
    made = {name: folder / f"{name}.ckpt" for name in ARCHITECTURES}
    for name, path in made.items():
        torch.manual_seed(0)
        torch.save(ARCHITECTURES[name](device="cpu").state_dict(), path)
    yield made
    for path in made.values():
        path.unlink()


@pytest.fixture
def aluminium() -> ase.Atoms:
    """A quarter of the crystal of inputs/, moving slowly, as forces of random weights are weak."""
    atoms = ase.io.read(INPUTS / "aluminium.xyz")[:8]
    atoms.cell[0] /= 2.0
    atoms.cell[1] /= 2.0
    atoms.set_momenta(0.2 * atoms.get_momenta())
    return atoms


def calculator_of(name: str, file: Path) -> ORBCalculator:
    """As ORB's own users make it."""
    load = getattr(pretrained, name.replace("-", "_"))
    return ORBCalculator(load(str(file), device="cpu", compile=False), device="cpu")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_forces_are_those_of_the_calculator(name: str, files: dict[str, Path], aluminium: ase.Atoms) -> None:
    model = load_model(f"{name}?weights={files[name]}")
    kind = PACKAGED[name].kind
    assert model.provides == Need.ENERGY | Need.VIRIAL | kind
    structure = Structure.from_ase(aluminium)
    [found] = model.evaluate([structure], model.provides)
    aluminium.calc = calculator_of(name, files[name])
    forces, virial = (found.direct, found.direct_virial) if kind is Need.DIRECT else (found.conservative, found.virial)
    size = np.abs(aluminium.get_forces()).max()
    assert size > 0
    np.testing.assert_allclose(forces, aluminium.get_forces(), rtol=0, atol=1e-4 * size)
    expected = -aluminium.get_volume() * aluminium.get_stress(voigt=False)
    np.testing.assert_allclose(virial, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_ipi_gets_what_ase_gets(files: dict[str, Path], aluminium: ase.Atoms) -> None:
    name = "orb-v3-direct-20-omat"
    with Workplace() as workplace:
        workplace.driver("--model", name, "-o", f"weights={files[name]}", "--stay")
        ours = with_ipi(workplace, aluminium, "direct", 2, 2.0)
    assert_same(ours, with_ase(calculator_of(name, files[name]), aluminium, 2, 2.0))


def test_weights_of_another_model(files: dict[str, Path]) -> None:
    with pytest.raises(DarkforcesError, match=r"^model 'orb-v2' cannot be made: RuntimeError: Error\(s\) in loading"):
        load_model(f"orb-v2?weights={files['orb-v3-direct-20-omat']}")


def test_weights_that_are_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = PACKAGED["orb-v2"].weights
    monkeypatch.setenv("CACHED_PATH_CACHE_ROOT", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://localhost:9")  # nobody listens there
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda *_: None)  # half a minute between five attempts
    with pytest.raises(DarkforcesError) as caught:
        load_model("orb-v2")
    message = str(caught.value)
    assert message.startswith("model 'orb-v2': its weights are not on this machine and cannot be downloaded (")
    assert message.endswith(f"; get {model.name} from {model.source} and say where it is: -o weights={model.name}")
    assert "\n" not in message
