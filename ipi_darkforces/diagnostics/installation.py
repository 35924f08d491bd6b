"""The installation as it is here: versions, processor, devices, caches, and what is wrong or slow about it."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import torch

from .. import __version__
from ..errors import DarkforcesError
from ..machine import cores, processor, version_of
from ..models.pet.layers import has_onednn
from ..models.registry.export import cache_directory
from ..models.registry.zoo import all_models, user_directory
from ..owned import check_folder

_PACKAGES = (
    "ipi",
    "torch",
    "metatensor-torch",
    "metatomic-torch",
    "metatrain",
    "vesin",
    "ase",
    "numpy",
    "scipy",
    "matplotlib",
)
_OPTIONAL = ("snakemake", "sevenn", "orb-models", "mace-torch", "fairchem-core")
_SIZE = 512  # of the matrices whose product is timed


@dataclass(frozen=True)
class Installation:
    """Versions, hardware and folders of an installation, and remarks on them.

    :param darkforces: version of this package
    :param python: version of Python, and the system
    :param packages: versions by names; None for what is missing
    :param optional: versions of packages of other models and of campaigns that are installed
    :param processor: its name, and the number of cores that this process may use
    :param threads: that PyTorch uses for a model
    :param gigaflops: GFLOP/s of a product of matrices in single precision, with these threads
    :param devices: that a model can run on
    :param cache: folder of exported models
    :param cached_megabytes: of the files in it
    :param models: names of models, bundled and the user's own
    :param model_folder: where the user's own are
    :param remarks: what is wrong or slow, and what to do about it
    """

    darkforces: str
    python: str
    packages: dict[str, str | None]
    optional: dict[str, str]
    processor: str
    threads: int
    gigaflops: float
    devices: tuple[str, ...]
    cache: str
    cached_megabytes: float
    models: tuple[str, ...]
    model_folder: str
    remarks: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """JSON values."""
        return asdict(self)


def installation() -> Installation:
    """Look at the installation; takes a second."""
    packages = {name: version_of(name) for name in _PACKAGES}
    n_cores, threads, folder = cores(), torch.get_num_threads(), cache_directory()
    return Installation(
        darkforces=__version__,
        python=f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        packages=packages,
        optional={name: version for name in _OPTIONAL if (version := version_of(name)) is not None},
        processor=f"{processor()}, {n_cores} cores",
        threads=threads,
        gigaflops=_gigaflops(),
        devices=_devices(),
        cache=str(folder),
        cached_megabytes=sum(file.stat().st_size for file in folder.glob("*") if file.is_file()) / 1e6,
        models=tuple(all_models()),
        model_folder=str(user_directory()),
        remarks=tuple(_remarks(packages, n_cores, threads, folder)),
    )


def _remarks(packages: dict[str, str | None], cores: int, threads: int, folder: Path) -> list[str]:
    found = [f"{name} is not installed: pip install {name}" for name, version in packages.items() if version is None]
    if threads > cores:
        found.append(f"PyTorch uses {threads} threads on {cores} cores, which is slow: set OMP_NUM_THREADS={cores}")
    if not has_onednn():
        found.append("this PyTorch has no oneDNN, so that PET models take longer on the CPU: install another build")
    if not torch.cuda.is_available() and torch.version.cuda is not None:
        found.append("PyTorch is a CUDA build, but finds no GPU: is there one, and a driver for it?")
    if folder.exists():
        try:
            check_folder(folder)
        except DarkforcesError as error:
            found.append(str(error))
    return found


def _devices() -> tuple[str, ...]:
    gpus = (f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count()))
    return ("cpu", *gpus)


def _gigaflops() -> float:
    """The best of some products: whatever else the machine does only takes from it."""
    matrix = torch.ones((_SIZE, _SIZE))
    times = []
    for _ in range(10):
        began = perf_counter()
        matrix @ matrix
        times.append(perf_counter() - began)
    return 2e-9 * _SIZE**3 / min(times)
