"""``darkforces assess``: is it safe to run with a model's direct forces, and if not, how then?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from ..analysis.setup import Constraints
from ..analysis.simulation_bar import SimulationBar
from ..assessment import parts, pictures, procedure
from ..assessment.plan import STRIDES, Plan
from ..assessment.verdict import Advice, Verdict, decide
from ..campaign.evaluation import Evaluation
from ..campaign.folder import CampaignFolder
from ..campaign.matrix import Simulation
from ..campaign.simulate import simulate
from ..diagnostics.structures import as_structure
from ..errors import DarkforcesError, printable
from ..models.model import ForceModel, Need
from ..models.registry.specification import absolute, label_of
from ..models.structure import Structure
from ..progress_bar import progress_bar
from ..reports import assessment as assess_page
from ..reports.assessment import Assessment
from ..simulate.inputs import SimulationInput
from ..simulate.start import Start, read_start
from ..stats.rows import aligned
from ..whole import writing
from .entry import INTERRUPTED
from .options import MODEL_HELP, add_evaluation_options, model_of

PAGE = "report.html"
_SUMMARY = "assessment.json"
_QUICK, _THOROUGH = 0.5, 20.0  # ps; the latter is what temperatures of species take to say anything
_ERRORS = {False: 0.05, True: 0.01}  # relative, of λ: quick and thorough
# Outer steps of the longest stride, without which there is nothing to look at.
_FEWEST_STEPS = 4

DESCRIPTION = """\
Judges a model for somebody who is to choose one: is it safe to run with its direct forces; which stride of multiple
time stepping is, and what does it save; what to use instead. In order: how asymmetric the Jacobian of the direct forces
is (lambda), the work along a closed path, NVE with conservative forces, direct ones, and multiple time stepping with
M = 2, 4, 8, 16 (M = 1 is conservative forces at every step), and SVR with direct forces and the stride that seems safe,
for the temperatures of species. Ends with a page in plain words, with pictures, and an exit code.
"""

EPILOG = f"""\
examples
  darkforces assess pet-m inputs/water.xyz
      {_QUICK:g} ps of each NVE, twice that of SVR: minutes on two cores; everything goes to assess-pet-m-water, with
      {PAGE} and {_SUMMARY}
  darkforces assess pet-m inputs/water.xyz --thorough
      {_THOROUGH:g} ps: hours on two cores, for a model that is to be used; goes on where the quick one ended
  darkforces assess my-model.pt my.xyz --time 2 --temperature 350 --device cuda

exit codes
   {Advice.DIRECT:>2}  safe with direct forces
   {Advice.MTS:>2}  only with multiple time stepping
   {Advice.CONSERVATIVE:>2}  only with conservative forces; also for a model that has no others
   {Advice.NOTHING:>2}  nothing is shown to be safe: too short to know, or even conservative forces fail
    1  an error: what was given cannot be used

reading the result
  Safe means, by 95 % intervals and for the time simulated: no explosion; NVE heats by less than 1 % of the temperature
  in a ps; for direct forces also, species have the same temperature. The page gives the reasons. What takes longer to
  go wrong is not seen. STRUCTURE should be in equilibrium, and the machine idle: times are compared.

