"""Velocity Verlet under the fast forces between two impulses of the slow ones.

Multiple time stepping with impulses (r-RESPA; Tuckerman, Berne, Martyna, J. Chem. Phys. 97, 1990 (1992); the paper,
appendix H) advances positions r and momenta p of atoms with masses m by one outer step of M time steps dt::

    p ← p + ½ M dt f_slow(r)
    M times:    p ← p + ½ dt f_fast(r)
                r ← r + dt p/m
                p ← p + ½ dt f_fast(r)
    p ← p + ½ M dt f_slow(r)

========  ==========================  =================================
symbol    variable                    unit
========  ==========================  =================================
r         ``positions``               length
p         ``momenta``                 mass × length/time
m         ``masses``                  mass
f_fast    ``forces``                  energy/length
f_slow    ``slow``                    energy/length
dt        ``timestep``                time, of the fast forces
M         ``stride``
========  ==========================  =================================

Everything here is a function of arrays in whatever consistent units the caller has: Å, eV and atomic mass units in ase,
atomic units in i-PI. Arrays are numpy's, or tensors on a device (`recorded_steps`). Whoever advances atoms under our
forces without i-PI does it through these functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:  # models of other kinds do without
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")
FastForces = Callable[[np.ndarray], np.ndarray]
Drift = Callable[[Array, Array], tuple[Array, Array]]
BothForces = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class State(Generic[Array]):
    """Atoms between two time steps.

    :param positions: shape (..., n_atoms, 3); so are the others
    :param momenta: of the atoms
    :param forces: the fast ones at these positions
    """

    positions: Array
    momenta: Array
    forces: Array


FastSteps = Callable[[State[np.ndarray], int], State[np.ndarray] | None]


def velocity_verlet(
    state: State[Array],
    masses: Array,
    timestep: float,
    steps: int,
    fast: Callable[[Array], Array],
    drift: Drift[Array] | None = None,
) -> State[Array]:
    """Advance by some time steps under the fast forces alone.

    :param state: where the atoms are; is not changed
    :param masses: shape (..., n_atoms); infinite for atoms that do not move
    :param timestep: of the fast forces
    :param steps: number of time steps
    :param fast: the fast forces at given positions, both of the same shape
    :param drift: positions and momenta, those before a time step without forces to those after it; default: r + dt p/m
    :return: the state after these steps
    """
    positions, momenta, forces = state.positions, state.momenta, state.forces
    lengths = timestep / masses[..., None]
    for _ in range(steps):
        momenta = momenta + 0.5 * timestep * forces
        if drift is None:
            positions = positions + lengths * momenta
        else:
            positions, momenta = drift(positions, momenta)
        forces = fast(positions)
        momenta = momenta + 0.5 * timestep * forces
    return State(positions, momenta, forces)


def outer_step(
    state: State[np.ndarray],
    slow: np.ndarray,
    masses: np.ndarray,
    timestep: float,
    stride: int,
    fast: FastForces,
    both: BothForces,
    fast_steps: FastSteps | None = None,
) -> tuple[State[np.ndarray], np.ndarray]:
    """Advance by one outer step: M - 1 evaluations of the fast forces, and one of both.

    :param state: where the atoms are; is not changed
    :param slow: the slow forces there, shape (n_atoms, 3)
    :param masses: shape (n_atoms,); see `velocity_verlet`
    :param timestep: of the fast forces
    :param stride: M, time steps of the fast forces between two impulses
    :param fast: the fast forces at given positions
    :param both: the fast and the slow forces at given positions
    :param fast_steps: takes a number of time steps under the fast forces, if it can; else they are taken one by one
    :return: the state after the step, and the slow forces there
    """
    impulse = 0.5 * stride * timestep
    state = State(state.positions, state.momenta + impulse * slow, state.forces)
    advanced = fast_steps(state, stride - 1) if fast_steps is not None and stride > 1 else None
    state = advanced or velocity_verlet(state, masses, timestep, stride - 1, fast)

    def last(positions: np.ndarray) -> np.ndarray:
        nonlocal slow
        forces, slow = both(positions)
        return forces

    state = velocity_verlet(state, masses, timestep, 1, last)
    return State(state.positions, state.momenta + impulse * slow, state.forces), slow
