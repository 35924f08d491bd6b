"""Files of a simulation: properties against time, positions, velocities, and what its input says.

A run is named by a path, of whatever kind the user has: a folder made by ``darkforces run``, any folder with the
outputs of i-PI, an i-PI input (or RESTART) beside its outputs, or one file: properties, a trajectory of i-PI, an
extended XYZ trajectory or one of ase's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from ...errors import DarkforcesError
from .compressed import existing, plain_name
from .formats import ASE_VELOCITY, open_trajectories
from .setup import Constraints, Setup
from .table import Table, looks_like_table, read_table
from .trajectory import Notice, Quantity, Timing, Trajectory

# What `darkforces run` starts i-PI with, which has the output for those who watch; and what others may call an input.
_INPUTS = ("i-pi.xml", "input.xml")
_TRAJECTORIES = (".xyz", ".extxyz", ".traj")
_TEMPERATURE = re.compile(r"temperature(?:\((?!\d+\))([^;=]+)\))?")  # of all atoms or of a species


T = TypeVar("T")


@dataclass(frozen=True)
class Reading:
    """Properties of files that they do not state themselves.

    :param interval: ps between the frames of a trajectory
    :param velocity_unit: Å/ps, of columns with velocities in extended XYZ files
    """

    interval: float | None = None
    velocity_unit: float = ASE_VELOCITY


AS_WRITTEN = Reading()


@dataclass(frozen=True)
class Run:
    """The files of a simulation, opened.

    :param name: for tables and pictures
    :param path: by which it was given
    :param tables: properties against time
    :param trajectories: positions, velocities
    :param target: K, of the thermostat in the input, if there is one
    :param of_each_atom: whether that acts on each atom; None if there is no input
    :param constraints: what i-PI's temperatures take into account; None if there is no input
    :param n_atoms: None if nothing says it
    :param timestep: ps, of i-PI's steps; None if nothing says it
    """

    name: str
    path: Path
    tables: tuple[Table, ...]
    trajectories: tuple[Trajectory, ...]
    target: float | None
    of_each_atom: bool | None
    constraints: Constraints | None
    n_atoms: int | None
    timestep: float | None = None

    @classmethod
    def read(cls, path: Path, notice: Notice, reading: Reading = AS_WRITTEN) -> Run:
        """Find out what there is. Trajectories are opened, and read when they are asked for their blocks.

        :param notice: told what is wrong with files of which a part can be used
        :raises DarkforcesError: if the path does not exist or nothing there can be used
        """
        if path.is_dir():
            return _from_folder(path, notice, reading)
        if not path.is_file():
            raise DarkforcesError(f"'{path}' does not exist (looked in {Path.cwd()})")
        if path.suffix == ".xml" or path.name == "RESTART":
            setup = Setup.read(path, notice)
            name = path.resolve().parent.name if path.name in (*_INPUTS, "RESTART") else path.stem
            return _from_files(name, path, setup.tables, setup.trajectories, setup, notice, reading)
        return _from_file(path, notice, reading)

    def table(self, *columns: str) -> Table:
        """The table with these columns, and of several the one with the most rows.

        :raises DarkforcesError: if there is none
        """
        found = [table for table in self.tables if all(column in table.columns for column in columns)]
        if not found:
            there = sorted({column for table in self.tables for column in table.columns})
            raise DarkforcesError(
                f"'{self.path}' has no table of {' and '.join(columns)}; it has {', '.join(there) or 'no properties'}: "
                "add it to the <properties> of the input"
            )
        return max(found, key=lambda table: len(table.step))

    def trajectory(self, quantity: Quantity) -> Trajectory:
        """Positions or velocities, and of several files with them the one with the most frames in a ps.

        :raises DarkforcesError: if there are none
        """
        found = [each for each in self.trajectories if each.quantity == quantity]
        if not found:
            raise DarkforcesError(
                f"'{self.path}' has no {quantity}: add <trajectory filename='{quantity[:3]}'> {quantity} </trajectory> "
                "to the <output> of the input"
            )
        return min(found, key=lambda each: np.inf if each.interval is None else each.interval)


def _from_folder(path: Path, notice: Notice, reading: Reading) -> Run:
    setup = _setup_in(path, notice)
    name = path.resolve().name
    if setup is not None:
        return _from_files(name, path, setup.tables, setup.trajectories, setup, notice, reading)
    files = [file for file in sorted(path.iterdir()) if file.is_file() and not file.name.startswith((".", "#"))]
    files = [file for file in files if existing(plain_name(file)) == file]  # each once, compressed or not
    for file in files:
        if _called_trajectory(file) and file.stat().st_size == 0:
            notice(f"'{file}' is empty")
    trajectories = [file for file in files if _called_trajectory(file) and _is_output(file)]
    tables = [file for file in files if file not in trajectories and looks_like_table(file)]
    prefixes = sorted({file.name.split(".")[0] for file in [*tables, *trajectories]})
    if len(prefixes) > 1:
        raise DarkforcesError(
            f"'{path}' holds outputs of several simulations ({', '.join(prefixes)}); give an input or a file of one"
        )
    return _from_files(name, path, tables, trajectories, None, notice, reading)


def _called_trajectory(file: Path) -> bool:
    return plain_name(file).suffix in _TRAJECTORIES


def _is_output(file: Path) -> bool:
    """Tell whether a file holds frames, and not just a structure that a simulation may have started from."""
    try:
        return any(trajectory.interval is not None for trajectory in open_trajectories(file, Timing(1.0, 1.0)))
    except DarkforcesError:
        return False


def _setup_in(folder: Path, notice: Notice) -> Setup | None:
    """The setup in the input of a folder; None if there is no input with outputs.

    :raises DarkforcesError: if there are several
    """
    for name in _INPUTS:
        if (folder / name).is_file():
            return Setup.read(folder / name, notice)
    setups = list(_setups([*sorted(folder.glob("*.xml")), folder / "RESTART"], notice))
    outputs = {(*setup.tables, *setup.trajectories) for setup in setups}
    if len(outputs) > 1:
        raise DarkforcesError(
            f"'{folder}' holds several simulations; give one of the inputs: "
            f"{', '.join(setup.path.name for setup in setups)}"
        )
    return setups[0] if setups else None


def _setups(paths: Sequence[Path], notice: Notice) -> Iterator[Setup]:
    for path in paths:
        if path.is_file():
            with suppress(DarkforcesError):  # another XML, or an input that was never run here
                setup = Setup.read(path, notice)
                if setup.tables or setup.trajectories:
                    yield setup


def _from_file(path: Path, notice: Notice, reading: Reading) -> Run:
    """Read a run from one file, and what files of the same simulation beside it say about it."""
    is_table = looks_like_table(path)
    setup = _setup_beside(path)
    plain = plain_name(path)
    name = plain.stem if _called_trajectory(path) else plain.name
    files: tuple[list[Path], list[Path]] = ([path], []) if is_table else ([], [path])
    return _from_files(name, path, *files, setup, notice, reading)


def _setup_beside(path: Path) -> Setup | None:
    candidates = [path.parent / name for name in (*_INPUTS, "RESTART")] + sorted(path.parent.glob("*.xml"))
    for setup in _setups(candidates, lambda _: None):
        if plain_name(path) in map(plain_name, (*setup.tables, *setup.trajectories)):
            return setup
    return None


def _from_files(
    name: str,
    path: Path,
    table_files: Sequence[Path],
    trajectory_files: Sequence[Path],
    setup: Setup | None,
    notice: Notice,
    reading: Reading,
) -> Run:
    """Open all of them. A file that cannot be used is noticed, unless it is the only one."""
    errors: list[DarkforcesError] = []
    tables = _usable(table_files, lambda file: [read_table(file, notice)], errors)
    timestep = _timestep(path, setup, tables)
    timing = Timing(timestep, reading.interval)
    trajectories = _usable(
        trajectory_files, lambda file: open_trajectories(file, timing, reading.velocity_unit), errors
    )
    if not tables and not trajectories:
        if errors:
            raise errors[0]
        raise DarkforcesError(
            f"'{path}' has no outputs: looked for properties of i-PI and for trajectories"
            + (f", prefix and names as in '{setup.path}'" if setup else "")
        )
    for problem in errors:
        notice(str(problem))
    masses = setup.masses if setup else None
    if setup and setup.constraints.fixed:
        labels = trajectories[0].species if trajectories else setup.labels
        tables = [_of_moving(table, setup.constraints, labels) for table in tables]
    trajectories = [_with_masses(trajectory, masses) for trajectory in trajectories]
    return Run(
        name,
        path,
        tuple(tables),
        tuple(trajectories),
        setup.target if setup else None,
        setup.of_each_atom if setup else None,
        setup.constraints if setup else None,
        len(trajectories[0].species) if trajectories else None if masses is None else len(masses),
        timestep,
    )


def _usable(files: Sequence[Path], read: Callable[[Path], list[T]], errors: list[DarkforcesError]) -> list[T]:
    """Read files, and add the errors of those that cannot be used to `errors`."""
    found: list[T] = []
    for file in files:
        try:
            found += read(file)
        except DarkforcesError as error:
            errors.append(error)
    return found


def _timestep(path: Path, setup: Setup | None, tables: Sequence[Table]) -> float | None:
    """Find the time step in the input, or in properties of the same simulation, ps."""
    if setup is not None and setup.timestep is not None:
        return setup.timestep
    if not tables and path.is_file():
        same = path.name.split(".")[0]
        beside = [file for file in sorted(path.parent.glob(f"{same}.*")) if looks_like_table(file)]
        with suppress(DarkforcesError):
            tables = [read_table(file, lambda _: None) for file in beside]
    return next((table.timestep for table in tables if table.timestep is not None), None)


def _of_moving(table: Table, constraints: Constraints, labels: np.ndarray | None) -> Table:
    """Take temperatures of what moves; leave out species that do not move or are not known."""
    columns = {}
    for name, values in table.columns.items():
        of = _TEMPERATURE.fullmatch(name)
        if of is None:
            columns[name] = values
        elif labels is not None:
            atoms = np.flatnonzero(labels == of[1]) if of[1] else np.arange(len(labels))
            if constraints.count_fixed(atoms) < 3 * len(atoms):
                columns[name] = constraints.of_moving(values, atoms)
    return replace(table, columns=columns)


def _with_masses(trajectory: Trajectory, masses: np.ndarray | None) -> Trajectory:
    if masses is None or len(masses) != len(trajectory.species):
        return trajectory
    return replace(trajectory, masses=masses)