Stopped, it goes on where it was when the same command is given again; a longer --time goes on from the shorter one.
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "assess",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "structure",
        metavar="STRUCTURE",
        type=Path,
        help="what all simulations start from: a file of i-PI, or anything that ase reads; the last one of a file",
    )
    add_evaluation_options(parser.add_argument_group("model"))
    parser.add_argument("--temperature", type=float, default=300.0, metavar="K", help="(default: %(default)s)")
    parser.add_argument(
        "--timestep", type=float, default=0.5, metavar="FS", help="of the fast forces, in fs (default: %(default)s)"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--time",
        type=float,
        default=_QUICK,
        metavar="PS",
        help="of each NVE simulation, in ps; SVR takes twice that (default: %(default)s)",
    )
    length.add_argument(
        "--thorough", action="store_true", help=f"{_THOROUGH:g} ps instead, and lambda to 1 %% instead of 5 %%"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder for everything (default: assess-MODEL-STRUCTURE)"
    )
    parser.add_argument("--json", action="store_true", help="print everything for machines")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Assess the model."""
    _check(args)
    start = read_start(args.structure)
    atoms = start.atoms
    structure = as_structure(atoms, f"'{args.structure}'")
    if len(atoms) < 2:
        raise DarkforcesError(f"'{args.structure}' has one atom: expected at least two that act on each other")
    # The driver and i-PI work in the folder of a simulation, from where a relative path would mean something else.
    name = absolute(model_of(args))
    evaluation = Evaluation(args.device, args.dtype, args.variant, args.backend)
    model = evaluation.load(name)
    model.check_species(structure.species)
    if Need.DIRECT not in model.provides:
        return _only_conservative(model, args)
    time = _THOROUGH if args.thorough else args.time
    plan = Plan(name, model.provides, args.structure, args.temperature, args.timestep, time)
    output = args.output or Path(f"assess-{label_of(name)}-{args.structure.stem}")
    folder = CampaignFolder(output.resolve())
    with folder.locked():
        folder.prepare(plan.campaign([*plan.nve, plan.svr(None)]), evaluation)
        found_asymmetry, found_work = _judge_model(args, evaluation, plan.model, model, structure, folder.path)
        result = procedure.simulate(plan, folder, evaluation, lambda each: _simulate(folder, each, start))
        if result is None:
            print("stopped; the same command goes on from there", file=sys.stderr)
            return INTERRUPTED
        verdict = decide(label_of(name), result.judged)
        assessment = Assessment(
            plan, evaluation, atoms.get_chemical_formula(), verdict, result, found_asymmetry, found_work
        )
        _print(assessment, verdict, output, args.json)
        _write(assessment, output)
    if not args.json:
        print(f"written: {printable(output / PAGE)}")
    return int(verdict.advice)


def _check(args: argparse.Namespace) -> None:
    for option, unit in (("temperature", "K"), ("timestep", "fs"), ("time", "ps")):
        value = getattr(args, option)
        if not 0.0 < value < np.inf:
            raise DarkforcesError(f"--{option} {value:g} cannot be: expected more than 0 {unit}")
    shortest = 1e-3 * args.timestep * STRIDES[-1] * _FEWEST_STEPS
    if args.time < shortest:
        raise DarkforcesError(
            f"--time {args.time:g} is too short for M = {STRIDES[-1]}: expected at least {shortest:g} ps, "
            f"{_FEWEST_STEPS} of its steps"
        )


def _only_conservative(model: ForceModel, args: argparse.Namespace) -> int:
    """There is nothing to choose."""
    model.check_need(Need.CONSERVATIVE)
    text = f"{model.name} has no direct forces, so that only its conservative ones can be used; there is nothing to try"
    if args.json:
        print(json.dumps({"model": args.model, "verdict": Verdict(Advice.CONSERVATIVE, None, text, ()).as_json()}))
    else:
        print(text)
    return int(Advice.CONSERVATIVE)


def _judge_model(
    args: argparse.Namespace,
    evaluation: Evaluation,
    name: str,
    model: ForceModel,
    structure: Structure,
    folder: Path,
) -> tuple[dict[str, object], dict[str, object]]:
    """λ and work."""
    with progress_bar(desc="lambda", disable=None, leave=False, unit="probe") as bar:

        def show_probes(done: int, reached: float) -> None:
            bar.set_postfix_str(f"error {100.0 * reached:.1f} %", refresh=False)
            bar.update(done - bar.n)

        asymmetry = parts.asymmetry(
            folder,
            # The fastest implementation need not be one that can be differentiated twice.
            lambda: evaluation.load(name, backend="metatomic"),
            structure,
            args.structure.name,
            _ERRORS[args.thorough],
            show_probes,
        )
    with progress_bar(desc="work", disable=None, leave=False, unit="evaluation") as bar:

        def show_points(done: int) -> None:
            bar.update(done - bar.n)

        work = parts.work(folder, model, structure, args.structure.name, show_points)
    return asymmetry, work


def _simulate(folder: CampaignFolder, simulation: Simulation, start: Start) -> bool:
    """Whether it has ended."""
    of = simulation.condition
    constraints = Constraints.in_input(SimulationInput.read(folder.input(simulation.name)))
    with SimulationBar(f"{of.ensemble.upper()} {of.forces}", len(start.atoms), constraints) as bar:
        return simulate(folder, simulation.name, bar.show) is not None


def _write(assessment: Assessment, folder: Path) -> None:
    """All files; the page comes last, so that a folder with a page is whole."""
    (folder / PAGE).unlink(missing_ok=True)
    drawn = pictures.draw(assessment.result, assessment.plan.temperature, folder)
    with writing(folder / _SUMMARY) as file:
        file.write_text(json.dumps(assessment.as_json(), indent=2) + "\n", encoding="utf-8")
    with writing(folder / PAGE) as file:
        file.write_text(assess_page.of(assessment, drawn, folder), encoding="utf-8")


def _print(assessment: Assessment, verdict: Verdict, output: Path, for_machines: bool) -> None:
    if for_machines:
        print(json.dumps({**assessment.as_json(), "report": str(output / PAGE)}, indent=2), flush=True)
        return
    said = [verdict.headline, "", *verdict.text, *([assessment.command] if assessment.command else [])]
    print("\n".join([*map(printable, said), "", aligned(assessment.rows()), ""]), flush=True)
