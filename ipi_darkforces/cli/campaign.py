"""``darkforces campaign``: a matrix of simulations, and a document of what they say."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ..campaign import workflow
from ..campaign.campaign_file import read_campaign
from ..campaign.document import check_writable, write
from ..campaign.findings import by_model
from ..campaign.folder import CampaignFolder, check_models
from ..campaign.matrix import Campaign
from ..campaign.measured import measure_all
from ..campaign.statements import as_json
from ..errors import ERROR, DarkforcesError, printable
from ..machine import cores
from ..models.registry.options import Loading
from ..progress_bar import progress_bar
from .entry import INTERRUPTED
from .options import MODEL_HELP, add_output_options, add_place_options, loading_of
from .output import print_result

DESCRIPTION = """\
Runs each model with each kind of forces, each thermostat and each seed of a YAML file, and ends with a Markdown
document: tables and pictures of all, and statements with error bars beside the paper's.

Every simulation is one of `darkforces run`, in a folder of its own under OUTPUT/runs. The same command goes on where it
was stopped, and skips what is done; with a longer time, more seeds or more blocks in the file it does what is missing.
"""

EPILOG = """\
examples
  darkforces campaign inputs/campaigns/quick.yaml
      the paper's simulations in minutes; everything goes to the folder quick, with quick/results.md
  darkforces campaign inputs/campaigns/quick.yaml --model my-model.ckpt --output my-quick
  darkforces campaign full.yaml --device cuda --jobs 4
      four simulations at a time share a GPU
  darkforces campaign full.yaml --device cuda --jobs 20 --snakemake="--executor slurm --profile my-cluster"
      on a cluster: jobs through an executor plugin of Snakemake (pip install snakemake-executor-plugin-slurm)
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    parser.add_argument("campaign", type=Path, metavar="YAML", help="which simulations; see inputs/campaigns")
    group = parser.add_argument_group("model")
    group.add_argument(
        "-m",
        "--model",
        action="append",
        default=[],
        metavar="MODEL",
        help=f"instead of those in the file: {MODEL_HELP}",
    )
    add_place_options(group)
    group = parser.add_argument_group("simulations")
    group.add_argument(
        "--jobs", type=int, default=cores(), metavar="N", help="simulations at a time (default: a core each)"
    )
    group.add_argument(
        "--snakemake", default="", metavar="OPTIONS", help="for Snakemake, as on its command line: --snakemake='...'"
    )
    output = add_output_options(parser, folder="named for the file")
    output.add_argument(
        "--document", type=Path, metavar="FILE", help="Markdown to write (default: results.md in that folder)"
    )


def run(args: argparse.Namespace) -> int:
    """Run what the command line asks for."""
    if args.jobs < 1:
        raise DarkforcesError(f"--jobs {args.jobs} is not a number of simulations: expected at least 1")
    campaign = read_campaign(args.campaign, args.model)
    workflow.check_installed()
    loading = loading_of(args)
    check_models(campaign, loading)
    output = args.output or Path(campaign.name)
    document = args.document or output / "results.md"
    folder = CampaignFolder(output.resolve())
    with folder.locked():
        check_writable(document)
        folder.prepare(campaign, loading)
        if not _simulate(campaign, folder, args):
            print("stopped; the same command goes on from there", file=sys.stderr)
            return INTERRUPTED
        return 1 if _write(campaign, loading, folder, document, args) else 0


def _simulate(campaign: Campaign, folder: CampaignFolder, args: argparse.Namespace) -> bool:
    """Run what is missing; whether it was let to its end."""
    # A bit more, lest rounding takes the bar beyond its end.
    total = (1.0 + 1e-9) * sum(simulation.time for simulation in campaign.simulations)
    with progress_bar(
        total=total,
        desc=campaign.name,
        mininterval=0.1 if sys.stderr.isatty() else 30.0,
        bar_format="{desc}: {percentage:3.0f}% |{bar}| {n:.3g}/{total:.3g} ps, {remaining} left{postfix}",
    ) as bar:

        def watch() -> None:
            done = sum(min(folder.picoseconds(simulation), simulation.time) for simulation in campaign.simulations)
            ended = sum(folder.ended(simulation.name) is not None for simulation in campaign.simulations)
            bar.set_postfix_str(f"{ended} of {len(campaign.simulations)} simulations", refresh=False)
            bar.update(done - bar.n)

        watch()
        return workflow.run(folder, args.jobs, args.snakemake, watch)


def _write(
    campaign: Campaign, loading: Loading, folder: CampaignFolder, document: Path, args: argparse.Namespace
) -> bool:
    """Look at all simulations that have ended, and write the document; whether there are others."""
    states = [(simulation, folder.ended(simulation.name)) for simulation in campaign.simulations]
    ended = [(simulation, state) for simulation, state in states if state is not None]
    failed = {simulation.name: folder.complaint(simulation.name) for simulation, state in states if state is None}
    for name, why in failed.items():
        print(f"{ERROR}{printable(f'simulation {name}: {why}')}", file=sys.stderr)
    if not ended:
        return True
    one_by_one = measure_all(folder, ended, campaign.discard, min(args.jobs, cores()))
    measured = list(progress_bar(one_by_one, desc="analysis", total=len(ended), disable=not sys.stderr.isatty()))
    found = by_model(campaign, measured)
    write(campaign, loading, measured, found, failed, document)
    if args.json:
        models = [as_json(findings) for findings in found]
        results = {"document": str(document), **loading.as_json(), "models": models, "failed": failed}
        print_result(json.dumps(results, indent=2))
    else:
        print_result(f"written: {printable(document)}")
    return bool(failed)
