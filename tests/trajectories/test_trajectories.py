"""Short trajectories of each family of integrators: ours and those of i-PI's own driver against stored ones.

Tolerances: double precision has 16 digits; sums over neighbours and atoms taken in another order (other threads,
another machine, another version of torch) cost three or so, and ten steps (at most 40 fs) multiply a difference by less
than ten, since that is short against the time in which trajectories of water diverge. So 1e-12 of the largest position
or momentum is what to expect, and 1e-9 leaves room. What goes wrong in earnest (a force of the wrong kind, a weight, a
unit, a time step, a seed) shows from the fourth digit on.
"""

import numpy as np
import pytest
from ipi_processes import Workplace, prepare, read_run
from trajectories.make_references import NAMES, STEPS, abridged, reference, run_with_ipi_alone

TOLERANCE = 1e-9
each_name = pytest.mark.parametrize("name", NAMES)


def assert_same(run, expected):
    assert run.keys() == expected.keys()
    for name, values in expected.items():
        # Energies: the potential is -7 500 eV, of which the kinetic energy is what changes.
        scale = np.abs(expected["kinetic_md"] if values.ndim == 1 else values).max()
        np.testing.assert_allclose(run[name], values, rtol=0, atol=TOLERANCE * scale, err_msg=name)


@pytest.fixture(scope="module")
def served():
    """Our driver. Like i-PI's own it removes net forces."""
    with Workplace() as workplace:
        driver = workplace.driver("--model", "pet-m", "--dtype", "float64", "--stay")
        yield workplace
        assert driver.running, driver.said()


@each_name
def test_ours(name, served, tmp_path):
    ipi = served.ipi(prepare(name, tmp_path, STEPS))
    assert ipi.wait() == 0, ipi.said()
    assert_same(abridged(read_run(tmp_path)), reference(name))


@each_name
def test_ipi_alone(name, pet_file_float64, tmp_path):
    assert_same(run_with_ipi_alone(name, pet_file_float64, tmp_path / "run"), reference(name))


def test_they_are_trajectories():
    # What is compared has moved, and differently for each integrator.
    ends = [reference(name)["positions"][-1] for name in NAMES]
    for i, end in enumerate(ends):
        assert np.abs(end - reference(NAMES[i])["positions"][0]).max() > 0.1
        assert all(np.abs(end - other).max() > 1e-3 for other in ends[:i])
