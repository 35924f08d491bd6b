"""``darkforces doctor``."""

import json
import sys
from importlib import metadata

import pytest

from ipi_darkforces import __version__
from ipi_darkforces.cli import main
from ipi_darkforces.diagnostics import installation as module


@pytest.fixture
def said(monkeypatch, capsys, tmp_path):
    """Output of the command, with a cache of its own, and its exit code."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module.torch, "get_num_threads", lambda: 1)

    def say(*arguments: str) -> tuple[str, int]:
        monkeypatch.setattr(sys, "argv", ["darkforces", "doctor", *arguments])
        with pytest.raises(SystemExit) as done:
            main.main()
        return capsys.readouterr().out, done.value.code

    return say


def test_it_says_what_is_there(said, tmp_path):
    told, code = said("--json")
    found = json.loads(told)
    assert found["darkforces"] == __version__
    assert found["packages"]["torch"] == metadata.version("torch")
    assert "pet-m" in found["models"]
    assert found["devices"][0] == "cpu"
    assert found["gigaflops"] > 0.0
    assert found["cache"] == str(tmp_path / "ipi-darkforces")
    assert code == bool(found["remarks"])
    page, _ = said()
    assert f"darkforces  {__version__}, Python " in page


def test_what_is_wrong_or_slow_is_remarked_on(said, tmp_path, monkeypatch):
    monkeypatch.setattr(module.torch, "get_num_threads", lambda: 10_000)
    monkeypatch.setattr(module, "_PACKAGES", ("ipi", "no-such-package"))
    (tmp_path / "ipi-darkforces").mkdir(mode=0o777)
    (tmp_path / "ipi-darkforces").chmod(0o777)
    told, code = said()
    assert code == 1
    assert "no-such-package is not installed: pip install no-such-package" in told
    assert "PyTorch uses 10000 threads on " in told
    assert "which is slow: set OMP_NUM_THREADS=" in told
    assert "ipi-darkforces' is a folder that others can write to" in told
