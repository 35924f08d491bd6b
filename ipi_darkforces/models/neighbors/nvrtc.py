"""NVRTC, the compiler that vesin's CUDA kernels need when they run for the first time.

vesin asks the dynamic linker for it, which knows nothing of the one that comes with PyTorch's wheels. Once that is
loaded, it is found. Where there is none, as with a PyTorch from conda, it is left to the linker.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import torch


@cache
def load_nvrtc() -> None:
    """Load the one beside PyTorch, if there is one."""
    for path in Path(torch.__file__).parents[1].glob("nvidia/*/lib/libnvrtc.so.*"):
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
