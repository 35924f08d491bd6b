"""Recordings of operations on tensors, in place of CUDA graphs, and structures that move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from waters import water_like

from ipi_darkforces import Structure


class Recording(TorchDispatchMode):
    """Operations on tensors, to be done again; like a CUDA graph, it knows nothing of the Python that led to them."""

    def __init__(self) -> None:
        super().__init__()
        self._done: list[tuple[Any, Any, Any, list[torch.Tensor]]] = []
        self._made: list[torch.Tensor] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = function(*args, **(kwargs or {}))
        given = {x.untyped_storage().data_ptr() for x in tensors_in((args, kwargs))}
        self._done.append((function, args, kwargs or {}, tensors_in(results)))
        self._made += [x for x in tensors_in(results) if x.untyped_storage().data_ptr() not in given]
        return results

    @torch.no_grad()
    def replay(self) -> None:
        """Do it again, with what comes out in the same places."""
        for function, args, kwargs, places in self._done:
            for place, fresh in zip(places, tensors_in(function(*args, **kwargs)), strict=True):
                if place.data_ptr() != fresh.data_ptr():
                    place.data.copy_(fresh)

    def forget(self) -> None:
        """Overwrite all that was made, so that nobody can use it any more."""
        for tensor in self._made:
            tensor.data.fill_(torch.nan if tensor.is_floating_point() else 0)


class TracedGraphs:
    """As `CudaGraphs`, on a CPU. All use the same work memory: what one has left there is lost when another begins."""

    def __init__(self) -> None:
        self.recorded: list[int] = []  # works of each recording
        self.replayed = 0
        self._all: list[Recording] = []

    def record(self, *works: Callable[[], None]) -> list[Callable[[], None]]:
        self.recorded.append(len(works))
        recordings = []
        for work in works:
            with Recording() as recording:
                work()
            recordings.append(recording)
        self._all += recordings
        return [partial(self._replay, recordings, i) for i in range(len(works))]

    def _replay(self, recordings: list[Recording], i: int) -> None:
        self.replayed += 1
        for other in self._all:
            if other not in recordings[:i]:
                other.forget()
        recordings[i].replay()


def tensors_in(tree: Any) -> list[torch.Tensor]:
    return [x for x in torch.utils._pytree.tree_leaves(tree) if isinstance(x, torch.Tensor)]


class Operations(TorchDispatchMode):
    """Writes down what is done, with the shapes that come out."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[str, list[torch.Size]]] = []
        self.waits: list[str] = []
        self.devices: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = function(*args, **(kwargs or {}))
        given = torch.utils._pytree.tree_leaves((args, kwargs))
        self.done.append((str(function), [x.shape for x in tensors_in(results)]))
        self.devices |= {x.device.type for x in tensors_in((given, results))}
        if function in (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default):
            if any(isinstance(x, torch.Tensor) and x.dtype == torch.bool for x in given[1:]):
                self.waits.append(str(function))
        elif {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(function.tags):
            self.waits.append(str(function))
        return results


def trembling(structure: Structure, n: int, size: float) -> Iterator[Structure]:
    random = np.random.default_rng(8)
    for _ in range(n):
        structure = water_like(structure, positions=structure.positions + random.normal(0, size, (24, 3)))
        yield structure
