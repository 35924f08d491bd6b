"""Assessment of a model: diagnostics, simulations, verdict, in order."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase
import ase.io

from ..analysis.io.setup import Constraints
from ..analysis.simulation_bar import SimulationBar
from ..atomic import writing
from ..campaign.folder import CampaignFolder
from ..campaign.matrix import Simulation
from ..campaign.simulate import simulate
from ..diagnostics.structures import as_structure
from ..errors import DarkforcesError, check_positive
from ..models.model import ForceModel, Need
from ..models.registry.load import ModelChoice, load_as
from ..models.registry.options import Loading
from ..models.registry.specification import label_of
from ..models.structure import Structure
from ..models.structure_file import read_atoms
from ..progress_bar import counting_bar, progress_bar
from ..simulate.inputs import SimulationInput
from ..simulate.recipe import check_steps
from ..simulate.start import Start, read_start
from ..split.component import DISTILL
from . import model_diagnostics, procedure
from .assessment import Assessment
from .plan import AssessmentPlan
from .stages import ASYMMETRY, STRIDES, WORK, Stages, estimated_seconds, simulation_name
from .strides import LONGEST, Strides
from .verdict import Advice, Verdict, decide

STOPPED = "stopped; the same command goes on from there"
QUICK, THOROUGH = 0.5, 20.0  # ps; the latter is what temperatures of species take to say anything
_ERRORS = {False: 0.05, True: 0.01}  # relative, of λ: quick and thorough
_PREDICTED = {False: 2.0, True: 10.0}  # ps, of the run from which strides are predicted
# Outer steps of the longest stride, without which there is nothing to look at.
_FEWEST_STEPS = 4


def assess(
    model: str | os.PathLike[str] | ForceModel,
    structure: str | os.PathLike[str] | ase.Atoms,
    *,
    temperature: float = 300.0,
    timestep: float = 0.5,
    time: float = QUICK,
    thorough: bool = False,
    output: str | os.PathLike[str] | None = None,
    device: str | None = None,
    dtype: str | None = None,
    variant: str | None = None,
    backend: str | None = None,
) -> Assessment:
    """Judge whether a model is safe to run with its direct forces, and if not, how then.

    The heating of all strides of multiple time stepping is predicted from one run under conservative forces.
    Simulations with i-PI follow: NVE with conservative forces, direct ones, and the largest stride that is predicted to
    be safe; and, if thorough, SVR with the latter two. It takes minutes at least, with progress bars, and the time that
    is left at the beginning of each stage. The same call goes on where one was stopped.

    :param model: a name or path, see `load_model`, or a model that it has returned
    :param structure: what all simulations start from, in equilibrium: a file, of which the last structure is taken, or
        atoms, which are kept in a file beside the folder
    :param temperature: K
    :param timestep: fs, of the fast forces
    :param time: ps, of each NVE simulation; from 10 on, others with a thermostat take twice that
    :param thorough: 20 ps instead, strides predicted from 10 ps instead of 2, and λ to 1 % instead of 5 %
    :param output: folder for everything; default: ``assess-MODEL-STRUCTURE`` in the current folder
    :param device: of the model, as `dtype`, `variant` and `backend`: see `load_model`. Default: as it was loaded
    :return: the verdict, which shows itself as text and in notebooks
    :raises DarkforcesError: if what is given cannot be used, or a simulation fails
    :raises KeyboardInterrupt: if it was interrupted, after i-PI has written its state

    >>> import ipi_darkforces as dark
    >>> dark.assess("pet-c", "inputs/water.xyz")
    pet-c has conservative forces only, and nothing is to be chosen; darkforces distill trains direct ones for it
    """
    check_settings(temperature, timestep, time)
    choice = ModelChoice.of(model, device=device, dtype=dtype, variant=variant, backend=backend)
    label = label_of(choice.model)
    path = Path(f"{_formula(structure)}.traj") if isinstance(structure, ase.Atoms) else Path(structure)
    folder = Path(f"assess-{label}-{path.stem}") if output is None else Path(output)
    if isinstance(structure, ase.Atoms):
        path = folder.with_name(f"{folder.name}.traj")
        _keep(structure, path)
    start = read_start(path)
    system = as_structure(start.atoms, f"'{path}'")
    if len(start.atoms) < 2:
        raise DarkforcesError(f"'{path}' has one atom: expected at least two that act on each other")
    loaded = model if isinstance(model, ForceModel) else load_as(choice.model, choice.loading)
    loaded.check_species(system.species)
    length = THOROUGH if thorough else time
    plan = AssessmentPlan(choice.model, loaded.provides, path, temperature, timestep, length)
    formula = start.atoms.get_chemical_formula()
    if Need.DIRECT not in loaded.provides:
        return Assessment(plan, choice.loading, formula, folder, _nothing_to_choose(loaded))
    kept = CampaignFolder(folder.resolve())
    with kept.locked():
        kept.prepare(plan.campaign(plan.first), choice.loading)
        stages = Stages(estimated_seconds(plan, loaded, start.atoms, system, _PREDICTED[thorough]))
        stages.begin(ASYMMETRY)
        asymmetry = _asymmetry(plan, choice.loading, system, kept.path, _ERRORS[thorough])
        stages.begin(WORK)
        work = _work(plan, loaded, system, kept.path)
        found: dict[str, Any] = {}
        if Need.CONSERVATIVE in loaded.provides:
            stages.begin(STRIDES)
            found = _strides(plan, loaded, start.atoms, kept.path, _PREDICTED[thorough])
        strides = Strides.from_json(found) if found and "missing" not in found else None
        result = procedure.simulate(
            plan, strides, kept, choice.loading, lambda each: _simulate(kept, each, start, stages)
        )
    if result is None:
        raise KeyboardInterrupt(STOPPED)
    verdict = decide(label, result.judged, strides, temperature)
    return Assessment(plan, choice.loading, formula, folder, verdict, result, asymmetry, work, found)


def check_settings(temperature: float, timestep: float, time: float) -> None:
    """Raise a DarkforcesError for numbers that cannot be; see `assess`."""
    check_positive("temperature", temperature, "K")
    check_positive("timestep", timestep, "fs")
    check_positive("time", time, "ps")
    check_steps(time, timestep, f"time {time:g} ps")
    shortest = 1e-3 * timestep * LONGEST * _FEWEST_STEPS
    if time < shortest:
        raise DarkforcesError(
            f"time {time:g} is too short for M = {LONGEST}: expected at least {shortest:g} ps, "
            f"{_FEWEST_STEPS} of its steps"
        )


def _formula(atoms: ase.Atoms) -> str:
    formula: str = atoms.get_chemical_formula()
    return formula


def _keep(atoms: ase.Atoms, path: Path) -> None:
    """Write atoms to a file, or check that these are what it holds."""
    if not path.exists():
        with writing(path) as file:
            ase.io.write(file, atoms.copy(), format="traj")  # without the results of a calculator
    elif read_atoms(path, "structure") != atoms:
        raise DarkforcesError(f"'{path}' holds other atoms, of another assessment; choose another output")


def _nothing_to_choose(model: ForceModel) -> Verdict:
    model.check_need(Need.CONSERVATIVE)
    text = f"{model.name} has conservative forces only, and nothing is to be chosen; {DISTILL}"
    return Verdict(Advice.CONSERVATIVE, None, text, ())


def _asymmetry(
    plan: AssessmentPlan, loading: Loading, structure: Structure, folder: Path, error: float
) -> dict[str, object]:
    with progress_bar(desc="lambda", disable=None, leave=False, unit="probe") as bar:

        def show(done: int, reached: float) -> None:
            bar.set_postfix_str(f"error {100.0 * reached:.1f} %", refresh=False)
            bar.update(done - bar.n)

        # The fastest implementation need not be one that can be differentiated twice.
        def differentiable() -> ForceModel:
            return load_as(plan.model, replace(loading, backend="metatomic"))

        return model_diagnostics.asymmetry(folder, differentiable, structure, plan.structure.name, error, show)


def _work(plan: AssessmentPlan, model: ForceModel, structure: Structure, folder: Path) -> dict[str, object]:
    with progress_bar(desc="work", disable=None, leave=False, unit="evaluation") as bar:

        def show(done: int) -> None:
            bar.update(done - bar.n)

        return model_diagnostics.work(folder, model, structure, plan.structure.name, show)


def _strides(plan: AssessmentPlan, model: ForceModel, atoms: ase.Atoms, folder: Path, time: float) -> dict[str, Any]:
    with counting_bar("strides", "step") as show:
        return model_diagnostics.strides(folder, model, atoms, plan.temperature, plan.timestep, time, show)


def _simulate(folder: CampaignFolder, simulation: Simulation, start: Start, stages: Stages) -> bool:
    """Run a simulation, and say whether it has ended."""
    of = simulation.condition
    stages.begin(simulation_name(of.ensemble, of.forces))
    constraints = Constraints.in_input(SimulationInput.read(folder.input(simulation.name)))
    with SimulationBar(f"{of.ensemble.upper()} {of.forces}", len(start.atoms), constraints) as bar:
        return simulate(folder, simulation.name, bar.show) is not None
