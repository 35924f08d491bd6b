"""The simulations of an assessment, in order: the results of the first ones decide which ones follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..campaign.findings import Findings, by_model
from ..campaign.folder import CampaignFolder
from ..campaign.matrix import Simulation
from ..campaign.measured import Measured, measure
from ..models.registry.options import Loading
from .choices import choices
from .criteria import HEATING, Judged, judged
from .plan import AssessmentPlan
from .strides import Strides
from .verdict import may_be_safe, needs_stride


@dataclass(frozen=True)
class SimulationResults:
    """The results of all simulations.

    :param findings: of all of them
    :param judged: each way to use the forces
    :param machine: where they ran
    """

    findings: Findings
    judged: tuple[Judged, ...]
    machine: dict[str, str]


def simulate(
    plan: AssessmentPlan,
    strides: Strides | None,
    folder: CampaignFolder,
    loading: Loading,
    run: Callable[[Simulation], bool],
) -> SimulationResults | None:
    """Run the simulations that have not ended; None if the user interrupted one.

    First NVE with each kind of forces, and SVR with direct ones if that can be long enough. Unless these are safe, or
    conservative ones are not, the largest stride that is predicted to be safe is confirmed in the same way; if it fails
    there, half of it.

    :param strides: what is predicted of them; None if there are none
    :param folder: where they are kept
    :param loading: options with which the model is loaded
    :param run: does one, and says whether it has ended
    """
    simulations: list[Simulation] = []
    measured: dict[str, Measured] = {}

    def results_with(*more: Simulation) -> SimulationResults | None:
        simulations.extend(more)
        if not _done(plan, simulations, folder, loading, run):
            return None
        return _result(plan, strides, simulations, folder, measured)

    result = results_with(*plan.first)
    stride = None if strides is None else strides.longest(HEATING * plan.temperature)
    while result is not None and stride is not None and stride >= 2 and needs_stride(result.judged):
        for simulation in plan.multiple_time_stepping(stride):
            result = results_with(simulation)
            if result is None or not may_be_safe(result.judged, stride):
                break
        else:
            break
        stride //= 2
    return result


def _done(
    plan: AssessmentPlan,
    simulations: Sequence[Simulation],
    folder: CampaignFolder,
    loading: Loading,
    run: Callable[[Simulation], bool],
) -> bool:
    folder.prepare(plan.campaign(simulations), loading)
    return all(folder.ended(simulation.name) is not None or run(simulation) for simulation in simulations)


def _result(
    plan: AssessmentPlan,
    strides: Strides | None,
    simulations: Sequence[Simulation],
    folder: CampaignFolder,
    measured: dict[str, Measured],
) -> SimulationResults:
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
    return SimulationResults(
        findings,
        tuple(judged(choice, species, plan.temperature) for choice in choices(findings, strides)),
        first.measured[0].ended.machine,
    )
