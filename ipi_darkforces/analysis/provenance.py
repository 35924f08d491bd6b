"""Description of a run in a line: system, model, time step."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress

from ..errors import printable
from ..simulate.run_files import RunFiles
from .io.runs import Run


def describe(run: Run) -> str:
    """Describe a run as far as its files say it: ``H128O64, model pet-m, steps of 0.5 fs``."""
    parts = []
    if run.trajectories:
        counts = sorted(Counter(str(species) for species in run.trajectories[0].species).items())
        parts.append("".join(f"{name}{count if count > 1 else ''}" for name, count in counts))
    elif run.n_atoms:
        parts.append(f"{run.n_atoms} atoms")
    model = _model(run)
    parts += [f"model {model}"] if model else []
    parts += [f"steps of {1000.0 * run.timestep:.4g} fs"] if run.timestep else []
    return printable(", ".join(parts))


def _model(run: Run) -> str | None:
    """The model with which `darkforces run` has begun it."""
    folder = run.path if run.path.is_dir() else run.path.parent
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(RunFiles(folder).model.read_text())["model"])
    return None
