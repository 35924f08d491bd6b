"""The style that pictures share: colours that keep their meaning, and legends in words."""

from __future__ import annotations

import numpy as np
import pytest

from ipi_darkforces.analysis.pictures import KIND_COLORS, OTHER_COLORS, colors_of, kind_of, legend, new_figure, smoothed


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("nve-conservative", "conservative", "NVE, conservative"),
        ("svr10 direct", "direct", "SVR, τ = 10 fs, direct"),
        ("langevin100-mts8", "MTS", "Langevin, τ = 100 fs, MTS-8"),
        ("pet-m-gle10-direct-seed1", "direct", "pet-m, GLE, τ = 10 fs, direct, seed1"),
        ("my-water-npt-mts4", "MTS", "my-water, NPT, MTS-4"),
        ("MTS-4", "MTS", "MTS-4"),
        ("conservative", "conservative", "conservative"),
        ("my-run", None, "my-run"),
        ("directory", None, "directory"),
    ],
)
def test_names_are_understood(name: str, kind: str | None, words: str) -> None:
    assert (kind_of(name), legend(name)) == (kind, words)


def test_colors_keep_their_meaning_and_are_never_the_same() -> None:
    names = ["nve-direct", "other", "nve-conservative", "nve-mts4", "nve-mts8", "svr10-direct", "another"]
    colors = colors_of(names)
    assert colors[:4] == [KIND_COLORS["direct"], OTHER_COLORS[0], KIND_COLORS["conservative"], KIND_COLORS["MTS"]]
    assert len(set(colors)) == len(colors)
    assert set(colors_of(["x", "y"])).isdisjoint(KIND_COLORS.values())


def test_running_means_are_drawn_over_pale_values() -> None:
    rng = np.random.default_rng(0)
    axis = new_figure(3.0, 3.0).subplots()
    x = np.linspace(0.0, 1.0, 4000)
    smoothed(axis, x, x + rng.normal(size=len(x)), "black", "rising")
    pale, line = axis.get_lines()
    assert (pale.get_alpha(), pale.get_label().startswith("_"), line.get_label()) == (0.25, True, "rising")
    assert np.std(line.get_ydata() - line.get_xdata()) < 0.2
    assert len(pale.get_xdata()) == len(x)
