"""Heating of multiple time stepping, predicted and measured by NVE runs of several strides from several starts.

    python benchmarks/stride.py measure FOLDER --model pet-m --structure inputs/water.xyz --strides 8 10 12 --time 5
    python benchmarks/stride.py measure PAIR --model pet-xs --slow pet-m --strides 4 8 --time 5
    python benchmarks/stride.py picture FOLDER PAIR --output docs/stride.png
    python benchmarks/stride.py table FOLDER PAIR

Every run is one file in FOLDER, written when it is complete; a call that was interrupted goes on where it was. A start
is a Langevin run of 1 ps under conservative forces, each with other random numbers. For each start there is one
conservative run with both kinds of forces at every step, for the prediction, and one run of each stride. The picture
shows what is in FOLDER, and in that of a pair of models, beside the drifts in docs/stride.md, of runs of the bundled
model through i-PI. The table has, for each run of a stride, the drift of its energy, and the heating that its random
walk says: fluctuation and dissipation tie both.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from matplotlib.axes import Axes
from scipy import fft

import ipi_darkforces as dark
from ipi_darkforces.analysis.drift import conserved_slope
from ipi_darkforces.analysis.pictures import KIND_COLORS, OTHER_COLORS, new_figure, tidy
from ipi_darkforces.diagnostics.conservative_run import neighbours
from ipi_darkforces.diagnostics.heating import Heating, Power, heating
from ipi_darkforces.models.pair import PairModel
from ipi_darkforces.models.structure import Structure
from ipi_darkforces.stats.estimates import Estimate
from ipi_darkforces.stats.slopes import walk_variances

TIMESTEP = 0.5  # fs
EQUILIBRATION = 1.0  # ps
FRICTION_TIME = 100.0  # fs
MEASURED = {  # meV/atom/ps and standard errors, of the bundled model with i-PI: docs/stride.md
    4: (0.010, 0.021),
    6: (0.17, 0.13),
    7: (0.07, 0.18),
    8: (0.48, 0.05),
    9: (1.3, 0.4),
    10: (1.3, 0.3),
    11: (1.1, 0.6),
    12: (1.3, 0.5),
    13: (2.9, 0.5),
    14: (2.5, 0.5),
    16: (8.7, 1.3),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["measure", "picture", "table"])
    parser.add_argument("folder", type=Path, nargs="+", help="of one model; of what is shown, a second one of a pair")
    parser.add_argument("--model", default="pet-m", help="of the fast forces, and of the slow ones unless --slow")
    parser.add_argument("--slow", help="model of the conservative forces")
    parser.add_argument("--structure", default="inputs/water.xyz")
    parser.add_argument("--temperature", type=float, default=300.0, help="K")
    parser.add_argument("--starts", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--strides", type=int, nargs="+", default=[8, 10, 12])
    parser.add_argument("--time", type=float, default=5.0, help="ps of each run of a stride")
    parser.add_argument("--both-time", type=float, default=2.0, help="ps of the run with both kinds of forces")
    parser.add_argument("--output", type=Path, default=Path("stride.png"), help="the picture")
    arguments = parser.parse_args()
    if arguments.task == "picture":
        draw(arguments.folder, arguments.output)
        return
    if arguments.task == "table":
        tabulate(arguments.folder)
        return
    if len(arguments.folder) != 1:
        parser.error("measure writes into one folder")
    arguments.folder[0].mkdir(parents=True, exist_ok=True)
    fast = dark.load_model(arguments.model)
    model = fast if arguments.slow is None else PairModel(fast, dark.load_model(arguments.slow), "pair")
    atoms = ase.io.read(arguments.structure)
    for start in arguments.starts:
        measure_start(start, atoms, model, arguments)


def measure_start(start: int, atoms: Atoms, model: dark.ForceModel, arguments: argparse.Namespace) -> None:
    """Equilibrate one start, then run both kinds of forces and every stride from there, as far as files are missing."""
    folder = arguments.folder[0]
    place = folder / f"start{start}.npz"
    if not place.exists():
        save(place, **equilibrated(atoms, model, arguments.temperature, seed=start))
    state = np.load(place)
    atoms = atoms.copy()
    atoms.positions = state["positions"]
    atoms.set_momenta(state["momenta"])
    for stride, time in [(1, arguments.both_time), *((stride, arguments.time) for stride in arguments.strides)]:
        place = folder / f"start{start}-stride{stride}.npz"
        if not place.exists():
            save(place, **nve(atoms.copy(), model, stride, time))
            print(place, flush=True)


def equilibrated(atoms: Atoms, model: dark.ForceModel, temperature: float, seed: int) -> dict[str, np.ndarray]:
    """Positions and momenta after a Langevin run under conservative forces."""
    atoms = atoms.copy()
    generator = np.random.default_rng(seed)
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=generator)
    Stationary(atoms)
    atoms.calc = dark.Calculator(model, forces="conservative")
    dynamics = Langevin(
        atoms,
        TIMESTEP * units.fs,
        temperature_K=temperature,
        friction=1.0 / (FRICTION_TIME * units.fs),
        rng=generator,
    )
    dynamics.run(round(1000.0 * EQUILIBRATION / TIMESTEP))
    Stationary(atoms, preserve_temperature=False)
    return {"positions": atoms.positions, "momenta": atoms.get_momenta()}


def nve(atoms: Atoms, model: dark.ForceModel, stride: int, time: float) -> dict[str, np.ndarray]:
    """Energies, eV, at every outer step; with a stride of 1 also the power of the slow forces, eV/ps."""
    dynamics = dark.MultipleTimeStepping(atoms, stride * TIMESTEP * units.fs, stride=stride, fast=model)
    masses = atoms.get_masses()
    potential, kinetic, of_species = [], [], []
    positions, power = [], []
    for _ in range(round(1000.0 * time / TIMESTEP / stride)):
        dynamics.run(1)
        velocity = atoms.get_velocities()
        of_atoms = 0.5 * masses * (velocity**2).sum(axis=1)
        potential.append(atoms.get_potential_energy())
        kinetic.append(of_atoms.sum())
        of_species.append([of_atoms[atoms.numbers == number].sum() for number in np.unique(atoms.numbers)])
        if stride == 1:
            _, slow = dynamics._last
            positions.append(atoms.positions.copy())
            power.append((slow * velocity).sum(axis=1) * 1000.0 * units.fs)
    found = {"potential": potential, "kinetic": kinetic, "of_species": of_species, "stride": stride}
    if stride == 1:
        found |= {"positions": positions[len(positions) // 2], "power": power}
        found |= {"numbers": atoms.numbers, "cell": atoms.cell.array}
    return {name: np.asarray(values) for name, values in found.items()}


def predicted(folder: Path) -> list[list[Heating]]:
    """Predicted heating of strides from 2 to 16, for each start."""
    found = []
    for place in sorted(folder.glob("start*-stride1.npz")):
        run = np.load(place)
        temperature = 2.0 * run["kinetic"].mean() / (3.0 * (len(run["numbers"]) - 1.0) * units.kB)
        structure = Structure(run["numbers"].astype(np.int32), run["positions"], run["cell"])
        power = Power(run["power"], TIMESTEP / 1000.0, temperature, run["numbers"], neighbours(structure))
        found.append(heating(power, range(2, 17)))
    return found


@dataclass(frozen=True)
class Course:
    """Energy of a run with a stride.

    :param name: of its file
    :param stride: M
    :param times: ps, shape (n,)
    :param energy: meV/atom, shape (n,)
    :param atoms: number of them
    :param temperature: K, the mean
    """

    name: str
    stride: int
    times: np.ndarray
    energy: np.ndarray
    atoms: int
    temperature: float

    @property
    def drift(self) -> Estimate:
        """meV/atom/ps."""
        return conserved_slope(self.times, self.energy, self.atoms, self.temperature)

    @property
    def walk(self) -> np.ndarray:
        """Heating P of which the energy walks by √(2 k_B T P t/N), meV/atom/ps: median, begin and end of the 95 %.

        From the lowest cosine transforms, of white noise and a walk of any size, the drift integrated out; see
        `ipi_darkforces.stats.slopes`.
        """
        n, step = len(self.times), self.times[1]
        k = np.arange(1, 61)
        series = fft.dct(self.energy - self.energy[0], norm="ortho")[k]
        line = fft.dct(self.times, norm="ortho")[k]
        noises, sizes = np.logspace(-10.0, 2.0, 97), np.logspace(-5.0, 2.0, 161)
        of_step = 2000.0 * units.kB * self.temperature / self.atoms * step
        of_walk = of_step * (n / np.pi) ** 2 * walk_variances(k, n)
        weights = 1.0 / (noises[:, None, None] + sizes[:, None] * of_walk)
        information = (weights * line**2).sum(axis=2)
        squares = (weights * series**2).sum(axis=2) - (weights * line * series).sum(axis=2) ** 2 / information
        likelihood = 0.5 * (np.log(weights).sum(axis=2) - np.log(information) - squares)
        chances = np.exp(likelihood - likelihood.max()).sum(axis=0)
        below = np.cumsum(chances) - 0.5 * chances
        return np.interp([0.5, 0.025, 0.975], below / chances.sum(), sizes)


def courses(folder: Path) -> list[Course]:
    """Conserved quantities of all runs with a stride."""
    found = []
    for place in sorted(folder.glob("start*-stride*.npz")):
        run = np.load(place)
        stride, energy = int(run["stride"]), 1000.0 * (run["potential"] + run["kinetic"])
        if stride > 1:
            times = TIMESTEP / 1000.0 * stride * np.arange(len(energy))
            atoms = len(np.load(place.with_name(f"{place.stem.partition('-')[0]}.npz"))["positions"])
            temperature = 2.0 * run["kinetic"].mean() / (3.0 * (atoms - 1.0) * units.kB)
            found.append(Course(place.stem, stride, times, energy / atoms, atoms, temperature))
    return found


def drifts(folder: Path) -> dict[int, list[Estimate]]:
    """Drifts of the energy, meV/atom/ps, by stride, for each start."""
    found: dict[int, list[Estimate]] = {}
    for course in courses(folder):
        found.setdefault(course.stride, []).append(course.drift)
    return found


def tabulate(folders: list[Path]) -> None:
    """Drifts and walks."""
    print("| run | drift, meV/atom/ps | its walk says | 95 % |\n|---|---|---|---|")
    for course in [course for folder in folders for course in courses(folder)]:
        middle, begin, end = course.walk
        print(f"| {course.name} | {course.drift.text('').strip()} | {middle:.2g} | {begin:.2g} to {end:.2g} |")


def draw(folders: list[Path], path: Path) -> None:
    """Predicted against measured, of one model and of a pair."""
    figure = new_figure(6.4, 4.0)
    axis = figure.subplots()
    names = ["both kinds of forces of pet-m", "pet-xs as the fast forces of pet-m"]
    for folder, name, color in zip(folders, names, [KIND_COLORS["MTS"], OTHER_COLORS[0]], strict=False):
        draw_predicted(axis, predicted(folder), name, color)
        for stride, found in drifts(folder).items():
            for i, each in enumerate(found):
                axis.errorbar(
                    stride + 0.2 * (i - (len(found) - 1) / 2),
                    each.value,
                    each.margin(),
                    fmt="s",
                    color=color,
                    markersize=4,
                )
    before = np.array([(stride, *drift) for stride, drift in MEASURED.items()])
    axis.errorbar(before[:, 0] - 0.4, before[:, 1], 2.0 * before[:, 2], fmt="o", color="0.6", markersize=4)
    axis.plot([], [], "-", color="0.2", label="predicted from conservative runs of 2 ps")
    axis.plot([], [], "s", color="0.2", markersize=4, label="runs of 5 ps with that stride, 95 %")
    axis.plot([], [], "o", color="0.6", markersize=4, label="earlier runs of pet-m, with i-PI")
    axis.set_yscale("symlog", linthresh=0.1, linscale=0.6)
    axis.set_ylim(-0.4, 300.0)
    axis.set_xlim(1.5, 16.5)
    axis.set_xlabel("stride M of 0.5 fs")
    axis.set_ylabel("heating without thermostat / (meV/atom/ps)")
    axis.set_yticks([-0.1, 0, 0.1, 1, 10], ["−0.1", "0", "0.1", "1", "10"])
    axis.legend(frameon=False, loc="upper left", fontsize="small")
    tidy(axis)
    figure.savefig(path)


def draw_predicted(axis: Axes, starts: list[list[Heating]], name: str, color: str) -> None:
    """The mean over starts with two standard errors, printed too."""
    values = np.array([[each.total.value for each in start] for start in starts])
    errors = np.array([[each.total.error for each in start] for start in starts])
    mean, error = values.mean(axis=0), np.sqrt((errors**2).sum(axis=0)) / len(starts)
    strides = np.array([each.stride for each in starts[0]])
    axis.fill_between(strides, mean - 2.0 * error, mean + 2.0 * error, color=color, alpha=0.25, linewidth=0)
    axis.plot(strides, mean, color=color, label=name)
    print(name, *(f"{s} {m:.3f} ± {e:.3f}" for s, m, e in zip(strides, mean, error, strict=True)), sep="\n")


def save(place: Path, **arrays: np.ndarray) -> None:
    """Write a file of arrays, whole or not at all."""
    partial = place.with_suffix(".partial.npz")
    np.savez(partial, **arrays)
    os.replace(partial, place)


if __name__ == "__main__":
    main()
