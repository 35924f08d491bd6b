"""Consistency of a model's energy and forces, tested along a small circle and with strained cells.

The positions go once around a small circle, r(θ) = r + R (u cos θ + v sin θ), with random directions u and v, in a few
evaluations, next to where they are. Of conservative forces, the power P = f · dr/dθ is what the energy says, -dE/dθ,
and its mean, the work around the closed path, is zero (paper, eq. 5). Both are periodic functions of θ, whose
Fourier series are known to very high order from few points: the first terms are compared, and what is left in the last
ones, to which so small a circle gives nothing, is noise, of rounding or of an energy that is not converged.

The virial is compared with the energies of three strained cells, which tells signs and units.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DarkforcesError
from .model import Need
from .registry.specification import CALCULATOR
from .units import ENERGY_UNITS, FORCE_UNITS

# Å, root mean square of each coordinate. Smaller circles leave too few digits of total energies in single
# precision; on larger ones, bonds to hydrogen have Fourier series that do not end after four terms.
RADIUS = 0.007
POINTS = 8
_DISPLACED = 1.0  # radii from where the atoms are, so that there are forces in a perfect crystal too
_COMPARED = 3  # terms, and the constant one
_SAME = 0.01  # relative difference up to which forces count as the gradient: single precision, slightly rough energies
_NO_WORK = 2e-4  # of the change of the energy: no energies enter here, so that less can be seen
_LITTLE_WORK = 10.0  # times the least that is seen
_TOO_NOISY = 0.1  # relative difference from which on nothing can be said
_NOISE = 5.0  # times which a difference must be to be one
_NOTHING = 1e-8  # eV; nothing changes
# Between these, forces may be badly predicted; beyond, something else is wrong. A bohr is 0.53 Å.
_SLOPES = (0.6, 1.6)
_PROPORTIONAL = 0.9  # least correlation at which a wrong slope is a matter of units or sign
_NAMED = 0.05  # relative distance up to which a slope has the name of a unit
_STRAIN = 0.005
STRAINS = (-_STRAIN, 0.0, _STRAIN)
_CHANGE = 1e-4  # eV; cells whose energy changes less when strained say nothing
log = logging.getLogger(__name__)

# Energies in eV and forces in eV/Å, shape (n, 3), of several geometries.
Evaluate = Callable[[Sequence[np.ndarray]], Sequence[tuple[float, np.ndarray]]]


@dataclass(frozen=True)
class Consistency:
    """Energy and forces along a small circle, compared.

    :param slope: how many times the gradient the forces are, as far as they are proportional to it; one if all is well
    :param correlation: of power and change of the energy
    :param difference: norm of power plus change of the energy, relative to the larger one
    :param work: eV, done along the circle
    :param tolerance: of `difference`, as noise allows
    :param least_work: eV, likewise of `work`
    """

    slope: float
    correlation: float
    difference: float
    work: float
    tolerance: float
    least_work: float

    @property
    def conservative(self) -> bool:
        """Tell whether the forces are the gradient of the energy, as far as can be seen."""
        return self.difference <= self.tolerance and abs(self.work) <= self.least_work

    @property
    def nearly_conservative(self) -> bool:
        """Tell whether forces follow the energy and do but little work, as where electrons are not converged."""
        return self.difference <= self.tolerance and abs(self.work) <= _LITTLE_WORK * self.least_work

    @property
    def noisy(self) -> bool:
        """Tell whether there is too much noise to say anything, except perhaps that they are not."""
        return self.tolerance > _TOO_NOISY

    @property
    def misfit(self) -> bool:
        """Tell whether the forces follow the energy with another factor than bad predictions would explain."""
        lowest, highest = _SLOPES
        return abs(self.correlation) > _PROPORTIONAL and not lowest < self.slope < highest


def measure(evaluate: Evaluate, positions: np.ndarray) -> Consistency | None:
    """Go around the circle, with `POINTS` evaluations.

    :param evaluate: energies and forces
    :param positions: Å, near its centre, shape (n_atoms, 3)
    :return: None if neither energy nor forces change
    """
    angles = 2.0 * np.pi * np.arange(POINTS) / POINTS
    u, v, displacement = RADIUS * _directions(len(positions))
    centre = positions + _DISPLACED * displacement
    results = evaluate([centre + np.cos(angle) * u + np.sin(angle) * v for angle in angles])
    energies = np.array([energy for energy, _ in results])
    powers = [np.vdot(f, np.cos(angle) * v - np.sin(angle) * u) for angle, (_, f) in zip(angles, results, strict=True)]
    power = np.fft.rfft(powers) / POINTS
    alternating = np.mean([(-1) ** i * f for i, (_, f) in enumerate(results)], axis=0)
    noise_of_power = RADIUS * float(np.linalg.norm(alternating))  # of each term, as the forces of all atoms have it
    energy = np.fft.rfft(energies - energies.mean()) / POINTS
    expected = -1j * np.arange(len(energy)) * energy
    noise = np.sqrt(2.0 * abs(power - expected)[-2] ** 2 + noise_of_power**2 + abs(expected[-1]) ** 2)
    noise = max(float(noise), _rounding(energies))
    return _compared(power[: _COMPARED + 1], expected[: _COMPARED + 1], noise, noise_of_power)


def _compared(power: np.ndarray, expected: np.ndarray, noise: float, noise_of_power: float) -> Consistency | None:
    """Compare the first terms of both series."""
    work = 2.0 * np.pi * float(power[0].real)
    change, size = _norm(expected), _norm(power)
    largest = max(change, size)
    if largest < _NOTHING:
        return None
    overlap = 2.0 * float(np.vdot(expected, power).real)
    return Consistency(
        slope=overlap / change**2 if change else np.inf,
        correlation=overlap / (change * size) if change and size else 0.0,
        difference=_norm(power - expected) / largest,
        work=work,
        tolerance=max(_SAME, _NOISE * noise / largest),
        least_work=2.0 * np.pi * max(_NO_WORK * largest, _NOISE * noise_of_power),
    )


def _norm(terms: np.ndarray) -> float:
    """Norm of a real function, without its mean, from its Fourier coefficients."""
    return float(np.sqrt(2.0 * np.sum(abs(terms[1:]) ** 2)))


def _rounding(energies: np.ndarray) -> float:
    """The spacing of numbers in single precision, if that is what the energies are; they may all be the same one."""
    single = energies.astype(np.float32)
    return float(np.spacing(np.abs(single).max())) if np.array_equal(single, energies) else 0.0


def _directions(n_atoms: int) -> np.ndarray:
    """Three random ones, orthogonal, of one Å root mean square for each coordinate, shape (3, n_atoms, 3).

    Always the same ones, so that the same model gets the same answer.
    """
    random = np.random.default_rng(0).uniform(-1.0, 1.0, size=(3 * n_atoms, 3))
    orthonormal, _ = np.linalg.qr(random)
    return np.sqrt(3.0 * n_atoms) * orthonormal.T.reshape(3, n_atoms, 3)


def slope_of_virial(evaluate: Callable[[np.ndarray], tuple[float, np.ndarray]]) -> float | None:
    """The ratio of the virial to minus the derivative of the energy by a strain: one if all is well.

    :param evaluate: energy in eV and virial in eV, shape (3, 3), of a structure of which positions and cell have been
        multiplied from the right with this matrix, shape (3, 3)
    :return: None if the energy hardly changes
    """
    # Along all axes and none of them alone, and with shear: so that no element of the virial is missing.
    direction = np.eye(3) + 0.25 * (np.ones((3, 3)) - np.eye(3)) + np.diag([0.1, -0.2, 0.0])
    energies, powers = [], []
    for strain in STRAINS:
        matrix = np.eye(3) + strain * direction
        energy, virial = evaluate(matrix)
        energies.append(energy)
        powers.append(float(np.vdot(np.linalg.solve(matrix.T, virial), direction)))
    # The difference between both ends, and the curvature, which is there when nothing pulls or pushes.
    expected = -np.array([energies[2] - energies[0], energies[2] - 2.0 * energies[1] + energies[0]])
    found = _STRAIN * np.array([(powers[0] + 4.0 * powers[1] + powers[2]) / 3.0, (powers[2] - powers[0]) / 2.0])
    if np.linalg.norm(expected) < max(_CHANGE, 10.0 * _rounding(np.array(energies))):
        return None
    return float(found @ expected / (expected @ expected))


def check_virial(slope: float | None, name: str) -> None:
    """Warn if a virial has not the sign or the unit of the energy: who keeps the volume need not care.

    :param slope: see `slope_of_virial`
    """
    lowest, highest = _SLOPES
    if slope is not None and not lowest < slope < highest:
        log.warning(
            "the stress of model '%s' is %.4g times the derivative of its energy by a strain, expected once, in eV/Å³: "
            "constant pressure would be wrong, and i-PI's pressures are",
            name,
            slope,
        )


def check(found: Consistency | None, name: str, kind: Need) -> None:
    """Compare with what the forces are said to be.

    :param found: None if nothing can be said
    :param kind: CONSERVATIVE or DIRECT
    :raises DarkforcesError: for forces that are said to be conservative and are not, or whose unit or sign is not that
        of the energy
    """
    if found is None:
        log.info("model '%s': energy and forces do not change, so that nothing can be said about them", name)
        return
    if found.misfit:
        raise DarkforcesError(f"model '{name}': {_misfit(found.slope)}")
    seen = (
        f"they differ by {100.0 * found.difference:.3g} % and do {1000.0 * found.work:.2g} meV of work around a circle "
        f"of {RADIUS:g} Å"
    )
    forces = f"forces of model '{name}'"
    if not found.conservative and kind is Need.DIRECT:
        log.info("%s are not the gradient of its energy, as is said: %s", forces, seen)
    elif not found.conservative and found.nearly_conservative:
        log.warning("%s are only nearly the gradient of its energy: %s", forces, seen)
    elif not found.conservative:
        raise DarkforcesError(
            f"{forces} are not the gradient of its energy, as they are said to be: {seen}; "
            + _remedy(name, "say forces=direct if they are predicted as such")
        )
    elif found.noisy:
        log.warning("energies of model '%s' are too noisy to say whether forces are their gradient: %s", name, seen)
    elif kind is Need.DIRECT and found.difference < _SAME:
        remedy = _remedy(name, "say forces=conservative")
        log.warning("%s are the gradient of its energy, but said to be direct: %s", forces, remedy)
    else:
        log.info("%s are the gradient of its energy, to %.2g %%", forces, 100.0 * found.difference)


def _remedy(name: str, say: str) -> str:
    """Advice for forces of the wrong kind: only of a calculator of their own can users say what its forces are."""
    return say if name.startswith(CALCULATOR) else f"are its weights and options those of '{name}'?"


def _misfit(slope: float) -> str:
    """The mistake behind forces that are so many times the gradient, in words."""
    given = f"its forces are {slope:.4g} times minus the gradient of its energy"
    wrong = ["the sign of one of them is wrong"] if slope < 0.0 else []
    fitting = [
        f"energies in {energy} and forces in {force}"
        for energy, electronvolts in ENERGY_UNITS.items()
        for force, electronvolts_per_angstrom in FORCE_UNITS.items()
        if abs(abs(slope) * electronvolts_per_angstrom / electronvolts - 1.0) < _NAMED
    ]
    if fitting and abs(abs(slope) - 1.0) > _NAMED:
        wrong.append(f"they seem to be {', or '.join(fitting[:3])}")
    return f"{given}, expected once, in eV and eV/Å{': ' if wrong else ''}{'; '.join(wrong)}"
