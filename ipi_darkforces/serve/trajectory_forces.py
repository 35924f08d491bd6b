"""Forces along trajectories that are advanced in i-PI's process: what is needed next is known, and not guessed.

At a fast step, only the fast components are evaluated. At the end of an outer step all of them are, together; what i-PI
asks for then finds its answers with its drivers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..split.component import Component, ComponentForces
from ..split.disagreement import Disagreement, OuterStep
from .pes import DarkforcesDriver, one_line_errors
from .units import ANGSTROM, EV_PER_ANGSTROM, structure_from_ipi


class TrajectoryForces:
    """The forces on all replicas of a simulation, in cells that do not change.

    :param drivers: i-PI's, for each component of the forces; one evaluation can answer them all
    :param fast: which of them act at fast steps
    :param cells: of the replicas, bohr, cell vectors as columns, shape (n_replicas, 3, 3)
    :param positions: bohr, to begin with, for which i-PI has asked all forces, shape (n_replicas, n_atoms, 3)

    `on_device` are the fast forces, if they are direct ones of a model that computes on a device of its own; else None.
    """

    def __init__(
        self, drivers: Sequence[DarkforcesDriver], fast: Sequence[bool], cells: np.ndarray, positions: np.ndarray
    ):
        self._drivers = drivers
        self._cells = cells
        self._outer_steps: dict[int, OuterStep] = {}  # the last one of each replica
        role, split = drivers[0].role, drivers[0].split
        components = [driver.role.component for driver in drivers]
        replicas = list(zip(cells, positions, strict=True))
        with one_line_errors():
            self._structures = [structure_from_ipi(*each, role.species, role.periodic) for each in replicas]
            chosen = [component for component, acts in zip(components, fast, strict=True) if acts]
            self._fast = split.evaluator(self._structures, chosen, virial=False)
            self.on_device = split.on_device(self._structures, chosen)
            extras = [driver.role.extras for driver in drivers]
            self._all = split.evaluator(self._structures, components, virial=True, extras=extras)
        slow = next((driver for driver in drivers if driver.role.component is Component.SLOW), None)
        if slow is not None:
            for replica, known in enumerate(slow.compute([*cells], [*positions])):
                self._compare(replica, positions[replica] / ANGSTROM, known[1] / EV_PER_ANGSTROM)

    def fast(self, positions: np.ndarray) -> list[list[np.ndarray]]:
        """Forces of each fast component on each replica, hartree/bohr, shape (n_atoms, 3).

        :param positions: bohr, shape (n_replicas, n_atoms, 3)
        """
        with one_line_errors():
            return _forces(self._fast(positions / ANGSTROM))

    def all(self, positions: np.ndarray) -> list[list[np.ndarray]]:
        """Forces of each component on each replica, at the end of an outer step; as `fast`."""
        moved = positions / ANGSTROM
        with one_line_errors():
            found = self._all(moved)
        for place, driver in enumerate(self._drivers):
            answers = [answers[place] for answers in found]
            if driver.role.component is Component.SLOW:
                pairs = enumerate(zip(moved, answers, strict=True))
                seen = [self._compare(replica, where, each.forces) for replica, (where, each) in pairs]
                answers = [replace(each, disagreement=apart) for each, apart in zip(answers, seen, strict=True)]
            driver.expect(self._cells, positions, answers)
        return _forces(found)

    def _compare(self, replica: int, positions: np.ndarray, slow: np.ndarray) -> Disagreement:
        """Difference of both kinds of forces on a replica, at the end of an outer step; eV and Å."""
        structure, last = self._structures[replica].moved(positions), self._outer_steps.get(replica)
        self._outer_steps[replica] = OuterStep(structure, slow) if last is None else last.next(structure, slow)
        return self._outer_steps[replica].disagreement


def _forces(found: list[list[ComponentForces]]) -> list[list[np.ndarray]]:
    return [[answer.forces * EV_PER_ANGSTROM for answer in answers] for answers in found]
