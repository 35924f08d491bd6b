"""Safe strides of multiple time stepping, predicted from one run under conservative forces; see `heating`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

import ase
import numpy as np
from ase import units
from ase.constraints import FixAtoms
from ase.data import chemical_symbols
from ase.neighborlist import natural_cutoffs, neighbor_list
from scipy.sparse import csr_array

from ..errors import DarkforcesError
from ..models.model import ForceModel, Need, of_kind
from ..models.structure import Structure
from ..simulate.compose import MEMORY, high_pass_friction
from ..simulate.inner_loop import State, velocity_verlet
from ..stats.estimates import Estimate
from .heating import WAVENUMBER, Heating, Power, fewest_steps, heating, spectrum
from .structures import as_structure
from .thermostats import excess_times, mean_friction

DEUTERIUM = 2.014  # u
_FRICTION_TIME = 0.1  # ps, of the Langevin thermostat before the run
_FRAMES_EVERY = 2.0  # fs, of the velocities that are kept: resolves the O-H stretch, with a period of 9 fs
_TIMINGS = 5
_NEIGHBOURS = 3.5  # Å: bonds, hydrogen bonds, and the first shell of metals
_HOTTER = 3.0  # times its temperature: a run that exploded
_PEAK = 0.05  # of the highest one, what counts as a peak of the spectrum of velocities
_BANDS = (  # by the wavenumber over that of the stretch, for structures of O and H
    (0.36, "librations"),
    (0.42, "librations"),
    (0.54, "bend"),
    (0.78, "bend and libration"),
    (1.2, "stretch"),
    (1.6, "stretch and bend"),
    (2.2, "stretch overtone"),
    (2.7, "wing of the stretch overtone"),
    (np.inf, "beyond the stretch overtone"),
)


@dataclass(frozen=True)
class Costs:
    """Wall time of evaluations, s, all measured in turn on the same structure.

    :param direct: of direct forces
    :param both: of both kinds together
    :param conservative: of conservative forces
    """

    direct: float
    both: float
    conservative: float

    def relative(self, stride: int) -> float:
        """Cost of a step with a stride, in that of conservative forces."""
        if stride == 1:
            return 1.0
        return ((stride - 1) * self.direct + self.both) / (stride * self.conservative)


@dataclass(frozen=True)
class Prediction:
    """Heating of every stride of a model's multiple time stepping, for one system.

    :param model: its name
    :param species: atomic numbers, shape (n_atoms,)
    :param masses: u, by chemical symbol, the mean
    :param timestep: fs, of the fast forces
    :param time: ps, of the run under conservative forces
    :param temperature: K, of that run
    :param strides: heating of each stride from 1
    :param costs: of evaluations
    :param tau: fs, time constant of the thermostats for which the excess is given
    :param excess_times: ps, by ensemble: steady excess of temperature over the heating without a thermostat
    :param fastest: cm⁻¹, the highest peak in the spectrum of the velocities
    :param spectrum: cm⁻¹ and meV/atom/ps, shape (2, n): what a harmonic of the impulse frequency contributes there
    """

    model: str
    species: np.ndarray
    masses: dict[str, float]
    timestep: float
    time: float
    temperature: float
    strides: tuple[Heating, ...]
    costs: Costs
    tau: float
    excess_times: dict[str, float]
    fastest: float
    spectrum: np.ndarray

    def excess(self, stride: Heating, ensemble: str) -> Estimate:
        """Steady excess of temperature with a thermostat, K; for ``nve`` the drift, K/ps."""
        return stride.rate if ensemble == "nve" else stride.rate.times(self.excess_times[ensemble])

    def longest(self, ensemble: str, allowed: float) -> Heating:
        """The largest stride up to which all are certain to heat by less.

        :param ensemble: ``nve``, ``langevin``, ``svr`` or ``gle``
        :param allowed: K, or K/ps for ``nve``, that the 95 % interval of the excess must stay below
        """
        longest = self.strides[0]
        for stride in self.strides[1:]:
            excess = self.excess(stride, ensemble)
            if excess.value + (excess.margin() or 0.0) > allowed:
                break
            longest = stride
        return longest

    def band(self, wavenumber: float) -> str:
        """The vibrations whose beats or overtones have this wavenumber: named for water, else by the fastest one."""
        ratio = wavenumber / self.fastest
        if set(self.species.tolist()) == {1, 8}:
            return next(name for limit, name in _BANDS if ratio < limit)
        if ratio < 1.2:
            return "vibrations"
        return "overtones of vibrations" if ratio < 2.2 else "beyond overtones of vibrations"

    def as_json(self) -> dict[str, object]:
        """JSON values, units in the names."""
        return {
            "model": self.model,
            "atoms": len(self.species),
            "masses_u": self.masses,
            "timestep_fs": self.timestep,
            "picoseconds": self.time,
            "temperature_K": self.temperature,
            "tau_fs": self.tau,
            "fastest_vibration_per_cm": self.fastest,
            "milliseconds": {name: 1000.0 * value for name, value in vars(self.costs).items()},
            "strides": [self._stride_as_json(stride) for stride in self.strides],
            "spectrum_per_cm": self.spectrum[0].tolist(),
            "spectrum_meV_per_atom_per_ps": self.spectrum[1].tolist(),
        }

    def _stride_as_json(self, stride: Heating) -> dict[str, object]:
        return {
            "stride": stride.stride,
            "relative_cost": self.costs.relative(stride.stride),
            "heating_meV_per_atom_per_ps": stride.total.as_json(),
            "heating_of_species_meV_per_atom_per_ps": {name: each.as_json() for name, each in stride.species.items()},
            "heating_K_per_ps": stride.rate.as_json(),
            "excess_K": {name: self.excess(stride, name).as_json() for name in self.excess_times},
            "harmonics_per_cm": stride.harmonics.tolist(),
            "heating_of_harmonics_meV_per_atom_per_ps": stride.shares.tolist(),
        }


def stride(
    model: ForceModel,
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
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Prediction:
    """Predict how much every stride of multiple time stepping heats, from one run under conservative forces.

    :param model: provides both kinds of forces
    :param atoms: an equilibrated structure, with velocities or without; not changed. `FixAtoms` is kept
    :param time: ps, of the run
    :param temperature: K, of the equilibration
    :param timestep: fs, of the fast forces
    :param equilibration: ps, of Langevin dynamics before the run. Default: none if atoms have velocities, else 0.5
    :param longest: the largest stride
    :param tau: fs, of the thermostats for which an excess of temperature is predicted
    :param hydrogen_mass: u, for all hydrogen atoms
    :param repartition: whether what hydrogen atoms gain is taken from the atoms they are bonded to
    :param seed: of the random numbers of the equilibration
    :param report: called with the steps that are done and their total
    :raises DarkforcesError: if the model lacks forces or does not know an element, for numbers that cannot be, or if
        the run is too short or explodes

    >>> import ase.io, ipi_darkforces as dark
    >>> atoms = ase.io.read("inputs/water.xyz")
    >>> found = dark.stride(dark.load_model("pet-m"), atoms, time=0.4, equilibration=0.0)  # doctest: +SKIP
    """
    _check(time, temperature, timestep, equilibration, longest, tau, hydrogen_mass)
    structure = as_structure(atoms, "the structure")
    model.check_need(Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT)
    model.check_species(structure.species)
    masses = atoms.get_masses()
    if hydrogen_mass is not None:
        masses = with_hydrogen_mass(atoms, hydrogen_mass, repartition)
    run = _Run(model, atoms, structure, timestep, np.random.default_rng(seed))
    if equilibration is None:
        equilibration = 0.0 if np.any(atoms.get_momenta()) else 0.5
    before, steps = round(1000.0 * equilibration / timestep), round(1000.0 * time / timestep)
    if not np.any(atoms.get_momenta()):
        run.thermalize(temperature)
    run.equilibrate(temperature, before, lambda done: report(done, before + steps))
    run.change_masses(masses)
    power, velocities, interval = run.follow(steps, lambda done: report(before + done, before + steps))
    matrix = high_pass_friction(tau / 1000.0, MEMORY / 1000.0)
    friction = mean_friction(matrix, velocities, run.masses_of_moving, interval)
    numbers = np.unique(structure.species)
    symbols = {chemical_symbols[z]: float(run.masses[structure.species == z].mean()) for z in numbers}
    fastest = _fastest(velocities, run.masses_of_moving, interval)
    return Prediction(
        model.name,
        structure.species,
        symbols,
        timestep,
        time,
        power.temperature,
        tuple(heating(power, range(1, longest + 1))),
        run.costs(),
        tau,
        excess_times(tau / 1000.0, friction),
        fastest,
        np.array(spectrum(power, min(4.0 * fastest, 500.0 * WAVENUMBER / timestep))),
    )


def with_hydrogen_mass(atoms: ase.Atoms, mass: float, repartition: bool) -> np.ndarray:
    """Masses where hydrogen atoms have another one, u, shape (n_atoms,).

    :param repartition: take what they gain from the atoms they are bonded to (K. A. Feenstra, B. Hess and
        H. J. C. Berendsen, J. Comput. Chem. 20, 786 (1999)); a molecule keeps its mass
    :raises DarkforcesError: if there are no hydrogen atoms, one is bonded to none, or another atom becomes lighter than
        they are
    """
    masses, hydrogen = atoms.get_masses(), atoms.numbers == 1
    if not hydrogen.any():
        raise DarkforcesError("there are no hydrogen atoms whose mass could be changed")
    gained = np.where(hydrogen, mass - masses, 0.0)
    if repartition:
        first, second, lengths = neighbor_list("ijd", atoms, natural_cutoffs(atoms, mult=1.25))
        bonds = [(d, i, j) for i, j, d in zip(first, second, lengths, strict=True) if hydrogen[i] and not hydrogen[j]]
        nearest = {i: j for _, i, j in sorted(bonds, reverse=True)}
        alone = sorted(set(np.flatnonzero(hydrogen).tolist()) - set(nearest))
        if alone:
            raise DarkforcesError(f"hydrogen atom {alone[0]} is bonded to no other element that could give it mass")
        for i, j in nearest.items():
            gained[j] -= gained[i]
    masses = masses + gained
    if masses.min() < min(mass, 1.0) or masses[~hydrogen].min(initial=np.inf) < mass:
        raise DarkforcesError(f"hydrogen atoms of {mass:g} u leave atoms of {masses.min():.3g} u beside them")
    return masses


def neighbours(structure: Structure) -> csr_array:
    """1 for each pair of atoms within 3.5 Å and each atom with itself, else 0, shape (n_atoms, n_atoms)."""
    n = len(structure.species)
    atoms = ase.Atoms(structure.species, structure.positions, cell=structure.cell, pbc=structure.periodic)
    first, second = neighbor_list("ij", atoms, _NEIGHBOURS)
    pairs = np.unique(np.stack([np.append(first, np.arange(n)), np.append(second, np.arange(n))]), axis=1)
    return csr_array((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), shape=(n, n))


class _Run:
    """Dynamics under conservative forces, without a thermostat but for the equilibration; units of ase inside."""

    def __init__(
        self, model: ForceModel, atoms: ase.Atoms, structure: Structure, timestep: float, rng: np.random.Generator
    ):
        others = [type(c).__name__ for c in atoms.constraints if not isinstance(c, FixAtoms)]
        if others:
            raise DarkforcesError(f"the constraint {others[0]} is not kept here: expected FixAtoms or none")
        fixed = np.concatenate([np.empty(0, int), *(constraint.index for constraint in atoms.constraints)])
        self.masses = atoms.get_masses()
        self._moving = np.ones(len(atoms), bool)
        self._moving[fixed] = False
        self._model = model
        self._structure = structure
        self._timestep = timestep
        self._rng = rng
        self._freedom = 3 * int(self._moving.sum()) - (3 if self._moving.all() else 0)
        if self._freedom <= 0:
            raise DarkforcesError("there are not enough atoms that move: expected at least two")
        momenta = atoms.get_momenta()
        momenta[fixed] = 0.0
        self._state = State(structure.positions, momenta, np.zeros_like(momenta))
        self._began = False

    @property
    def masses_of_moving(self) -> np.ndarray:
        """u, shape (n_moving,)."""
        return self.masses[self._moving]

    def thermalize(self, temperature: float) -> None:
        """Draw momenta, without drift of the centre of mass."""
        deviations = np.sqrt(units.kB * temperature * self.masses[:, None])
        momenta = np.where(self._moving[:, None], deviations * self._rng.normal(size=(len(self.masses), 3)), 0.0)
        self._state = replace(self._state, momenta=self._without_drift(momenta))

    def change_masses(self, masses: np.ndarray) -> None:
        """Go on with other masses and momenta that are as likely: of the same kinetic energy."""
        momenta = self._state.momenta * np.sqrt(masses / self.masses)[:, None]
        self.masses = masses
        self._state = replace(self._state, momenta=self._without_drift(momenta))

    def equilibrate(self, temperature: float, steps: int, report: Callable[[int], None]) -> None:
        """Langevin dynamics."""
        keeps = np.exp(-self._timestep / (1000.0 * _FRICTION_TIME))
        deviations = np.sqrt((1.0 - keeps**2) * units.kB * temperature * self.masses[:, None])
        for step in range(steps):
            self._step(self._conservative)
            noise = np.where(self._moving[:, None], deviations * self._rng.normal(size=(len(self.masses), 3)), 0.0)
            momenta = keeps * self._state.momenta + noise
            self._state = replace(self._state, momenta=self._without_drift(momenta))
            report(step + 1)
        self._check_temperature(temperature)

    def follow(self, steps: int, report: Callable[[int], None]) -> tuple[Power, np.ndarray, float]:
        """The run: power of the slow forces, velocities now and then, Å and ase's time, and how often, ps."""
        every = max(1, round(_FRAMES_EVERY / self._timestep))
        powers = np.empty((steps, len(self.masses)))
        kinetic, velocities = np.empty(steps), []
        slow = np.empty(0)

        def both(positions: np.ndarray) -> np.ndarray:
            nonlocal slow
            forces = self._model.evaluate(self._at(positions), Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT)
            conservative = of_kind(Need.CONSERVATIVE, forces)
            slow = conservative - of_kind(Need.DIRECT, forces)
            return conservative

        beginning, middle = self._temperature() or 1.0, self._state.positions
        for step in range(steps):
            self._step(both)
            velocity = self._state.momenta / self.masses[:, None]
            powers[step] = (slow * velocity).sum(axis=1) * 1000.0 * units.fs
            kinetic[step] = self._temperature()
            if step % every == 0:
                velocities.append(velocity[self._moving].astype(np.float32))
                self._check_temperature(beginning)
            if step == steps // 2:
                middle = self._state.positions
            report(step + 1)
        moving = float(self._moving.mean())
        power = Power(
            powers,
            self._timestep / 1000.0,
            float(kinetic.mean()),
            self._structure.species,
            neighbours(self._at(middle)),
            moving,
        )
        return power, np.array(velocities), every * self._timestep / 1000.0

    def costs(self) -> Costs:
        """Time of evaluations, the shortest of several: whatever else the machine does only adds to it."""
        needs = (Need.DIRECT, Need.CONSERVATIVE | Need.DIRECT, Need.CONSERVATIVE)
        times = np.empty((_TIMINGS, len(needs)))
        for row in times:
            for i, need in enumerate(needs):
                # A little further: some models remember where they were.
                self._state = replace(self._state, positions=self._state.positions + 1e-4)
                began = perf_counter()
                self._model.evaluate(self._at(self._state.positions), need)
                row[i] = perf_counter() - began
        return Costs(*times.min(axis=0).tolist())

    def _step(self, forces: Callable[[np.ndarray], np.ndarray]) -> None:
        if not self._began:
            self._state = replace(self._state, forces=self._conservative(self._state.positions))
            self._began = True
        masses = np.where(self._moving, self.masses, np.inf)
        state = velocity_verlet(self._state, masses, self._timestep * units.fs, 1, forces)
        state.momenta[~self._moving] = 0.0
        self._state = state

    def _conservative(self, positions: np.ndarray) -> np.ndarray:
        return of_kind(Need.CONSERVATIVE, self._model.evaluate(self._at(positions), Need.CONSERVATIVE))

    def _at(self, positions: np.ndarray) -> Structure:
        return replace(self._structure, positions=positions)

    def _without_drift(self, momenta: np.ndarray) -> np.ndarray:
        if not self._moving.all():
            return momenta
        return momenta - self.masses[:, None] * momenta.sum(axis=0) / self.masses.sum()

    def _temperature(self) -> float:
        """K."""
        kinetic = 0.5 * np.sum(self._state.momenta**2 / self.masses[:, None])
        return float(2.0 * kinetic / (self._freedom * units.kB))

    def _check_temperature(self, expected: float) -> None:
        """Three times as hot as at the beginning is not the equilibrium that the theory is about."""
        if not self._temperature() < _HOTTER * expected:
            raise DarkforcesError(
                f"the run under conservative forces heats from {expected:.0f} to {self._temperature():.0f} K: expected "
                "an equilibrated structure and a time step that suits it"
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
    positive = {
        "time": (time, "ps"),
        "temperature": (temperature, "K"),
        "timestep": (timestep, "fs"),
        "tau": (tau, "fs"),
        "hydrogen mass": (hydrogen_mass, "u"),
    }
    for name, (value, unit) in positive.items():
        if value is not None and not 0.0 < value < np.inf:
            raise DarkforcesError(f"{name} {value:g} cannot be used: expected {unit}, more than zero")
    if equilibration is not None and not 0.0 <= equilibration < np.inf:
        raise DarkforcesError(f"equilibration {equilibration:g} cannot be used: expected ps, zero or more")
    if longest < 2:
        raise DarkforcesError(f"{longest} as the longest stride cannot be used: expected at least 2")
    fewest = fewest_steps(timestep / 1000.0)
    if round(1000.0 * time / timestep) < fewest:
        raise DarkforcesError(
            f"{time:g} ps are too short to know errors: expected at least {fewest * timestep / 1000.0:.3g} ps"
        )
