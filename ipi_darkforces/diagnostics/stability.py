"""Stability of multiple time stepping at one snapshot: eigenvalues of the linearised propagator of an outer step.

Linear response (`heating`) has no room for parametric resonance: a vibration that impulses drive in step with itself
grows exponentially, until it forgets its phase. That is looked at where atoms stand still but for small displacements:
forces become linear, with J_C = ∂f_C/∂r, which is minus the Hessian, and J_NC of the direct forces, and an outer step
becomes a matrix, from displacements and momenta before it to those after it. A motion whose eigenvalue λ has |λ| > 1
grows by ln|λ|/τ in a time, τ = M dt. Impulses, which have the frequencies 2πk/τ, make vibrations grow whose frequencies
have the sum ω_i + ω_j = 2πk/τ (J. J. Biesiadecki and R. D. Skeel, J. Comput. Phys. 109, 318 (1993); T. Schlick,
M. Mandziuk, R. D. Skeel and K. Srinivas, J. Comput. Phys. 140, 1 (1998)): half the period of one vibration, for i = j.

A snapshot of a liquid is no minimum: down some directions atoms accelerate, with |λ| > 1 and nothing wrong. These are
not counted: neither are motions along which the energy has its maximum, nor slow ones with real, positive λ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import units

from ..models.model import ForceModel, Need
from ..models.structure import Structure
from ..simulate.inner_loop import State, outer_step
from .heating import WAVENUMBER
from .jacobian import check_finite

_PICOSECOND = 1000.0 * units.fs  # in ase's time
# 1/ps: what grows slower does not while vibrations keep their phase, and can be rounding of derivatives.
_NEGLIGIBLE = 0.01
# A motion in which less of the energy goes the other way round is of one frequency alone.
_ONE_WAY = 0.05
_SAME = 0.02  # relative difference of two frequencies that are one


@dataclass(frozen=True)
class Stability:
    """Vibrations that grow with a stride, at one snapshot.

    :param stride: M
    :param modulus: the largest |λ| of a vibration; 1 where none grows
    :param growth: of the amplitude of that vibration, 1/ps
    :param growing: how many do, by more than 0.01/ps
    :param wavenumbers: cm⁻¹, of the vibrations which that one is made of: one that is driven at half its period, two
        whose sum is driven; none where none grows
    """

    stride: int
    modulus: float
    growth: float
    growing: int
    wavenumbers: tuple[float, ...]

    def as_json(self) -> dict[str, object]:
        """JSON values, units in the names."""
        return {
            "stride": self.stride,
            "largest_modulus": self.modulus,
            "growth_per_ps": self.growth,
            "growing_vibrations": self.growing,
            "wavenumbers_per_cm": list(self.wavenumbers),
        }


def stability(
    model: ForceModel,
    structure: Structure,
    masses: np.ndarray,
    moving: np.ndarray,
    timestep: float,
    strides: Sequence[int],
    report: Callable[[int], None] = lambda done: None,
) -> list[Stability]:
    """Stability of each stride at a structure.

    :param model: provides both kinds of forces
    :param masses: u, shape (n_atoms,)
    :param moving: which atoms are not fixed, shape (n_atoms,)
    :param timestep: fs, of the fast forces
    :param strides: M of each
    :param report: called with what is done: 1 for each atom in each Jacobian, and for each stride
    :raises DarkforcesError: if the model lacks forces or does not know an element, or derivatives are not finite
    """
    n_atoms, free = len(masses), np.repeat(moving, 3)
    weights = 1.0 / np.sqrt(np.repeat(masses, 3)[free])

    def weighted(kind: Need, done: int) -> np.ndarray:
        matrix = model.jacobian(structure, kind).matrix(lambda atoms: report(done + atoms))
        check_finite(matrix, "the last structure of the run")
        return weights[:, None] * matrix.reshape(len(free), -1)[np.ix_(free, free)] * weights

    conservative = weighted(Need.CONSERVATIVE, 0)
    direct = weighted(Need.DIRECT, n_atoms)
    conservative = 0.5 * (conservative + conservative.T)  # but for rounding it is symmetric
    found = []
    for stride in strides:
        found.append(linear_stability(conservative, direct, timestep * units.fs, stride))
        report(2 * n_atoms + len(found))
    return found


def linear_stability(conservative: np.ndarray, direct: np.ndarray, timestep: float, stride: int) -> Stability:
    """Stability of a stride under forces that are linear in the displacements.

    :param conservative: J_C with mass-weighted coordinates, 1/time² of ase, symmetric, shape (n, n)
    :param direct: J_NC, likewise
    :param timestep: of the fast forces, ase's time
    """
    squares, modes = np.linalg.eigh(-conservative)
    eigenvalues, vectors = np.linalg.eig(propagator(conservative, direct, timestep, stride))
    n = len(conservative)
    period = stride * timestep
    growth = np.log(np.abs(eigenvalues)) / (period / _PICOSECOND)
    grows = (growth > _NEGLIGIBLE) & (eigenvalues.imag >= 0.0)  # of a conjugate pair, one
    eigenvalues, vectors = eigenvalues[grows], vectors[:, grows]
    displacements, momenta = modes.T @ vectors[:n], modes.T @ vectors[n:]
    curvatures = squares @ np.abs(displacements) ** 2 / (np.abs(displacements) ** 2).sum(axis=0)
    downhill = (eigenvalues.imag == 0.0) & (eigenvalues.real > 0.0) & (curvatures * period**2 < np.pi**2)
    vibrates = (curvatures > 0.0) & ~downhill
    if not vibrates.any():
        return Stability(stride, 1.0, 0.0, 0, ())
    pairs = np.where(eigenvalues.imag > 0.0, 2, 1)
    fastest = int(np.argmax(np.where(vibrates, growth[grows], 0.0)))
    return Stability(
        stride,
        float(np.abs(eigenvalues[fastest])),
        float(growth[grows][fastest]),
        int(pairs[vibrates].sum()),
        _wavenumbers(squares, displacements[:, fastest], momenta[:, fastest]),
    )


def propagator(conservative: np.ndarray, direct: np.ndarray, timestep: float, stride: int) -> np.ndarray:
    """The matrix of an outer step, of displacements and momenta one below the other, shape (2n, 2n).

    Of multiple time stepping itself, which takes all unit vectors at once; parameters as of `linear_stability`.
    """
    n = len(conservative)
    unit = np.eye(n, 2 * n)
    state = State(unit, np.eye(n, 2 * n, n), direct @ unit)
    slow = conservative - direct
    state, _ = outer_step(
        state, slow @ unit, np.ones(n), timestep, stride, lambda r: direct @ r, lambda r: (direct @ r, slow @ r)
    )
    return np.concatenate([state.positions, state.momenta])


def _wavenumbers(squares: np.ndarray, displacements: np.ndarray, momenta: np.ndarray) -> tuple[float, ...]:
    """Wavenumbers of the vibrations in a motion, by the parts that go round as exp(iωt) and as exp(-iωt).

    Of two vibrations whose sum is driven one goes either way, so that both have the same phase after an outer step.

    :param squares: ω² of the modes, shape (n,)
    :param displacements: along each of them, shape (n,)
    :param momenta: likewise
    """
    frequencies = np.sqrt(np.maximum(squares, 0.0))
    energies = [np.abs(frequencies * displacements + sign * 1j * momenta) ** 2 for sign in (-1.0, 1.0)]
    whole = np.sum(energies)
    found = [
        float(frequencies @ part / part.sum()) * _PICOSECOND / (2.0 * np.pi) * WAVENUMBER
        for part in energies
        if part.sum() > _ONE_WAY * whole
    ]
    if len(found) == 2 and abs(found[0] - found[1]) < _SAME * max(found):
        found = [0.5 * sum(found)]
    return tuple(sorted(found, reverse=True))
