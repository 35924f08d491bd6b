"""Training of direct forces on pairs of geometries.

What a student is worth as the fast force is not the size of its error r but how the error changes along the motion: a
constant one is a slow force. So the loss has two terms, on the mean of the errors at two geometries a fraction of a
vibration apart, and on their difference::

    L = Σ_i w_i (|r_i(1) + r_i(2)|²/4 + λ |r_i(1) - r_i(2)|²) / Σ_i w_i

with w_i ∝ 1/m_i, as the heating is in proportion to the square of the power of the error, r · v.
"""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from ..atomic import atomic_file
from ..errors import DarkforcesError
from ..models.structure import Structure
from .batches import Batch, batch, random_pairs
from .direct_pet import DIRECT
from .labels import LabelledTrajectory
from .muon import MuonAndAdam

_CLIP = 1.0  # norm of gradients, in units of what it is for forces of the labels' size
_LONGEST_WARM_UP = 100  # steps; of short trainings, a tenth
_ATOMS = 384  # in the geometries of each step, about: with fewer, most of a step's time goes into many small operations


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Schedule of a training.

    :param steps: of the optimizer
    :param pairs: of geometries in each; see `pairs_for`
    :param learning_rate: the highest, of Muon; it falls to zero with half a period of a cosine
    :param difference: λ, weight of the change of the error
    :param lag: fs, between the geometries of a pair
    :param seed: of the choice of pairs and their rotations
    """

    steps: int
    pairs: int = 1
    learning_rate: float = 1e-2
    difference: float = 4.0
    lag: float = 2.0
    seed: int = 0

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        warm = min(1.0, (step + 1) / min(_LONGEST_WARM_UP, 1 + self.steps // 10))
        return self.learning_rate * warm * 0.5 * (1.0 + math.cos(math.pi * step / self.steps))


def pairs_for(structures: Sequence[Structure]) -> int:
    """The number of pairs of geometries that suits each step of a training on dynamics of these structures.

    With 32 atoms of graphene, 3000 steps of six pairs took as long as 9000 of one pair, and gave a student that is 24
    instead of 31 meV/Å from its teacher.
    """
    atoms = np.mean([len(structure.species) for structure in structures])
    return max(1, round(_ATOMS / (2.0 * float(atoms))))


class Fit:
    """A training that can be stopped.

    :param model: from `new_model`; is trained
    :param schedule: how
    """

    def __init__(self, model: Any, schedule: Schedule):
        self.model = model
        self.schedule = schedule
        self.step = 0
        self._began = False
        self._backend = copy.deepcopy(model.backend)
        self._backend.remove_output("energy")  # which would be computed
        self._parameters = list(self._backend.parameters())
        self._optimizer = MuonAndAdam(self._parameters, lr=schedule.learning_rate)

    def run(
        self,
        trajectories: Sequence[LabelledTrajectory],
        steps: int,
        report: Callable[[float, float], None] = lambda value, change: None,
    ) -> None:
        """Go on for some steps, at most to the end of the schedule.

        :param trajectories: labels, which may be others than last time
        :param report: called after each step with the root of both terms of the loss, eV/Å
        """
        size = float(np.sqrt(np.mean([np.mean(each.forces**2) for each in trajectories])))
        if not self._began:
            _scale(self._backend, size)
            self._began = True
        self._backend.train()
        schedule = self.schedule
        for _ in range(min(steps, schedule.steps - self.step)):
            rng = np.random.default_rng([schedule.seed, self.step])
            chosen = batch(random_pairs(trajectories, schedule.pairs, schedule.lag, rng), self._backend, rng)
            value, change = errors(direct_forces(self._backend, chosen), chosen)
            for group in self._optimizer.param_groups:
                group["lr"] = schedule.rate(self.step)
            self._optimizer.zero_grad()
            loss = (value + schedule.difference * change) / size**2
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._parameters, _CLIP)
            self._optimizer.step()
            self.step += 1
            report(math.sqrt(value.item()), math.sqrt(change.item()))

    def finished(self) -> Any:
        """The model as it is now."""
        self.model.backend.load_state_dict(self._backend.state_dict(), strict=False)
        return self.model

    def write(self, path: Path) -> None:
        """Write all that is needed to resume, atomically."""
        state = {
            "step": self.step,
            "weights": self._backend.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        with atomic_file(path) as fresh:
            torch.save(state, fresh)

    def start_from(self, path: Path) -> None:
        """Begin with the weights of another training of the same network.

        :raises DarkforcesError: as `restore`
        """
        self.restore(path)
        self.step = 0

    def restore(self, path: Path) -> None:
        """Go on from what `write` has written.

        :raises DarkforcesError: if the file cannot be read, or is of another network
        """
        with _readable(path):
            state = torch.load(path, weights_only=True)
            self._backend.load_state_dict(state["weights"])
            self._optimizer.load_state_dict(state["optimizer"])
            self.step, self._began = state["step"], True


def steps_done(path: Path) -> int:
    """Steps of the training whose state is in a file; none without a file.

    :raises DarkforcesError: if the file cannot be read
    """
    with _readable(path):
        return int(torch.load(path, weights_only=True)["step"]) if path.exists() else 0


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError, BadZipFile) as error:
        raise DarkforcesError(f"'{path}' holds no training that can go on: remove it to begin anew") from error


def direct_forces(backend: Any, of: Batch) -> torch.Tensor:
    """Direct forces without the net force of each geometry, as `ForceModel` serves them, eV/Å, shape (n_atoms, 3)."""
    inputs = {name: value.clone() for name, value in of.inputs.items()}  # metatrain writes into some of them
    features = backend.calculate_features(inputs)
    predictions, _, _ = backend.predict(*features, inputs, of.cells, of.owners, [DIRECT])
    forces = predictions[DIRECT][0].reshape(-1, 3)
    counts = torch.bincount(of.owners).unsqueeze(1)
    net = torch.zeros((len(counts), 3)).index_add(0, of.owners, forces)
    return forces - (net / counts)[of.owners]


def errors(forces: torch.Tensor, of: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Both terms of the loss without λ: of the error and of its change, (eV/Å)², per component."""
    residuals, counted = forces - of.forces, of.weights.unsqueeze(1)
    sizes = torch.bincount(of.owners).tolist()
    pieces, heavy = residuals.split(sizes), counted.split(sizes)
    total = counted.sum() * 1.5  # both geometries of a pair count once, with three components
    value = sum((w * (a + b).square()).sum() for a, b, w in zip(pieces[::2], pieces[1::2], heavy[::2], strict=True))
    change = sum((w * (a - b).square()).sum() for a, b, w in zip(pieces[::2], pieces[1::2], heavy[::2], strict=True))
    return 0.25 * value / total, change / total


def _scale(backend: Any, size: float) -> None:
    """Begin with forces about as large as those of the labels, eV/Å."""
    with torch.no_grad():
        for part in (backend.node_last_layers, backend.edge_last_layers):
            for parameter in part[DIRECT].parameters():
                parameter.mul_(size)
