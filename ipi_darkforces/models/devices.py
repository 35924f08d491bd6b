"""One model on several devices, which share the structures of each batch.

Beads of a path integral, replicas and simulations that are served together are evaluated together. Each device has the
weights, and a thread that starts its work and waits for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from .jacobian import Jacobian
from .model import ForceModel, Need
from .result import Forces
from .structure import Structure


class DevicesModel(ForceModel):
    """Copies of a model, each on a device of its own.

    A batch is cut into parts as equal as can be, in its order; one structure alone is evaluated by the first copy.

    :param copies: the same model
    """

    def __init__(self, copies: Sequence[ForceModel]):
        first = copies[0]
        super().__init__(first.name, first.provides, first.species, first.remove_net_force)
        self.remarks = first.remarks
        self.evaluates_together = first.evaluates_together
        self._copies = copies
        # One thread for each, always the same: torch keeps streams and modes by thread.
        self._threads = [ThreadPoolExecutor(1) for _ in copies]

    @property
    def epsilon(self) -> float:
        """Relative rounding error of the copies."""
        return self._copies[0].epsilon

    @property
    def provides_direct_virial(self) -> bool:
        """Tell whether the model predicts a stress."""
        return self._copies[0].provides_direct_virial

    def jacobian(self, structure: Structure, kind: Need) -> Jacobian:
        """The Jacobian of the first copy."""
        return self._copies[0].jacobian(structure, kind)

    def _evaluate(self, structures: Sequence[Structure], need: Need) -> list[Forces]:
        *_, results = self._evaluate_in_turn(structures, need)
        return results

    def _evaluate_in_turn(self, structures: Sequence[Structure], need: Need) -> Iterator[list[Forces]]:
        parts = _parts(structures, len(self._copies))
        turns = [copy._evaluate_in_turn(part, need) for copy, part in zip(self._copies, parts, strict=False)]
        while True:
            begun = [thread.submit(next, turn, None) for thread, turn in zip(self._threads, turns, strict=False)]
            results = [each.result() for each in begun]
            known = [part for part in results if part is not None]
            if not known:
                return
            yield [forces for part in known for forces in part]


def _parts(structures: Sequence[Structure], n: int) -> list[Sequence[Structure]]:
    """At most n parts of which none is empty, as equal as can be, the larger ones first."""
    n = min(n, len(structures))
    sizes = [len(structures) // n + (i < len(structures) % n) for i in range(n)]
    ends = [sum(sizes[: i + 1]) for i in range(n)]
    return [structures[end - size : end] for size, end in zip(sizes, ends, strict=True)]
