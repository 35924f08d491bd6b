"""Loading the model in what will be i-PI's process, to learn whether it can serve before i-PI is started.

i-PI's plugins find it there: a model is loaded once in a process.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import ipi.engine.simulation  # noqa: F401 - takes long, and will be needed

from ..errors import ERROR, DarkforcesError
from ..models.registry.options import Loading
from ..models.registry.specification import chosen
from ..serve.pes import split_and_role
from ..split.monitor import checked_limit
from .inputs import SimulationInput


def prepare(source: str, choice: str, ready: str) -> None:
    """Load the model, check that it can do what the forcefields of an input ask for, and say so.

    :param choice: keyword arguments of `DarkforcesDriver` that say which model, as JSON
    :param ready: file descriptor to which a line is written then; otherwise an error is, to stderr
    """
    try:
        _check(SimulationInput.read(Path(source)), **json.loads(choice))
    except DarkforcesError as error:
        print(f"{ERROR}{error}", file=sys.stderr, flush=True)
        sys.exit(1)
    os.write(int(ready), b"ready\n")
    os.close(int(ready))


def _check(simulation: SimulationInput, warn_above: str, goes_on: str, **parameters: str) -> None:
    checked_limit(warn_above, "warn_above")
    name = chosen(*(parameters.pop(key, None) for key in ("model", "fast", "slow")))
    loading = Loading.of(parameters)
    for forcefield in simulation.socket_forcefields():
        wanted = forcefield.settings
        template = simulation.folder / (wanted.template or "")
        if template.is_file():  # beside the input: it may not be where we are, until i-PI is
            wanted = replace(wanted, template=str(template))
        settings = {key: value for key, value in vars(wanted).items() if value is not None}
        split, role = split_and_role(name, loading, goes_on, settings)
        simulation.virials.check(split.model, role.component)
