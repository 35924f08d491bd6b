"""Two models as one: fast forces of one, slow forces as the difference to the other.

With forces f and energy V of the fast model, F and U of the slow one, multiple time stepping integrates f at every step
and F - f at every M-th: a trajectory of the slow model, mostly for the price of the fast one (paper, appendix H, with
two models in place of one with two heads). The energies are split alike, V and U - V, so that they add up to U.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .device_forces import DeviceForces
from .jacobian import Jacobian
from .model import ForceModel, Need
from .result import Forces
from .structure import Structure

_NEED_SLOW = Need.CONSERVATIVE | Need.UNCERTAINTY | Need.ENSEMBLE
_OF_SLOW = Need.VIRIAL | Need.UNCERTAINTY | Need.ENSEMBLE  # where it has them


class PairModel(ForceModel):
    """Two models, each evaluated only when its forces are asked for.

    :param fast: its direct forces are the direct forces here; its conservative ones if it has no others
    :param slow: its conservative forces, energy, virial and uncertainty are those here
    :param name: what the user calls both
    :raises DarkforcesError: if the slow model has no conservative forces
    """

    evaluates_together = False

    def __init__(self, fast: ForceModel, slow: ForceModel, name: str):
        slow.check_need(Need.CONSERVATIVE)
        self._fast = fast
        self._slow = slow
        self._fast_kind = Need.DIRECT if Need.DIRECT in fast.provides else Need.CONSERVATIVE
        provides = Need.ENERGY | Need.CONSERVATIVE | Need.DIRECT | (_OF_SLOW & slow.provides)
        known = [model.species for model in (fast, slow) if model.species is not None]
        # Net forces are removed by the model that has them.
        super().__init__(name, provides, frozenset.intersection(*known) if known else None, remove_net_force=False)

    @property
    def models(self) -> Sequence[ForceModel]:
        """Both models."""
        return self._fast, self._slow

    @property
    def epsilon(self) -> float:
        """Relative rounding error of the less precise one."""
        return max(self._fast.epsilon, self._slow.epsilon)

    @property
    def provides_direct_virial(self) -> bool:
        """Tell whether the fast model has a virial for the forces that it serves."""
        if self._fast_kind is Need.DIRECT:
            return self._fast.provides_direct_virial
        return Need.VIRIAL in self._fast.provides

    def check_species(self, species: np.ndarray) -> None:
        """See `ForceModel`; the model that does not know an element is named."""
        for model in self.models:
            model.check_species(species)

    def jacobian(self, structure: Structure, kind: Need) -> Jacobian:
        """The Jacobian of the model whose forces these are."""
        if kind is Need.DIRECT:
            return self._fast.jacobian(structure, self._fast_kind)
        return self._slow.jacobian(structure, kind)

    def evaluator(self, structures: Sequence[Structure], need: Need) -> Callable[[Sequence[np.ndarray]], list[Forces]]:
        """See `ForceModel.evaluator`; what is asked of the fast model alone goes there at once."""
        if need & _NEED_SLOW:
            return super().evaluator(structures, need)
        self.check_request(structures, need)
        fast = self._fast.evaluator(structures, self._of_fast(need))
        return lambda positions: self._as_fast(fast(positions))

    def on_device(self, structures: Sequence[Structure]) -> DeviceForces | None:
        """See `ForceModel`; those of the fast model."""
        return self._fast.on_device(structures) if self._fast_kind is Need.DIRECT else None

    def _evaluate(self, structures: Sequence[Structure], need: Need) -> list[Forces]:
        if Need.DIRECT not in need:
            return self._slow.evaluate(structures, need)
        fast = self._as_fast(self._fast.evaluate(structures, self._of_fast(need)))
        if not need & _NEED_SLOW:
            return fast
        slow = self._slow.evaluate(structures, need & ~Need.DIRECT)
        return [f.merged(s) for f, s in zip(fast, slow, strict=True)]

    def _of_fast(self, need: Need) -> Need:
        """The share of what is needed that is asked of the fast model."""
        return self._fast_kind | (need & (Need.ENERGY | Need.VIRIAL) & self._fast.provides)

    def _as_fast(self, results: list[Forces]) -> list[Forces]:
        if self._fast_kind is Need.DIRECT:
            return [Forces(r.energy, None, r.direct, None, r.direct_virial, r.energy) for r in results]
        return [Forces(r.energy, None, r.conservative, None, r.virial, r.energy) for r in results]
