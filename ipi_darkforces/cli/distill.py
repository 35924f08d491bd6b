"""``darkforces distill``: a small model that makes a slow one several times faster."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..models.registry.zoo import check_name
from ..models.structure_file import read_frames
from ..progress_bar import progress_bar
from .options import (
    MODEL_HELP,
    add_model_argument,
    add_output_options,
    add_seed_option,
    add_state_options,
    add_structures_argument,
    load,
)
from .output import print_result

if TYPE_CHECKING:
    from ..distillation.rounds import Report

DESCRIPTION = """\
Makes a slow model faster, with its own physics. Trains a small model of direct forces on forces of yours, the teacher,
along dynamics of your own system. In multiple time stepping the student gives the fast forces, and the teacher corrects
them every M steps: the trajectory is one of the teacher's conservative forces, whatever the student is worth. What it
is worth decides how large M may be, which is predicted from dynamics that training has not seen.
"""

EPILOG = """\
examples
  darkforces distill sevennet-0 water.xyz --output water-fast
      says what it will cost, then works through it; ends with a table of strides and the command that uses the student
  darkforces distill sevennet-0 water.xyz --output water-fast --plan
      only says what it would cost
  darkforces distill sevennet-0 water.xyz --output water-fast --more
      another round: more labels, from dynamics with the student so far, and more training
  darkforces distill 'ase:tblite.ase:TBLite?method=GFN2-xTB;verbosity=0' peptide.xyz --output peptide-fast
  darkforces distill my-model.pt aluminium.xyz --output al-fast --timestep 2 --temperature 600

what it does
  Labels come from short dynamics at the temperature and above it, in strained cells, from all structures in turn: at
  first with the teacher alone, then with multiple time stepping by the student so far, with a label at every
  correction. Where the teacher fails, or atoms fly apart, that dynamics ends; what it gave is kept, and it is counted.
  Everything is in the folder NAME-distill: the same command goes on where it was stopped, and labels are used again.
  The student may be used for larger cells than it was trained on: give a small one if the teacher is slow.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    add_model_argument(parser, "TEACHER", f"the slow model: {MODEL_HELP}")
    add_structures_argument(parser, "where to start; fixed atoms stay fixed")
    group = parser.add_argument_group("dynamics and labels")
    add_state_options(group)
    group.add_argument(
        "--evaluations",
        type=int,
        metavar="N",
        help="of the teacher for labels (default: 3000)",
    )
    group.add_argument(
        "--hours", type=float, metavar="H", help="begin nothing if labels take longer than this (default: 12)"
    )
    group = parser.add_argument_group("student")
    group.add_argument(
        "--size",
        default="s",
        metavar="xs|s|m",
        help="of the student: a larger one costs more in each step and allows longer strides (default: %(default)s)",
    )
    group.add_argument("--steps", type=int, metavar="N", help="of training (default: 24000)")
    group.add_argument("--more", action="store_true", help="add a round to what is there")
    add_seed_option(group)
    output = add_output_options(parser)
    output.add_argument("--output", required=True, metavar="NAME", help="of the student: `--fast NAME` uses it")
    output.add_argument("--folder", type=Path, metavar="DIR", help="of labels and states (default: NAME-distill)")
    output.add_argument("--plan", action="store_true", help="only say what it would cost")


def run(args: argparse.Namespace) -> None:
    """Distill, or say what it would cost."""
    from ..distillation.distill import distill, plan_of  # torch takes seconds to import, and help can do without
    from ..distillation.plan import DistillationPlan

    log = logging.getLogger(__name__)
    check_name(args.output)
    frames = [atoms for path in args.structures for atoms in read_frames(path, "structure file")]
    teacher = load(args)
    settings = {
        "size": args.size,
        "temperature": args.temperature,
        "timestep": args.timestep,
        **{key: getattr(args, key) for key in ("evaluations", "steps", "hours") if getattr(args, key) is not None},
    }
    if args.plan:
        print_result(
            plan_of(teacher, frames, **{key: value for key, value in settings.items() if key != "temperature"})
        )
        return

    def announce(plan: DistillationPlan) -> None:
        log.info("%s", plan)

    try:
        with _bars() as report:
            found = distill(
                teacher,
                frames,
                args.output,
                **settings,
                more=args.more,
                folder=args.folder,
                seed=args.seed,
                announce=announce,
                report=report,
            )
    except KeyboardInterrupt:
        log.info("stopped: the same command goes on")
        raise
    if args.json:
        print_result(json.dumps(found.as_json(), indent=2))
    else:
        print_result(str(found).replace("--structure STRUCTURE", f"--structure {shlex.quote(str(args.structures[0]))}"))


@contextmanager
def _bars() -> Iterator[Report]:
    """Progress bars, one for each kind of work."""
    bar, shown = None, ""

    def show(what: str, done: int, total: int) -> None:
        nonlocal bar, shown
        if bar is None or shown != what:
            if bar is not None:
                bar.close()
            shown = what
            bar = progress_bar(desc=what, initial=done - 1, total=total, disable=None, leave=False)
        bar.total = total
        bar.update(done - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()
