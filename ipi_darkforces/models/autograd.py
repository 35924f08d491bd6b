"""The Jacobian of forces that torch computed, by automatic differentiation.

A backward pass gives Jᵀ v. It is linear in v, so that its own derivative with respect to v is J: a second backward
pass, through the first, gives J v. That needs no forward mode, which TorchScript lacks, but a backward pass that can be
differentiated.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch

from ..errors import DarkforcesError, one_line
from .jacobian import DerivedJacobian


class AutogradJacobian(DerivedJacobian):
    """J of forces with a graph, which is kept.

    :param forces: eV/Å, shape (n_atoms, 3)
    :param positions: Å, what they are computed from, requires a gradient, shape (n_atoms, 3)
    """

    def __init__(self, forces: torch.Tensor, positions: torch.Tensor):
        super().__init__(len(positions), torch.finfo(positions.dtype).eps)
        self._forces = forces + 0.0 * positions  # forces that are constant have no graph, and yet a derivative: zero
        self._positions = positions

    def transposed_times(self, vectors: np.ndarray) -> np.ndarray:
        """Jᵀ v, by one backward pass."""
        (product,) = torch.autograd.grad(self._forces, self._positions, self._tensor(vectors), retain_graph=True)
        return to_numpy(product)

    def times(self, vectors: np.ndarray) -> np.ndarray:
        """J v, by one backward pass through a backward pass."""
        cotangent, product = self._backward_pass
        try:
            (result,) = torch.autograd.grad(product, cotangent, self._tensor(vectors), retain_graph=True)
        except RuntimeError as error:
            raise _no_second_derivative(error) from error
        return to_numpy(result)

    @cached_property
    def _backward_pass(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Any vector, and Jᵀ times it with a graph: that it is zero matters to no derivative."""
        cotangent = torch.zeros_like(self._forces, requires_grad=True)
        try:
            (product,) = torch.autograd.grad(self._forces, self._positions, cotangent, create_graph=True)
        except RuntimeError as error:
            raise _no_second_derivative(error) from error
        return cotangent, product

    def _tensor(self, vectors: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(vectors).to(self._forces)


def without_net_force(forces: torch.Tensor, positions: torch.Tensor, periodic: bool) -> torch.Tensor:
    """Direct forces as `ForceModel.evaluate` returns them, without net force, differentiable.

    :param forces: eV/Å, shape (n_atoms, 3)
    :param positions: Å, shape (n_atoms, 3)
    :param periodic: in any direction; if not, the net torque is removed too
    """
    forces = forces - forces.mean(dim=0)
    if periodic:
        return forces
    r = positions - positions.mean(dim=0)
    torque = torch.linalg.cross(r, forces).sum(dim=0)
    inertia = torch.eye(3).to(r) * (r**2).sum() - r.T @ r
    rotation = torch.linalg.pinv(inertia, hermitian=True) @ torque
    return forces - torch.linalg.cross(rotation.expand_as(r), r)


def _no_second_derivative(error: RuntimeError) -> DarkforcesError:
    return DarkforcesError(
        f"the model's backward pass cannot be differentiated ({one_line(error)[:120]}), so that there is no J v; "
        "all of J is there all the same"
    )


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """The values of a tensor, in double precision."""
    return tensor.detach().to(device="cpu", dtype=torch.float64).numpy()
