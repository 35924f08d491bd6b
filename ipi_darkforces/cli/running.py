"""Runs of ``darkforces run``, and what is printed of them."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from ..analysis import comparison, overview
from ..analysis.pictures import save_both
from ..analysis.summarized_run import SummarizedRun, check_length, model_of_run, run_at
from ..errors import DarkforcesError
from ..models.registry.kinds import specified
from ..models.registry.load import ModelChoice
from ..simulate.folder import OtherRunError
from ..simulate.packaged_inputs import is_packaged
from ..simulate.places import Place, places
from ..simulate.recipe import NPT, Barostat
from ..simulate.structure_input import pressure_in_bar, write_input
from ..split.component import Component
from ..split.monitor import checked_limit
from ..stats.rows import aligned
from .entry import EXPLODED, INTERRUPTED
from .options import hydrogen_mass, model_of
from .output import print_result

_OF_PRESSURE = ("pressure", "anisotropic", "barostat_tau", "thermostat")
_OF_STRUCTURES = (
    *("ensemble", "mts", "forces", "tau", "temperature", "timestep", "seed"),
    *_OF_PRESSURE,
    *("beads", "slow_beads", "hmr", "deuterium"),
)


def run_all(args: argparse.Namespace) -> int:
    """Run what the command line asks for."""
    _check(args)
    try:
        if args.structure is None:
            return _run_each(places(args.input, args.output), args)
        with tempfile.TemporaryDirectory() as scratch:  # the run's folder gets its own copy
            return _run_each(places([_write_input(args, Path(scratch))], args.output), args)
    except OtherRunError as error:
        raise DarkforcesError(f"{error}; choose another --output, or --overwrite it") from error


def _run_each(all_places: list[Place], args: argparse.Namespace) -> int:
    several = len(all_places) > 1
    choices = [_choice(place, args) for place in all_places]
    for choice in choices:
        specified(choice.model).check()
    runs, exploded = [], False
    for place, choice in zip(all_places, choices, strict=True):
        run = run_at(
            place,
            choice,
            args.steps,
            args.time,
            args.in_process,
            args.overwrite,
            args.resident,
            args.warn_above,
            finished=several,
        )
        if run.overview is not None:
            runs.append(run)
            if not args.json:
                print_result(run)
        for remark in run.remarks:
            print(remark, file=sys.stderr)
        if run.outcome.interrupted:
            return INTERRUPTED
        exploded |= run.outcome.explosion is not None
    if several and runs:
        _compare(runs, args)
    if args.json and runs:
        print_result(json.dumps([run.summary for run in runs] if several else runs[0].summary, indent=2))
    return EXPLODED if exploded else 0


def _compare(runs: list[SummarizedRun], args: argparse.Namespace) -> None:
    """Print a table of several runs, and draw all in one picture where there is a folder for it."""
    if not args.json:
        print_result(f"\n{aligned(comparison.rows(runs))}")
    if args.output is None:
        return
    overviews = [run.overview for run in runs if run.overview is not None]

    def draw(file: Path) -> None:
        if all(each.moves for each in overviews):
            comparison.draw(runs, file)
        else:
            overview.draw(overviews, file)

    stem = args.output / "comparison"
    save_both(draw, stem)
    if not args.json:
        print_result(f"all in one picture: {stem}.png, and as PDF")


def _check(args: argparse.Namespace) -> None:
    if bool(args.input) == (args.structure is not None):
        raise DarkforcesError("what shall be run? expected i-PI inputs, or --structure FILE")
    for path in args.input:
        if not path.exists() and is_packaged(path):
            raise DarkforcesError(
                f"input '{path}' does not exist; `darkforces inputs {path.stem}` copies the one that comes with the "
                "package"
            )
    try:
        check_length(args.steps, args.time)
    except DarkforcesError as error:
        raise DarkforcesError(f"--{error}") from error
    if args.mts is not None and args.mts < 1:
        raise DarkforcesError(f"--mts {args.mts} is not a stride: expected at least 1")
    if args.mts is not None and args.forces is not None:
        raise DarkforcesError("--mts takes both kinds of forces; expected no --forces beside it")
    if args.input:
        for name in _OF_STRUCTURES:
            if getattr(args, name) not in (None, False):
                raise DarkforcesError(
                    f"{_option(name)} is for --structure; '{args.input[0]}' says itself what shall be simulated: edit "
                    "that"
                )
    for name in _OF_PRESSURE:
        if args.ensemble != NPT and getattr(args, name) not in (None, False):
            raise DarkforcesError(f"{_option(name)} is for constant pressure: expected --ensemble npt beside it")
    checked_limit(args.warn_above, "--warn-above")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _write_input(args: argparse.Namespace, folder: Path) -> Path:
    """Write an i-PI input, and the checkpoint that it starts from, for the user's structure."""
    given = {
        "stride": args.mts,
        "temperature": args.temperature,
        "timestep": args.timestep,
        "seed": args.seed,
        "beads": args.beads,
        "slow_beads": args.slow_beads,
        "hydrogen_mass": hydrogen_mass(args),
    }
    return write_input(
        args.structure,
        folder,
        args.thermostat if args.ensemble == NPT else args.ensemble,
        Component.named(args.forces or "conservative"),
        tau=args.tau,
        barostat=_barostat(args) if args.ensemble == NPT else None,
        repartition=args.hmr is not None,
        **{key: value for key, value in given.items() if value is not None},
    )


def _barostat(args: argparse.Namespace) -> Barostat:
    tau = Barostat.tau if args.barostat_tau is None else args.barostat_tau
    pressure = Barostat.pressure if args.pressure is None else pressure_in_bar(args.pressure)
    return Barostat(pressure, tau, args.anisotropic)


def _choice(place: Place, args: argparse.Namespace) -> ModelChoice:
    """The model that was given, or for a run that goes on the one that it was begun with."""
    options = {"device": args.device, "dtype": args.dtype, "variant": args.variant, "backend": args.backend}
    if place.goes_on and args.model is None and args.fast is None and args.slow is None:
        return model_of_run(place, options)
    return ModelChoice.of(model_of(args), **options)
