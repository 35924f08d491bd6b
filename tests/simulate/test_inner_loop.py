"""The inner loop on forces whose motion is known: a harmonic oscillator split into a stiff and a soft spring."""

import numpy as np
import pytest

from ipi_darkforces.simulate.inner_loop import State, outer_step, velocity_verlet

MASSES = np.array([1.0, 4.0])
STIFF, SOFT = 9.0, 0.5
START = np.array([[0.3, -0.1, 0.2], [0.0, 0.4, -0.2]])


def fast(positions):
    return -STIFF * positions


def both(positions):
    return fast(positions), -SOFT * positions


def energy(state):
    kinetic = 0.5 * (state.momenta**2 / MASSES[:, None]).sum()
    return kinetic + 0.5 * (STIFF + SOFT) * (state.positions**2).sum()


def beginning(momenta=0.0):
    return State(START, np.full_like(START, momenta), fast(START))


def test_velocity_verlet_is_the_solution_to_second_order():
    errors = []
    for steps in (200, 400):
        end = velocity_verlet(beginning(), MASSES, 1.0 / steps, steps, fast)
        omega = np.sqrt(STIFF / MASSES)[:, None]
        errors.append(np.abs(end.positions - START * np.cos(omega)).max())
        np.testing.assert_allclose(end.momenta, -MASSES[:, None] * omega * START * np.sin(omega), atol=1e-3)
        np.testing.assert_array_equal(end.forces, fast(end.positions))
    assert errors[1] == pytest.approx(errors[0] / 4, rel=0.01)


def test_velocity_verlet_goes_back_where_it_came_from():
    end = velocity_verlet(beginning(0.7), MASSES, 0.05, 50, fast)
    back = velocity_verlet(State(end.positions, -end.momenta, end.forces), MASSES, 0.05, 50, fast)
    np.testing.assert_allclose(back.positions, START, atol=1e-12)
    np.testing.assert_allclose(-back.momenta, 0.7, atol=1e-12)


def test_atoms_of_infinite_mass_do_not_move():
    end = velocity_verlet(beginning(), np.array([1.0, np.inf]), 0.05, 10, fast)
    np.testing.assert_array_equal(end.positions[1], START[1])
    assert np.abs(end.positions[0] - START[0]).min() > 0.01


def test_stride_of_one_is_velocity_verlet_under_the_sum_of_forces():
    state, slow = beginning(0.1), both(START)[1]
    for _ in range(10):
        state, slow = outer_step(state, slow, MASSES, 0.05, 1, fast, both)
    start = State(START, np.full_like(START, 0.1), sum(both(START)))
    expected = velocity_verlet(start, MASSES, 0.05, 10, lambda positions: sum(both(positions)))
    np.testing.assert_allclose(state.positions, expected.positions, atol=1e-14)
    np.testing.assert_allclose(state.momenta, expected.momenta, atol=1e-14)


@pytest.mark.parametrize("stride", [2, 5])
def test_outer_steps_conserve_energy_and_evaluate_both_once(stride):
    calls = {"fast": 0, "both": 0}

    def counted(name, forces):
        def evaluate(positions):
            calls[name] += 1
            return forces(positions)

        return evaluate

    state, slow = beginning(), both(START)[1]
    before = energy(state)
    worst = 0.0
    for _ in range(400):
        state, slow = outer_step(state, slow, MASSES, 0.02, stride, counted("fast", fast), counted("both", both))
        worst = max(worst, abs(energy(state) - before))
    np.testing.assert_array_equal(slow, both(state.positions)[1])
    assert worst < 0.02 * before
    assert calls == {"fast": 400 * (stride - 1), "both": 400}


def test_is_the_linear_map_of_the_equations():
    """One outer step of an oscillator against the product of the matrices of its kicks and drifts."""
    timestep, stride = 0.1, 3
    kick = lambda k, h: np.array([[1.0, 0.0], [-k * h, 1.0]])  # noqa: E731, acts on (r, p)
    drift = np.array([[1.0, timestep / MASSES[1]], [0.0, 1.0]])
    step = kick(STIFF, timestep / 2) @ drift @ kick(STIFF, timestep / 2)
    impulse = kick(SOFT, stride * timestep / 2)
    expected = impulse @ np.linalg.matrix_power(step, stride) @ impulse @ np.array([START[1, 1], 0.7])
    state, _ = outer_step(beginning(0.7), both(START)[1], MASSES, timestep, stride, fast, both)
    np.testing.assert_allclose([state.positions[1, 1], state.momenta[1, 1]], expected, rtol=1e-13)
