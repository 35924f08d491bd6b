"""Fixtures of tests of several parts of the package, and the order of all tests."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import ase.io
import forked
import hypothesis
import programs
import pytest
import torch
from breaking_model import breaking_model  # noqa: F401, a fixture

from ipi_darkforces import ForceModel, Structure, load_model
from ipi_darkforces.models.metatomic import MetatomicModel
from ipi_darkforces.models.registry.export import exported
from ipi_darkforces.models.registry.zoo import ZOO

ROOT = Path(__file__).parents[1]

# The structures are small, and threads that wait for each other are slow where several programs share the cores.
torch.set_num_threads(1)

# A shell that starts something in the background has it ignore interrupts, and nohup has it ignore SIGHUP; so would all
# that we start.
for signum, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(signum) == signal.SIG_IGN:
        signal.signal(signum, handler)

# How long an example takes says more about the machine than about what is tested.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

programs.mark()

# The package starts its programs as tests do: most of their time would go into importing the same again and again.
forked.patch()


# Started first, so that no worker has one of them left when the others have ended.
LONGEST = (
    "training/test_train.py",
    "simulate/test_run.py",
    "campaign/test_campaign.py",
    "cli/test_assess.py",
    "faults/test_faults.py",
    "environments/test_sevennet.py",
    "tests/test_tutorials.py",
    "trajectories/test_trajectories.py",
    "pet/test_packed.py",
    "serve/test_driver.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first."""
    items.sort(key=lambda item: not str(item.path).endswith(LONGEST))


def pytest_collection_finish() -> None:
    """Leave what stays to the end, all that was imported, out of collections of garbage: they would take a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _nothing_outlives_its_test() -> Iterator[None]:
    """End all programs that a test has started, also if it failed."""
    before = programs.running()
    yield
    programs.end_all_but(before)


@pytest.fixture(scope="module", autouse=True)
def _memory_is_given_back() -> Iterator[None]:
    """Give back what a file's tests have freed; `keep_freed_memory` would keep it until the last test of all."""
    yield
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # where the C library is not glibc, it is given back anyway
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture
def darkforces(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[str, str, int]]:
    """A `darkforces` command, run in this process: what it prints, its errors, and its exit code."""
    from ipi_darkforces.cli import main  # tests of other parts need none of it

    def run(*arguments: object) -> tuple[str, str, int]:
        monkeypatch.setattr(sys, "argv", ["darkforces", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main.main()
        return (*capsys.readouterr(), int(done.value.code or 0))

    return run


@pytest.fixture(scope="session")
def water() -> Structure:
    """The structure that all of inputs/ start from: 64 water molecules."""
    return Structure.from_ase(ase.io.read(ROOT / "inputs" / "water.xyz"))


@pytest.fixture(scope="session")
def pet_file() -> Path:
    """The bundled model as exported: single precision."""
    return exported(ZOO["pet-m"].path)


@pytest.fixture(scope="session")
def pet_file_float64(pet_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model in double precision, as a file that other programs can load too."""
    path = tmp_path_factory.mktemp("models") / "pet-float64.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        MetatomicModel(pet_file, dtype="float64")._model.save(path)
    return path


@pytest.fixture(scope="session")
def pet_m_float64() -> ForceModel:
    """The bundled model in double precision, with the net force of its direct forces."""
    return load_model("pet-m", dtype="float64", remove_net_force=False)
