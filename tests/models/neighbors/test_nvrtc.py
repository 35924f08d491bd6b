"""The compiler for CUDA kernels that comes with PyTorch is loaded from where PyTorch's wheels have it."""

from __future__ import annotations

import sys
from pathlib import Path

import vesin
from programs import finish

LAID_OUT = """
import pathlib, shutil, sys, torch
packages, library = map(pathlib.Path, sys.argv[1:])
there = packages / "nvidia" / "cuda_nvrtc" / "lib" / "libnvrtc.so.12"
there.parent.mkdir(parents=True)
shutil.copy(library, there)
torch.__file__ = str(packages / "torch" / "__init__.py")
from ipi_darkforces.models.neighbors.search import load_nvrtc
load_nvrtc()
print(str(there) in pathlib.Path("/proc/self/maps").read_text())
"""


def test_it_is_loaded_from_beside_torch(tmp_path: Path) -> None:
    """Any shared library will do for it here."""
    (library,) = Path(vesin.__file__).parent.glob("lib/*.so")
    found = finish([sys.executable, "-c", LAID_OUT, tmp_path, library])
    assert found.returncode == 0, found.stderr
    assert found.stdout == "True\n"
