"""Structures with labels of a model itself, from short hot and strained dynamics: see `training.recipes.own_labels`.

    python training/sample.py model.pt train.xyz --output pool.xyz

Stopped and started again with the same command, it goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ipi_darkforces.cli import entry
from ipi_darkforces.training.recipes.own_labels import sample_to_file


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="training/sample.py"
    )
    parser.add_argument("model", type=Path, help="exported metatomic model (.pt)")
    parser.add_argument("structures", type=Path, help="to start from: a file of i-PI, or any that ase reads")
    parser.add_argument("--output", type=Path, required=True, metavar="XYZ", help="where the structures go")
    parser.add_argument("--branches", type=int, default=200, help="number of branches (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default: %(default)s)")
    args = parser.parse_args()
    sys.exit(entry.run(lambda: sample_to_file(args.model, args.structures, args.output, args.branches, args.seed)))


if __name__ == "__main__":
    main()
