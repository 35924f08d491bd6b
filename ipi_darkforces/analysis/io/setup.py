"""The setup in an i-PI input: names of outputs, time step, temperature of the thermostat."""

from __future__ import annotations

import glob
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from ipi.engine.outputs import PropertyOutput, TrajectoryOutput

from ...errors import DarkforcesError
from ...simulate.inputs import SimulationInput
from .compressed import SUFFIXES, existing, plain_name
from .trajectory import Notice, Quantity
from .units import amu, factor_from_ipi

_READABLE: dict[str, Quantity] = {
    "positions": "positions",
    "velocities": "velocities",
    "x_centroid": "positions",
    "v_centroid": "velocities",
}
_EXTENSIONS = {"xyz": "xyz", "ase": "extxyz"}
# i-PI's thermostats that only know the energy of all atoms together (the last two: of the centroids).
_GLOBAL = ("", "svr", "pile_g", "nm_gle_g")


@dataclass(frozen=True)
class Constraints:
    """Constraints that i-PI takes into account when it makes a temperature of a kinetic energy.

    :param temperature: of the ensemble, K; None if the input has none (then i-PI takes nothing into account)
    :param fixcom: whether the centre of mass is kept at rest
    :param fixed: indices of coordinates (3 atom + axis) that do not move
    """

    temperature: float | None = None
    fixcom: bool = False
    fixed: tuple[int, ...] = ()

    @classmethod
    def of(cls, system: Any) -> Constraints:
        """Read the constraints of i-PI's `<system>`."""
        motion, ensemble = system.motion, system.ensemble
        with redirect_stdout(StringIO()):
            kelvin = float(ensemble.temperature.fetch()) * factor_from_ipi("temperature", None)
            coordinates = tuple(int(i) for i in motion.fixatoms_dof.fetch())
            atoms = tuple(3 * int(atom) + axis for atom in motion.fixatoms.fetch() for axis in range(3))
            fixed = coordinates or atoms
            # As in i-PI, where one excludes the other.
            return cls(kelvin if kelvin > 0.0 else None, bool(motion.fixcom.fetch()) and not fixed, fixed)

    @classmethod
    def in_input(cls, simulation: SimulationInput) -> Constraints:
        """Read the constraints of the first system."""
        return next(map(cls.of, simulation.systems), FREE)

    def count_fixed(self, atoms: np.ndarray) -> int:
        """Count the coordinates of these atoms that do not move."""
        return int(np.isin(self.fixed, (3 * atoms[:, None] + np.arange(3)).ravel()).sum())

    def moving(self, n_atoms: int) -> float:
        """The part of the coordinates of all atoms that are not fixed."""
        return 1.0 - len(self.fixed) / (3.0 * n_atoms)

    def of_moving(self, temperature: Any, atoms: np.ndarray) -> Any:
        """The temperature of the coordinates that move.

        i-PI has those that do not move at the temperature of the ensemble in its temperatures, if there is one.

        :param temperature: i-PI's, of these atoms, K; a number or an array
        :param atoms: their indices, of which some move
        """
        fixed, freedom = self.count_fixed(atoms), 3 * len(atoms)
        if not fixed:
            return temperature
        return (freedom * temperature - fixed * (self.temperature or 0.0)) / (freedom - fixed)


FREE = Constraints()


@dataclass(frozen=True)
class Setup:
    """The setup of a simulation, as its input says.

    :param tables: files of properties that exist
    :param trajectories: files of positions and velocities that exist
    :param timestep: ps; None if the motion has none
    :param target: K, of the thermostat; None without one
    :param of_each_atom: whether there is a thermostat that acts on each atom
    :param masses: amu, of the atoms in i-PI's checkpoint or in the start; None if there is neither, shape (n_atoms,)
    :param labels: of the same atoms
    """

    path: Path
    tables: tuple[Path, ...]
    trajectories: tuple[Path, ...]
    timestep: float | None
    target: float | None
    of_each_atom: bool
    constraints: Constraints
    masses: np.ndarray | None
    labels: np.ndarray | None

    @classmethod
    def read(cls, path: Path, notice: Notice) -> Setup:
        """Read an i-PI input, or a RESTART. The outputs are looked for beside it.

        :raises DarkforcesError: if it is not an input that i-PI accepts, or has several systems
        """
        simulation = SimulationInput.read(path)
        if len(simulation.systems) != 1:
            raise DarkforcesError(f"'{path}' has several systems; give the files of one of them instead")
        [system] = simulation.systems
        outputs = _outputs(simulation.parsed)
        base = path.parent / simulation.prefix
        timestep = simulation.timestep
        motion, constraints = system.motion, Constraints.of(system)
        labels, masses = _atoms(path, simulation.prefix)
        with redirect_stdout(StringIO()):
            thermostatted = motion.mode.fetch() == "dynamics" and motion.dynamics.mode.fetch() not in ("nve", "nph")
            of_each_atom = thermostatted and motion.dynamics.thermostat.mode.fetch() not in _GLOBAL
        return cls(
            path,
            _existing([Path(f"{base}.{o.filename}") for o in outputs if isinstance(o, PropertyOutput)]),
            _existing([f for o in outputs if isinstance(o, TrajectoryOutput) for f in _files(base, o, notice)]),
            None if timestep is None else 1e-3 * timestep,
            constraints.temperature if thermostatted else None,
            of_each_atom,
            constraints,
            masses,
            labels,
        )


def _outputs(parsed: Any) -> list[Any]:
    with redirect_stdout(StringIO()):
        return [value.fetch() for kind, value in parsed.output.extra if kind in ("properties", "trajectory")]


def _existing(files: list[Path]) -> tuple[Path, ...]:
    return tuple(there for file in files if (there := existing(file)) is not None)


def _files(base: Path, output: TrajectoryOutput, notice: Notice) -> list[Path]:
    """Files of a trajectory that can be used: of several beads, the first."""
    what = output.what.partition("{")[0].partition("(")[0].strip()
    if what not in _READABLE:
        return []
    if output.format not in _EXTENSIONS:
        notice(f"{what} in '{base}.{output.filename}' are in format {output.format}, expected xyz or ase")
        return []
    stem, extension = f"{base}.{output.filename}", _EXTENSIONS[output.format]
    if "centroid" in what:
        return [Path(f"{stem}.{extension}")]
    names = (name for ending in ("", *SUFFIXES) for name in glob.glob(f"{glob.escape(stem)}_*.{extension}{ending}"))
    beads = sorted({plain_name(Path(name)) for name in names})
    if len(beads) > 1:
        # The momenta of a bead are not those of an atom.
        used = "only the first is used" if what == "positions" else "they are not used"
        notice(f"'{stem}_*.{extension}' are {what} of {len(beads)} beads; {used}")
        return beads[:1] if what == "positions" else []
    return beads


def _atoms(path: Path, prefix: str) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Labels and masses, from the last state that i-PI left, or from the start."""
    for checkpoint in (path, path.parent / "RESTART", path.parent / f"{prefix}.chk", *_starts(path)):
        if checkpoint.is_file():
            try:
                beads = SimulationInput.read(checkpoint).systems[0].beads
            except DarkforcesError:  # being written, or of a kind that is no checkpoint
                continue
            masses = beads.m.fetch()
            if len(masses):
                return np.array([str(name) for name in beads.names.fetch()]), amu(np.asarray(masses))
    return None, None


def _starts(path: Path) -> list[Path]:
    initialize = SimulationInput.read(path).systems[0].initialize
    names = [str(value.fetch().value).strip() for kind, value in initialize.extra if kind == "file"]
    return [path.parent / name for name in names]
