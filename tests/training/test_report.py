"""The page that compares trainings, and its curves: what they say is what the trainings logged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import curves
import pytest
import report as report_module
from report import report
from tiny_training import Training

from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.training.recipes.stage import Stage


@pytest.fixture
def folder(finished: Training, tmp_path: Path) -> Path:
    """The finished training, published under a name that ends with its recipe's."""
    copy = tmp_path / "runs"
    shutil.copytree(finished.output, copy)
    (copy / "my-water-errors.json").rename(copy / "my-pet-m-distilled-errors.json")
    return copy


def rows(page: Path) -> list[list[str]]:
    lines = [line for line in page.read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_table_is_what_was_measured(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "training.md"
    report(folder, page, "a machine")
    ((recipe, epochs, _, hours, energy, conservative, direct, difference, _),) = rows(page)
    errors = json.loads((folder / "my-pet-m-distilled-errors.json").read_text())
    assert (recipe, epochs) == ("`pet-m-distilled`", "2 + 2 + 2")
    seconds = [epoch.seconds for stage in folder.glob("pet-*/") for epoch in Stage(stage.name, stage).history()]
    assert float(hours) == pytest.approx(sum(seconds) / 3600.0, abs=0.005)
    for cell, key in zip((energy, conservative, direct), report_module.ERRORS, strict=True):
        assert float(cell) == pytest.approx(errors[key]["total"]["mae"], rel=5e-3)
    assert float(difference) == pytest.approx(
        errors["direct_minus_conservative_meV_per_angstrom"]["total"]["rmse"], rel=5e-3
    )


def test_page_names_the_machine_and_the_commands_and_shows_the_picture(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "training.md"
    report(folder, page, "two cores of a laptop")
    text = page.read_text()
    assert "two cores of a laptop" in text
    assert "darkforces train pet-m-distilled" in text
    assert "-r pet-nc:architecture.training.num_epochs=2" in text
    assert f"]({page.stem}-curves.png)" in text
    assert page.with_name("training-curves.png").read_bytes().startswith(b"\x89PNG")


def test_curves_have_a_point_for_each_epoch(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pet-nc alone, then what began with it, at the time that this had taken; direct and conservative."""
    figures = []
    real = curves.new_figure
    monkeypatch.setattr(curves, "new_figure", lambda *size: figures.append(real(*size)) or figures[-1])
    curves.draw(folder, tmp_path / "curves.png")
    lines = {line.get_label(): line.get_xydata() for line in figures[0].axes[0].lines}
    assert {label: len(points) for label, points in lines.items()} == {
        "pet-nc, direct": 2,
        "pet-m-ft, conservative": 2,
        "pet-m-ft, direct": 2,
        "pet-m-distilled, conservative": 2,
        "pet-m-distilled, direct": 2,
    }
    assert lines["pet-m-ft, direct"][0, 0] >= lines["pet-nc, direct"][-1, 0]  # logged to the second
    logged = Stage("pet-m-ft", folder / "pet-m-ft").history()[-1].metrics
    assert lines["pet-m-ft, conservative"][-1, 1] == pytest.approx(logged["validation forces RMSE"])


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DarkforcesError, match="no recipe has been finished"):
        report(tmp_path, tmp_path / "page.md", "a machine")
    with pytest.raises(DarkforcesError, match="there is no training"):
        curves.draw(tmp_path, tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())
