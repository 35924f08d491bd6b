"""``darkforces doctor``: the installation, and what is wrong or slow about it."""

from __future__ import annotations

import argparse
import json

from ..errors import printable
from .options import add_output_options
from .output import print_result

DESCRIPTION = """\
Says what is installed here: versions, processor and threads, devices, the cache of exported models, your own models;
and what is wrong or slow about it. To be sent along when you ask for help.
"""

EPILOG = """\
examples
  darkforces doctor
  darkforces doctor --json > installation.json

exit codes
    0  nothing is wrong
    1  there are remarks
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Look, and print what there is."""
    from ..diagnostics.installation import installation  # seconds to import

    found = installation()
    if args.json:
        print_result(json.dumps(found.as_json(), indent=2))
        return int(bool(found.remarks))
    versions = ", ".join(f"{name} {version or 'missing'}" for name, version in found.packages.items())
    optional = ", ".join(f"{name} {version}" for name, version in found.optional.items()) or "none"
    lines = {
        "darkforces": f"{found.darkforces}, Python {found.python}",
        "packages": versions,
        "optional": optional,
        "processor": f"{found.processor}; threads of PyTorch: {found.threads}, {found.gigaflops:.0f} GFLOP/s",
        "devices": ", ".join(found.devices),
        "cache": f"{found.cache}, {found.cached_megabytes:.0f} MB",
        "models": f"{', '.join(found.models)}; your own are in {found.model_folder}",
    }
    for title, text in lines.items():
        print_result(f"{title:<11} {printable(text)}")
    for remark in found.remarks:
        print_result(f"remark      {printable(remark)}")
    if not found.remarks:
        print_result("nothing is wrong")
    return int(bool(found.remarks))
