"""Sentences about answers that are known."""

from pathlib import Path

import numpy as np
import pytest

from ipi_darkforces.analysis import statements
from ipi_darkforces.analysis.drift import Drift
from ipi_darkforces.analysis.io import trajectory
from ipi_darkforces.analysis.io.trajectory import Frame, Trajectory
from ipi_darkforces.analysis.statements import Agreement
from ipi_darkforces.analysis.structure import Correlations, Function, Peak
from ipi_darkforces.analysis.temperatures import Temperatures
from ipi_darkforces.stats.estimates import Estimate

TIME = 0.001 * np.arange(2000)


def drift(kelvin, conserved):
    """A run whose kinetic energy fluctuates by 1 meV/atom."""
    return Drift("run", 64_000, TIME, kelvin, TIME, conserved, 1.0)


@pytest.mark.parametrize(
    ("kelvin", "conserved", "verdicts", "words"),
    [
        (0.0, 0.0, [Agreement.AGREES, Agreement.AGREES], "No drift of the conserved quantity is seen"),
        (0.0, -0.1, [Agreement.AGREES, Agreement.SLIGHT], "The conserved quantity falls by 0.0996"),
        (
            100.0,
            50.0,
            [Agreement.DIFFERS, Agreement.DIFFERS],
            "that is 100 times the standard deviation of the kinetic",
        ),
    ],
)
def test_drift_in_words(kelvin, conserved, verdicts, words):
    noise = np.random.default_rng(0).normal(size=(2, 2000))
    found = statements.of_drift(drift(300 + kelvin * TIME + 3.0 * noise[0], conserved * TIME + 0.01 * noise[1]))
    assert [each.verdict for each in found] == verdicts
    assert words in found[1].text


def test_heating_that_is_no_straight_line_is_heating():
    noise = np.random.default_rng(1).normal(size=(2, 2000))
    found = statements.of_drift(drift(300 + 100 * TIME**3 + noise[0], 40 * TIME**3 + 0.01 * noise[1]))
    assert [each.verdict for each in found] == [Agreement.DIFFERS, Agreement.DIFFERS]
    assert "rises" in found[0].text


def test_short_runs_are_not_judged():
    time = TIME[:19]
    result = Drift("run", 64, time, 300 + time, time, time, 1.0)
    found = statements.of_drift(result)
    assert [each.verdict for each in found] == [Agreement.UNKNOWN, Agreement.UNKNOWN]
    assert found[0].text == "The run is too short to know the slope of the temperature."


def test_temperatures_in_words():
    noise = np.random.default_rng(3).normal(size=(2, 2000))
    series = {"O": 310.0 + noise[0], "H": 295.0 + noise[1]}
    series = {"all": (series["O"] + 2 * series["H"]) / 3, **series}
    found = statements.of_temperatures(Temperatures("run", "properties", 300.0, TIME, series))
    assert [each.verdict for each in found] == [Agreement.AGREES] + 3 * [Agreement.DIFFERS]
    assert found[1].text.startswith("T(O) = 31")
    assert "is not 300 K" in found[1].text
    assert "not shared evenly" in found[3].text
    # Without a target, what the species have of it can still be wrong.
    found = statements.of_temperatures(Temperatures("run", "properties", None, TIME, series))
    assert [each.verdict for each in found] == [Agreement.MEASURED, Agreement.DIFFERS]
    even = dict.fromkeys(("all", "O", "H"), 300.0 + noise[0])
    found = statements.of_temperatures(Temperatures("run", "properties", 300.0, TIME, even))
    assert [each.verdict for each in found] == 4 * [Agreement.AGREES]
    found = statements.of_temperatures(Temperatures("run", "properties", 300.0, TIME, series, exchanged=False))
    assert [each.verdict for each in found] == [Agreement.AGREES] + 3 * [Agreement.UNKNOWN]


def correlations(name, shift, error=0.01):
    rng = np.random.default_rng(4)
    values, errors = 1.0 + 0.1 * rng.normal(size=200) + shift, np.full(200, 0.1)
    peak = Peak(Estimate(2.75, error), Estimate(3.0, None))
    return Correlations(name, 0.05 * np.arange(200), {"g_OO": Function(values, errors, peak)}, {}, 100, ())


def test_structure_in_words():
    (alone,) = statements.of_structure(correlations("one", 0.0), None)
    assert alone.text == "First peaks: g_OO at 2.750 ± 0.010 Å, 3 ± ? high."
    same = statements.of_structure(correlations("one", 0.05), correlations("other", 0.0))[1]
    assert same.verdict is Agreement.AGREES
    assert "g_OO agrees with that of other" in same.text
    short = statements.of_structure(correlations("one", 0.5), correlations("other", 0.0, error=None))[1]
    assert short.verdict is Agreement.UNKNOWN
    assert short.text == "g_OO: too short to compare with other."
    other = statements.of_structure(correlations("one", 0.5), correlations("other", 0.0))[1]
    assert other.verdict is Agreement.DIFFERS


class Counted:
    """A source that knows how often it was read."""

    def __init__(self):
        self.times = 0

    def frames(self, progress, notice):
        self.times += 1
        notice("damaged")
        for i in range(10):
            yield Frame(float(i), np.full((2, 3), float(i)), np.zeros((3, 3)), f"line {i}")


def remembering(source):
    return Trajectory(Path("none"), np.array(["O", "H"]), np.ones(2), "positions", 1.0, source).cached().source


@pytest.mark.parametrize(("largest", "times"), [(480, 1), (479, 3)])
def test_frames_are_read_once_if_they_fit_into_memory(monkeypatch, largest, times):
    monkeypatch.setattr(trajectory, "LARGEST", largest)
    source, told = Counted(), []
    remembered = remembering(source)
    for _ in range(3):
        assert [frame.time for frame in remembered.frames(None, told.append)] == list(range(10))
    assert source.times == len(told) == times


def test_what_was_not_read_to_the_end_is_read_again():
    source = Counted()
    remembered = remembering(source)
    next(remembered.frames(None, print))
    assert len(list(remembered.frames(None, print))) == 10
    assert source.times == 2
