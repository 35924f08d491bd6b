"""A finished training becomes a model: judged, freed of what only training needs, described, and put into the zoo."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import metatomic.torch  # noqa: F401  (or no checkpoint can be read, for the classes in it)
import torch
from ase.data import chemical_symbols
from metatrain.utils.io import load_model as load_checkpoint
from omegaconf import OmegaConf

from ...atomic import atomic_file, write_atomically
from ...diagnostics.accuracy import Accuracy, check_units, measure
from ...diagnostics.parity import draw_parity
from ...diagnostics.reference import read_reference
from ...errors import DarkforcesError
from ...models.model import ForceModel
from ...models.registry.card import Card
from ...models.registry.load import load_model
from ...models.registry.zoo import all_models, check_name, install, user_directory
from .stage import Stage

NOT_STATED = "not stated: edit this card"
LARGEST = 10.0  # MB


def check_free(name: str, folder: Path) -> None:
    """Raise a DarkforcesError, before hours are spent, if a name cannot be one or is that of another model."""
    check_name(name)
    installed = user_directory() / f"{name}.ckpt"
    if installed.exists() and not _same(installed, folder / f"{name}.ckpt"):
        raise DarkforcesError(f"model '{name}' is there already: '{installed}'; choose another --name")


def publish(stages: Sequence[Stage], folder: Path, name: str) -> str:
    """Write NAME.ckpt, its card, its errors and its parity plot into `folder`, and put it into the zoo.

    :param stages: of the recipe; the last one's model is published
    :param folder: has `validation.xyz`, by which the model is judged
    """
    checkpoint, card_path = folder / f"{name}.ckpt", folder / f"{name}.json"
    slim(stages[-1].checkpoint, checkpoint)
    check_free(name, folder)  # still
    model = load_model(str(checkpoint))
    accuracy = measure(model, read_reference(folder / "validation.xyz"))
    check_units(accuracy)
    write_atomically(folder / f"{name}-errors.json", json.dumps(accuracy.as_json(), indent=2) + "\n")
    draw_parity(accuracy, folder / f"{name}-parity.png")
    if not card_path.exists():  # or it has been edited
        describe(stages, model, accuracy).write(card_path)
    if name not in all_models():
        install(checkpoint, Card.read(card_path), name, overwrite=True)  # what is there is the same, without its card
    return _summary(name, accuracy, card_path)


def slim(source: Path, target: Path) -> None:
    """A checkpoint with the best weights alone: a third of the size, and no path of the machine that made it.

    :raises DarkforcesError: if what is left is larger than a model in the zoo should be
    """
    checkpoint = torch.load(source, map_location="cpu", weights_only=False)
    for state in ("optimizer_state_dict", "best_optimizer_state_dict", "scheduler_state_dict"):
        checkpoint[state] = None
    checkpoint["model_state_dict"] = checkpoint["best_model_state_dict"]  # the same tensors are written once
    with atomic_file(target) as fresh:
        torch.save(checkpoint, fresh)
        megabytes = fresh.stat().st_size / 1e6
        if megabytes > LARGEST:
            raise DarkforcesError(f"'{source}' is a model of {megabytes:.0f} MB: expected at most {LARGEST:.0f} MB")


def describe(stages: Sequence[Stage], model: ForceModel, accuracy: Accuracy) -> Card:
    """The card, as far as a program can write it."""
    hours = {stage.name: sum(epoch.seconds for epoch in stage.history()) / 3600.0 for stage in stages}
    epochs = {stage.name: len(stage.history()) for stage in stages}
    done = ", then ".join(f"{name}: {epochs[name]} epochs in {hours[name]:.1f} h" for name in hours)
    return Card(
        description=f"{stages[-1].name}, trained with darkforces train",
        architecture=_architecture(stages[-1]),
        data=NOT_STATED,
        license=NOT_STATED,
        citation=NOT_STATED,
        training=f"metatrain; {done}; on {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        errors=_errors(accuracy),
        valid_range=NOT_STATED,
        provides=tuple(str(model.provides).split(", ")),
        elements=None if model.species is None else tuple(chemical_symbols[number] for number in sorted(model.species)),
    )


def _architecture(stage: Stage) -> str:
    network = load_checkpoint(stage.checkpoint)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    options = OmegaConf.load(stage.folder / "options.yaml").architecture
    settings = ", ".join(f"{key} {value}" for key, value in options.model.items())
    return f"{options.name}, {parameters} parameters, {settings}"


def _errors(accuracy: Accuracy) -> dict[str, float]:
    kinds = {
        "conservative_mae_meV_per_A": accuracy.conservative_errors,
        "direct_mae_meV_per_A": accuracy.direct_errors,
    }
    errors = {"energy_mae_meV_per_atom": accuracy.energy_errors.total.mae}
    errors |= {key: kind.total.mae for key, kind in kinds.items() if kind is not None}
    if accuracy.difference is not None:
        errors["direct_minus_conservative_rms_meV_per_A"] = accuracy.difference.total.rmse
    return {key: round(value, 3) for key, value in errors.items()}


def _summary(name: str, accuracy: Accuracy, card: Path) -> str:
    errors = ", ".join(f"{key.replace('_', ' ')} {value:.3g}" for key, value in _errors(accuracy).items())
    provides = "conservative" if accuracy.conservative is not None else "direct"
    return (
        f"{name}: {errors}\n"
        f"card: {card} (say there what data it was trained on)\n"
        f"try it: darkforces run --structure my.xyz --model {name} --forces {provides}"
    )


def _same(one: Path, other: Path) -> bool:
    return other.exists() and one.read_bytes() == other.read_bytes()
