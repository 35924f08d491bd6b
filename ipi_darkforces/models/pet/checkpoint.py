"""Reading PET models from metatrain's checkpoints, and what of them is supported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import metatomic.torch as mta
import numpy as np
import torch

from ...errors import one_line
from ..registry.export import is_checkpoint, quiet
from .repulsion import Repulsion

# What each kind of output is measured in here, and for what it is predicted, with which shape.
_UNITS = {
    "energy": "eV",
    "non_conservative_force": "eV/Angstrom",
    "non_conservative_forces": "eV/Angstrom",
    "non_conservative_stress": "eV/Angstrom^3",
}
_KINDS = [("system", [[1]]), ("atom", [[3, 1]]), ("system", [[3, 3, 1]])]


class UnsupportedModelError(Exception):
    """Error: not a PET model, or one with parts that are not implemented here."""


class OtherArchitectureError(UnsupportedModelError):
    """Error: not a PET model."""


@dataclass(frozen=True)
class Constants:
    """Scale and offset of the network's values, by element: value × scale + offset; shapes (n_elements, 1)."""

    scales: np.ndarray
    offsets: np.ndarray


def constants_of(model: Any, output: str) -> Constants:
    """Read scale and offset from metatrain's scaler and composition model, for one atom of each element."""
    target = model.dataset_info.targets[output]
    factor = mta.unit_conversion_factor(target.unit, _UNITS[output.partition("/")[0]])
    types = torch.tensor(model.atomic_types)
    n = len(types)
    nowhere, none = torch.zeros((n, 3), dtype=torch.float64), torch.zeros((3, 3), dtype=torch.float64)
    system = mta.System(types, nowhere, none, torch.zeros(3, dtype=torch.bool))
    asked = {output: mta.ModelOutput(sample_kind=target.sample_kind)}
    scales = model.scaler.get_scales([system], asked)[output].block().values
    scales = scales.reshape(len(scales), -1)[:, :1].expand(n, 1)
    offsets = torch.zeros((n, 1), dtype=torch.float64)
    composition = model.additive_models[0]
    if output in composition.outputs:
        offsets = composition([system], {output: mta.ModelOutput(sample_kind="atom")})[output].block().values
    return Constants(factor * scales.numpy(), factor * offsets.numpy())


def read_checkpoint(path: Path) -> tuple[Any, Any]:
    """The model as metatrain makes it, and what adds uncertainties to it, or None."""
    if not is_checkpoint(path):  # a file can hold code, and none is run before its name has been checked
        raise UnsupportedModelError("it is not a metatrain checkpoint")
    try:
        with quiet():
            from metatrain.utils.io import model_from_checkpoint

            checkpoint = torch.load(path, weights_only=False, map_location="cpu")
            wrapped = checkpoint.get("wrapped_model_checkpoint", checkpoint)
            if wrapped["architecture_name"] != "pet":
                raise OtherArchitectureError(f"its architecture is {wrapped['architecture_name']}")
            loaded = model_from_checkpoint(checkpoint, context="export").eval()
            model, wrapper = (loaded, None) if wrapped is checkpoint else (loaded.model, loaded)
    except UnsupportedModelError:
        raise
    except Exception as error:  # metatrain and torch raise many kinds, with many lines
        raise UnsupportedModelError(one_line(error)) from error
    if model.long_range:
        raise UnsupportedModelError("it has long-range features")
    if mta.unit_conversion_factor(model.dataset_info.length_unit, "angstrom") != 1.0:
        raise UnsupportedModelError(f"its unit of length is {model.dataset_info.length_unit}")
    return model, wrapper


def repulsion(model: Any, energy: str, device: torch.device) -> Repulsion | None:
    """Find the repulsion of a model which adds one to this output."""
    repulsions = [Repulsion(module, device) for module in model.additive_models[1:]]
    return next((each for each in repulsions if energy in each.outputs), None)


def check_outputs(model: Any, used: Sequence[str]) -> None:
    """Check that outputs are what they are taken for: the energy of a system, forces on its atoms, its stress."""
    for name in used:
        target, shapes = model.dataset_info.targets[name], list(model.output_shapes[name].values())
        if (target.sample_kind, shapes) not in _KINDS:
            raise UnsupportedModelError(f"its output '{name}' is of a kind of its own")
