"""Direct machine-learned forces for i-PI, without paying for them with wrong physics.

What a notebook needs is here::

    import ipi_darkforces as dark

    model = dark.load_model("pet-m")                        # a name, a path or an ase calculator
    forces = model.evaluate(atoms)                          # .energy .conservative .direct .virial
    atoms.calc = dark.Calculator(model, forces="direct")
    dynamics = dark.MultipleTimeStepping(atoms, 2 * units.fs, stride=4, fast=model)
    run = dark.run("inputs/nve-mts4.xml", model, time=0.2)  # i-PI, as `darkforces run` does it
    dark.analyze(run).drift                                 # a table, sentences, pictures, columns
    dark.stride(model, atoms).longest("nve", allowed=1.0)   # the longest stride that heats by less than 1 K/ps
    dark.assess(model, atoms)                               # a verdict on direct forces
    dark.distill(model, atoms, "fast")                      # a student: its fast forces for multiple time stepping

``docs/api.md`` has all names, ``docs/architecture.md`` says where things are.
"""

import os
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analysis.analyze import analyze
    from .analysis.summarized_run import run
    from .assessment.assess import assess
    from .diagnostics.stride import stride
    from .distillation.distill import distill
    from .errors import DarkforcesError
    from .models.calculator import Calculator
    from .models.model import ForceModel, Need
    from .models.registry.load import load_model
    from .models.result import Forces
    from .models.structure import Structure
    from .simulate.multiple_time_stepping import MultipleTimeStepping

# Torch's threads wait for each other by spinning, unless told otherwise before torch is loaded. Beside i-PI, or
# whatever else wants a core now and then, that makes evaluations many times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = version("ipi-darkforces")

# Where each name is defined. They are imported when they are first used, since some take a second, and the commands
# need few of them.
_PLACES = {
    "Calculator": "models.calculator",
    "DarkforcesError": "errors",
    "ForceModel": "models.model",
    "Forces": "models.result",
    "MultipleTimeStepping": "simulate.multiple_time_stepping",
    "Need": "models.model",
    "Structure": "models.structure",
    "analyze": "analysis.analyze",
    "assess": "assessment.assess",
    "distill": "distillation.distill",
    "load_model": "models.registry.load",
    "run": "analysis.summarized_run",
    "stride": "diagnostics.stride",
}
__all__ = [
    "Calculator",
    "DarkforcesError",
    "ForceModel",
    "Forces",
    "MultipleTimeStepping",
    "Need",
    "Structure",
    "analyze",
    "assess",
    "distill",
    "load_model",
    "run",
    "stride",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f".{_PLACES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
