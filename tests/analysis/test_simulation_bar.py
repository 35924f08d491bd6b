"""The line that shows the progress of a simulation."""

import pytest

from ipi_darkforces.analysis.simulation_bar import SimulationBar
from ipi_darkforces.simulate.progress import Progress
from ipi_darkforces.split.disagreement import Disagreement


@pytest.fixture
def line(capsys):
    """The last line that was shown of a run, reported at these steps."""

    def shown(name, *reports, total=500):
        with SimulationBar(name, 192) as bar:
            for report in reports:
                bar.show(report, total)
            bar.finish(reports[-1].step)
        return capsys.readouterr().err.split("\r")[-1].rstrip("\n")

    return shown


def report(step, timestep=4.0, disagreement=None):
    return Progress(step, step * timestep, 304.4, 0.000192 * step, disagreement)


def test_a_long_name_and_all_that_is_known_take_80_columns(line):
    apart = Disagreement(0.0142, 5, 0.07, 0.0)
    shown = line("nve-mts8-of-my-largest-system", report(0), report(140, disagreement=apart))
    assert shown.startswith("nve-mts8-of-my-… 28 % 0.56/2 ps ")
    assert " ns/day 304 K ΔE +0.14 ΔF 14 " in shown
    assert len(shown) <= 80


def test_what_is_no_dynamics_counts_steps(line):
    shown = line("relax", report(1, timestep=0.0), report(3, timestep=0.0))
    assert shown.startswith("relax 0 % 3/500 steps ")
    assert " ms/step 304 K" in shown
    assert "ΔF" not in shown
