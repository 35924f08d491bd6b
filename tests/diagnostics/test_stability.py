"""Stability of strides, beside the known answers for one and for two oscillators that impulses drive."""

from __future__ import annotations

import ase
import numpy as np
import pytest
from ase import units
from ase.constraints import FixAtoms
from toy_models import SpringModel

import ipi_darkforces as dark
from ipi_darkforces import ForceModel, Forces, Need, Structure
from ipi_darkforces.diagnostics import heating as theory
from ipi_darkforces.diagnostics.heating import WAVENUMBER
from ipi_darkforces.diagnostics.stability import linear_stability, propagator, stability
from ipi_darkforces.models.pair import PairModel
from ipi_darkforces.simulate.inner_loop import State, outer_step

PICOSECOND = 1000.0 * units.fs


def wavenumber(omega: float) -> float:
    """cm⁻¹, of an angular frequency in ase's units."""
    return omega * PICOSECOND / (2.0 * np.pi) * WAVENUMBER


def growth_near_half_a_period(omega: float, stiffer: float, timestep: float, stride: int) -> float:
    """|λ| of an oscillator of the frequency ω between impulses, from the trace of the product of 2 × 2 matrices.

    Velocity Verlet is a rotation by θ, cos θ = 1 - (ω dt)²/2, of (α x, p), α = sin θ/dt; an impulse changes p by
    -M dt (stiffer) x.
    """
    angle = np.arccos(1.0 - 0.5 * (omega * timestep) ** 2)
    kick = stride * timestep**2 * stiffer / np.sin(angle)
    half = np.cos(stride * angle) - 0.5 * kick * np.sin(stride * angle)
    return max(1.0, abs(half) + np.sqrt(max(half**2 - 1.0, 0.0)))


def test_an_oscillator_resonates_at_half_its_period():
    timestep = 0.5 * units.fs
    omega = 2.0 * np.sin(0.5 * np.pi / 10.04) / timestep  # half a period is 10.04 steps
    slow = 0.02 * omega**2
    grown = []
    for stride in range(2, 20):
        found = linear_stability(np.array([[-(omega**2) - slow]]), np.array([[-(omega**2)]]), timestep, stride)
        assert found.modulus == pytest.approx(growth_near_half_a_period(omega, slow, timestep, stride), abs=1e-9)
        assert found.growth == pytest.approx(np.log(found.modulus) / (stride * 0.0005))
        grown += [stride] if found.growing else []
    assert grown == [10]


def test_two_oscillators_resonate_at_the_sum_of_their_frequencies():
    """Coupled by a slow force g, they grow with g/(2 √(ω₁ω₂)), where impulses have just that frequency."""
    timestep = 0.1 * units.fs
    period = 60 * timestep
    first = 0.7 * 2.0 * np.pi / period
    second = 2.0 * np.pi / period - first
    coupling = 0.01 * first * second
    fast = -(np.diag([first, second]) ** 2)
    found = linear_stability(fast + coupling * (np.eye(2) - 1.0), fast, timestep, 60)
    assert found.growing == 2
    assert found.growth == pytest.approx(0.5 * coupling / np.sqrt(first * second) * PICOSECOND, rel=0.01)
    assert found.wavenumbers == pytest.approx([wavenumber(first), wavenumber(second)], rel=0.01)
    elsewhere = linear_stability(fast + coupling * (np.eye(2) - 1.0), fast, timestep, 50)
    assert (elsewhere.growing, elsewhere.modulus, elsewhere.wavenumbers) == (0, 1.0, ())


def test_what_runs_downhill_is_no_resonance():
    """A saddle: |λ| > 1 whatever the stride."""
    hessian = np.diag([-0.3, 0.5])
    matrix = propagator(-hessian, -hessian, 0.1, 4)
    assert np.abs(np.linalg.eigvals(matrix)).max() == pytest.approx(np.exp(0.4 * np.sqrt(0.3)), rel=1e-2)
    assert linear_stability(-hessian, -1.1 * hessian, 0.1, 4).growing == 0


def test_the_propagator_is_that_of_multiple_time_stepping():
    rng = np.random.default_rng(1)
    fast, both = rng.normal(size=(2, 6, 6))
    positions, momenta = rng.normal(size=(2, 2, 3))

    def force(matrix: np.ndarray, at: np.ndarray) -> np.ndarray:
        return (matrix @ at.ravel()).reshape(2, 3)

    state = State(positions, momenta, force(fast, positions))
    slow = both - fast
    state, _ = outer_step(
        state,
        force(slow, positions),
        np.ones(2),
        0.3,
        5,
        lambda r: force(fast, r),
        lambda r: (force(fast, r), force(slow, r)),
    )
    expected = np.concatenate([state.positions.ravel(), state.momenta.ravel()])
    found = propagator(both, fast, 0.3, 5) @ np.concatenate([positions.ravel(), momenta.ravel()])
    np.testing.assert_allclose(found, expected, rtol=1e-10)


class Springs(ForceModel):
    """Each atom on a spring to where it was; the conservative forces are 4 % stiffer than the direct ones."""

    def __init__(self, origin: np.ndarray) -> None:
        super().__init__("springs", Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT, None, remove_net_force=False)
        self._origin = origin

    def _evaluate(self, structures, need):
        found = []
        for structure in structures:
            direct = -40.0 * (structure.positions - self._origin)
            found.append(Forces(0.0, 1.04 * direct, direct))
        return found


def test_a_model_fixed_atoms_and_masses():
    """Half a period of hydrogen is 8 steps of 0.5 fs; that of deuterium is longer, and fixed atoms do not move."""
    atoms = ase.Atoms("OH2", np.eye(3) * 2.0, cell=9.0 * np.eye(3), pbc=True)
    model, structure = Springs(atoms.positions), Structure.from_ase(atoms)
    light = np.sqrt(41.6 / 1.008)
    timestep = np.pi / (8.0 * light) / units.fs * 0.995
    moving, reported = np.ones(3, bool), []
    grown = {
        each.stride: each
        for each in stability(model, structure, atoms.get_masses(), moving, timestep, range(2, 9), reported.append)
    }
    assert grown[8].growing == 6  # two atoms, three directions
    assert grown[8].wavenumbers == pytest.approx([wavenumber(light)], rel=0.01)
    assert all(grown[stride].growing == 0 for stride in range(2, 8))
    assert reported == sorted(reported)
    assert reported[-1] == 2 * 3 + 7
    heavy = np.where(atoms.numbers == 1, 2.014, atoms.get_masses())
    assert stability(model, structure, heavy, moving, timestep, [8])[0].growing == 0
    moving[1] = False
    assert stability(model, structure, atoms.get_masses(), moving, timestep, [8])[0].growing == 3


def test_the_prediction_has_it_if_asked(monkeypatch):
    monkeypatch.setattr(theory, "_SEGMENT", 0.02)
    atoms = ase.Atoms("H2", 0.05 * np.eye(2, 3))
    atoms.set_constraint(FixAtoms([0]))
    reported = []
    model = PairModel(SpringModel(), SpringModel(), "pair")
    found = dark.stride(
        model, atoms, time=0.1, equilibration=0.02, longest=4, thorough=True, report=lambda *each: reported.append(each)
    )
    assert found.stability is not None
    assert [each.stride for each in found.stability] == [1, 2, 3, 4]
    assert found.as_json()["stability"][3]["largest_modulus"] == 1.0
    assert reported[-1] == (40 + 200 + 4 + 4, 40 + 200 + 4 + 4)
