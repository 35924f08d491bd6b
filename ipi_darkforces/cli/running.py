"""``darkforces run``: the main job. i-PI and the driver from one command, watched and summed up."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from ..analysis.overview import Overview, draw, is_summarized, summarize
from ..analysis.setup import Constraints
from ..errors import DarkforcesError
from ..models.registry.specification import absolute
from ..models.registry.zoo import check_model
from ..models.structure import formula_from_species
from ..simulate.compose import compose, write_start
from ..simulate.explosion import Explosion
from ..simulate.folder import FinishedError, RunFolder
from ..simulate.inputs import SimulationInput
from ..simulate.recipe import Recipe
from ..simulate.run import ModelChoice, Outcome, last_outcome
from ..simulate.run import run as run_simulation
from ..simulate.start import letters, read_start, say_where_periodic, warn_of_periodicity
from ..split.monitor import checked_limit
from ..split.split import Component
from .entry import EXPLODED, INTERRUPTED
from .options import model_of
from .places import Place, places
from .simulation_bar import SimulationBar


def run_all(args: argparse.Namespace) -> int:
    """Run what the command line asks for."""
    _check(args)
    if args.structure is None:
        return _run_each(places(args.input, args.output), args)
    with tempfile.TemporaryDirectory() as scratch:  # the run's folder gets its own copy
        return _run_each(places([_write_input(args, Path(scratch))], args.output), args)


def _run_each(all_places: list[Place], args: argparse.Namespace) -> int:
    several = len(all_places) > 1
    for place in all_places:
        check_model(_choice(place, args).model)
    overviews, summaries, exploded = [], [], False
    for place in all_places:
        try:
            outcome = _run_one(place, args)
        except FinishedError:
            outcome = last_outcome(place.folder)
            if not several and is_summarized(outcome):
                raise
            # Of a series that was stopped later, or a run that was before it could be summed up.
        if outcome.steps > 0:
            overviews.append(replace(Overview.of(outcome, SimulationInput.read(place.input)), name=place.name))
            summaries.append(summarize(overviews[-1], outcome))
            if not args.json:
                print(_in_words(overviews[-1], outcome))
        if outcome.interrupted:
            print(_stopped(outcome), file=sys.stderr)
            return INTERRUPTED
        if outcome.told is not None:
            print(_stopped(outcome), file=sys.stderr)
        if outcome.explosion is not None:
            exploded = True
            print(_exploded(place.name, outcome, outcome.explosion), file=sys.stderr)
    if several and overviews:
        picture = (args.output or Path()) / "comparison.png"
        draw(overviews, picture)
        if not args.json:
            print(f"all in one picture: {picture}")
    if args.json and summaries:
        print(json.dumps(summaries if several else summaries[0], indent=2))
    return EXPLODED if exploded else 0


def _stopped(outcome: Outcome) -> str:
    why = "" if outcome.told is None else f" ({outcome.told})"
    return f"stopped after step {outcome.steps}{why}; the same command goes on from there"


def _exploded(name: str, outcome: Outcome, explosion: Explosion) -> str:
    """What to do about it."""
    kept = (
        f"i-PI's state after step {explosion.good}, before that, is in {RunFolder(outcome.folder).restart}"
        if explosion.good > 0
        else "there is no earlier state than its start"
    )
    return f"{name} {explosion.text}; {kept}. A shorter time step or stride, or another start may help"


def _check(args: argparse.Namespace) -> None:
    if bool(args.input) == (args.structure is not None):
        raise DarkforcesError("what shall be run? expected i-PI inputs, or --structure FILE")
    if args.steps is not None and args.steps < 1:
        raise DarkforcesError(f"--steps {args.steps} is not a number of steps: expected at least 1")
    if args.time is not None and not 0 < args.time < math.inf:
        raise DarkforcesError(f"--time {args.time:g} is not a time: expected more than 0 ps")
    if args.mts is not None and args.mts < 1:
        raise DarkforcesError(f"--mts {args.mts} is not a stride: expected at least 1")
    if args.mts is not None and args.forces is not None:
        raise DarkforcesError("--mts takes both kinds of forces; expected no --forces beside it")
    for name in ("ensemble", "mts", "forces", "tau", "temperature", "timestep"):
        if args.input and getattr(args, name) is not None:
            raise DarkforcesError(
                f"--{name} is for --structure; '{args.input[0]}' says itself what shall be simulated: edit that"
            )
    checked_limit(args.warn_above, "--warn-above")


def _write_input(args: argparse.Namespace, folder: Path) -> Path:
    """Write an i-PI input, and the checkpoint that it starts from, for the user's structure."""
    start = read_start(args.structure)
    say_where_periodic(start, args.structure)
    ensemble, component = args.ensemble or "nve", args.forces or "conservative"
    forces = f"mts{args.mts}" if args.mts else component
    thermostat = "" if args.tau is None else f"{args.tau:g}"
    # The name becomes part of file names and of lists in i-PI's XML.
    name = re.sub(r"[^\w.-]", "_", f"{args.structure.stem}-{ensemble}{thermostat}-{forces}")
    recipe = Recipe(
        name=name,
        ensemble=ensemble,
        species=formula_from_species(start.atoms.numbers),
        start=f"{name}.start.chk",
        fixed=start.fixed,
        pbc=letters(start.atoms.pbc),
        component=Component.named(component),
        stride=args.mts,
        tau=args.tau,
        temperature=Recipe.temperature if args.temperature is None else args.temperature,
        timestep=Recipe.timestep if args.timestep is None else args.timestep,
        comment=f"  Written by darkforces run for {args.structure.name}.",
        thermalize=not start.atoms.has("momenta"),
    )
    write_start(start.atoms, folder / recipe.start)
    path = folder / f"{name}.xml"
    path.write_text(compose(recipe))
    return path


