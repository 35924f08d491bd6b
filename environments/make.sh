#!/usr/bin/env bash
# Makes an environment that serves the models of one other package, with the versions that were tested together:
#     bash environments/make.sh sevennet|mace|orb|equiformer [FOLDER]        (default: .venv-NAME)
# Of this package's own requirements only what a driver needs is installed; of PyTorch, what pip finds: see its web site
# for builds with and without CUDA. PYTHON names another Python than python3 (equiformer: 3.9 to 3.12).
set -euo pipefail
name=${1:-}
case "$name" in
    sevennet) package=sevenn ;;
    mace) package=mace-torch ;;
    orb) package=orb-models ;;
    equiformer) package=fairchem-core ;;
    *) echo "expected sevennet, mace, orb or equiformer, got '$name'" >&2; exit 2 ;;
esac
cd "$(dirname "$0")/.."
folder=${2:-.venv-$name}
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install --quiet -c "environments/$name.txt" "$package" torch numpy ase ipi pytest pytest-timeout
if [ "$name" = equiformer ]; then
    # BUILD_DOCS: without what would be compiled, for half an hour, and is not used (see forces/packages.py); and pip
    # shall not keep that for others.
    "$folder/bin/pip" install --quiet -c "environments/$name.txt" setuptools wheel
    BUILD_DOCS=1 "$folder/bin/pip" install --quiet --no-cache-dir -c "environments/$name.txt" --no-build-isolation \
        --no-deps torch-scatter
fi
"$folder/bin/pip" install --quiet --no-deps .
echo "$folder/bin/darkforces, $folder/bin/i-pi-darkdriver and $folder/bin/i-pi are ready"
