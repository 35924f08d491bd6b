"""The simulations of an assessment, in order: the results of the first ones decide which ones follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..campaign.evaluation import Evaluation
from ..campaign.findings import Findings, Measured, by_model, measure
from ..campaign.folder import CampaignFolder
from ..campaign.matrix import Simulation
from .choices import choices
from .criteria import Judged, judged
from .plan import Plan
from .verdict import largest_safe_stride


@dataclass(frozen=True)
class Result:
    """The results of all simulations.

    :param findings: of all of them
    :param judged: each way to use the forces
    :param machine: where they ran
    """

    findings: Findings
    judged: tuple[Judged, ...]
    machine: dict[str, str]


def simulate(
    plan: Plan, folder: CampaignFolder, evaluation: Evaluation, run: Callable[[Simulation], bool]
) -> Result | None:
    """Run the simulations that have not ended; None if the user interrupted one.

    First NVE with all forces, then SVR with direct forces and, to confirm it, with the largest stride that is safe so
    far: if that fails there, the next one down.

    :param folder: where they are kept
    :param evaluation: how the model is evaluated
    :param run: does one, and says whether it has ended
    """
    simulations = [*plan.nve, plan.svr(None)]
    measured: dict[str, Measured] = {}
    while True:
        if not _done(plan, simulations, folder, evaluation, run):
            return None
        result = _result(plan, simulations, folder, measured)
        safe = largest_safe_stride(result.judged)
        if safe is None or safe.choice.svr is not None:
            return result
        simulations.append(plan.svr(safe.choice.stride))


def _done(
    plan: Plan,
    simulations: Sequence[Simulation],
    folder: CampaignFolder,
    evaluation: Evaluation,
    run: Callable[[Simulation], bool],
) -> bool:
    folder.prepare(plan.campaign(simulations), evaluation)
    return all(folder.ended(simulation.name) is not None or run(simulation) for simulation in simulations)


def _result(
    plan: Plan, simulations: Sequence[Simulation], folder: CampaignFolder, measured: dict[str, Measured]
) -> Result:
    """The results so far.

    :param measured: those that were looked at before, by their names; others are added
    """
    campaign = plan.campaign(simulations)
    for simulation in simulations:
        ended = folder.ended(simulation.name)
        assert ended is not None
        if simulation.name not in measured:
            measured[simulation.name] = measure(folder, simulation, ended, campaign.discard)
    [findings] = by_model(campaign, list(measured.values()))
    first = findings.all[0]
    species = (first.heavy, first.light)
    return Result(
        findings,
        tuple(judged(choice, species, plan.temperature) for choice in choices(findings)),
        first.measured[0].ended.machine,
    )
