"""The folder of a campaign: its files, and the simulations that have ended.

A folder belongs to one campaign, which may grow: longer simulations, more seeds, more blocks.

    campaign.json           what belongs to the campaign, and the simulations as they were asked for last
    start.chk, inputs/      what i-PI starts from, an input for each simulation
    runs/NAME/              the folder of a simulation, as `darkforces run` makes them (see `RunFolder`); and
    runs/NAME/ended.json    how it ended, once it has
    logs/NAME.log           what its job said; snakemake.log is beside them
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..atomic import write_atomically
from ..digest import digest
from ..errors import ERROR, DarkforcesError
from ..lock import locked
from ..models.registry.kinds import specified
from ..models.registry.load import ModelChoice, load_as
from ..models.registry.options import Loading
from ..simulate.compose import compose, write_start
from ..simulate.folder import RunFolder
from ..simulate.progress import complete_row
from ..simulate.start import read_start, say_where_periodic
from .matrix import Campaign, Simulation

_START = "start.chk"


@dataclass(frozen=True)
class Ended:
    """The end of a simulation.

    :param picoseconds: simulated
    :param unstable: why it could not go on; None if it got to its end
    :param seconds: wall time of all its steps, as far as is known
    :param seconds_per_step: wall time of a step of i-PI; None if it was too short to know
    :param machine: where it ran
    """

    picoseconds: float
    unstable: str | None
    seconds: float
    seconds_per_step: float | None
    machine: dict[str, str]

    def write(self, path: Path) -> None:
        """Write the record, atomically."""
        write_atomically(path, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Ended:
        """Read what `write` wrote.

        :raises DarkforcesError: if it was something else
        """
        try:
            return cls(**json.loads(path.read_text()))
        except (TypeError, json.JSONDecodeError) as error:
            raise DarkforcesError(f"'{path}' is of another version; remove it to have it written again") from error


@dataclass(frozen=True)
class Job:
    """The model and temperature of a simulation.

    :param model: name or path, and how it is evaluated
    :param temperature: K, what it should be
    """

    model: ModelChoice
    temperature: float


class CampaignFolder:
    """The folder of one campaign."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def _campaign(self) -> Path:
        return self.path / "campaign.json"

    def input(self, name: str) -> Path:
        """The i-PI input of a simulation."""
        return self.path / "inputs" / f"{name}.xml"

    def run(self, name: str) -> Path:
        """The folder of a simulation."""
        return self.path / "runs" / name

    def log(self, name: str) -> Path:
        """The log of the job of a simulation."""
        return self.path / "logs" / f"{name}.log"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the folder.

        :raises DarkforcesError: if somebody else is at work here, or the folder is not one of a campaign
        """
        if self.path.exists() and not self.path.is_dir():
            raise DarkforcesError(f"'{self.path}' is a file, and no folder for a campaign; choose another --output")
        if self.path.exists() and not self._campaign.exists():
            strangers = sorted(p.name for p in self.path.iterdir() if p.name != ".lock")
            if strangers:
                raise DarkforcesError(
                    f"'{self.path}' is no folder of a campaign and not empty ({', '.join(strangers[:3])}...); "
                    "choose another --output"
                )
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path / ".lock", f"another campaign is running in '{self.path}'"):
            yield

    def prepare(self, campaign: Campaign, loading: Loading) -> None:
        """Write what the simulations need, and mark those that shall become longer as not done.

        :param loading: options with which all models are loaded
        :raises DarkforcesError: if the folder holds another campaign
        """
        start = read_start(campaign.structure)
        say_where_periodic(start, campaign.structure)
        belongs = {
            "name": campaign.name,
            "structure": digest(campaign.structure)[:12],
            "temperature_K": campaign.temperature,
            "timestep_fs": campaign.timestep,
            "weights": {model: specified(model).fingerprint() for model in campaign.models},
            **loading.identity,
        }
        if self._campaign.exists():
            self._check_same(belongs)
        for folder in ("inputs", "runs", "logs"):
            (self.path / folder).mkdir(exist_ok=True)
        write_start(start.atoms, self.path / _START)
        for simulation in campaign.simulations:
            recipe = campaign.recipe(simulation, start, f"../{_START}")
            self.input(simulation.name).write_text(compose(recipe))
            ended = self.ended(simulation.name)
            if ended and not ended.unstable and ended.picoseconds < simulation.time - 1e-3 * recipe.step:
                self._ended(simulation.name).unlink()
        simulations = {simulation.name: simulation.condition.model for simulation in campaign.simulations}
        content = {"belongs": belongs, **loading.as_json(), "simulations": simulations}
        write_atomically(self._campaign, json.dumps(content, indent=2) + "\n")

    def _check_same(self, belongs: Mapping[str, Any]) -> None:
        held = self._read()["belongs"]
        for key, value in belongs.items():
            if key == "weights":
                changed = [model for model in value if held[key].get(model, value[model]) != value[model]]
                other = [f"other weights of model '{model}'" for model in changed]
            elif key == "structure":
                other = ["another structure"] if held[key] != value else []
            else:
                before = held.get(key)  # older folders have no precision and no variant
                other = [f"{key} {before or 'of the model'}, not {value or 'of the model'}"] if before != value else []
            if other:
                raise DarkforcesError(f"'{self.path}' holds a campaign with {other[0]}; choose another --output")

    def _read(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._campaign.read_text()))
        except (FileNotFoundError, json.JSONDecodeError) as error:
            raise DarkforcesError(f"'{self.path}' is no folder of a campaign: no '{self._campaign.name}'") from error

    def job(self, name: str) -> Job:
        """Settings with which a simulation is run.

        :raises DarkforcesError: if there is none of that name
        """
        content = self._read()
        if name not in content["simulations"]:
            raise DarkforcesError(f"'{self.path}' has no simulation {name}")
        model = ModelChoice(content["simulations"][name], Loading.of(content))
        return Job(model, content["belongs"]["temperature_K"])

    def _ended(self, name: str) -> Path:
        return self.run(name) / "ended.json"

    def ended(self, name: str) -> Ended | None:
        """The end of a simulation; None if it has not ended."""
        path = self._ended(name)
        return Ended.read(path) if path.exists() else None

    def record_end(self, name: str, ended: Ended) -> None:
        """Record the end of a simulation."""
        ended.write(self._ended(name))

    def picoseconds(self, simulation: Simulation) -> float:
        """The simulated time, for a progress bar; one that exploded has nothing left to do."""
        if self._ended(simulation.name).exists():
            return simulation.time
        progress = RunFolder(self.run(simulation.name)).progress(simulation.name)
        try:
            with progress.open("rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - 1000))
                rows = [complete_row(line, 4) for line in stream.read().decode(errors="replace").split("\n")[:-1]]
        except OSError:
            return 0.0
        return 1e-3 * next((row[1] for row in reversed(rows) if row is not None), 0.0)

    def complaint(self, name: str) -> str:
        """The reason why a simulation has not ended, as far as its job said."""
        try:
            lines = self.log(name).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return "it was not started"
        errors = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)] or lines
        return f"{errors[-1] if errors else 'its job said nothing'} (see logs/{name}.log)"


def check_models(campaign: Campaign, loading: Loading) -> None:
    """Load each model once, which exports it too, and see whether it can do what is asked of it.

    On the CPU: where the simulations are, there may be another device.

    :raises DarkforcesError: if one does not exist, or lacks an output or an element
    """
    species = read_start(campaign.structure).atoms.numbers
    for name in campaign.models:
        model = load_as(name, replace(loading, device="cpu"))
        model.check_species(species)
        for condition in campaign.conditions:
            for component in condition.needs if condition.model == name else ():
                component.check(model)
