#!/usr/bin/env bash
# The README's test command: installs the package and what its tests need into .venv, then lint, types and tests.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 -m venv .venv
. .venv/bin/activate
pip install --quiet -c constraints.txt -e '.[campaign,docs,orb,sevennet,test,training]'
ruff check .
ruff format --check .
mypy
pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"
