"""Multiple time stepping as an ase `MolecularDynamics`: fast forces at every step, slow ones as impulses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.md.md import MolecularDynamics

from ..errors import DarkforcesError
from ..models.calculator import Calculator
from ..models.fixed import fixed_atoms
from ..models.model import Need, of_kind
from ..models.pair import PairModel
from ..models.registry.load import ModelLike, as_model
from ..models.structure import Structure
from .inner_loop import State, outer_step

if TYPE_CHECKING:
    from .recorded_steps import RecordedSteps

_HERE = "by this dynamics"


class MultipleTimeStepping(MolecularDynamics):
    """NVE dynamics of the conservative forces of one model, mostly for the price of the direct forces of another.

    One step of this dynamics is an outer step: M velocity Verlet steps under the fast forces between two half impulses
    of the slow ones, f_slow = f_conservative - f_fast; see `inner_loop` for the equations. An outer step costs M - 1
    evaluations of the fast forces and one of both. With a stride of 1 it is velocity Verlet under the conservative
    forces. What it gives equals what i-PI gives with ``<nmts> [1, M] </nmts>`` and the same forces.

    The calculator of the atoms becomes a `Calculator` of the slow model, which knows energy and conservative forces at
    each outer step without evaluating anything again: loggers and trajectories work as with any dynamics of ase.

    :param atoms: ase atoms with momenta; `FixAtoms` is kept
    :param timestep: of an outer step, in ase's unit of time (`ase.units.fs`), as in i-PI; the fast forces act every
        timestep/stride
    :param stride: M; 4 is safe for the bundled model. Longer strides are cheaper, and heat when they come near half a
        period of the fastest vibration
    :param fast: the model of the fast forces, loaded or as `load_model` takes it: its direct ones, or conservative ones
        if it has no others
    :param slow: the model that the trajectory follows; default: the same
    :param kwargs: those of ase's `MolecularDynamics`: trajectory, logfile, loginterval, ...
    :raises DarkforcesError: if a model lacks forces or does not know an element, for a stride below 1 or a constraint
        other than `FixAtoms`

    >>> import ase.io, ipi_darkforces as dark
    >>> from ase import units
    >>> atoms = ase.io.read("inputs/water.xyz")
    >>> atoms.set_momenta(0.0 * atoms.positions)
    >>> dynamics = dark.MultipleTimeStepping(atoms, 2.0 * units.fs, stride=4, fast=dark.load_model("pet-m"))
    >>> dynamics.run(2)
    True
    """

    def __init__(
        self,
        atoms: Atoms,
        timestep: float,
        *,
        stride: int,
        fast: ModelLike,
        slow: ModelLike | None = None,
        **kwargs: Any,
    ):
        if not isinstance(stride, int | np.integer) or stride < 1:
            raise DarkforcesError(f"stride {stride!r} cannot be used: expected a whole number, at least 1")
        if not 0.0 < timestep < np.inf:
            raise DarkforcesError(f"timestep {timestep!r} cannot be used: expected more than zero")
        fixed_atoms(atoms, _HERE)
        self.stride = stride
        fast_model = as_model(fast)
        slow_model = fast_model if slow is None or slow is fast else as_model(slow)
        name = f"{fast_model.name} and {slow_model.name}"
        self._model = fast_model if slow_model is fast_model else PairModel(fast_model, slow_model, name)
        self._model.check_need(Need.CONSERVATIVE | Need.DIRECT)
        self._model.check_species(atoms.numbers)
        self._calculator = Calculator(self._model, forces="conservative")
        self._recorded: RecordedSteps | None = None
        self._recorded_for: tuple[np.ndarray, ...] = ()  # elements, cell and masses that it is for
        self._last: tuple[State[np.ndarray], np.ndarray] | None = None  # with the slow forces there
        atoms.calc = self._calculator
        super().__init__(atoms, timestep, **kwargs)

    def step(self) -> None:
        """Advance the atoms by one outer step."""
        atoms, fixed = self.atoms, fixed_atoms(self.atoms, _HERE)
        masses = atoms.get_masses()
        masses[fixed] = np.inf
        state, slow = self._beginning()
        timestep = self.dt / self.stride
        recorded = self._recorded_steps(masses)

        def fast_steps(state: State[np.ndarray], steps: int) -> State[np.ndarray] | None:
            advanced = None if recorded is None else recorded.advance(state, timestep, steps)
            return None if advanced is None else advanced[0]

        state, slow = outer_step(state, slow, masses, timestep, self.stride, self._fast, self._both, fast_steps)
        state.momenta[fixed] = 0.0
        atoms.set_positions(state.positions, apply_constraint=False)
        atoms.set_momenta(state.momenta, apply_constraint=False)
        self._calculator.atoms = atoms.copy()  # whose energy and forces it has been given
        self._last = state, slow

    def _beginning(self) -> tuple[State[np.ndarray], np.ndarray]:
        """The state of the atoms now, and the slow forces; the user may have moved them since the last step."""
        positions, momenta = self.atoms.get_positions(), self.atoms.get_momenta()
        if self._last is not None and not self._calculator.check_state(self.atoms):
            last, slow = self._last
            return State(positions, momenta, last.forces), slow
        fast, slow = self._both(positions)
        return State(positions, momenta, fast), slow

    def _recorded_steps(self, masses: np.ndarray) -> RecordedSteps | None:
        """Time steps on the device of the fast model, if it has one; made anew where the user has changed the atoms."""
        structure = Structure.from_ase(self.atoms)
        kept = (structure.species, structure.cell, masses)
        if not self._recorded_for or not all(map(np.array_equal, kept, self._recorded_for)):
            source = self._model.on_device([structure])
            self._recorded = None
            if source is not None:
                from .recorded_steps import RecordedSteps  # which needs torch, as the model does

                self._recorded = RecordedSteps(source, lambda r: (source(r[None])[0], r.new_empty(0)), 0, masses)
            self._recorded_for = kept
        return self._recorded

    def _fast(self, positions: np.ndarray) -> np.ndarray:
        forces = self._model.evaluate(self._structure(positions), Need.DIRECT)
        return of_kind(Need.DIRECT, forces)

    def _both(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        structure = self._structure(positions)
        virial = Need.VIRIAL & self._model.provides
        forces = self._model.evaluate(structure, Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT | virial)
        self._calculator.take(forces, structure)
        fast = of_kind(Need.DIRECT, forces)
        return fast, of_kind(Need.CONSERVATIVE, forces) - fast

    def _structure(self, positions: np.ndarray) -> Structure:
        return replace(Structure.from_ase(self.atoms), positions=positions)