def _choice(place: Place, args: argparse.Namespace) -> ModelChoice:
    """The model that was said, or for a run that goes on the one that it was begun with."""
    if place.goes_on and args.model is None and args.fast is None and args.slow is None:
        begun = RunFolder(place.folder).begun_with()
        dtype, variant = args.dtype or begun.get("dtype"), args.variant or begun.get("variant")
        return ModelChoice(begun["model"], args.device, dtype, variant, args.backend)
    # The driver and i-PI work in the run's folder, from where a relative path would mean something else.
    return ModelChoice(absolute(model_of(args)), args.device, args.dtype, args.variant, args.backend)


def _run_one(place: Place, args: argparse.Namespace) -> Outcome:
    simulation = SimulationInput.read(place.input)
    warn_of_periodicity(simulation)
    constraints = Constraints.in_input(simulation)
    with logging_redirect_tqdm(), SimulationBar(place.name, simulation.n_atoms, constraints) as bar:
        outcome = run_simulation(
            simulation,
            _choice(place, args),
            place.folder,
            place.steps if args.steps is None and args.time is None else _steps(simulation, args),
            args.in_process,
            args.overwrite,
            bar.show,
            args.warn_above,
        )
        bar.finish(outcome.steps)
    return outcome


def _steps(simulation: SimulationInput, args: argparse.Namespace) -> int | None:
    if args.time is None:
        return args.steps
    timestep = simulation.timestep
    if timestep is None:
        raise DarkforcesError(f"'{simulation.source}' has no time step, so --time means nothing; give --steps")
    return max(1, round(1000.0 * args.time / timestep))


def _in_words(overview: Overview, outcome: Outcome) -> str:
    pace = "" if outcome.seconds_per_step is None else f", {1000.0 * outcome.seconds_per_step:.1f} ms per step"
    length = f", {overview.time[-1]:.3g} ps" if overview.moves else ""
    lines = [f"{overview.name}: {outcome.steps} of {outcome.total_steps} steps{length}{pace}"]
    if outcome.finished is not None:
        lines.append(f"  finished             {outcome.finished}")
    if outcome.explosion is not None:
        lines.append(f"  exploded             {outcome.explosion.seen.temperature:.3g} K")
    elif overview.moves:
        lines += [
            f"  temperature: mean    {overview.mean_temperature.text('K')}",
            f"  temperature: drift   {overview.temperature_drift.text('K/ps')}",
            f"  conserved: drift     {overview.energy_drift.text(overview.energy_unit + '/ps')}",
        ]
    elif overview.energy_change != 0.0:  # or else it is of one structure only, as phonons
        lines.append(f"  energy: change       {overview.energy_change:+.6g} {overview.energy_unit}")
    return "\n".join([*lines, f"  picture              {outcome.folder / 'summary.png'}"])
