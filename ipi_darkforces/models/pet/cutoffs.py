"""Cutoffs of PET models: how neighbours fade near them, and those that adapt to how many neighbours an atom has.

Counted with the weight that neighbours have near a cutoff r (1 inside, 0 outside, smooth in between), an atom has n(r)
neighbours. Where cutoffs are adaptive, that of an atom is about where n(r) is a number N of choice. What an atom in
empty space lacks is made up for by N (r / r_max)³, so that no cutoff exceeds r_max. A pair of atoms has the mean of
both cutoffs. metatrain (`metatrain.pet`) has two ways to find them, which give somewhat different ones.

Everything is in double precision, and differentiable: cutoffs change with the positions, and so do energies with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch.autograd import Function

from ..neighbors.search import CPU

# As metatrain has them.
_BUMP_MARGIN = 1e-6
_FIRST_PROBE = 0.5  # Å
_PROBES_PER_WIDTH = 4
_SMALLEST_SLOPE = 1e-12
_ITERATIONS = 10
_SMALLEST_DERIVATIVE = 1e-6  # neighbours per Å
_SMALLEST_FRACTION = 1 / 16  # of r_max
_FADING_STEPS = 1000  # at which weights are looked at
_CONVERGED = 1e-13  # of N, in which a count has this rounding error


def bump(distances: torch.Tensor, cutoff: float | torch.Tensor, width: float) -> torch.Tensor:
    """Weight of neighbours, infinitely often differentiable."""
    scaled = ((distances - (cutoff - width)) / width).clamp(_BUMP_MARGIN, 1.0 - _BUMP_MARGIN)
    return 0.5 * (1 + torch.tanh(1 / torch.tan(torch.pi * scaled)))


def cosine(distances: torch.Tensor, cutoff: float | torch.Tensor, width: float) -> torch.Tensor:
    """Weight of neighbours, half a period of a cosine."""
    scaled = ((distances - (cutoff - width)) / width).clamp(0.0, 1.0)
    return 0.5 * (1 + torch.cos(torch.pi * scaled))


def faded(switch: Callable[..., torch.Tensor], width: float, dtype: torch.dtype) -> float:
    """Compute how far inside their cutoff neighbours have a weight that is rounded to 0, as are its derivatives, Å.

    :param switch: `bump` or `cosine`
    :param width: of the shell in which neighbours fade, Å
    :param dtype: the precision in which weights are computed
    """
    inside = torch.linspace(0, width, _FADING_STEPS, dtype=dtype)
    last = float(inside[switch(width - inside, width, width) == 0.0].max())
    return max(0.0, last - width / _FADING_STEPS)


class AdaptiveCutoffs(Protocol):
    """Cutoffs of atoms, none of which is larger than `largest`, Å.

    :param distances: of pairs, each of them once, Å, shape (n_pairs,); pairs beyond the largest cutoff change nothing
    :param first: atoms, shape (n_pairs,)
    :param second: atoms, shape (n_pairs,)
    :return: Å, shape (n_atoms,)
    """

    largest: float

    def __call__(
        self, distances: torch.Tensor, first: torch.Tensor, second: torch.Tensor, n_atoms: int
    ) -> torch.Tensor: ...


def adaptive_cutoffs(
    method: str,
    neighbours: float,
    largest: float,
    width: float,
    device: torch.device = CPU,
    fixed_shapes: bool = False,
) -> AdaptiveCutoffs:
    """Cutoffs of one of metatrain's methods.

    :param method: ``grid`` or ``solver``
    :param neighbours: N
    :param largest: r_max, Å
    :param width: of the shell in which neighbours fade, Å
    :param device: where distances are
    :param fixed_shapes: let no shape and no decision depend on the distances; on CPUs, that takes longer
    """
    if method.lower() == "grid":
        return GridCutoffs(neighbours, largest, width, device, fixed_shapes)
    return SolvedCutoffs(neighbours, largest, width, fixed_shapes)


class GridCutoffs:
    """Averages over a grid of cutoffs, each with a weight for how close its number of neighbours is to N.

    The weight is that of a Gaussian, as wide as the number changes from one cutoff of the grid to the next. Only some
    cutoffs of the grid see a neighbour fade; for all larger ones it counts as 1, which is left to a cumulative sum.
    """

    def __init__(
        self, neighbours: float, largest: float, width: float, device: torch.device = CPU, fixed_shapes: bool = False
    ):
        self.largest = largest
        self.fixed_shapes = fixed_shapes
        self._spacing = width / _PROBES_PER_WIDTH
        self._width = width
        probes = torch.arange(_FIRST_PROBE, largest, self._spacing, dtype=torch.float64)
        wanted = neighbours * (1.0 - torch.linspace(0, 1, len(probes), dtype=torch.float64) ** 3)
        self._probes, self._wanted = probes.to(device), wanted.to(device)

    def __call__(
        self, distances: torch.Tensor, first: torch.Tensor, second: torch.Tensor, n_atoms: int
    ) -> torch.Tensor:
        """See `AdaptiveCutoffs`."""
        excess = _Counts.apply(distances, first, second, n_atoms, self) - self._wanted
        (slopes,) = torch.gradient(excess, dim=1)
        exponents = -0.5 * (excess / slopes.abs().clamp_min(_SMALLEST_SLOPE)).square()
        return torch.softmax(exponents, 1) @ self._probes

    def fading(self, distances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """First cutoff of the grid that sees each neighbour, and the cutoff function of that and the next.

        :param distances: Å, shape (n_pairs,)
        :return: shape (n_pairs,), the size of the grid for those beyond it, and (4, n_pairs), from 0 to 1
        """
        first = ((distances - _FIRST_PROBE) / self._spacing).floor().add_(1).clamp_(0, len(self._probes))
        scaled = (distances - _FIRST_PROBE - first * self._spacing).div_(self._width).add_(1.0)
        others = torch.arange(_PROBES_PER_WIDTH, dtype=torch.float64, device=distances.device) / _PROBES_PER_WIDTH
        return first.long(), scaled - others.unsqueeze(1)

    @property
    def size(self) -> int:
        """Number of cutoffs in the grid."""
        return len(self._probes)


class SolvedCutoffs:
    """Cutoffs at which the number of neighbours is N.

    Found by Newton's method in a bracket, from half the largest cutoff. Ten iterations do for most atoms; for others
    the cutoff is what they arrive at, as it is in metatrain. Derivatives are those of an implicit function.
    """

    def __init__(self, neighbours: float, largest: float, width: float, fixed_shapes: bool = False):
        self.largest = largest
        self._neighbours = neighbours
        self._width = width
        self._fixed_shapes = fixed_shapes

    def __call__(
        self, distances: torch.Tensor, first: torch.Tensor, second: torch.Tensor, n_atoms: int
    ) -> torch.Tensor:
        """See `AdaptiveCutoffs`."""
        cutoffs: torch.Tensor = _Roots.apply(distances, first, second, n_atoms, self)
        return cutoffs

    def roots(self, distances: torch.Tensor, centres: torch.Tensor, n_atoms: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cutoffs, and the derivative of each by each of its distances.

        :param distances: from atoms to their neighbours, Å, shape (n,)
        :param centres: these atoms, shape (n,)
        :return: shapes (n_atoms,) and (n,)
        """
        low = distances.new_zeros(n_atoms)
        high = torch.full_like(low, self.largest)
        cutoffs = 0.5 * high
        reach = 0.0  # no neighbour beyond it has been needed, and most never are
        near, some = None, (distances, centres)
        for iteration in range(_ITERATIONS + 1):
            if not self._fixed_shapes and (farthest := float(cutoffs.max())) > reach:
                reach = farthest
                near = torch.nonzero(distances < reach).squeeze(1)
                some = distances[near], centres[near]
            excess, slope, slopes = self._excess(*some, cutoffs)
            if iteration == _ITERATIONS or not self._fixed_shapes and self._are_roots(excess):
                break
            below = excess <= 0
            low, high = torch.where(below, cutoffs, low), torch.where(below, high, cutoffs)
            newton = cutoffs - excess / slope
            cutoffs = torch.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high))
        exact = cutoffs - excess / slope
        allowed = exact.clamp(_SMALLEST_FRACTION * self.largest, self.largest)
        derivatives = (slopes / slope[some[1]]).masked_fill_((allowed != exact)[some[1]], 0.0)
        if near is not None:
            derivatives = torch.zeros_like(distances).index_copy_(0, near, derivatives)
        return allowed, derivatives

    def _are_roots(self, excess: torch.Tensor) -> bool:
        return bool(excess.abs().max() < _CONVERGED * self._neighbours)

    def _excess(
        self, distances: torch.Tensor, centres: torch.Tensor, cutoffs: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Neighbours more than N, how that changes with the cutoff, 1/Å, and the share of each neighbour in that."""
        weights, slopes = _bump_and_slope((distances - cutoffs[centres]).div_(self._width).add_(1.0))
        slopes.div_(-self._width)
        fractions = cutoffs / self.largest
        excess = self._neighbours * (fractions**3 - 1.0)
        slope = 3.0 * self._neighbours / self.largest * fractions**2
        excess.index_add_(0, centres, weights)
        return excess, slope.index_add_(0, centres, slopes).clamp_min_(_SMALLEST_DERIVATIVE), slopes


class _Counts(Function):
    """Numbers of neighbours within the cutoffs of a grid, (n_atoms, size of the grid)."""

    @staticmethod
    def forward(
        ctx: Any, distances: torch.Tensor, first: torch.Tensor, second: torch.Tensor, n_atoms: int, grid: GridCutoffs
    ) -> torch.Tensor:
        probe, scaled = grid.fading(distances)
        weights, slopes = _bump_and_slope(scaled)
        changes = torch.cat([weights[:1], weights.diff(dim=0), 1.0 - weights[-1:]])
        columns = grid.size + len(changes)  # some more, for neighbours that the grid does not see (any more)
        counts = distances.new_zeros(n_atoms * columns)
        for atoms in (first, second):
            places = (atoms * columns + probe) + torch.arange(len(changes), device=probe.device).unsqueeze(1)
            if grid.fixed_shapes:
                counts.index_add_(0, places.view(-1), changes.view(-1))
            else:
                counts += torch.bincount(places.view(-1), changes.view(-1), len(counts))
        ctx.save_for_backward(first, second, probe, slopes.div_(grid._width))
        return counts.view(n_atoms, columns).cumsum(1)[:, : grid.size]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        first, second, probe, slopes = ctx.saved_tensors
        padded = torch.nn.functional.pad(grads[0], (0, len(slopes)))
        columns, probes = padded.shape[1], probe + torch.arange(len(slopes), device=probe.device).unsqueeze(1)
        both = sum(padded.view(-1)[atoms * columns + probes] for atoms in (first, second))
        return (both * slopes).sum(0), None, None, None, None


class _Roots(Function):
    """See `SolvedCutoffs.roots`."""

    @staticmethod
    def forward(
        ctx: Any, distances: torch.Tensor, first: torch.Tensor, second: torch.Tensor, n_atoms: int, way: SolvedCutoffs
    ) -> torch.Tensor:
        cutoffs, derivatives = way.roots(distances.repeat(2), torch.cat([first, second]), n_atoms)
        ctx.save_for_backward(first, second, derivatives)
        return cutoffs

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        first, second, derivatives = ctx.saved_tensors
        (grad,), (by_first, by_second) = grads, derivatives.chunk(2)
        return grad[first] * by_first + grad[second] * by_second, None, None, None, None


def _bump_and_slope(scaled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`bump`, from 1 to 0 between 0 and 1, and its derivative."""
    cotangent = 1.0 / torch.tan(torch.pi * scaled.clamp(_BUMP_MARGIN, 1.0 - _BUMP_MARGIN))
    weights = torch.sigmoid(2.0 * cotangent)
    slopes = cotangent.square_().add_(1.0).mul_(weights).mul_(1.0 - weights).mul_(-2.0 * torch.pi)
    return weights, slopes
