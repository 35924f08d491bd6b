"""``darkforces assess``: is it safe to run with a model's direct forces, and if not, how then?"""

from __future__ import annotations

import argparse
import json
import sys

from ..assessment.assess import QUICK, STOPPED, THOROUGH, assess, check_settings
from ..assessment.page import PAGE, SUMMARY
from ..assessment.verdict import Advice
from ..errors import DarkforcesError, printable
from .entry import INTERRUPTED
from .options import (
    add_model_argument,
    add_output_options,
    add_state_options,
    add_structure_argument,
    model_of,
)
from .output import print_result

DESCRIPTION = """\
Judges a model for somebody who is to choose one: is it safe to run with its direct forces; which stride of multiple
time stepping is, and what does it save; what to use instead. In order: how asymmetric the Jacobian of the direct forces
is (lambda), the work along a closed path, how much every stride of multiple time stepping heats, predicted from one run
with conservative forces; then simulations: NVE with conservative forces, direct ones, and the largest stride that is
predicted to be safe; and, where there is the time that species take to exchange energy, SVR with the latter two. Says
at each stage how long the rest takes. Ends with a page in plain words, with pictures, and an exit code.
"""

EPILOG = f"""\
examples
  darkforces assess pet-m inputs/water.xyz
      {QUICK:g} ps of each NVE: minutes on two cores; everything goes to assess-pet-m-water, with {PAGE} and
      {SUMMARY}
  darkforces assess pet-m inputs/water.xyz --thorough
      {THOROUGH:g} ps, and twice that with a thermostat: hours on two cores, for a model that is to be used; goes on
      where the quick one ended
  darkforces assess my-model.pt my.xyz --time 2 --temperature 350 --device cuda

reading the result
  Safe means, by 95 % intervals and for the time simulated: no explosion; NVE heats by less than 1 % of the temperature
  in a ps; for direct forces also, species have the same temperature. The page gives the reasons. What takes longer to
  go wrong is not seen. STRUCTURE should be in equilibrium, and the machine idle: times are compared.

Stopped, it goes on where it was when the same command is given again; a longer --time goes on from the shorter one.

exit codes
   {Advice.DIRECT:>2}  safe with direct forces
    1  an error: what was given cannot be used
   {Advice.MTS:>2}  only with multiple time stepping
   {Advice.CONSERVATIVE:>2}  only with conservative forces; also for a model that has no others
   {Advice.NOTHING:>2}  nothing is shown to be safe: too short to know, or even conservative forces fail
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    add_model_argument(parser)
    add_structure_argument(parser, "what all simulations start from")
    group = parser.add_argument_group("simulations")
    add_state_options(group)
    length = group.add_mutually_exclusive_group()
    length.add_argument(
        "--time",
        type=float,
        default=QUICK,
        metavar="PS",
        help="of each NVE simulation, in ps; from 10 on, SVR takes twice that (default: %(default)s)",
    )
    length.add_argument(
        "--thorough",
        action="store_true",
        help=f"{THOROUGH:g} ps instead, strides predicted from 10 ps instead of 2, and lambda to 1 %% instead of 5 %%",
    )
    add_output_options(parser, folder="assess-MODEL-STRUCTURE")


def run(args: argparse.Namespace) -> int:
    """Assess the model."""
    try:
        check_settings(args.temperature, args.timestep, args.time)
    except DarkforcesError as error:
        raise DarkforcesError(f"--{error}") from error
    try:
        found = assess(
            model_of(args),
            args.structure,
            temperature=args.temperature,
            timestep=args.timestep,
            time=args.time,
            thorough=args.thorough,
            output=args.output,
            device=args.device,
            dtype=args.dtype,
            variant=args.variant,
            backend=args.backend,
        )
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return INTERRUPTED
    if found.result is None:
        verdict = {"model": args.model, "verdict": found.verdict.as_json()}
        print_result(json.dumps(verdict) if args.json else found)
        return int(found.verdict.advice)
    if args.json:
        print_result(json.dumps({**found.as_json(), "report": str(found.folder / PAGE)}, indent=2))
    else:
        print_result(f"{found}\n")
    page = found.write()
    if not args.json:
        print_result(f"written: {printable(page)}")
    return int(found.verdict.advice)
