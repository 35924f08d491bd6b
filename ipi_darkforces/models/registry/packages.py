"""General-purpose models of other packages, by name: what each needs, and how it is loaded.

These packages do not live together in one environment, and need not: a driver runs in the one that has the package of
its model. They are imported when a model is loaded and not before, so that what is said of them here can be said
anywhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from ...errors import DarkforcesError
from ...machine import version_of
from ..ase_calculator import CalculatorModel
from ..model import Need
from .export import quiet
from .factory import load_calculator
from .specification import Option
from .weights import Weights, hugging_face_weights, installed_weights, mace_weights, orb_weights


@dataclass(frozen=True)
class Package:
    """A package that a model needs.

    :param name: what pip calls it
    :param paper: the version that the paper used
    :param environment: the file of pinned versions in ``environments/``, without suffix
    """

    name: str
    paper: str
    environment: str

    @property
    def version(self) -> str | None:
        """The version in this environment, None if it is not installed."""
        return version_of(self.name)

    @property
    def command(self) -> str:
        """The command that makes an environment with it, in the repository."""
        return f"bash environments/make.sh {self.environment}"

    def check(self, model: str) -> None:
        """Raise a DarkforcesError if it is not installed."""
        if self.version is None:
            raise DarkforcesError(
                f"model '{model}' needs the package {self.name}, which is not installed in the environment of "
                f"{sys.executable}; '{self.command}' in the repository makes one that has it"
            )


@dataclass(frozen=True)
class PackagedModel:
    """A model of another package.

    :param description: one line for people
    :param kind: CONSERVATIVE or DIRECT
    :param calculator: makes an ase calculator from the path of weights, `device`, and options of the package
    :param elements: atomic numbers that such a calculator knows, None for any
    """

    description: str
    package: Package
    kind: Need
    weights: Weights
    calculator: Callable[..., Any]
    elements: Callable[[Any], frozenset[int] | None] = lambda calculator: None

    def load(
        self, name: str, options: Mapping[str, Option], device: str, dtype: str | None, remove_net_force: bool
    ) -> CalculatorModel:
        """The model, by its name; the package is there.

        :param options: ``weights``, a file in place of the package's own; others go to the package
        :raises DarkforcesError: if the weights are missing or do not fit
        """
        others = {key: value for key, value in options.items() if key != "weights"}
        with quiet(), redirect_stdout(sys.stderr):  # some print what they do; stdout is for results
            factory = partial(self.calculator, str(self.weights.path(name, options.get("weights"))))
            return load_calculator(
                factory,
                name,
                others,
                device,
                dtype,
                self.elements,
                kind=self.kind,
                remove_net_force=remove_net_force,
                wrap=True,
            )


def _mace(weights: str, device: str = "cpu", dtype: str = "float32", **options: Any) -> Any:
    from mace.calculators import MACECalculator

    return MACECalculator(model_paths=weights, device=device, default_dtype=dtype, **options)


def _sevennet(weights: str, device: str = "cpu", **options: Any) -> Any:
    _compile_metatensor()
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator(weights, device=device, **options)


def _compile_metatensor() -> None:
    """Import metatensor, where it is there, before torch_geometric changes functions that it compiles on import."""
    with suppress(ModuleNotFoundError):
        import metatensor.torch  # noqa: F401


def _orb(
    architecture: str,
    weights: str,
    device: str = "cpu",
    dtype: str = "float32",
    compile: bool | None = None,  # noqa: A002
    **options: Any,
) -> Any:
    from orb_models.forcefield import pretrained
    from orb_models.forcefield.calculator import ORBCalculator

    if compile is None:  # on CPUs, it takes minutes and a compiler of C++
        compile = not device.startswith("cpu")  # noqa: A001
    precision = "float64" if dtype == "float64" else "float32-high"
    model = getattr(pretrained, architecture)(weights, device=device, precision=precision, compile=compile)
    return ORBCalculator(model, device=device, **options)


def only_equiformer() -> None:
    """Have fairchem-core import EquiformerV2 alone, which needs nothing that is compiled.

    Others of its models need torch-sparse, and min and max of torch-scatter. EquiformerV2 has the sums and means of
    torch-scatter, which are Python; with ``BUILD_DOCS``, that can be imported without its compiled parts, and raises
    an error where one of them is asked for.
    """
    os.environ.setdefault("BUILD_DOCS", "1")
    from fairchem.core.common.registry import registry
    from fairchem.core.models import base  # noqa: F401  # importing them registers them
    from fairchem.core.models.equiformer_v2 import equiformer_v2, heads  # noqa: F401
    from fairchem.core.models.equiformer_v2.trainers import forces_trainer  # noqa: F401

    registry.register("imports_setup", True)


def _equiformer(weights: str, device: str = "cpu", **options: Any) -> Any:
    only_equiformer()
    from fairchem.core import OCPCalculator

    if device not in ("cpu", "cuda"):
        raise DarkforcesError(f"device '{device}' is not known to fairchem-core: expected cpu or cuda")
    return OCPCalculator(checkpoint_path=weights, cpu=device == "cpu", seed=0, **options)


def _orb_model(name: str, address: str, kind: Need, description: str) -> PackagedModel:
    return PackagedModel(
        description,
        Package("orb-models", "0.4.0", "orb"),
        kind,
        orb_weights(address),
        partial(_orb, name.replace("-", "_")),
    )


_ORB = "https://orbitalmaterials-public-models.s3.us-west-1.amazonaws.com/forcefields"

PACKAGED = {
    "mace-mp-0": PackagedModel(
        "MACE-MP-0, large, for materials (PBE, MPtrj), as in the paper",
        Package("mace-torch", "0.3.8", "mace"),
        Need.CONSERVATIVE,
        mace_weights("MACE_MPtrj_2022.9.model"),
        _mace,
        lambda calculator: frozenset(map(int, calculator.z_table.zs)),
    ),
    "sevennet-0": PackagedModel(
        "SevenNet-0 of 11 July 2024, for materials (PBE, MPtrj), as in the paper",
        Package("sevenn", "0.10.1", "sevennet"),
        Need.CONSERVATIVE,
        installed_weights("sevenn", "pretrained_potentials/SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth"),
        _sevennet,
        lambda calculator: frozenset(map(int, calculator.type_map)),
    ),
    "orb-v2": _orb_model(
        "orb-v2",
        f"{_ORB}/orb-v2-20241011.ckpt",
        Need.DIRECT,
        "ORB v2, for materials (PBE, MPtrj and Alexandria), as in the paper",
    ),
    "orb-v3-direct-20-omat": _orb_model(
        "orb-v3-direct-20-omat",
        f"{_ORB}/orb-v3/orb-v3-direct-20-omat-20250404.ckpt",
        Need.DIRECT,
        "ORB v3, 20 neighbours, for materials (PBE, OMat24)",
    ),
    "orb-v3-conservative-20-omat": _orb_model(
        "orb-v3-conservative-20-omat",
        f"{_ORB}/orb-v3/orb-v3-conservative-20-omat-20250404.ckpt",
        Need.CONSERVATIVE,
        "ORB v3, 20 neighbours, for materials (PBE, OMat24)",
    ),
    "equiformer-v2": PackagedModel(
        "EquiformerV2, 31 million parameters, for materials (PBE, OMat24, MPtrj, sAlex), as in the paper",
        Package("fairchem-core", "1.3.0", "equiformer"),
        Need.DIRECT,
        hugging_face_weights("facebook/OMAT24", "eqV2_31M_omat_mp_salex.pt"),
        _equiformer,
    ),
}
