#!/usr/bin/env bash
# gpu.py, and then the tests that need a GPU, on a machine that has Python, PyTorch for CUDA, SciPy, matplotlib,
# huggingface-hub and pytest:
#
#     bash benchmarks/gpu.sh                  # and options of gpu.py
#
# What else is needed goes into an environment of its own, .venv-gpu, which sees that of `python3` and leaves it as it
# is. It comes from the package index or, if they are there, from the wheels in .venv-wheels. These are for a machine
# without network; collect them where there is one, for the Python version of that machine:
#
#     bash benchmarks/gpu.sh --collect 3.12
set -euo pipefail
cd "$(dirname "$0")/.."
wheels=.venv-wheels

if [ "${1:-}" = --collect ]; then
    platforms=(--platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64)
    options=(--quiet --dest "$wheels" --only-binary=:all: --implementation cp --python-version "$2" "${platforms[@]}")
    mapfile -t pinned < <(grep -E '^(ase|ipi|metatensor-[a-z]+|metatomic-[a-z]+|metatrain|vesin)==' constraints.txt)
    python3 -m pip download "${options[@]}" --no-deps "${pinned[@]}" ctypes-dlpack tqdm wigners
    python3 -m pip download "${options[@]}" jsonschema omegaconf pydantic
    python3 -m pip wheel --quiet --no-deps --wheel-dir "$wheels" python-hostlist
    du -sh "$wheels"
    exit
fi

environment=.venv-gpu
python=$environment/bin/python
python3 -m venv --without-pip "$environment"
site=$("$python" -c 'import site; print(site.getsitepackages()[0])')
python3 -c 'import site
for path in site.getsitepackages():
    print(f"import site; site.addsitedir({path!r})")' > "$site/outer.pth"
pip=(python3 -m pip --python "$python" --disable-pip-version-check install --quiet)
if [ -d "$wheels" ]; then
    "${pip[@]}" --no-index --no-deps --ignore-installed "$wheels"/*.whl
    "${pip[@]}" --no-index --no-deps --no-build-isolation --editable .
else
    "${pip[@]}" --editable . pytest pytest-timeout
fi

# i-PI's own driver: vesin compiles its kernels with NVRTC, and does not look where PyTorch's is.
libraries=$("$python" -c 'import pathlib, torch
print(*(pathlib.Path(torch.__file__).parents[1] / "nvidia").glob("*/lib"), sep=":")')
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries
export PYTHONUNBUFFERED=1

failed=0
"$python" benchmarks/gpu.py "$@" || failed=$?
"$python" -m pytest -q -p no:cacheprovider tests/models/pet/test_padded.py tests/models/pet/test_padded_forces.py \
    tests/models/pet/test_padded_selection.py tests/models/neighbors/test_search.py \
    -k "OnADevice or on_a_device" || failed=$?
exit "$failed"
