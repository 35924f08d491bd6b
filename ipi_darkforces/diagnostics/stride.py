"""Safe strides of multiple time stepping, predicted from one run under conservative forces; see `heating`."""

from __future__ import annotations

from collections.abc import Callable

import ase
import numpy as np
from ase.data import chemical_symbols

from ..errors import DarkforcesError, check_positive
from ..models.registry.load import ModelLike, as_model
from ..simulate.compose import MEMORY, high_pass_friction
from ..simulate.hydrogen_mass import with_hydrogen_mass
from ..simulate.recipe import check_steps
from ..split.component import Component
from .conservative_run import ConservativeRun
from .heating import WAVENUMBER, fewest_steps, heating, spectrum
from .stride_prediction import StridePrediction
from .structures import as_structure
from .thermostats import excess_times, mean_friction

LONGEST = 100  # strides that are looked at
EQUILIBRATION = 0.5  # ps, of structures without velocities
_PEAK = 0.05  # of the highest one, what counts as a peak of the spectrum of velocities


def stride(
    model: ModelLike,
    atoms: ase.Atoms,
    *,
    time: float = 2.0,
    temperature: float = 300.0,
    timestep: float = 0.5,
    equilibration: float | None = None,
    longest: int = 16,
    tau: float = 100.0,
    hydrogen_mass: float | None = None,
    repartition: bool = False,
    seed: int = 1,
    thorough: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> StridePrediction:
    """Predict how much every stride of multiple time stepping heats, from one run under conservative forces.

    :param model: provides both kinds of forces; loaded, or as `load_model` takes it
    :param atoms: an equilibrated structure, with velocities or without; not changed. `FixAtoms` is kept
    :param time: ps, of the run
    :param temperature: K, of the equilibration
    :param timestep: fs, of the fast forces
    :param equilibration: ps, of Langevin dynamics before the run. Default: none if atoms have velocities, else 0.5
    :param longest: the largest stride, 2 to 100
    :param tau: fs, of the thermostats for which an excess of temperature is predicted
    :param hydrogen_mass: u, for all hydrogen atoms
    :param repartition: whether what hydrogen atoms gain is taken from the atoms they are bonded to
    :param seed: of the random numbers of the equilibration
    :param thorough: whether parametric resonance is looked for too, which linear response cannot see: for the
        Jacobians of all forces, with (3 n_atoms)² elements each
    :param report: called with the steps that are done and their total; thoroughly, atoms and strides are steps too
    :raises DarkforcesError: if the model lacks forces or does not know an element, for numbers that cannot be, or if
        the run is too short or explodes

    >>> import ase.io, ipi_darkforces as dark
    >>> atoms = ase.io.read("inputs/water.xyz")
    >>> prediction = dark.stride("pet-m", atoms)  # doctest: +SKIP
    >>> print(prediction.advice(allowed=1.0))  # doctest: +SKIP
    """
    _check(time, temperature, timestep, equilibration, longest, tau, hydrogen_mass)
    structure = as_structure(atoms, "the structure")
    model = as_model(model)
    Component.SLOW.check(model)
    model.check_species(structure.species)
    masses = atoms.get_masses()
    if hydrogen_mass is not None:
        masses = with_hydrogen_mass(atoms, hydrogen_mass, repartition)
    run = ConservativeRun(model, atoms, structure, timestep, np.random.default_rng(seed))
    if equilibration is None:
        equilibration = 0.0 if np.any(atoms.get_momenta()) else EQUILIBRATION
    before, steps = round(1000.0 * equilibration / timestep), round(1000.0 * time / timestep)
    strides = range(1, longest + 1)
    ran = before + steps
    total = ran + (2 * len(masses) + longest if thorough else 0)
    if not np.any(atoms.get_momenta()):
        run.thermalize(temperature)
    run.equilibrate(temperature, before, lambda done: report(done, total))
    run.change_masses(masses)
    power, velocities, interval = run.follow(steps, lambda done: report(before + done, total))
    matrix = high_pass_friction(tau / 1000.0, MEMORY / 1000.0)
    friction = mean_friction(matrix, velocities, run.masses_of_moving, interval)
    numbers = np.unique(structure.species)
    symbols = {chemical_symbols[z]: float(run.masses[structure.species == z].mean()) for z in numbers}
    fastest = _fastest(velocities, run.masses_of_moving, interval)
    return StridePrediction(
        model.name,
        structure.species,
        symbols,
        timestep,
        time,
        power.temperature,
        tuple(heating(power, strides)),
        run.costs(),
        tau,
        excess_times(tau / 1000.0, friction),
        fastest,
        np.array(spectrum(power, min(4.0 * fastest, 500.0 * WAVENUMBER / timestep))),
        run.stability(strides, lambda done: report(ran + done, total)) if thorough else None,
    )


def _fastest(velocities: np.ndarray, masses: np.ndarray, interval: float) -> float:
    """The highest wavenumber at which the spectrum of the velocities has a peak, cm⁻¹."""
    length = min(len(velocities), max(16, round(0.3 / interval)))
    window = np.hanning(length)[:, None, None]
    total = np.zeros(length // 2 + 1)
    for begin in range(0, len(velocities) - length + 1, max(1, length // 2)):
        amplitudes = np.fft.rfft(window * velocities[begin : begin + length], axis=0)
        total += (np.abs(amplitudes) ** 2 * masses[:, None]).sum(axis=(1, 2))
    inside = total[1:-1]
    peaks = 1 + np.flatnonzero((inside >= total[:-2]) & (inside > total[2:]) & (inside > _PEAK * total.max()))
    last = peaks[-1] if len(peaks) else 1
    return float(WAVENUMBER * np.fft.rfftfreq(length, interval)[last])


def _check(
    time: float,
    temperature: float,
    timestep: float,
    equilibration: float | None,
    longest: int,
    tau: float,
    hydrogen_mass: float | None,
) -> None:
    check_positive("time", time, "ps")
    check_positive("temperature", temperature, "K")
    check_positive("timestep", timestep, "fs")
    check_positive("tau", tau, "fs")
    check_positive("hydrogen mass", hydrogen_mass, "u")
    if equilibration is not None and not 0.0 <= equilibration < np.inf:
        raise DarkforcesError(f"equilibration {equilibration:g} cannot be used: expected ps, zero or more")
    if not 2 <= longest <= LONGEST:
        raise DarkforcesError(f"{longest} as the longest stride cannot be used: expected 2 to {LONGEST}")
    for name, length in (("time", time), ("equilibration", equilibration or 0.0)):
        check_steps(length, timestep, f"{name} {length:g} ps")
    fewest = fewest_steps(timestep / 1000.0)
    if round(1000.0 * time / timestep) < fewest:
        raise DarkforcesError(
            f"{time:g} ps are too short to know errors: expected at least {fewest * timestep / 1000.0:.6g} ps"
        )
